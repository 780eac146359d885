# -*- test-case-name: tests.admin.test_service -*-
"""
The admin as a listener: the connection manager that serves everybody, with a filter of its own at the end of its chain.
So it has the strict codec, the time-outs, the access logs and the stats (C{http.admin.}, C{listener.admin.}) of others.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.logs import compileAccessLogs
from meshproxy.admin.filter import AdminFilter
from meshproxy.admin.served import Served
from meshproxy.admin.table import CommandTable
from meshproxy.config import Section
from meshproxy.config.matchers import compileStringMatcher
from meshproxy.config.pool import newMessage, packAny, typeURL
from meshproxy.config.registry import FilterRegistry
from meshproxy.interfaces import IFilterFactory
from meshproxy.listener.listener import Listener
from meshproxy.net.address import Address
from meshproxy.stats import Exposition

__all__ = ["AdminServer"]

_NAME = "meshproxy.admin"
_LISTENER = "envoy.config.listener.v3.Listener"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_FILE_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"


@implementer(IFilterFactory)
class _AdminPlugin:
    """
    Makes the admin's filter known to its own chain, and to no other.
    """

    name = _NAME
    kind = "http"
    configTypes: tuple[str, ...] = ()
    module = "meshproxy.admin.filter"

    def __init__(self, filterClass: type[AdminFilter]) -> None:
        self._filterClass = filterClass

    def load(self) -> type:
        """
        See L{IFilterFactory.load}.
        """
        return self._filterClass


class _AdminListener(Listener):
    """
    Counted where Envoy counts what its main thread serves.
    """

    thread = "main_thread"


class AdminServer:
    """
    The admin of a proxy.

    @ivar commands: Who answers.
    @ivar address: Where it listens, once it does; L{None} where no address is configured.
    """

    log = Logger()

    def __init__(self, server: Served, section: Section | None, exposition: Exposition | None = None) -> None:
        """
        Compile; nothing is bound.

        @param section: An C{envoy.config.bootstrap.v3.Admin}, or L{None}.
        @param exposition: Shows the stats.
        """
        self._server = server
        self.address: Address | None = None
        self._listener: Listener | None = None
        allows = None if section is None else _allowedPaths(section)
        profilePath = "" if section is None else section.get("profile_path")
        self.commands = CommandTable(server, exposition or Exposition(server.context.store), allows, profilePath)
        if section is not None and section.has("address"):
            self._listener = self._compile(section)

    def _compile(self, section: Section) -> Listener | None:
        context = self._server.context
        faults = len(section.report.errors)
        filterClass = type("AdminFilter", (AdminFilter,), {"commands": self.commands})
        registry = FilterRegistry([*context.registry.plugins, _AdminPlugin(filterClass)])
        # The logs are compiled once for what is wrong with them: below, they stand at another place.
        logs = compileAccessLogs(section.children("access_log"), context.logs)
        listener = None
        if len(section.report.errors) == faults:
            own = Section(_listenerMessage(section), section.path, section.report, section.places)
            listener = _AdminListener(own, replace(context, registry=registry))
        logs.close()
        return listener

    def listen(self) -> None:
        """
        Bind.

        @raise twisted.internet.error.CannotListenError: If the address cannot be bound.
        """
        listener = self._listener
        if listener is None:
            self.log.info("no address is configured for the admin: there is none")
            return
        listener.listen()
        address: Address = listener.ports[0].address
        self.address = address
        if address.ip is not None and not address.ip.is_loopback:
            self.log.warn(
                "the admin listens on {address}: whoever reaches it may read the configuration and stop the proxy",
                address=address.text,
            )
        else:
            self.log.info("the admin listens on {address}", address=address.text)
        path = self._server.options.adminAddressPath
        if path:
            self._writeAddress(Path(path), address)

    def _writeAddress(self, path: Path, address: Address) -> None:
        try:
            if path.exists() and not path.is_file():
                # A pipe, or the terminal.
                path.write_text(address.text, "utf-8")
                return
            # Whoever waits for the file finds all of it when it is there.
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            beside.write_text(address.text, "utf-8")
            beside.replace(path)
        except OSError as error:
            # As Envoy: whoever waits for the file sees that it does not come.
            self.log.error("cannot write the admin's address to {path}: {why}", path=str(path), why=error.strerror)

    def stop(self) -> None:
        """
        Unbind, and close what is open.
        """
        if self._listener is not None:
            self._listener.abort()
            self._listener.stop()
            self.address = None


def _allowedPaths(section: Section) -> Any:
    matchers = [compileStringMatcher(child) for child in section.children("allow_paths")]
    if not matchers:
        return None
    return lambda target: any(matches(target.encode("utf-8")) for matches in matchers)


def _listenerMessage(section: Section) -> Any:
    """
    The admin as a listener's configuration.
    """
    struct = {"@type": typeURL("xds.type.v3.TypedStruct"), "type_url": _NAME}
    manager = Section.of(
        _MANAGER,
        {
            "stat_prefix": "admin",
            # Probes of old load balancers.
            "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "admin"},
            "use_remote_address": True,
            "skip_xff_append": True,
            "generate_request_id": False,
            "route_config": {"virtual_hosts": [{"name": "admin", "domains": ["*"]}]},
            "http_filters": [{"name": _NAME, "typed_config": struct}],
        },
    ).message
    manager.access_log.extend(section.message.access_log)
    if section.get("access_log_path"):
        log = newMessage(_FILE_LOG)
        log.path = section.get("access_log_path")  # type: ignore[attr-defined]  # a dynamic message
        manager.access_log.add(name="admin").typed_config.CopyFrom(packAny(log))
    message = Section.of(
        _LISTENER, {"name": "admin", "stat_prefix": "admin", "filter_chains": [{"filters": [{"name": _NAME}]}]}
    ).message
    message.filter_chains[0].filters[0].typed_config.CopyFrom(packAny(manager))
    message.address.CopyFrom(section.message.address)
    return message
