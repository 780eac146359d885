# -*- test-case-name: tests.admin.test_loggers -*-
"""
C{/logging}: which parts of the program write how much to the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshproxy.admin.commands import AdminRequest, AdminResponse
from meshproxy.admin.served import Served
from meshproxy.logs import LogLevels, levels

__all__ = ["LOGGERS", "logging", "setLevels"]

LOGGERS: Mapping[str, str] = {
    "admin": "meshproxy.admin",
    "config": "meshproxy.config",
    "conn_handler": "meshproxy.listener",
    "connection": "meshproxy.net",
    "dns": "meshproxy.net.dns",
    "ext_authz": "meshproxy.filters.envoy.filters.http.ext_authz",
    "file": "meshproxy.accesslog",
    "filter": "meshproxy.filters",
    "grpc": "meshproxy.grpc",
    "http": "meshproxy.http",
    "http2": "meshproxy.codec.http2",
    "jwt": "meshproxy.filters.envoy.filters.http.jwt_authn",
    "main": "meshproxy.server",
    "pool": "meshproxy.upstream.http1pool",
    "rbac": "meshproxy.filters.envoy.filters.http.rbac",
    "router": "meshproxy.http.router",
    "runtime": "meshproxy.runtime",
    "secret": "meshproxy.secrets",
    "stats": "meshproxy.stats",
    "tracing": "meshproxy.tracing",
    "upstream": "meshproxy.upstream",
    "xds": "meshproxy.xds",
}
"""
Envoy's names of loggers, as far as there is such a part here, and the namespaces that they stand for.
"""

_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
)


def logging(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/logging}.
    """
    why = setLevels(request.parameters, levels)
    if why is None:
        return AdminResponse(_listed(levels))
    known = "".join(f"{name} " for name in levels.names if name != "warn")
    return AdminResponse(f"error: {why}\n\n{_USAGE}levels: {known}\n{_listed(levels)}", 400)


def setLevels(parameters: Mapping[str, str], target: LogLevels) -> str | None:
    """
    Change levels as the parameters say.

    @return: Why nothing was changed, or L{None} where all was done.
    """
    # A form sends the fields that were left empty, too.
    given = {name: value for name, value in parameters.items() if value}
    if len(given) > 1:
        return "invalid number of parameters"
    changes: dict[str, str] = {}
    for name, value in given.items():
        if name == "paths":
            for each in filter(None, value.split(",")):
                logger, _, level = each.rpartition(":")
                if not logger or not level:
                    return "empty logger name or empty logger level"
                changes[logger] = level
        else:
            changes[name] = value
    for logger, level in changes.items():
        if level not in target.names:
            return "unknown logger level"
        if logger != "level" and _namespaceOf(logger) is None:
            return "unknown logger name"
    for logger, level in changes.items():
        namespace = _namespaceOf(logger)
        if namespace is None:
            target.setDefault(level)
        else:
            target.setFor(namespace, level)
    return None


def _namespaceOf(logger: str) -> str | None:
    """
    The namespace that a name means: one of Envoy's, or ours as the log shows it.
    """
    if logger in LOGGERS:
        return LOGGERS[logger]
    return logger if logger == "meshproxy" or logger.startswith("meshproxy.") else None


def _listed(target: LogLevels) -> str:
    shown = {name: _levelOf(namespace, target) for name, namespace in LOGGERS.items()}
    known = set(LOGGERS.values())
    shown.update({name: level for name, level in sorted(target.byNamespace.items()) if name not in known})
    return "active loggers:\n" + "".join(f"  {name}: {level}\n" for name, level in shown.items()) + "\n"


def _levelOf(namespace: str, target: LogLevels) -> str:
    while namespace:
        level = target.byNamespace.get(namespace)
        if level is not None:
            return level
        namespace = namespace.rpartition(".")[0]
    return target.default
