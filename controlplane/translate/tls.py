# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
Transport sockets: mutual TLS inside of the mesh, TLS to the outside, TLS at gateways.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.model.gateway import CIPHERS, ServerTLSSettings
from meshproxy.controlplane.model.trafficpolicy import ClientTLSSettings
from meshproxy.controlplane.translate.messages import ADS, JSON, typed, without
from meshproxy.controlplane.translate.proxy import Proxy

__all__ = [
    "AUTO_MUTUAL",
    "MUTUAL_ALPN",
    "MUTUAL_HTTP_ALPN",
    "RAW",
    "SYSTEM_ROOTS",
    "clientMutualTLS",
    "clientTLS",
    "gatewayTLS",
    "serverMutualTLS",
]

_SOCKET = "envoy.transport_sockets.tls"
_UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

RAW: JSON = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typedConfig": typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
}

#: The names of protocols by which a sidecar knows mutual TLS of the mesh, and HTTP in it, from other TLS.
MUTUAL_HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MUTUAL_ALPN = ("istio", "istio-peer-exchange", *MUTUAL_HTTP_ALPN)

#: What a client asks for, by what it is going to speak. Istio has a filter of its own that says HTTP's names for each
#: request; no other Envoy has that, so the cluster says them.
AUTO_MUTUAL = {
    "http": ("istio-http/1.1", "istio", "http/1.1"),
    "http2": ("istio-h2", "istio", "h2"),
    "other": ("istio",),
}

#: Istio's, for servers.
_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)

#: Where most systems keep the roots that they trust; Istio's proxies look there as well.
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"

#: The names of a workload's certificate and of the roots of the mesh.
_IDENTITY = "default"
_ROOTS = "ROOTCA"


def _identity(proxy: Proxy, name: str) -> JSON:
    """
    Where a proxy gets its identity from: a cluster of its bootstrap, or the stream of this control plane.
    """
    if not proxy.sdsCluster:
        return {"name": name, "sdsConfig": ADS}
    source = {
        "apiConfigSource": {
            "apiType": "GRPC",
            "transportApiVersion": "V3",
            "setNodeOnFirstMessageOnly": True,
            "grpcServices": [{"envoyGrpc": {"clusterName": proxy.sdsCluster}}],
        },
        "resourceApiVersion": "V3",
        "initialFetchTimeout": "0s",
    }
    return {"name": name, "sdsConfig": source}


def _subjects(exact: Sequence[str], prefixes: Sequence[str] = ()) -> list[JSON]:
    """
    Who a peer has to be. Identities are URIs; anything else is a DNS name.
    """
    return [
        *({"sanType": "URI" if "://" in name else "DNS", "matcher": {"exact": name}} for name in dict.fromkeys(exact)),
        *({"sanType": "URI", "matcher": {"prefix": prefix}} for prefix in prefixes),
    ]


def _trusted(trustDomains: Sequence[str]) -> list[str]:
    return [f"spiffe://{domain}/" for domain in trustDomains]


def clientMutualTLS(
    proxy: Proxy, sni: str, subjects: Sequence[str], trustDomains: Sequence[str], alpn: Sequence[str]
) -> JSON:
    """
    From one workload to another.

    @param subjects: Who the other has to be; somebody of the mesh if that is not known.
    """
    names = _subjects(subjects) if subjects else _subjects((), _trusted(trustDomains))
    common = {
        "alpnProtocols": list(alpn),
        "tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"},
        "tlsCertificateSdsSecretConfigs": [_identity(proxy, _IDENTITY)],
        "combinedValidationContext": {
            "defaultValidationContext": {"matchTypedSubjectAltNames": names},
            "validationContextSdsSecretConfig": _identity(proxy, _ROOTS),
        },
    }
    return {"name": _SOCKET, "typedConfig": typed(_UPSTREAM, without({"commonTlsContext": common, "sni": sni}))}


def clientTLS(proxy: Proxy, settings: ClientTLSSettings, sni: str, subjects: Sequence[str], http2: bool) -> JSON:
    """
    From a workload to somebody outside, as a DestinationRule says: SIMPLE or MUTUAL.

    @param sni: The name to ask for, if the rule has none.
    @param subjects: Who the other has to be, if the rule does not say.
    """
    common: JSON = {"alpnProtocols": ["h2"] if http2 else []}
    names = _subjects(settings.subjectAltNames or subjects)
    validation: JSON = {"matchTypedSubjectAltNames": names}
    if settings.credentialName and not proxy.isSidecar:
        name = settings.credentialName
        if settings.mode == "MUTUAL":
            common["tlsCertificateSdsSecretConfigs"] = [{"name": f"kubernetes://{name}", "sdsConfig": ADS}]
        if not settings.insecureSkipVerify:
            common["combinedValidationContext"] = {
                "defaultValidationContext": without(validation),
                "validationContextSdsSecretConfig": {"name": f"kubernetes://{name}-cacert", "sdsConfig": ADS},
            }
    else:
        if settings.mode == "MUTUAL":
            common["tlsCertificates"] = [
                {
                    "certificateChain": {"filename": settings.clientCertificate},
                    "privateKey": {"filename": settings.privateKey},
                }
            ]
        if not settings.insecureSkipVerify:
            # Without roots Envoy would verify nobody; those of the system are what everybody else has.
            roots = settings.caCertificates or SYSTEM_ROOTS
            revoked = {"filename": settings.caCrl} if settings.caCrl else None
            common["validationContext"] = without({**validation, "trustedCa": {"filename": roots}, "crl": revoked})
    return {
        "name": _SOCKET,
        "typedConfig": typed(_UPSTREAM, without({"commonTlsContext": without(common), "sni": settings.sni or sni})),
    }


