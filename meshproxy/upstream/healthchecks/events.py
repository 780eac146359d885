# -*- test-case-name: tests.upstream.healthchecks.test_events -*-
"""
The log of what checks found out: C{event_log_path}, and the file that an C{event_logger} names. A line is a
C{envoy.data.core.v3.HealthCheckEvent} in JSON, its fields in their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from meshproxy.config import Section
from meshproxy.config.supported import declare

if TYPE_CHECKING:
    from meshproxy.accesslog.files import LogFile, LogFiles
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.healthchecks.exchange import FailureKind

__all__ = ["EventLog", "compileEventLog", "timestampText"]

_FILE: Final = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
declare(_FILE, "event_log_path")

# The fields of an event before and after its time.
_BEFORE: Final = ("eject_unhealthy_event", "add_healthy_event")


def compileEventLog(
    section: Section,
    cluster: str,
    checker: str,
    files: LogFiles | None,
    now: Callable[[], float],
    tellsMetadata: bool = False,
) -> EventLog | None:
    """
    Open what a C{HealthCheck} names.

    @param cluster: The cluster's name.
    @param checker: The name of its C{HealthCheckerType}.
    @param files: The open files; L{None} where nothing is to be opened.
    @param now: Gives the seconds since the epoch.
    @param tellsMetadata: See L{EventLog}.

    @return: L{None} where there is no log.
    """
    paths = [(section, "event_log_path", section.get("event_log_path"))]
    for sink in section.children("event_logger"):
        config = sink.any("typed_config")
        if config is None or config.typeName != _FILE:
            sink.refuse(f"of the sinks of health check events, only the file ({_FILE}) is implemented", "typed_config")
        else:
            paths.append((config, "event_log_path", config.get("event_log_path")))
    opened = []
    for where, field, path in paths:
        if path and files is not None:
            try:
                opened.append(files.open(path))
            except OSError as error:
                where.refuse(f"cannot open {path!r}: {error.strerror}", field)
    if not opened or files is None:
        return None
    return EventLog(cluster, checker, opened, files, now, tellsMetadata)


class EventLog:
    """
    Writes events to some files.
    """

    def __init__(
        self,
        cluster: str,
        checker: str,
        opened: list[LogFile],
        files: LogFiles,
        now: Callable[[], float],
        tellsMetadata: bool = False,
    ) -> None:
        """
        @param tellsMetadata: Whether an endpoint without metadata has an empty field for it, as in Envoy that of a name
            (C{LOGICAL_DNS}).
        """
        self._tellsMetadata = tellsMetadata
        self._cluster = cluster
        self._checker = checker
        self._opened = opened
        self._files = files
        self._now = now

    def ejected(self, endpoint: Endpoint, kind: FailureKind, status: int) -> None:
        """
        An endpoint is ill now.
        """
        self._write(endpoint, "eject_unhealthy_event", {"failure_type": kind.name, "http_status_code": status})

    def failed(self, endpoint: Endpoint, kind: FailureKind, isFirst: bool, status: int) -> None:
        """
        A check failed, be it the first one of the endpoint or one of those that are all logged.
        """
        facts = {"failure_type": kind.name, "first_check": isFirst, "http_status_code": status}
        self._write(endpoint, "health_check_failure_event", facts)

    def added(self, endpoint: Endpoint, isFirst: bool) -> None:
        """
        An endpoint is healthy now.
        """
        self._write(endpoint, "add_healthy_event", {"first_check": isFirst})

    def passed(self, endpoint: Endpoint) -> None:
        """
        A check passed that changed nothing.
        """
        self._write(endpoint, "successful_health_check_event", {})

    def degraded(self, endpoint: Endpoint, isDegraded: bool) -> None:
        """
        An endpoint is degraded now, or not any more.
        """
        self._write(endpoint, "degraded_healthy_host" if isDegraded else "no_longer_degraded_host", {})

    def _write(self, endpoint: Endpoint, name: str, facts: Mapping[str, object]) -> None:
        event: dict[str, Any] = {
            "health_checker_type": self._checker,
            "host": _address(endpoint),
            "cluster_name": self._cluster,
        }
        if name in _BEFORE:
            event[name] = facts
        event["timestamp"] = timestampText(self._now())
        if name not in _BEFORE and name != "successful_health_check_event":
            event[name] = facts
        if endpoint.metadata is not None or self._tellsMetadata:
            event["metadata"] = {"filter_metadata": endpoint.metadata or {}, "typed_filter_metadata": {}}
        place = endpoint.locality
        event["locality"] = {"region": place.region, "zone": place.zone, "sub_zone": place.subZone}
        if name == "successful_health_check_event":
            event[name] = facts
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n"
        for file in self._opened:
            file.write(line)

    def close(self) -> None:
        """
        Give the files up. What waits is written.
        """
        opened, self._opened = self._opened, []
        for file in opened:
            self._files.release(file)


def _address(endpoint: Endpoint) -> dict[str, object]:
    address = endpoint.address
    if address.port is None:
        return {"pipe": {"path": address.host, "mode": 0}}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": address.host,
            "port_value": address.port,
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }


def timestampText(seconds: float) -> str:
    """
    As JSON has a C{google.protobuf.Timestamp}, to the millisecond.
    """
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{milliseconds:03d}Z" if milliseconds else f"{text}Z"
