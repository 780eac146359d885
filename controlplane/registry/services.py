# -*- test-case-name: tests.controlplane.registry.test_conversion -*-
"""
What every registry tells of: services, their ports, their endpoints.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from attrs import Factory, frozen

from meshproxy.controlplane.model.names import isHTTP, isTLS
from meshproxy.controlplane.model.resource import Key

__all__ = ["AUTO", "Endpoint", "Port", "Resolution", "Service", "ServiceKey", "TLS_MODE", "protocolOf"]

#: The protocol of a port that does not tell: the first bytes of a connection do.
AUTO = ""

#: The label by which a workload says that its proxy speaks mutual TLS.
TLS_MODE = "security.istio.io/tlsMode"

_PROTOCOLS = {
    "http": "HTTP",
    "http2": "HTTP2",
    "grpc": "GRPC",
    "grpc-web": "GRPC-WEB",
    "https": "HTTPS",
    "tls": "TLS",
    "tcp": "TCP",
    "udp": "UDP",
    "mongo": "MONGO",
    "redis": "REDIS",
    "mysql": "MYSQL",
}

#: Values of C{appProtocol} that Kubernetes defines (KEP-3726).
_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}

#: Where the server speaks first, so that nothing is to be waited for (Istio's list).
_WELL_KNOWN = {25: "TCP", 53: "TCP", 3306: "MYSQL", 27017: "MONGO"}


class ServiceKey(NamedTuple):
    """
    What names a service. Two namespaces may have the same host, each for itself.
    """

    host: str
    namespace: str


class Resolution(Enum):
    """
    How the endpoints of a service are found.
    """

    STATIC = "static"
    DNS = "dns"
    DNS_ROUND_ROBIN = "dns round robin"
    PASSTHROUGH = "passthrough"
    #: By the name that each request, or connection of TLS, asks for.
    DYNAMIC = "dynamic dns"


@frozen(kw_only=True)
class Port:
    """
    A port of a service.

    @ivar number: As callers use it.
    @ivar protocol: Istio's spelling, or L{AUTO}.
    @ivar targetPort: That of the workloads, where a number says so; 0 where it is that of the service.
    @ivar targetName: That of the workloads, where a name says so.
    """

    name: str = ""
    number: int
    protocol: str = AUTO
    targetPort: int = 0
    targetName: str = ""

    @property
    def isHTTP(self) -> bool:
        """
        Whether it is known to speak HTTP.
        """
        return isHTTP(self.protocol)

    @property
    def isAuto(self) -> bool:
        """
        Whether only the bytes tell what it speaks.
        """
        return self.protocol == AUTO

    @property
    def isTLS(self) -> bool:
        """
        Whether callers speak TLS themselves.
        """
        return isTLS(self.protocol)

    @property
    def isHTTP2(self) -> bool:
        """
        Whether HTTP/2 is spoken from the first byte.
        """
        return self.protocol in ("HTTP2", "GRPC", "GRPC-WEB")


@frozen(kw_only=True)
class Service:
    """
    What callers name.

    @ivar addresses: Its own addresses and ranges, by which connections to it are known.
    @ivar external: Whether it lies outside of the mesh.
    @ivar exportTo: The namespaces that see it; C{*} is all, C{.} its own, C{~} none.
    @ivar selector: Which workloads it has, or L{None}.
    @ivar subjectAltNames: Who its endpoints have to be, beside their service accounts.
    @ivar origin: The resource that says so.
    @ivar age: To sort by; the older of two that conflict counts.
    """

    host: str
    namespace: str
    name: str = ""
    ports: tuple[Port, ...] = ()
    addresses: tuple[str, ...] = ()
    resolution: Resolution = Resolution.STATIC
    external: bool = False
    exportTo: frozenset[str] = frozenset("*")
    selector: dict[str, str] | None = None
    subjectAltNames: tuple[str, ...] = ()
    origin: Key
    age: tuple[bool, str, str, str] = (True, "", "", "")

    @property
    def key(self) -> ServiceKey:
        """
        What names it.
        """
        return ServiceKey(self.host, self.namespace)

    def port(self, number: int) -> Port | None:
        """
        The port of a number.
        """
        return next((port for port in self.ports if port.number == number), None)

    def visibleTo(self, namespace: str) -> bool:
        """
        Whether proxies of a namespace see it.
        """
        exported = self.exportTo
        return "*" in exported or namespace in exported or ("." in exported and namespace == self.namespace)


@frozen(kw_only=True)
class Endpoint:
    """
    One address of a service.

    @ivar address: An IP address, a host name where the service is found by DNS, or C{unix:///PATH}; empty for one that
        is only reached through a gateway of its network.
    @ivar port: The port there.
    @ivar servicePort: The number of the port of the service.
    @ivar network: Where it can be reached directly from; empty for everywhere.
    @ivar mutualTLS: Whether the proxy there speaks mutual TLS.
    @ivar weight: Its share; 0 is the same as 1.
    """

    address: str
    port: int
    servicePort: int
    labels: dict[str, str] = Factory(dict)
    locality: str = ""
    weight: int = 0
    serviceAccount: str = ""
    namespace: str = ""
    network: str = ""
    mutualTLS: bool = False
    healthy: bool = True


def protocolOf(name: str, appProtocol: str, transport: str, number: int) -> str:
    """
    What a port of Kubernetes speaks: C{appProtocol} says so, else its name up to the first hyphen, else the number
    may tell; L{AUTO} if nothing does.
    """
    if transport != "TCP":
        return "UDP"
    if appProtocol:
        known = _APP_PROTOCOLS.get(appProtocol) or _PROTOCOLS.get(appProtocol.lower())
        if known:
            return known
    lowered = name.lower()
    if lowered == "grpc-web" or lowered.startswith("grpc-web-"):
        return "GRPC-WEB"
    known = _PROTOCOLS.get(lowered.partition("-")[0])
    return known if known and known != "UDP" else _WELL_KNOWN.get(number, AUTO)
