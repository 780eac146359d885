# -*- test-case-name: tests.controlplane.model.test_gateway -*-
"""
Gateway: what a proxy at the edge of the mesh listens for.
"""

from __future__ import annotations

from typing import Literal

from attrs import Factory, field, frozen

from meshproxy.controlplane.model.names import (
    badAddress,
    badGatewayHost,
    badPort,
    badProtocol,
    badUnixPath,
    isDNSLabel,
    isHTTP,
    isTLS,
)
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = ["Gateway", "Port", "Server", "ServerTLSSettings", "TLSCertificate", "checkGateway", "checkServerTLS"]

_UNIX = "unix://"

_VERSIONS = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]

#: What OpenSSL and BoringSSL both call them (bssl ciphers, without PSK).
CIPHERS = frozenset(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "AES128-SHA256",
        "AES256-SHA256",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
        "ALL",
        "DEFAULT",
    )
)

#: Where a certificate may come from.
_CERTIFICATES = (
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "tlsCertificates",
    "credentialName",
    "credentialNames",
)


@frozen(kw_only=True)
class Port:
    """
    A port of a server.
    """

    number: int = 0
    name: str = ""
    protocol: str = ""
    targetPort: int = 0


@frozen(kw_only=True)
class TLSCertificate:
    """
    A certificate in files of the proxy.
    """

    serverCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""


@frozen(kw_only=True)
class ServerTLSSettings:
    """
    How connections from outside are secured.
    """

    httpsRedirect: bool = False
    mode: Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"] = (
        "PASSTHROUGH"
    )
    serverCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""
    caCrl: str = ""
    credentialName: str = ""
    credentialNames: list[str] = Factory(list)
    tlsCertificates: list[TLSCertificate] = Factory(list)
    subjectAltNames: list[str] = Factory(list)
    verifyCertificateSpki: list[str] = Factory(list)
    verifyCertificateHash: list[str] = Factory(list)
    minProtocolVersion: _VERSIONS = "TLS_AUTO"
    maxProtocolVersion: _VERSIONS = "TLS_AUTO"
    cipherSuites: list[str] = Factory(list)
    ecdhCurves: list[str] = Factory(list)
    caCertCredentialName: str = ""
    insecureSkipVerify: bool | None = None


@frozen(kw_only=True)
class Server:
    """
    One thing that a gateway listens for.
    """

    port: Port | None = None
    bind: str = ""
    hosts: list[str] = Factory(list)
    tls: ServerTLSSettings | None = None
    defaultEndpoint: str = field(default="", metadata={"notProgrammed": "Istio does not read it either"})
    name: str = ""


@frozen(kw_only=True)
class Gateway:
    """
    What some proxies listen for.
    """

    servers: list[Server] = Factory(list)
    selector: dict[str, str] = Factory(dict)


