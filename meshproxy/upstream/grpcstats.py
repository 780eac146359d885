# -*- test-case-name: tests.upstream.test_grpcstats -*-
"""
The figures of gRPC calls to a cluster, under Envoy's names: C{cluster.NAME.grpc.SERVICE.METHOD.success} and others.

Each counter is there from the moment at which it first counts, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meshproxy.stats.metrics import Counter, Histogram
from meshproxy.stats.store import Scope

__all__ = ["CallStats", "GRPCStats", "serviceAndMethod"]

# Whoever calls makes up services and methods: beyond so many of a cluster, others are counted without their names.
_MOST_METHODS: Final = 1000
# Upstreams may make up statuses likewise. gRPC has 17.
_MOST_STATUSES: Final = 64
# Of paths that are kept in mind.
_LONGEST_PATH: Final = 256

# As gRPC writes its own.
_STATUSES: Final = frozenset(b"%d" % number for number in range(17))


def serviceAndMethod(path: bytes) -> tuple[str, str] | None:
    """
    The service and the method that a path names, or L{None} where it has not two parts.
    """
    parts = [part for part in path.partition(b"?")[0].split(b"/") if part]
    if len(parts) != 2:
        return None
    return parts[0].decode("utf-8", "replace"), parts[1].decode("utf-8", "replace")


class CallStats:
    """
    The figures of one method, or of all calls that are not told apart.

    @ivar requests: What counts messages of requests, once there was one.
    @ivar answers: By status, how many answers of one message came that are shown when somebody looks: those whose
        status came before. The hot path adds to a status that is there itself, and calls L{answered} for others.
    @ivar times: What L{recordTime} records to, once it did.
    """

    __slots__ = ("_byStatus", "_counters", "_prefix", "_scope", "_statuses", "answers", "requests", "times")

    def __init__(self, scope: Scope, prefix: str) -> None:
        """
        @param scope: The cluster's.
        @param prefix: What the names begin with there, the last dot included.
        """
        self._scope = scope
        self._prefix = prefix
        self._counters: dict[str, Counter] = {}
        self._statuses = 0
        # The same of statuses, as they come.
        self._byStatus: dict[bytes, Counter] = {}
        self.requests: Counter | None = None
        self.answers: dict[bytes, int] = {}
        self.times: Histogram | None = None

    def _counter(self, name: str) -> Counter:
        found = self._counters.get(name)
        if found is None:
            found = self._counters[name] = self._scope.counter(self._prefix + name)
        return found

    def statusReceived(self, status: bytes | None) -> None:
        """
        A C{grpc-status} came; L{None} counts nothing.
        """
        if status is None:
            return
        known = self._byStatus.get(status)
        if known is not None:
            known.value += 1
        else:
            self._count(status)
        self.ended(status == b"0")

    def _count(self, status: bytes) -> None:
        name = status.decode("utf-8", "replace")
        if name in self._counters or self._statuses < _MOST_STATUSES:
            self._statuses += name not in self._counters
            counter = self._counter(name)
            counter.value += 1
            if len(self._byStatus) < _MOST_STATUSES:
                self._byStatus[status] = counter

    def ended(self, isSuccess: bool) -> None:
        """
        A call ended.
        """
        self._counter("success" if isSuccess else "failure").value += 1
        self._counter("total").value += 1

    def requestMessages(self, number: int) -> None:
        """
        So many more messages of requests came.
        """
        counter = self.requests = self._counter("request_message_count")
        counter.value += number

    def responseMessages(self, number: int) -> None:
        """
        The same of responses.
        """
        self._counter("response_message_count").value += number

    def answered(self, status: bytes | None) -> None:
        """
        An answer of one message came, with its status: the same as L{responseMessages} and L{statusReceived}.
        """
        self.responseMessages(1)
        self.statusReceived(status)
        if status in _STATUSES and status in self._byStatus:
            if not self.answers:
                self.answers = self._scope.tally(self._countersOf).counts
            self.answers.setdefault(status, 0)

    def _countersOf(self, status: bytes) -> tuple[Counter, ...]:
        names = ("success" if status == b"0" else "failure", "total", "response_message_count")
        return (self._byStatus[status], *map(self._counter, names))

    def recordTime(self, milliseconds: int) -> None:
        """
        From the last byte of a request to the last of its response, it took so long.
        """
        if self.times is None:
            self.times = self._scope.histogram(self._prefix + "upstream_rq_time", unit="ms")
        self.times.record(milliseconds)


class GRPCStats:
    """
    The figures of a cluster.
    """

    __slots__ = ("_methods", "_prefix", "_scope", "byPath", "unnamed")

    def __init__(self, scope: Scope, protocol: str) -> None:
        """
        @param scope: The cluster's.
        @param protocol: C{"grpc"} or C{"grpc-web"}.

        @ivar unnamed: Of calls whose method is not told.
        @ivar byPath: By who looks for it how, and path: with who looked, what was found, or L{None}.
        """
        self._scope = scope
        self._prefix = f"{protocol}."
        self._methods: dict[tuple[str, str], CallStats] = {}
        self.byPath: dict[tuple[object, bytes], tuple[object, CallStats] | None] = {}
        self.unnamed = CallStats(scope, self._prefix)

    def recall(self, find: Callable[[GRPCStats, bytes], CallStats | None], path: bytes) -> CallStats | None:
        """
        What C{find} gives for a path, which is the same each time.
        """
        key = (find, path)
        try:
            known = self.byPath[key]
            return None if known is None else known[1]
        except KeyError:
            found = find(self, path)
            if len(path) <= _LONGEST_PATH:
                if len(self.byPath) >= _MOST_METHODS:
                    self.byPath.clear()
                self.byPath[key] = None if found is None else (find, found)
            return found

    def method(self, service: str, method: str) -> CallStats:
        """
        The figures of a method.
        """
        key = (service, method)
        found = self._methods.get(key)
        if found is None:
            if len(self._methods) >= _MOST_METHODS:
                return self.unnamed
            found = self._methods[key] = CallStats(self._scope, f"{self._prefix}{service}.{method}.")
        return found
