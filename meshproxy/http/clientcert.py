# -*- test-case-name: tests.http.test_clientcert -*-
"""
C{x-forwarded-client-cert}: what upstreams are told of the client's certificate, and what clients may say of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshproxy.config import Section
from meshproxy.config.matchertree import compileMatcherTree
from meshproxy.http.matchinputs import REQUEST_INPUTS
from meshproxy.net.certificates import pemOf
from meshproxy.net.tlsinfo import TLSInfo, percentEncoded

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.headers import RequestHeaders

__all__ = ["FORWARDED_CLIENT_CERT", "ClientCert", "compileClientCert", "sanitizeClientCert"]

FORWARDED_CLIENT_CERT = b"x-forwarded-client-cert"

#: Sees to the field of one request.
ClientCert = Callable[["RequestHeaders", "ConnectionInfo"], None]

_CONFIG = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ForwardClientCertConfig"

_Part = Callable[[TLSInfo], Sequence[str]]
_Value = Callable[[TLSInfo], "str | list[str]"]

# The names of the details, in the order in which Envoy writes them.
_DETAILS: tuple[tuple[str, _Part], ...] = (
    ("cert", lambda tls: _quoted("Cert", tls.get("PEER_CERT"))),
    ("chain", lambda tls: _quoted("Chain", percentEncoded("".join(map(pemOf, tls.peerChain))))),
    # Subject and URI are named even if there is none.
    ("subject", lambda tls: ['Subject="' + _escaped(tls.get("PEER_SUBJECT")) + '"']),
    ("uri", lambda tls: [f"URI={_value(each)}" for each in tls.peerAltNames.uris or ("",)]),
    ("dns", lambda tls: [f"DNS={_value(each)}" for each in tls.peerAltNames.dns]),
    ("issuer", lambda tls: ['Issuer="' + _escaped(tls.get("PEER_ISSUER")) + '"']),
)

# The same as JSON, where nothing is named that is not there.
_VALUES: Mapping[str, _Value] = {
    "by": lambda tls: list(tls.localAltNames.uris),
    "hash": lambda tls: tls.get("PEER_FINGERPRINT_256"),
    "cert": lambda tls: "" if tls.peerCertificate is None else pemOf(tls.peerCertificate),
    "chain": lambda tls: list(map(pemOf, tls.peerChain)),
    "subject": lambda tls: tls.get("PEER_SUBJECT"),
    "uri": lambda tls: list(tls.peerAltNames.uris),
    "dns": lambda tls: list(tls.peerAltNames.dns),
    "issuer": lambda tls: tls.get("PEER_ISSUER"),
}

# What would end a value, or the field (CVE-2023-27493).
_needsQuotes = re.compile(r'[,;="]').search
_UNFIT = re.compile(r"[^\x20-\x7e]")


def _quoted(name: str, value: str) -> Sequence[str]:
    return [f'{name}="{value}"'] if value else ()


def _escaped(value: str) -> str:
    """
    A value to stand between quotes: quotes are escaped, as Envoy documents the field, and what is no printable ASCII is
    percent-encoded, lest a certificate write lines of its own.
    """
    fit = _UNFIT.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), value)
    return re.sub(r'(?<!\\)"', '\\"', fit)


def _value(value: str) -> str:
    fit = _escaped(value)
    return f'"{fit}"' if _needsQuotes(value) else fit


def compileClientCert(section: Section) -> tuple[ClientCert | None, bool]:
    """
    Compile C{forward_client_cert_details}, C{set_current_client_cert_details} and C{forward_client_cert_matcher}.

    @return: What to do with each request, L{None} for nothing; and whether it may have to be done to requests that do
        not have the field.
    """
    otherwise, sets = _compileMode(section)
    matcher = section.child("forward_client_cert_matcher")
    if matcher is None:
        return otherwise, sets
    find = compileMatcherTree(matcher, REQUEST_INPUTS, _compileAction)
    found = otherwise or _leave

    def tell(headers: RequestHeaders, connection: ConnectionInfo) -> None:
        action: ClientCert | None = find(_Looked(headers, connection))
        (found if action is None else action)(headers, connection)

    return tell, True


@dataclass(frozen=True, slots=True)
class _Looked:
    """
    What the matcher looks at, by the names that streams have for it.
    """

    requestHeaders: RequestHeaders
    connection: ConnectionInfo

    @property
    def dynamicMetadata(self) -> dict[str, dict[str, object]] | None:
        """
        What filters of the connection noted: no filter of the stream had its turn.
        """
        return self.connection.dynamicMetadata

    @property
    def filterState(self) -> dict[str, object] | None:
        """
        What they share, likewise.
        """
        return self.connection.filterState


def _compileAction(section: Section) -> ClientCert | None:
    config = section.any("typed_config")
    if config is None or config.typeName != _CONFIG:
        section.refuse(f"an action of this matcher is a {_CONFIG}", "typed_config")
        return None
    return _compileMode(config)[0] or _leave


def _leave(headers: RequestHeaders, connection: ConnectionInfo) -> None:
    """
    Believe everybody: C{ALWAYS_FORWARD_ONLY}.
    """


def _compileMode(section: Section) -> tuple[ClientCert | None, bool]:
    mode = section.get("forward_client_cert_details")
    if mode == "ALWAYS_FORWARD_ONLY":
        return None, False
    if mode == "SANITIZE":
        return sanitizeClientCert, False
    if mode == "FORWARD_ONLY":
        return _forward, False
    details = section.childOrEmpty("set_current_client_cert_details")
    names = [name for name, _ in _DETAILS if (details.wrapped(name, False) if name == "subject" else details.get(name))]
    return _setter(names, details.get("format") == "JSON", mode == "APPEND_FORWARD"), True


def sanitizeClientCert(headers: RequestHeaders, connection: ConnectionInfo) -> None:
    """
    Believe nobody: C{SANITIZE}, which is the default.
    """
    headers.remove(FORWARDED_CLIENT_CERT)


def _forward(headers: RequestHeaders, connection: ConnectionInfo) -> None:
    tls = connection.tls
    if not (isinstance(tls, TLSInfo) and tls.isPresented):
        headers.remove(FORWARDED_CLIENT_CERT)


def _setter(names: Sequence[str], isJSON: bool, appends: bool) -> ClientCert:
    parts = [part for name, part in _DETAILS if name in names]
    values = {name: read for name, read in _VALUES.items() if name in ("by", "hash", *names)}

    def make(tls: TLSInfo, asJSON: bool) -> bytes:
        # The same for all requests of the connection.
        key = (tell, asJSON)
        told = tls.told.get(key)
        if told is None:
            told = tls.told[key] = _object(tls, values) if asJSON else _element(tls, parts)
        return told

    def tell(headers: RequestHeaders, connection: ConnectionInfo) -> None:
        tls = connection.tls
        if not (isinstance(tls, TLSInfo) and tls.isPresented):
            headers.remove(FORWARDED_CLIENT_CERT)
            return
        before = headers.joined(FORWARDED_CLIENT_CERT) if appends else None
        if not before:
            told = make(tls, isJSON)
            headers.set(FORWARDED_CLIENT_CERT, b"[" + told + b"]" if isJSON else told)
        elif before.startswith(b"[") and before.endswith(b"]"):
            # As in Envoy, what is there already says which form the whole has.
            rest = before[:-1]
            separator = b"," if rest[1:].strip(b" ") else b""
            headers.set(FORWARDED_CLIENT_CERT, rest + separator + make(tls, True) + b"]")
        else:
            headers.set(FORWARDED_CLIENT_CERT, before + b"," + make(tls, False))

    return tell


def _object(tls: TLSInfo, values: Mapping[str, _Value]) -> bytes:
    found = {name: read(tls) for name, read in values.items()}
    return json.dumps({name: value for name, value in found.items() if value}, separators=(",", ":")).encode("ascii")


def _element(tls: TLSInfo, parts: Sequence[_Part]) -> bytes:
    found = [f"By={_value(uri)}" for uri in tls.localAltNames.uris]
    found.append(f"Hash={tls.get('PEER_FINGERPRINT_256')}")
    for part in parts:
        found += part(tls)
    return ";".join(found).encode("ascii")
