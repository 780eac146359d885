# -*- test-case-name: tests.test_server -*-
"""
What a proxy counts of itself: C{server.*} and C{config_reload.*}.
"""

from __future__ import annotations

from meshproxy import __version__
from meshproxy.admin.memory import processMemory
from meshproxy.admin.served import Served, stateOf
from meshproxy.stats import Store

__all__ = ["ServerStats"]

# The numbers of Envoy's C{ServerInfo.State}.
_STATES = {"LIVE": 0, "DRAINING": 1, "PRE_INITIALIZING": 2, "INITIALIZING": 3}


class ServerStats:
    """
    The stats of the process.

    @ivar initializationTime: Milliseconds from the start to being live.
    @ivar reloadAttempt: Of the configuration's file, as C{reloadSuccess} and C{reloadRejected}.
    """

    def __init__(self, store: Store, version: int | None) -> None:
        """
        @param version: What C{server.version} is to say, L{None} for the program's own.
        """
        scope = store.scope("server.")
        self._live = scope.gauge("live")
        self._uptime = scope.gauge("uptime")
        self._state = scope.gauge("state")
        self._daysUntilExpiry = scope.gauge("days_until_first_cert_expiring")
        self._secondsUntilStaplesEnd = scope.gauge("seconds_until_first_ocsp_response_expiring")
        self._totalConnections = scope.gauge("total_connections")
        self._memoryAllocated = scope.gauge("memory_allocated")
        self._memoryHeapSize = scope.gauge("memory_heap_size")
        self._memoryPhysicalSize = scope.gauge("memory_physical_size")
        scope.gauge("concurrency").value = 1
        scope.gauge("hot_restart_epoch")
        scope.gauge("hot_restart_generation").value = 1
        self.initializationTime = scope.histogram("initialization_time_ms")
        scope.gauge("parent_connections")
        scope.gauge("version").value = _versionNumber() if version is None else version
        reload = store.scope("config_reload.")
        self.reloadAttempt = reload.counter("attempt")
        self.reloadSuccess = reload.counter("success")
        self.reloadRejected = reload.counter("rejected")

    def measure(self, server: Served, now: float) -> None:
        """
        Bring up to date what is not counted as it happens.

        @param now: In the seconds of the clock.
        """
        self._uptime.value = int(now - server.started)
        self._totalConnections.value = server.listeners.connections
        for cluster in server.clusters.byName.values():
            cluster.measure()
        state = stateOf(server)
        self._live.value = int(state == "LIVE")
        self._state.value = _STATES[state]
        self._daysUntilExpiry.value = server.context.secrets.daysUntilExpiry(now)
        left = server.context.secrets.secondsUntilStaplesEnd(now)
        if left is not None:
            self._secondsUntilStaplesEnd.value = left
        memory = processMemory()
        self._memoryAllocated.value = memory.allocated
        self._memoryHeapSize.value = memory.heapSize
        self._memoryPhysicalSize.value = memory.resident


def _versionNumber() -> int:
    """
    The version as a number that grows with it: 10203 for 1.2.3.
    """
    major, minor, patch = (int(part) for part in __version__.split(".")[:3])
    return (major * 100 + minor) * 100 + patch
