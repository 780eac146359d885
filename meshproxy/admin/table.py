# -*- test-case-name: tests.admin.test_table -*-
"""
All commands, and who of them answers a request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshproxy.admin import control, state
from meshproxy.admin.certificates import certificateList
from meshproxy.admin.commands import CHOICE, FLAG, AdminRequest, AdminResponse, Command, Parameter, helpText
from meshproxy.admin.dump import configDump
from meshproxy.admin.explain.command import explainCommand
from meshproxy.admin.home import homePage
from meshproxy.admin.listing import clusterList, listenerList
from meshproxy.admin.loggers import logging
from meshproxy.admin.profiler import CPUProfiler
from meshproxy.admin.served import Served, stateOf
from meshproxy.admin.statspages import clearLookups, disableLookups, enableLookups, recentLookups, statsPage
from meshproxy.admin.streams import streamList
from meshproxy.stats import Exposition
from meshproxy.stats.query import HIDDEN

__all__ = ["CommandTable"]

_FILTER = Parameter("filter", "Regular expression (Google re2) for filtering stats")
_INVERT = Parameter("invert_filter", "Invert the filter regex", FLAG)
_USED = Parameter("usedonly", "Only include stats that have been written by system since restart", FLAG)
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")


class CommandTable:
    """
    The commands of one proxy.

    @ivar commands: All of them, by path.
    """

    def __init__(
        self,
        server: Served,
        exposition: Exposition,
        allows: Callable[[str], bool] | None = None,
        profilePath: str = "",
    ) -> None:
        """
        @param allows: Whether a path with its query may be asked for (C{allow_paths}); L{None} allows all.
        @param profilePath: Where the profiler writes (C{profile_path}).
        """
        self._server = server
        self._allows = allows
        made = [*_reading(), *_stats(exposition), *_changing()]
        enable = Parameter("enable", "enable/disable the CPU profiler", CHOICE, ("y", "n"))
        profiler = CPUProfiler(profilePath)
        made.append(Command("/cpuprofiler", "enable/disable the CPU profiler", profiler.answer, True, (enable,)))
        made.append(Command("/", "Admin home page", self._home))
        made.append(Command("/help", "print out list of admin commands", self._help))
        made.sort(key=lambda command: command.path)
        self.commands: dict[str, Command] = {command.path: command for command in made}

    def answer(self, request: AdminRequest, target: str) -> AdminResponse:
        """
        Answer a request.

        @param target: Its path with the query.
        """
        if self._allows is not None and not self._allows(target):
            return AdminResponse("request to this path not allowed", 403)
        command = self.commands.get(request.path)
        if command is None:
            return AdminResponse(f"invalid path. {helpText(self.commands.values())}", 404)
        if command.mutates and request.method != "POST":
            return AdminResponse(f"Method {request.method} not allowed, POST required.", 405)
        return command.answer(self._server, request)

    def _home(self, server: Served, request: AdminRequest) -> AdminResponse:
        return homePage(self.commands.values(), server.context.nodeId, stateOf(server))

    def _help(self, server: Served, request: AdminRequest) -> AdminResponse:
        return AdminResponse(helpText(self.commands.values()))


def _reading() -> Sequence[Command]:
    json = Parameter("format", "File format to use", CHOICE, ("text", "json"))
    return (
        Command("/certs", "print certs on machine", certificateList),
        Command(
            "/clusters",
            "upstream cluster status",
            clusterList,
            False,
            (Parameter("filter", "Regular expression (Google re2) for filtering clusters by name"), json),
        ),
        Command(
            "/config_dump",
            "dump current configs",
            configDump,
            False,
            (
                Parameter("resource", "The resource to dump, such as static_clusters"),
                Parameter("mask", "The fields to show; with resource, of each element. A Protobuf::FieldMask"),
                Parameter("name_regex", "Dump only the configurations whose names match the regex"),
                Parameter("include_eds", "Dump the endpoints, too", FLAG),
            ),
        ),
        Command("/contention", "dump mutex contention stats (if enabled)", state.contention),
        Command(
            "/explain",
            "tell what would become of a request, and why",
            explainCommand,
            False,
            (
                Parameter("url", "http://host:port/path; the port says which listener"),
                Parameter("method", "GET, unless it is told"),
                Parameter("header", "name: value; there may be several"),
                Parameter("listener", "The listener's name, whatever the port"),
                Parameter("source", "The client's address"),
                Parameter("request_id", "Of a request under way: its x-request-id"),
                Parameter("connection_id", "The oldest request under way on a connection, as /streams tells it"),
                json,
            ),
        ),
        Command("/hot_restart_version", "print the hot restart compatibility version", state.hotRestartVersion),
        Command("/init_dump", "dump what the start of the server waits for", state.initDump),
        Command("/listeners", "print listener info", listenerList, False, (json,)),
        Command("/memory", "print current allocation/heap usage", state.memory),
        Command("/ready", "print server state, return 200 if LIVE, otherwise return 503", state.ready),
        Command("/runtime", "print runtime values", state.runtime),
        Command("/streams", "print HTTP streams under way, the oldest first", streamList),
        Command("/server_info", "print server version/status information", state.serverInfo),
    )


def _stats(exposition: Exposition) -> Sequence[Command]:
    buckets = ("", "cumulative", "disjoint", "detailed", "summary")
    formats = ("html", "active-html", "json", "prometheus", "text")
    parameters = (
        _USED,
        _FILTER,
        _INVERT,
        Parameter("format", "Format to use", CHOICE, formats),
        Parameter("type", "Stat types to include", CHOICE, _KINDS),
        Parameter("histogram_buckets", "Histogram bucket display mode", CHOICE, buckets),
        Parameter("hidden", "Whether hidden stats are shown; there are none", CHOICE, ("", *HIDDEN)),
    )
    return (
        Command("/stats", "print server stats", statsPage(exposition, "text", parameters), False, parameters),
        Command("/stats/recentlookups", "Show recent stat-name lookups", recentLookups),
        Command("/stats/recentlookups/clear", "clear list of stat-name lookups and counter", clearLookups, True),
        Command("/stats/recentlookups/disable", "disable recording of stat-name lookups", disableLookups, True),
        Command("/stats/recentlookups/enable", "enable recording of stat-name lookups", enableLookups, True),
        Command(
            "/stats/prometheus",
            "print server stats in prometheus format",
            statsPage(exposition, "prometheus"),
            False,
            (
                _USED,
                Parameter("text_readouts", "Render text_readouts as new gauges with value 0", FLAG),
                _FILTER,
                _INVERT,
                Parameter("histogram_buckets", "Histogram bucket display mode", CHOICE, ("", "cumulative", "summary")),
            ),
        ),
    )


_KINDS = ("All", "Counters", "Histograms", "Gauges", "TextReadouts")


def _changing() -> Sequence[Command]:
    return (
        Command(
            "/drain_listeners",
            "drain listeners",
            control.drainListeners,
            True,
            (
                Parameter("graceful", "Let connections end for the drain time, then stop listening", FLAG),
                Parameter("skip_exit", "Let connections end, and never stop listening", FLAG),
                Parameter("inboundonly", "Only listeners whose traffic_direction is INBOUND", FLAG),
            ),
        ),
        Command(
            "/filters/reload",
            "load the module of a filter again; new streams use the new code",
            control.reloadFilter,
            True,
            (Parameter("name", "The filter's name, such as envoy.filters.http.fault, or python:package.module:Class"),),
        ),
        Command("/healthcheck/fail", "cause the server to fail health checks", control.failHealthCheck, True),
        Command("/healthcheck/ok", "cause the server to pass health checks", control.passHealthCheck, True),
        Command(
            "/logging",
            "query/change logging levels",
            logging,
            True,
            (
                Parameter("paths", "Change several levels: <logger1>:<level1>,<logger2>:<level2>"),
                Parameter("level", "Change the level of all loggers", CHOICE, ("", *_LEVELS)),
            ),
        ),
        Command("/quitquitquit", "exit the server", control.quitNow, True),
        Command("/reopen_logs", "reopen access logs", control.reopenLogs, True),
        Command("/reset_counters", "reset all counters to zero", control.resetCounters, True),
        Command(
            "/runtime_modify",
            "Adds or modifies runtime values as passed in query parameters: ?key1=value1&key2=value2. "
            "An empty value takes away what was added here",
            control.runtimeModify,
            True,
        ),
    )