def checkGateway(spec: Gateway, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    if metadata.name and not isDNSLabel(metadata.name):
        spot.refuse(f"the name of a Gateway has no dots: {metadata.name!r}")
    spot["servers"].require(spec.servers)
    names: set[str] = set()
    for index, server in enumerate(spec.servers):
        here = spot["servers"][index]
        _checkServer(server, here)
        if server.port is not None and server.port.name:
            if server.port.name in names:
                here["port"]["name"].refuse(f"{server.port.name!r} stands twice", "duplicate")
            names.add(server.port.name)


def _checkServer(server: Server, spot: Spot) -> None:
    """
    A server: hosts, a port, and TLS where the protocol has it.
    """
    if spot["hosts"].require(server.hosts):
        for index, host in enumerate(server.hosts):
            spot["hosts"][index].judge(badGatewayHost(host))
    if server.tls is not None:
        checkServerTLS(server.tls, spot["tls"])
    if server.bind.startswith(_UNIX):
        spot["bind"].judge(badUnixPath(server.bind.removeprefix(_UNIX)))
    elif server.bind:
        spot["bind"].judge(badAddress(server.bind))
    if server.port is None:
        spot["port"].require(None)
    elif _checkPort(server.port, server.bind, spot["port"]):
        _checkProtocol(server, server.port.protocol, spot)


def _checkPort(port: Port, bind: str, spot: Spot) -> bool:
    """
    @return: Whether the protocol is one.
    """
    if not bind.startswith(_UNIX):
        spot["number"].judge(badPort(port.number))
    elif port.number:
        spot["number"].refuse("a unix socket has no port: 0", "exclusive")
    spot["name"].require(port.name)
    if port.targetPort:
        spot["targetPort"].refuse("has no meaning for a Gateway")
    return spot["protocol"].require(port.protocol) and spot["protocol"].judge(badProtocol(port.protocol))


def _checkProtocol(server: Server, protocol: str, spot: Spot) -> None:
    """
    TLS settings where the protocol is TLS, and there alone.
    """
    tls = server.tls
    if isTLS(protocol):
        example = "{mode: SIMPLE, credentialName: NAME}"
        spot["tls"].require(tls, f"is required for the protocol {protocol}, and not set, for example {example}")
    elif tls is not None:
        files = tls.caCertificates or tls.privateKey or tls.serverCertificate
        if not isHTTP(protocol):
            spot["tls"].refuse(f"the protocol {protocol} has no TLS; HTTPS and TLS have it")
        elif tls.mode not in ("PASSTHROUGH", "AUTO_PASSTHROUGH") or files:
            spot["tls"].refuse(f"the protocol {protocol} has no TLS; only httpsRedirect may stand here")
    if tls is not None and tls.httpsRedirect and not isHTTP(protocol):
        spot["tls"]["httpsRedirect"].warn("httpsRedirect is for the protocol HTTP")


def checkServerTLS(tls: ServerTLSSettings, spot: Spot) -> None:
    """
    Tell what is wrong with how connections are secured.
    """
    _checkCiphers(tls, spot)
    given = [name for name in _CERTIFICATES if getattr(tls, name)]
    if tls.mode == "ISTIO_MUTUAL":
        for name in given:
            spot[name].refuse("has no meaning where mode is ISTIO_MUTUAL", "exclusive")
        return
    if tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
        for name in given:
            spot[name].warn(f"has no effect where mode is {tls.mode}")
    sources = [name for name in ("credentialName", "credentialNames", "tlsCertificates") if getattr(tls, name)]
    sources += ["serverCertificate"] if tls.serverCertificate and tls.privateKey else []
    if len(sources) > 1:
        spot[sources[1]].refuse(f"stands beside {sources[0]}, and only one source may be set", "exclusive")
    if tls.caCrl and (tls.credentialName or tls.credentialNames):
        spot["caCrl"].warn("has no effect beside credentialName; the list stands in the secret, as ca.crl")
    for name in ("credentialNames", "tlsCertificates"):
        if len(getattr(tls, name)) > 2:
            spot[name].refuse("has one or two entries")
    if tls.mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL") and not (tls.credentialName or tls.credentialNames):
        _checkFiles(tls, spot)


def _checkFiles(tls: ServerTLSSettings, spot: Spot) -> None:
    """
    Certificates in files, since no secret is named.
    """
    why = f"is required for mode {tls.mode} without credentialName, and not set"
    if tls.mode != "SIMPLE":
        spot["caCertificates"].require(tls.caCertificates, why)
    if tls.caCrl and tls.mode == "SIMPLE":
        spot["caCrl"].refuse("has no meaning where mode is SIMPLE", "exclusive")
    if not tls.tlsCertificates:
        for name in ("serverCertificate", "privateKey"):
            spot[name].require(getattr(tls, name), why)
    for index, certificate in enumerate(tls.tlsCertificates):
        for name in ("serverCertificate", "privateKey"):
            spot["tlsCertificates"][index][name].require(getattr(certificate, name))


def _checkCiphers(tls: ServerTLSSettings, spot: Spot) -> None:
    if tls.minProtocolVersion in ("TLSV1_0", "TLSV1_1") and not tls.cipherSuites:
        spot["minProtocolVersion"].warn("needs cipherSuites of that version: the usual ones are of TLS 1.2 and later")
    seen: set[str] = set()
    for index, suite in enumerate(tls.cipherSuites):
        if suite not in CIPHERS:
            spot["cipherSuites"][index].warn(f"{suite!r} is not a cipher suite, and left out")
        elif suite in seen:
            spot["cipherSuites"][index].warn(f"{suite!r} stands twice")
        seen.add(suite)
