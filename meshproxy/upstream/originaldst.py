# -*- test-case-name: tests.upstream.test_originaldst -*-
"""
C{ORIGINAL_DST} clusters: requests and connections go where they were meant to go, which the connection tells, or a
field, or metadata. The endpoints are those that somebody was sent to lately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshproxy.config import Section
from meshproxy.config.matchers import parseInteger
from meshproxy.config.valuematchers import lookUp
from meshproxy.net.address import Address
from meshproxy.stats.store import Scope
from meshproxy.upstream.balancers.base import IChoice, Origin
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.named import isIP

__all__ = ["OriginalDestinations", "parseDestination"]

_HEADER: Final = "x-envoy-original-dst-host"
_CLEANUP: Final = 5.0
_MOST_PORTS: Final = 65535


def parseDestination(value: bytes) -> Address | None:
    """
    An address as C{192.0.2.1:80} or C{[2001:db8::1]:80}; L{None} where it is none.
    """
    host, colon, digits = value.decode("latin-1").rpartition(":")
    port = parseInteger(digits.encode("latin-1"))
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        isAddress = ":" in host and isIP(host)
    else:
        isAddress = ":" not in host and isIP(host)
    if not colon or not isAddress or port is None or not 0 <= port <= _MOST_PORTS:
        return None
    return Address(host, port)


class OriginalDestinations:
    """
    The discovery of such a cluster, and what chooses its endpoints.

    @ivar choose: For somebody who has nothing to say about it, and so goes nowhere.
    """

    def __init__(self, section: Section, name: str, scope: Scope, clock: IReactorTime) -> None:
        """
        @param section: A C{Cluster} message.
        @param name: Of the cluster.
        @param scope: Its metrics'.
        """
        for field in ("load_assignment", "lb_subset_config"):
            if section.has(field):
                section.refuse("ORIGINAL_DST clusters must have none", field)
        if section.get("lb_policy") != "CLUSTER_PROVIDED":
            section.refuse(
                f"LB policy {section.get('lb_policy')} is not valid for cluster type ORIGINAL_DST: only "
                "CLUSTER_PROVIDED is",
                "lb_policy",
            )
        config = section.childOrEmpty("original_dst_lb_config")
        self._header = b""
        if config.get("use_http_header"):
            self._header = (config.get("http_header_name") or _HEADER).lower().encode("utf-8")
        self._port: int | None = config.wrapped("upstream_port_override", None)
        if self._port is not None and self._port > _MOST_PORTS:
            config.refuse("not a port", "upstream_port_override")
        key = config.child("metadata_key")
        self._metadataKey: tuple[str, tuple[str, ...]] | None = None
        if key is not None:
            self._metadataKey = (key.get("key"), tuple(part.get("key") for part in key.children("path")))
        self._interval: float = section.seconds("cleanup_interval", _CLEANUP) or _CLEANUP
        self._name = name
        self._clock = clock
        self._invalid = scope.counter("original_dst_host_invalid")
        self._endpoints: dict[Address, Endpoint] = {}
        self._used: set[Address] = set()
        self._found: Callable[[list[Endpoint]], object] | None = None
        self._call: IDelayedCall | None = None
        self.choose = self._chooseNone

    # Discovery

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start<meshproxy.upstream.named.Discovery.start>}: there is nobody yet.
        """
        self._found = found
        self._call = self._clock.callLater(self._interval, self._cleanUp)
        found([])

    def stop(self) -> None:
        """
        See L{Discovery.stop<meshproxy.upstream.named.Discovery.stop>}.
        """
        self._found = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _cleanUp(self) -> None:
        """
        Forget endpoints that nobody was sent to for a while, and that nobody is connected to.
        """
        self._call = self._clock.callLater(self._interval, self._cleanUp)
        kept = {
            address: endpoint
            for address, endpoint in self._endpoints.items()
            if address in self._used or endpoint.active or endpoint.cxActive.value
        }
        self._used.clear()
        if len(kept) < len(self._endpoints):
            self._endpoints = kept
            self._tell()

    def _tell(self) -> None:
        if self._found is not None:
            self._found(list(self._endpoints.values()))

    # Choice

    def heed(self, factor: int, weighsHealth: bool) -> None:
        """
        See L{IEndpointChooser.heed}: there is nothing to choose.
        """

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{IEndpointChooser<meshproxy.upstream.balancers.loadbalancer.IEndpointChooser>}: it knows them.
        """

    def _chooseNone(self) -> Endpoint | None:
        return None

    def chooseFor(self, choice: IChoice | None) -> Endpoint | None:
        """
        See L{IEndpointChooser<meshproxy.upstream.balancers.loadbalancer.IEndpointChooser>}.
        """
        address = None if choice is None else self._destination(choice.origin())
        if address is None:
            return None
        if self._port is not None:
            address = Address(address.host, self._port)
        endpoint = self._endpoints.get(address)
        self._used.add(address)
        if endpoint is None:
            endpoint = self._endpoints[address] = Endpoint(address, self._name + address.text)
            self._tell()
        return endpoint

    def _destination(self, origin: Origin) -> Address | None:
        """
        Where somebody is meant to go: by metadata, by a field, or by the connection.
        """
        if self._metadataKey is not None:
            found = self._parsed(lookUp(origin.metadata, *self._metadataKey))
            if found is not None:
                return found
        if self._header and origin.headers is not None:
            found = self._parsed(origin.headers.first.get(self._header))
            if found is not None:
                return found
        return origin.address

    def _parsed(self, value: Any) -> Address | None:
        if not value or not isinstance(value, (str, bytes)):
            return None
        address = parseDestination(value.encode("utf-8") if isinstance(value, str) else value)
        if address is None:
            self._invalid.value += 1
        return address
