"""
The listeners, clusters and certificates by which TLS of both proxies is compared.

Each endpoint that speaks TLS is another listener of the same proxy.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from meshproxy.net.certificates import fingerprint, spkiDigest
from meshproxy.testing.pki import Authority, Credential

__all__ = ["C", "CLUSTERS", "Certificates", "DAY", "SERVERS", "Server", "base64Of", "bootstrap", "bootstrapOf"]


_TYPES = "type.googleapis.com/envoy.extensions."
_TLS = f"{_TYPES}transport_sockets.tls.v3."
DAY = timedelta(days=1)

_OPERATORS = (
    "PEER_URI_SAN",
    "PEER_DNS_SAN",
    "PEER_IP_SAN",
    "PEER_EMAIL_SAN",
    "LOCAL_URI_SAN",
    "LOCAL_DNS_SAN",
    "PEER_SUBJECT",
    "LOCAL_SUBJECT",
    "PEER_ISSUER",
    "PEER_SERIAL",
    "PEER_FINGERPRINT_256",
    "PEER_FINGERPRINT_1",
    "PEER_CERT",
    "PEER_CERT_V_START",
    "PEER_CERT_V_END",
    "PEER_CERT_V_END(%Y-%m-%d)",
    "TLS_VERSION",
    "TLS_CIPHER",
    "TLS_GROUP",
    "PEER_OTHERNAME_SAN",
    "LOCAL_OTHERNAME_SAN",
    "PEER_CHAIN_FINGERPRINTS_256",
    "PEER_CHAIN_FINGERPRINTS_1",
    "PEER_CHAIN_SERIALS",
    "PEER_ISSUER_FINGERPRINT_256",
    "PEER_ISSUER_SERIAL",
)

_DOWNSTREAM_ONLY = (
    "PEER_OTHERNAME_SAN",
    "LOCAL_OTHERNAME_SAN",
    "PEER_CHAIN_FINGERPRINTS_256",
    "PEER_CHAIN_FINGERPRINTS_1",
    "PEER_CHAIN_SERIALS",
    "PEER_ISSUER_FINGERPRINT_256",
    "PEER_ISSUER_SERIAL",
    "PEER_EMAIL_SAN",
    "LOCAL_SUBJECT",
    "PEER_SERIAL",
    "PEER_FINGERPRINT_256",
    "PEER_FINGERPRINT_1",
)


class Certificates:
    """
    All certificates of the comparison.
    """

    def __init__(self) -> None:
        self.authority = authority = Authority("the authority")
        self.stranger = stranger = Authority("a stranger")
        self.between = between = Authority("between", authority)
        self.server = authority.issue("example.com", "spiffe://mesh/server")
        self.rsa = authority.issue("example.com", "rsa.com", kind="rsa")
        self.wild = authority.issue("*.wild.com", "other.com")
        self.named = authority.issue(commonName="old.com")
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'A "quoted", name'),
                x509.NameAttribute(NameOID.COMMON_NAME, "client"),
            ]
        )
        self.clients = {
            "good": authority.issue(
                "spiffe://mesh/client", "client.example", "192.0.2.7", "me@example.com", subject=subject
            ),
            "through": between.issue("spiffe://mesh/through"),
            "stranger": stranger.issue("spiffe://mesh/client", "client.example"),
            "expired": authority.issue("spiffe://mesh/client", ends=-DAY / 2),
            "early": authority.issue("spiffe://mesh/client", begins=DAY),
            "forServers": authority.issue("spiffe://mesh/client", uses=("server",)),
            "anyUse": authority.issue("spiffe://mesh/client", uses=()),
            "dns": authority.issue("client.example"),
            "wildcard": authority.issue("*.example.org"),
            "otherURI": authority.issue("spiffe://other/client"),
            "ip": authority.issue("192.0.2.7"),
            "mail": authority.issue("me@example.com"),
            "bare": authority.issue(commonName="client.example"),
            "uriAsDNS": authority.issue(others=[x509.DNSName("spiffe://mesh/client")], commonName="x"),
            "nul": authority.issue(others=[x509.DNSName("client.example\0.evil")], commonName="x"),
            "revoked": authority.issue("spiffe://mesh/revoked"),
        }
        self.servers = {
            "goodServer": authority.issue("up.example", "10.0.0.1"),
            "wildServer": authority.issue("*.up.example"),
            "strangeServer": stranger.issue("up.example"),
            "expiredServer": authority.issue("up.example", ends=-DAY / 2),
            "clientOnlyServer": authority.issue("up.example", uses=("client",)),
            "otherServer": authority.issue("other.example"),
            "bareServer": authority.issue(commonName="up.example"),
        }

    @property
    def ca(self) -> dict[str, Any]:
        """
        What verifies by the authority.
        """
        return {"trusted_ca": {"inline_string": self.authority.root}}


C = Certificates()


def _manager(name: str, routes: list[Any], **fields: Any) -> dict[str, Any]:
    router = {"name": "router", "typed_config": {"@type": f"{_TYPES}filters.http.router.v3.Router"}}
    return {
        "name": "manager",
        "typed_config": {
            "@type": f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "HTTP1",
            # Envoy closes late what its peer may still write to; tests need not wait for it.
            "delayed_close_timeout": "0.05s",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [router],
            **fields,
        },
    }


def _attributes(group: str) -> dict[str, str]:
    """
    What expressions know of a session.
    """
    names = ("tls_version", "sha256_peer_certificate_digest", *(["mtls"] * (group == "connection")))
    kinds = [f"{kind}_{side}_certificate" for kind in ("subject", "uri_san", "dns_san") for side in ("peer", "local")]
    # Envoy writes its lines as they are, into fields too.
    found = {f"x-told-{group}-certificate": f"%CEL(size({group}.peer_certificate))%"}
    return {**found, **{f"x-told-{group}-{name}": f"%CEL({group}.{name})%" for name in (*names, *kinds)}}


def _told(side: str) -> list[dict[str, Any]]:
    values = {f"x-told-{number:02d}": f"%{side}_{name}%" for number, name in enumerate(_OPERATORS)}
    values |= _attributes("connection")
    values["x-told-sni"] = "%REQUESTED_SERVER_NAME%"
    values["x-told-scheme"] = "%REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)%"
    values["x-told-xfcc"] = "%REQ(X-FORWARDED-CLIENT-CERT)%"
    return [{"header": {"key": key, "value": value}} for key, value in values.items()]


_ANSWER = {
    "match": {"prefix": "/"},
    "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
    "response_headers_to_add": _told("DOWNSTREAM"),
}


def _routesByCertificate() -> list[Any]:
    routes = []
    for name, options in (
        ("validated", {"presented": True, "validated": True}),
        ("presented", {"presented": True}),
        ("absent", {"presented": False}),
    ):
        routes.append(
            {
                "match": {"path": f"/{name}", "tls_context": options},
                "direct_response": {"status": 200, "body": {"inline_string": f"matched {name}"}},
            }
        )
    return [*routes, _ANSWER]


@dataclass(frozen=True)
class Server:
    """
    A listener.

    @ivar keys: Its certificates.
    """

    keys: tuple[Credential, ...] = (C.server,)
    validation: Any = None
    common: Any = None
    context: Any = None
    manager: Any = None

    def made(self, name: str, port: int) -> dict[str, Any]:
        """
        The C{Listener} message.
        """
        common: dict[str, Any] = {"tls_certificates": [each.inline for each in self.keys], **(self.common or {})}
        if self.validation is not None:
            common["validation_context"] = self.validation
        config = {"@type": f"{_TLS}DownstreamTlsContext", "common_tls_context": common, **(self.context or {})}
        return {
            "name": name,
            "stat_prefix": name,
            "address": {"socket_address": {"address": "$ADDRESS", "port_value": port}},
            "listener_filters": [
                {
                    "name": "envoy.filters.listener.tls_inspector",
                    "typed_config": {"@type": f"{_TYPES}filters.listener.tls_inspector.v3.TlsInspector"},
                }
            ],
            "filter_chains": [
                {
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": config},
                    "filters": [_manager(name, _routesByCertificate(), **(self.manager or {}))],
                }
            ],
        }


def _mutual(validation: Any = None, **fields: Any) -> Server:
    return Server(validation={**C.ca, **(validation or {})}, context={"require_client_certificate": True}, **fields)


def _authenticated(**fields: Any) -> Server:
    """
    Who need not be known, but then may do nothing.
    """
    config = {"@type": f"{_TYPES}rbac.principals.mtls_authenticated.v3.Config", **fields}
    principal = {"custom": {"name": "envoy.rbac.principals.mtls_authenticated", "typed_config": config}}
    rules = {"policies": {"p": {"permissions": [{"any": True}], "principals": [principal]}}}
    rbac = {"@type": f"{_TYPES}filters.http.rbac.v3.RBAC", "rules": rules}
    router = {"@type": f"{_TYPES}filters.http.router.v3.Router"}
    chain = [{"name": "envoy.filters.http.rbac", "typed_config": rbac}, {"name": "router", "typed_config": router}]
    validation = {**C.ca, "trust_chain_verification": "ACCEPT_UNTRUSTED"}
    return Server(validation=validation, manager={"http_filters": chain})


def _names(kind: str, **matcher: str) -> Server:
    return _mutual({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]})


def _xfcc(mode: str, **details: bool | str) -> Server:
    return Server(
        validation=C.ca,
        manager={"forward_client_cert_details": mode, "set_current_client_cert_details": details},
    )


def base64Of(certificate: x509.Certificate) -> str:
    """
    A certificate as it stands between the lines of PEM.
    """
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode("ascii")


_SPIFFE = {
    "custom_validator_config": {
        "name": "envoy.tls.cert_validator.spiffe",
        "typed_config": {
            "@type": f"{_TLS}SPIFFECertValidatorConfig",
            "trust_domains": [
                {"name": "mesh", "trust_bundle": {"inline_string": C.authority.root}},
                {"name": "other", "trust_bundle": {"inline_string": C.stranger.root}},
            ],
        },
    }
}
_BUNDLES = {
    "custom_validator_config": {
        "name": "envoy.tls.cert_validator.spiffe",
        "typed_config": {
            "@type": f"{_TLS}SPIFFECertValidatorConfig",
            "trust_bundles": {
                "inline_string": json.dumps(
                    {
                        "trust_domains": {
                            name: {"keys": [{"kty": "EC", "use": "x509-svid", "x5c": [base64Of(each.certificate)]}]}
                            for name, each in (("mesh", C.authority), ("other", C.stranger))
                        }
                    }
                )
            },
        },
    }
}
_GOOD = C.clients["good"].certificate
_DETAILS = {"subject": True, "uri": True, "dns": True}
_BY_REQUEST = {
    "matcher_tree": {
        "input": {
            "name": "input",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": "x-mode",
            },
        },
        "exact_match_map": {
            "map": {
                mode: {
                    "action": {
                        "name": "action",
                        "typed_config": {
                            "@type": f"{_TYPES}filters.network.http_connection_manager.v3."
                            "HttpConnectionManager.ForwardClientCertConfig",
                            "forward_client_cert_details": mode,
                            "set_current_client_cert_details": {"dns": True},
                        },
                    }
                }
                for mode in ("SANITIZE_SET", "APPEND_FORWARD", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY")
            }
        },
    }
}

SERVERS: dict[str, Server] = {
    "plain": Server(common={"alpn_protocols": ["http/1.1", "http/1.0"]}),
    "old": Server(
        common={
            "tls_params": {
                "tls_maximum_protocol_version": "TLSv1_2",
                "cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            }
        }
    ),
    "new": Server(common={"tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}}),
    "several": Server((C.server, C.rsa, C.wild, C.named)),
    "rsaFirst": Server((C.rsa, C.wild)),
    "scanned": Server((C.server, C.rsa, C.wild), context={"full_scan_certs_on_sni_mismatch": True}),
    "sniNeeded": Server(context={"require_sni": True}),
    "optional": Server(validation=C.ca),
    "mutual": _mutual(),
    "unverified": Server(context={"require_client_certificate": True}),
    "uri": _names("URI", prefix="spiffe://mesh/"),
    "dns": _names("DNS", exact="client.example"),
    "dnsWild": _names("DNS", exact="a.example.org"),
    "dnsSuffix": _names("DNS", suffix=".example.org"),
    "ip": _names("IP_ADDRESS", exact="192.0.2.7"),
    "mail": _names("EMAIL", exact="me@example.com"),
    "hash": Server(
        validation={"verify_certificate_hash": [fingerprint(_GOOD)]}, context={"require_client_certificate": True}
    ),
    "hashAndRoots": _mutual({"verify_certificate_hash": [fingerprint(_GOOD), "0" * 64]}),
    "spki": _mutual({"verify_certificate_spki": [__import__("base64").b64encode(spkiDigest(_GOOD)).decode()]}),
    "crl": _mutual({"crl": {"inline_string": C.authority.revoke(C.clients["revoked"])}}),
    "expiryIgnored": _mutual({"allow_expired_certificate": True}),
    "untrusted": _mutual({"trust_chain_verification": "ACCEPT_UNTRUSTED"}),
    "custom": _authenticated(any_validated_client_certificate=True),
    "customURI": _authenticated(san_matcher={"san_type": "URI", "matcher": {"prefix": "spiffe://mesh/"}}),
    "customDNS": _authenticated(
        san_matcher={"san_type": "DNS", "matcher": {"exact": "client.example"}}, any_validated_client_certificate=True
    ),
    "shallow": _mutual({"max_verify_depth": 0}),
    "intermediate": Server(
        validation={"trusted_ca": {"inline_string": C.between.root}}, context={"require_client_certificate": True}
    ),
    "spiffe": Server(validation=_SPIFFE, context={"require_client_certificate": True}),
    "bundles": Server(validation=_BUNDLES, context={"require_client_certificate": True}),
    "untyped": _mutual({"match_subject_alt_names": [{"exact": "client.example"}, {"prefix": "192.0.2."}]}),
    "fips": Server(
        (C.server, C.rsa),
        common={
            "tls_params": {"compliance_policies": ["FIPS_202205"], "cipher_suites": ["ECDHE-ECDSA-CHACHA20-POLY1305"]}
        },
    ),
    "sanitize": _xfcc("SANITIZE"),
    "forwardOnly": _xfcc("FORWARD_ONLY"),
    "appendForward": _xfcc("APPEND_FORWARD", **_DETAILS),
    "sanitizeSet": _xfcc("SANITIZE_SET", cert=True, chain=True, **_DETAILS),
    "sanitizeSetPlain": _xfcc("SANITIZE_SET"),
    "alwaysForward": _xfcc("ALWAYS_FORWARD_ONLY"),
    "issuer": _xfcc("SANITIZE_SET", issuer=True, **_DETAILS),
    "json": _xfcc("SANITIZE_SET", issuer=True, cert=True, chain=True, format="JSON", **_DETAILS),
    "appendJSON": _xfcc("APPEND_FORWARD", issuer=True, format="JSON", **_DETAILS),
    "appendText": _xfcc("APPEND_FORWARD", issuer=True, **_DETAILS),
    "byRequest": Server(
        validation=C.ca,
        manager={"forward_client_cert_details": "SANITIZE", "forward_client_cert_matcher": _BY_REQUEST},
    ),
    **{name: Server((credential,)) for name, credential in C.servers.items()},
    "upMutual": _mutual(keys=(C.servers["goodServer"],)),
}


def _upstream(*keys: Credential, validation: Any = None, **fields: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"tls_certificates": [each.inline for each in keys]}
    if validation is not None:
        common["validation_context"] = validation
    config = {"@type": f"{_TLS}UpstreamTlsContext", "common_tls_context": common, **fields}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _auto(**options: Any) -> dict[str, Any]:
    return {
        _HTTP: {
            "@type": f"type.googleapis.com/{_HTTP}",
            "upstream_http_protocol_options": options,
            "explicit_http_config": {"http_protocol_options": {}},
        }
    }


def _san(name: str) -> dict[str, Any]:
    return {**C.ca, "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}]}


# Name: the listener that is the endpoint, the transport socket, more fields of the cluster.
CLUSTERS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "unverifiedServer": ("strangeServer", _upstream(sni="up.example"), {}),
    "good": ("goodServer", _upstream(validation=C.ca, sni="up.example"), {}),
    "noSNI": ("goodServer", _upstream(validation=C.ca), {}),
    "strange": ("strangeServer", _upstream(validation=C.ca), {}),
    "expired": ("expiredServer", _upstream(validation=C.ca), {}),
    "clientOnly": ("clientOnlyServer", _upstream(validation=C.ca), {}),
    "sanGood": ("goodServer", _upstream(validation=_san("up.example")), {}),
    "sanWild": ("wildServer", _upstream(validation=_san("a.up.example")), {}),
    "sanWildDeep": ("wildServer", _upstream(validation=_san("a.b.up.example")), {}),
    "sanBad": ("goodServer", _upstream(validation=_san("other.example")), {}),
    "sanBare": ("bareServer", _upstream(validation=_san("up.example")), {}),
    "autoSAN": ("goodServer", _upstream(validation=C.ca, sni="up.example", auto_sni_san_validation=True), {}),
    "autoSANBad": ("otherServer", _upstream(validation=C.ca, sni="up.example", auto_sni_san_validation=True), {}),
    "autoSNI": (
        "goodServer",
        _upstream(validation=C.ca, sni="fixed.example"),
        {"typed_extension_protocol_options": _auto(auto_sni=True)},
    ),
    "autoBoth": (
        "goodServer",
        _upstream(validation=C.ca),
        {"typed_extension_protocol_options": _auto(auto_sni=True, auto_san_validation=True)},
    ),
    "autoHeader": (
        "goodServer",
        _upstream(validation=C.ca),
        {"typed_extension_protocol_options": _auto(auto_sni=True, override_auto_sni_header="x-name")},
    ),
    "mutualGood": ("upMutual", _upstream(C.clients["good"], validation=C.ca), {}),
    "mutualMissing": ("upMutual", _upstream(validation=C.ca), {}),
    "mutualStrange": ("upMutual", _upstream(C.clients["stranger"], validation=C.ca), {}),
    "newest": (
        "new",
        {
            **_upstream(),
            "typed_config": {
                **_upstream()["typed_config"],
                "common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}},
            },
        },
        {},
    ),
    "tooOld": ("new", _upstream(), {}),
    "cleartext": ("front", _upstream(), {}),
    "matched": (
        "goodServer",
        None,
        {
            "transport_socket_matches": [
                {"name": "no", "match": {"mode": "none"}, "transport_socket": _upstream(sni="wrong.example")},
                {"name": "yes", "match": {"mode": "tls"}, "transport_socket": _upstream(sni="matched.example")},
            ]
        },
    ),
}


def _cluster(name: str, port: int) -> dict[str, Any]:
    _, socket, fields = CLUSTERS[name]
    address = {"socket_address": {"address": "$ADDRESS", "port_value": port}}
    endpoint = {
        "endpoint": {"address": address},
        "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"mode": "tls"}}},
    }
    return {
        "name": name,
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        **({} if socket is None else {"transport_socket": socket}),
        **fields,
    }


def _front(port: int) -> dict[str, Any]:
    upstream = [
        {"header": {"key": f"x-told-up-{number:02d}", "value": f"%UPSTREAM_{name}%"}}
        for number, name in enumerate(_OPERATORS)
        if name not in _DOWNSTREAM_ONLY
    ]
    upstream += [{"header": {"key": key, "value": value}} for key, value in _attributes("upstream").items()]
    upstream.append({"header": {"key": "x-told-up-name", "value": "%UPSTREAM_SERVER_NAME%"}})
    routes = [
        {
            "match": {"prefix": f"/{name}"},
            "route": {
                "cluster": name,
                **({"host_rewrite_literal": "rewritten.example"} if name == "autoSNI" else {}),
            },
            "response_headers_to_add": upstream,
        }
        for name in CLUSTERS
    ]
    log = {
        "@type": f"{_TYPES}access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {
            "text_format_source": {
                "inline_string": "front %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
                "%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
            }
        },
    }
    manager = _manager("front", routes, access_log=[{"name": "log", "typed_config": log}])
    return {
        "name": "front",
        "address": {"socket_address": {"address": "$ADDRESS", "port_value": port}},
        "filter_chains": [{"filters": [manager]}],
    }


def bootstrap(ports: dict[str, int], address: str) -> str:
    """
    All listeners and clusters.
    """
    listeners = [server.made(name, ports[name]) for name, server in SERVERS.items()]
    clusters = [_cluster(name, ports[listener]) for name, (listener, _, _) in CLUSTERS.items()]
    return bootstrapOf([*listeners, _front(ports["front"])], clusters, ports["admin"], address)


def bootstrapOf(listeners: list[Any], clusters: list[Any], admin: int, address: str) -> str:
    """
    Some listeners and clusters, with an admin.
    """
    return json.dumps(
        {
            "admin": {"address": {"socket_address": {"address": "$ADDRESS", "port_value": admin}}},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        }
    ).replace("$ADDRESS", address)
