# -*- test-case-name: tests.upstream.test_endpoint -*-
"""
An address in a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from meshproxy.net.address import Address
from meshproxy.stats.metrics import Counter, Gauge
from meshproxy.upstream.healthflags import DEGRADED, EXCLUDED, FAILED, flagsOfStatus

if TYPE_CHECKING:
    from meshproxy.upstream.healthchecks.target import CheckedBy
    from meshproxy.upstream.http1pool import HTTP1Pool
    from meshproxy.upstream.outliers import Monitor
    from meshproxy.upstream.transports import TLSWish

__all__ = ["Endpoint", "Locality"]


#: The priority, and what else is asked of connections where anything is.
PoolKey: TypeAlias = "str | tuple[str, TLSWish]"


class Locality:
    """
    Where an endpoint runs (C{core.v3.Locality}).

    @ivar names: All three.
    """

    __slots__ = ("names", "region", "subZone", "zone")

    def __init__(self, region: str = "", zone: str = "", subZone: str = "") -> None:
        self.region = region
        self.zone = zone
        self.subZone = subZone
        self.names = (region, zone, subZone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Locality) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)


class Endpoint:
    """
    One address in a cluster, with its figures for C{/clusters}. It lives as long as discovery keeps naming it.

    @ivar hostname: The name it was found by, or that was configured.
    @ivar weight: 1 or more.
    @ivar localityWeight: The weight of its locality; 0 where that has none.
    @ivar flags: What is known against it beside C{healthStatus}, as L{HealthFlag
        <meshproxy.upstream.healthflags.HealthFlag>}s. Whoever changes them calls L{judge}, and has the cluster choose
        anew.
    @ivar healthStatus: What its discovery says, by the name in C{core.v3.HealthStatus}.
    @ivar healthy: Whether balancers may choose it.
    @ivar isDegraded: Whether they choose it after others, where they may.
    @ivar isExcluded: Whether it is left out where it is counted how many there are.
    @ivar healthySince: When it became healthy, where that counts (C{slow_start_config}).
    @ivar checkedBy: How it is checked otherwise than the rest (C{health_check_config}); L{None} for as the rest.
    @ivar active: Requests, or TCP connections, under way.
    @ivar monitor: Is told what it does wrong, where somebody looks for outliers.
    @ivar pools: HTTP/1.1 pools by priority.
    """

    __slots__ = (
        "active",
        "address",
        "checkedBy",
        "cxActive",
        "cxConnectFail",
        "cxTotal",
        "flags",
        "healthStatus",
        "healthySince",
        "healthy",
        "hostname",
        "isDegraded",
        "isExcluded",
        "locality",
        "localityWeight",
        "metadata",
        "monitor",
        "pools",
        "priority",
        "rqError",
        "rqSuccess",
        "rqTimeout",
        "rqTotal",
        "weight",
    )

    def __init__(
        self,
        address: Address,
        hostname: str = "",
        weight: int = 1,
        healthStatus: str = "UNKNOWN",
        locality: Locality | None = None,
        priority: int = 0,
        metadata: dict[str, dict[str, object]] | None = None,
        localityWeight: int = 0,
        checkedBy: CheckedBy | None = None,
    ) -> None:
        self.address = address
        self.hostname = hostname
        self.weight = weight
        self.checkedBy = checkedBy
        self.flags = 0
        self.healthStatus = healthStatus
        self.judge()
        self.locality = locality or Locality()
        self.localityWeight = localityWeight
        self.priority = priority
        self.metadata = metadata
        self.healthySince: float | None = None
        self.monitor: Monitor | None = None
        self.active = 0
        self.pools: dict[PoolKey, HTTP1Pool] = {}
        self.cxTotal = Counter("cx_total")
        self.cxActive = Gauge("cx_active")
        self.cxConnectFail = Counter("cx_connect_fail")
        self.rqTotal = Counter("rq_total")
        self.rqSuccess = Counter("rq_success")
        self.rqError = Counter("rq_error")
        self.rqTimeout = Counter("rq_timeout")

    @property
    def allFlags(self) -> int:
        """
        Its flags, those of its discovery included.
        """
        return self.flags | flagsOfStatus(self.healthStatus)

    def judge(self) -> None:
        """
        Find out whether it may be chosen, after what is known of it changed.
        """
        flags = self.allFlags
        self.healthy = not flags & FAILED
        self.isDegraded = self.healthy and bool(flags & DEGRADED)
        self.isExcluded = bool(flags & EXCLUDED)

    @property
    def counters(self) -> tuple[Counter, ...]:
        """
        Its counters, by name.
        """
        return (self.cxConnectFail, self.cxTotal, self.rqError, self.rqSuccess, self.rqTimeout, self.rqTotal)

    @property
    def pending(self) -> int:
        """
        How many requests wait for a connection.
        """
        return sum(len(pool.pending) for pool in self.pools.values())

    def responded(self, status: int) -> None:
        """
        It answered a request.
        """
        if status < 500:
            self.rqSuccess.value += 1
        else:
            self.failed(status)

    def failed(self, status: int) -> None:
        """
        It answered a request badly.

        @param status: Of HTTP, or that which the one of gRPC stands for; what came behind a good head is a good answer
            to whoever looks for outliers.
        """
        self.rqError.value += 1
        if self.monitor is not None:
            self.monitor.answered(status)

    def broke(self, status: int = 503) -> None:
        """
        A request did not get to it, was not answered in time, or not to the end. Whoever tells this counts it.

        @param status: The answer that this is like.
        """
        if self.monitor is not None:
            self.monitor.failed(status)

    @property
    def key(self) -> Any:
        """
        What makes it the same endpoint after an update.
        """
        return (self.address, self.hostname, self.priority)

    def __repr__(self) -> str:
        return f"<Endpoint {self.address.text}>"
