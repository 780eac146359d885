# -*- test-case-name: tests.admin.test_control -*-
"""
The commands that change something.
"""

from __future__ import annotations

from twisted.logger import Logger

from meshproxy.admin.commands import OK, AdminRequest, AdminResponse
from meshproxy.admin.served import Served
from meshproxy.errors import MeshProxyError

__all__ = [
    "drainListeners",
    "failHealthCheck",
    "passHealthCheck",
    "quitNow",
    "reloadFilter",
    "reopenLogs",
    "resetCounters",
    "runtimeModify",
]

_log = Logger()


def resetCounters(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/reset_counters}.
    """
    server.context.store.resetCounters()
    return OK


def failHealthCheck(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/healthcheck/fail}.
    """
    server.failHealthCheck(True)
    return OK


def passHealthCheck(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/healthcheck/ok}.
    """
    server.failHealthCheck(False)
    return OK


def drainListeners(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/drain_listeners}.
    """
    parameters = request.parameters
    server.drainListeners("inboundonly" in parameters, "graceful" in parameters, "skip_exit" in parameters)
    return OK


def quitNow(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/quitquitquit}.
    """
    _log.info("the admin was asked to end the process")
    server.quit()
    return OK


def reopenLogs(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/reopen_logs}.
    """
    server.files.reopen()
    return OK


def runtimeModify(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/runtime_modify}.
    """
    if not request.parameters:
        return AdminResponse(
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
            "       or send the parameters as form values\n"
            "use an empty value to remove a previously added override",
            400,
        )
    try:
        server.context.runtime.modify(request.parameters)
    except ValueError as error:
        _log.warn("/runtime_modify: {why}", why=str(error))
        # As Envoy: the server is not in a state to do that, whoever's fault it is.
        known = "No admin layer specified"
        return AdminResponse(known if known in str(error) else "a value cannot be read; the log says why", 503)
    return OK


def reloadFilter(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/filters/reload}.
    """
    name = request.parameters.get("name", "")
    if not name:
        return AdminResponse("usage: /filters/reload?name=NAME, as configurations name the filter\n", 400)
    try:
        server.reloadFilters([name])
    except MeshProxyError as error:
        _log.warn("/filters/reload: {why}", why=str(error))
        loaded = server.context.registry.loadedFiles().values()
        if not any(name in names for names in loaded):
            return AdminResponse("no filter of that name is loaded; the log says which there are\n", 404)
        return AdminResponse(f"the filter was not reloaded: {error}\n", 503)
    return OK
