# -*- test-case-name: tests.upstream.healthchecks.test_settings -*-
"""
What a C{HealthCheck} says of time and of thresholds, whatever is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshproxy.config import Section

__all__ = ["CheckTimes", "NumberOf", "compilePayloads", "compileTimes", "holdsAll"]

#: Gives a whole number of the runtime by its key, or the other number.
NumberOf = Callable[[str, int], int]

# Of the runtime: nobody gave another one.
_NO_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class CheckTimes:
    """
    Times are seconds.

    @ivar timeout: How long one check may take.
    @ivar interval: From one check's end to the next check, while nothing else is said.
    @ivar unhealthyThreshold: So many checks in a row have to fail for a healthy endpoint to be ill.
    @ivar healthyThreshold: So many have to pass for an ill one to be healthy.
    @ivar noTrafficInterval: While nobody has ever used the cluster, and C{noTrafficHealthyInterval} where the endpoint
        is healthy.
    @ivar unhealthyInterval: While the endpoint is ill.
    @ivar unhealthyEdgeInterval: While it is not yet, though its last check failed.
    @ivar healthyEdgeInterval: While it is not healthy yet, though its last check passed.
    @ivar initialJitter: The first check comes within this.
    @ivar jitter: A random part of this is added to each interval, and C{jitterPercent} of the interval itself.
    @ivar reusesConnection: Whether one check after the other has the same connection.
    """

    timeout: float
    interval: float
    unhealthyThreshold: int = 1
    healthyThreshold: int = 1
    noTrafficInterval: float = 60.0
    noTrafficHealthyInterval: float = 60.0
    unhealthyInterval: float = 0.0
    unhealthyEdgeInterval: float = 0.0
    healthyEdgeInterval: float = 0.0
    initialJitter: float = 0.0
    jitter: float = 0.0
    jitterPercent: int = 0
    reusesConnection: bool = True

    def pause(
        self, isWell: bool, isPending: bool, hasTraffic: bool, random: Callable[[], float], of: NumberOf
    ) -> float:
        """
        How long to wait for the next check.

        @param isWell: Whether the last one passed.
        @param isPending: Whether that did not suffice to change what the endpoint is.
        @param hasTraffic: Whether anybody has used the cluster.
        @param random: From 0 up to 1.
        @param of: Asks the runtime.
        """
        if not hasTraffic:
            base = self.noTrafficHealthyInterval if isWell and not isPending else self.noTrafficInterval
        elif isWell:
            base = self.healthyEdgeInterval if isPending else self.interval
        else:
            base = self.unhealthyEdgeInterval if isPending else self.unhealthyInterval
        return self.spread(base, self.jitter, random, of)

    def spread(self, base: float, jitter: float, random: Callable[[], float], of: NumberOf) -> float:
        """
        A time with a random part, within what the runtime allows. It is never 0, as in Envoy.
        """
        if self.jitterPercent:
            base += random() * base * self.jitterPercent / 100
        if jitter:
            base += random() * jitter
        least = of("health_check.min_interval", 0) / 1000
        most = of("health_check.max_interval", _NO_MOST) / 1000
        return max(0.001, least, min(base, most))


def compileTimes(section: Section) -> CheckTimes:
    """
    Read them from a C{HealthCheck}.
    """
    interval = section.seconds("interval", 0.0)
    noTraffic = section.seconds("no_traffic_interval", 60.0)
    unhealthy = section.seconds("unhealthy_interval", interval)
    return CheckTimes(
        timeout=section.seconds("timeout", 0.0),
        interval=interval,
        unhealthyThreshold=section.wrapped("unhealthy_threshold", 0),
        healthyThreshold=section.wrapped("healthy_threshold", 0),
        noTrafficInterval=noTraffic,
        noTrafficHealthyInterval=section.seconds("no_traffic_healthy_interval", noTraffic),
        unhealthyInterval=unhealthy,
        unhealthyEdgeInterval=section.seconds("unhealthy_edge_interval", unhealthy),
        healthyEdgeInterval=section.seconds("healthy_edge_interval", interval),
        initialJitter=section.seconds("initial_jitter", 0.0),
        jitter=section.seconds("interval_jitter", 0.0),
        jitterPercent=section.get("interval_jitter_percent"),
        reusesConnection=section.wrapped("reuse_connection", True),
    )


def compilePayloads(sections: list[Section]) -> tuple[bytes, ...]:
    """
    The bytes of C{Payload} messages: in hexadecimal digits, or as they are.
    """
    found = []
    for section in sections:
        if section.oneof("payload") == "binary":
            found.append(bytes(section.get("binary")))
            continue
        text: str = section.get("text")
        # Not bytes.fromhex alone: that takes spaces too.
        try:
            data = bytes.fromhex(text) if text.isalnum() else b""
        except ValueError:
            data = b""
        if not data:
            section.refuse(f"invalid hex string {text!r}", "text")
        found.append(data)
    return tuple(found)


def holdsAll(data: bytes, pieces: tuple[bytes, ...]) -> bool:
    """
    Whether all pieces are in it, in their order, whatever is between them.
    """
    position = 0
    for piece in pieces:
        found = data.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return True
