# -*- test-case-name: tests.controlplane.model.test_sidecar -*-
"""
Sidecar: what the proxies beside some workloads need to know, and where they listen.
"""

from __future__ import annotations

from typing import Literal

from attrs import Factory, frozen

from meshproxy.controlplane.model.common import Destination, WorkloadSelector, checkDestination, checkSelector
from meshproxy.controlplane.model.gateway import ServerTLSSettings, checkServerTLS
from meshproxy.controlplane.model.names import (
    badAddress,
    badDomain,
    badLabel,
    badPort,
    badProtocol,
    badUnixPath,
    isDNSLabel,
)
from meshproxy.controlplane.model.policychecks import checkConnectionPool
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.trafficpolicy import ConnectionPoolSettings

__all__ = [
    "EgressListener",
    "IngressListener",
    "OutboundTrafficPolicy",
    "Sidecar",
    "SidecarPort",
    "checkSidecar",
    "endpointOf",
]

_UNIX = "unix://"
_CAPTURE = Literal["DEFAULT", "IPTABLES", "NONE"]

_TLS_MODES = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")

#: Where a workload may be found: itself.
_LOCAL = ("", "127.0.0.1", "0.0.0.0", "::1", "::")


@frozen(kw_only=True)
class SidecarPort:
    """
    A port that is listened at.
    """

    number: int = 0
    protocol: str = ""
    name: str = ""
    targetPort: int = 0


@frozen(kw_only=True)
class IngressListener:
    """
    Where the proxy listens for its workload.
    """

    port: SidecarPort | None = None
    bind: str = ""
    captureMode: _CAPTURE = "DEFAULT"
    defaultEndpoint: str = ""
    tls: ServerTLSSettings | None = None
    connectionPool: ConnectionPoolSettings | None = None


@frozen(kw_only=True)
class EgressListener:
    """
    Where the proxy listens for what its workload calls, and which hosts that may be: C{NAMESPACE/HOST}.
    """

    port: SidecarPort | None = None
    bind: str = ""
    captureMode: _CAPTURE = "DEFAULT"
    hosts: list[str] = Factory(list)


@frozen(kw_only=True)
class OutboundTrafficPolicy:
    """
    What becomes of calls to what is not known.
    """

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    egressProxy: Destination | None = None


@frozen(kw_only=True)
class Sidecar:
    """
    What some proxies need to know.
    """

    workloadSelector: WorkloadSelector | None = None
    ingress: list[IngressListener] = Factory(list)
    egress: list[EgressListener] = Factory(list)
    inboundConnectionPool: ConnectionPoolSettings | None = None
    outboundTrafficPolicy: OutboundTrafficPolicy | None = None


def endpointOf(text: str) -> tuple[str, int] | None:
    """
    The address and the port of a C{defaultEndpoint}, or L{None} if it is none: C{127.0.0.1:80}, C{[::1]:80}, C{:80},
    C{unix:///PATH} (with the port 0).
    """
    if text.startswith(_UNIX):
        return text, 0
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or host not in _LOCAL or not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    return host, int(port)