def serverMutualTLS(proxy: Proxy, trustDomains: Sequence[str], forTCP: bool) -> JSON:
    """
    At a workload: a certificate of the mesh is asked for.
    """
    alpn = ["h2", "http/1.1"]
    common = {
        "alpnProtocols": ["istio-peer-exchange", *alpn] if forTCP else alpn,
        "tlsParams": {
            "tlsMinimumProtocolVersion": "TLSv1_2",
            "tlsMaximumProtocolVersion": "TLSv1_3",
            "cipherSuites": list(_CIPHERS),
        },
        "tlsCertificateSdsSecretConfigs": [_identity(proxy, _IDENTITY)],
        "combinedValidationContext": {
            "defaultValidationContext": {"matchTypedSubjectAltNames": _subjects((), _trusted(trustDomains))},
            "validationContextSdsSecretConfig": _identity(proxy, _ROOTS),
        },
    }
    return {
        "name": _SOCKET,
        "typedConfig": typed(_DOWNSTREAM, {"commonTlsContext": common, "requireClientCertificate": True}),
    }


_VERSIONS = {"TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}


def gatewayTLS(proxy: Proxy, settings: ServerTLSSettings, trustDomains: Sequence[str], forTCP: bool) -> JSON:
    """
    At a gateway that ends TLS: SIMPLE, MUTUAL, OPTIONAL_MUTUAL or ISTIO_MUTUAL.
    """
    if settings.mode == "ISTIO_MUTUAL":
        return serverMutualTLS(proxy, trustDomains, forTCP)
    names = settings.credentialNames or ([settings.credentialName] if settings.credentialName else [])
    common: JSON = {
        "alpnProtocols": [] if forTCP else ["h2", "http/1.1"],
        "tlsParams": without(
            {
                "tlsMinimumProtocolVersion": _VERSIONS.get(settings.minProtocolVersion, "TLSv1_2"),
                "tlsMaximumProtocolVersion": _VERSIONS.get(settings.maxProtocolVersion),
                "cipherSuites": [suite for suite in dict.fromkeys(settings.cipherSuites) if suite in CIPHERS],
                "ecdhCurves": list(settings.ecdhCurves),
            }
        ),
    }
    if names:
        common["tlsCertificateSdsSecretConfigs"] = [
            {"name": f"kubernetes://{name}", "sdsConfig": ADS} for name in names
        ]
    else:
        files = [(one.serverCertificate, one.privateKey) for one in settings.tlsCertificates]
        files = files or [(settings.serverCertificate, settings.privateKey)]
        common["tlsCertificates"] = [
            {"certificateChain": {"filename": chain}, "privateKey": {"filename": key}} for chain, key in files
        ]
    isMutual = settings.mode in ("MUTUAL", "OPTIONAL_MUTUAL")
    if isMutual:
        common.update(_clients(settings, names))
    return {
        "name": _SOCKET,
        "typedConfig": typed(
            _DOWNSTREAM,
            without(
                {
                    "commonTlsContext": without(common),
                    "requireClientCertificate": True if settings.mode == "MUTUAL" else None,
                }
            ),
        ),
    }


def _clients(settings: ServerTLSSettings, names: Sequence[str]) -> JSON:
    """
    How the certificates of clients are verified.
    """
    trusting = "ACCEPT_UNTRUSTED" if settings.insecureSkipVerify else None
    validation = without(
        {
            "trustChainVerification": trusting,
            "matchTypedSubjectAltNames": _subjects(settings.subjectAltNames),
            "verifyCertificateSpki": list(settings.verifyCertificateSpki),
            "verifyCertificateHash": list(settings.verifyCertificateHash),
        }
    )
    if not names:
        revoked = {"filename": settings.caCrl} if settings.caCrl else None
        files = {"trustedCa": {"filename": settings.caCertificates}, "crl": revoked}
        return {"validationContext": without({**validation, **files})}
    roots = settings.caCertCredentialName or f"{names[0]}-cacert"
    return {
        "combinedValidationContext": {
            "defaultValidationContext": validation,
            "validationContextSdsSecretConfig": {"name": f"kubernetes://{roots}", "sdsConfig": ADS},
        }
    }
