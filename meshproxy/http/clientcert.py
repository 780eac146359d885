# -*- test-case-name: tests.http.test_clientcert -*-
"""
C{x-forwarded-client-cert}: what upstreams are told of the client's certificate, and what clients may say of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshproxy.config import Section
from meshproxy.net.certificates import pemOf
from meshproxy.net.tlsinfo import TLSInfo, percentEncoded

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.headers import RequestHeaders

__all__ = ["FORWARDED_CLIENT_CERT", "ClientCert", "compileClientCert", "sanitizeClientCert"]

FORWARDED_CLIENT_CERT = b"x-forwarded-client-cert"

#: Sees to the field of one request.
ClientCert = Callable[["RequestHeaders", "ConnectionInfo"], None]

_Part = Callable[[TLSInfo], Sequence[str]]

# The names of the details, in the order in which Envoy writes them.
_DETAILS: tuple[tuple[str, _Part], ...] = (
    ("cert", lambda tls: _quoted("Cert", tls.get("PEER_CERT"))),
    ("chain", lambda tls: _quoted("Chain", percentEncoded("".join(map(pemOf, tls.peerChain))))),
    # Subject and URI are named even if there is none.
    ("subject", lambda tls: ['Subject="' + _escaped(tls.get("PEER_SUBJECT")) + '"']),
    ("uri", lambda tls: [f"URI={_value(each)}" for each in tls.peerAltNames.uris or ("",)]),
    ("dns", lambda tls: [f"DNS={_value(each)}" for each in tls.peerAltNames.dns]),
)

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
    Compile C{forward_client_cert_details} and C{set_current_client_cert_details}.

    @return: What to do with each request, L{None} for nothing; and whether it may have to be done to requests that do
        not have the field.
    """
    mode = section.get("forward_client_cert_details")
    if mode == "ALWAYS_FORWARD_ONLY":
        return None, False
    if mode == "SANITIZE":
        return sanitizeClientCert, False
    if mode == "FORWARD_ONLY":
        return _forward, False
    details = section.childOrEmpty("set_current_client_cert_details")
    wanted = [
        part
        for name, part in _DETAILS
        if (details.wrapped(name, False) if name == "subject" else details.get(name))
    ]
    return _setter(wanted, mode == "APPEND_FORWARD"), True


def sanitizeClientCert(headers: RequestHeaders, connection: ConnectionInfo) -> None:
    """
    Believe nobody: C{SANITIZE}, which is the default.
    """
    headers.remove(FORWARDED_CLIENT_CERT)


def _forward(headers: RequestHeaders, connection: ConnectionInfo) -> None:
    tls = connection.tls
    if not (isinstance(tls, TLSInfo) and tls.isPresented):
        headers.remove(FORWARDED_CLIENT_CERT)


def _setter(parts: Sequence[_Part], appends: bool) -> ClientCert:
    def tell(headers: RequestHeaders, connection: ConnectionInfo) -> None:
        tls = connection.tls
        if not (isinstance(tls, TLSInfo) and tls.isPresented):
            headers.remove(FORWARDED_CLIENT_CERT)
            return
        told = tls.told.get(tell)
        if told is None:
            # The same for all requests of the connection.
            told = tls.told[tell] = _element(tls, parts)
        before = headers.joined(FORWARDED_CLIENT_CERT) if appends else None
        headers.set(FORWARDED_CLIENT_CERT, before + b"," + told if before else told)

    return tell


def _element(tls: TLSInfo, parts: Sequence[_Part]) -> bytes:
    found = [f"By={_value(uri)}" for uri in tls.localAltNames.uris]
    found.append(f"Hash={tls.get('PEER_FINGERPRINT_256')}")
    for part in parts:
        found += part(tls)
    return ";".join(found).encode("ascii")