def checkSidecar(spec: Sidecar, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    names = ("egress", "ingress", "outboundTrafficPolicy", "inboundConnectionPool")
    if not any(getattr(spec, name) for name in names):
        spot.refuse(f"one of {', '.join(names)} is required", "required")
    if spec.workloadSelector is not None:
        checkSelector(spec.workloadSelector.labels, spot["workloadSelector"], "labels")
    if spec.inboundConnectionPool is not None:
        checkConnectionPool(spec.inboundConnectionPool, spot["inboundConnectionPool"])
    _checkIngress(spec, spot["ingress"])
    _checkEgress(spec, spot["egress"])
    policy = spec.outboundTrafficPolicy
    if policy is not None and policy.egressProxy is not None:
        here = spot["outboundTrafficPolicy"]["egressProxy"]
        checkDestination(policy.egressProxy, here)
        if policy.mode != "ALLOW_ANY":
            here.refuse("needs mode ALLOW_ANY", "exclusive")
        here["port"].require(policy.egressProxy.port)


def _checkPort(port: SidecarPort, spot: Spot, unix: bool) -> None:
    if port.name:
        spot["name"].judge(badLabel(port.name, "name of a port"))
    if port.protocol:
        spot["protocol"].judge(badProtocol(port.protocol))
    if port.targetPort:
        spot["targetPort"].refuse("has no meaning for a Sidecar")
    if not unix:
        spot["number"].judge(badPort(port.number))
    elif port.number:
        spot["number"].refuse("a unix socket has no port: 0", "exclusive")


def _checkIngress(spec: Sidecar, spot: Spot) -> None:
    seen: set[int] = set()
    for index, listener in enumerate(spec.ingress):
        here = spot[index]
        if listener.port is None:
            here["port"].require(None)
        else:
            _checkPort(listener.port, here["port"], False)
            if listener.port.number in seen:
                here["port"]["number"].refuse(f"{listener.port.number} stands twice", "duplicate")
            seen.add(listener.port.number)
        if listener.bind:
            here["bind"].judge(badAddress(listener.bind))
        if listener.defaultEndpoint:
            _checkEndpoint(listener.defaultEndpoint, here["defaultEndpoint"])
        if listener.connectionPool is not None:
            checkConnectionPool(listener.connectionPool, here["connectionPool"])
        if listener.tls is not None:
            _checkTLS(listener.tls, here["tls"])


def _checkTLS(tls: ServerTLSSettings, here: Spot) -> None:
    """
    TLS that ends at the proxy, from callers outside of the mesh.
    """
    if tls.mode not in _TLS_MODES:
        here["mode"].refuse(f"is one of {', '.join(_TLS_MODES)} in front of a workload, not {tls.mode}")
    elif tls.httpsRedirect:
        here["httpsRedirect"].refuse("is for gateways")
    else:
        checkServerTLS(tls, here)


def _checkEndpoint(text: str, spot: Spot) -> None:
    found = endpointOf(text)
    if found is None:
        spot.refuse(f"{text!r} is not 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT or unix:///PATH")
    elif text.startswith(_UNIX):
        spot.judge(badUnixPath(text.removeprefix(_UNIX)))
    else:
        spot.judge(badPort(found[1]))


def _checkEgress(spec: Sidecar, spot: Spot) -> None:
    seen: set[object] = set()
    for index, listener in enumerate(spec.egress):
        here = spot[index]
        isUnix = listener.bind.startswith(_UNIX)
        if listener.port is None:
            if index != len(spec.egress) - 1:
                here.refuse("a listener without a port takes every port, and is the last one", "exclusive")
        else:
            _checkPort(listener.port, here["port"], isUnix)
            key: object = listener.bind if isUnix else listener.port.number
            if key in seen:
                here["port"]["number"].refuse(f"{key!r} stands twice", "duplicate")
            seen.add(key)
        if isUnix:
            here["bind"].judge(badUnixPath(listener.bind.removeprefix(_UNIX)))
            if listener.captureMode == "IPTABLES":
                here["captureMode"].refuse("a unix socket is not captured", "exclusive")
        elif listener.bind:
            here["bind"].judge(badAddress(listener.bind))
        if here["hosts"].require(listener.hosts):
            for number, host in enumerate(listener.hosts):
                here["hosts"][number].judge(_badHost(host))


def _badHost(text: str) -> str | None:
    """
    A namespace, a slash, a host with dots or a wildcard.
    """
    namespace, slash, host = text.partition("/")
    if not slash:
        return f"{text!r} is not NAMESPACE/HOST"
    plain = namespace.removeprefix("~")
    if plain not in ("", "*", ".") and not isDNSLabel(plain):
        return f"{text!r}: before the slash is a namespace, *, . or ~, not {namespace!r}"
    if not namespace or not host:
        return f"{text!r} is not NAMESPACE/HOST"
    if host != "*" and "." not in host:
        return f"{host!r} is a short name; a host here is fully qualified"
    if "*" in host and host != "*" and not host.startswith("*."):
        return f"{host!r}: a wildcard is the whole first label"
    return badDomain(host)
