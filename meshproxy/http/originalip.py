# -*- test-case-name: tests.http.test_originalip -*-
"""
Who asked, where the connection does not tell: C{original_ip_detection_extensions}.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from meshproxy.config import Section
from meshproxy.config.cidr import CidrSet, compileCidrSet
from meshproxy.flags import Failure, LocalReply
from meshproxy.headers import RequestHeaders

__all__ = ["NOTHING", "Detect", "Detected", "addressBefore", "compileDetection"]

_PACKAGE = "envoy.extensions.http.original_ip_detection."
_XFF = _PACKAGE + "xff.v3.XffConfig"
_CUSTOM = _PACKAGE + "custom_header.v3.CustomHeaderConfig"


class Detected(NamedTuple):
    """
    What was found.

    @ivar client: The client's address, or L{None} if it was not found.
    @ivar mayBeInternal: Whether this address decides if the request is an internal one.
    @ivar appends: Whether the peer's address is appended to C{x-forwarded-for}.
    @ivar refusal: How to answer the request, instead.
    """

    client: str | None = None
    mayBeInternal: bool = False
    appends: bool = False
    refusal: LocalReply | None = None


NOTHING = Detected()
"""
Nothing was found.
"""

#: From a head, and the peer's address where it has one, to what was found.
Detect: TypeAlias = Callable[[RequestHeaders, str | None], Detected]


def _address(text: bytes) -> str | None:
    """
    An IP address that a field has, in its usual form, or L{None} if it is none.
    """
    shown = text.strip(b" \t").decode("latin-1")
    try:
        address = ipaddress.ip_address(shown)
        if isinstance(address, ipaddress.IPv4Address):
            return shown
        host = socket.inet_ntop(socket.AF_INET6, address.packed)
        if address.scope_id is None:
            return host
        # The library takes anything for a zone. As in Envoy, it is an interface of this machine, told by its number.
        found = socket.getaddrinfo(shown.encode("ascii"), None, socket.AF_INET6, flags=socket.AI_NUMERICHOST)
    except (ValueError, OSError):
        return None
    zone = int(found[0][4][-1])
    return f"{host}%{zone}" if zone else host


def addressBefore(forwarded: bytes | None, hops: int) -> tuple[str | None, bool]:
    """
    The address that stands C{hops} before the last in C{x-forwarded-for}.

    @return: The address, L{None} if there is none or it is none; and whether it is the only one.
    """
    if forwarded is None:
        return None, False
    parts = forwarded.split(b",")
    if hops >= len(parts):
        return None, False
    found = _address(parts[-1 - hops])
    return (None, False) if found is None else (found, len(parts) == 1)


def compileDetection(sections: Sequence[Section]) -> Detect | None:
    """
    Compile the extensions, each an C{envoy.config.core.v3.TypedExtensionConfig}; the first that finds an address, or
    refuses, decides. As in Envoy, the last that was asked decides whether C{x-forwarded-for} is appended to.

    @return: L{None} where there are none.
    """
    ways = [way for way in map(_compile, sections) if way is not None]
    if not ways:
        return None

    def detect(headers: RequestHeaders, peer: str | None) -> Detected:
        found = NOTHING
        for way in ways:
            found = way(headers, peer)
            if found.client is not None or found.refusal is not None:
                break
        return found

    return detect


def _compile(section: Section) -> Detect | None:
    config = section.any("typed_config")
    if config is None:
        return None
    if config.typeName == _XFF:
        return _forwarded(config)
    if config.typeName == _CUSTOM:
        return _customHeader(config)
    section.refuse(f"{config.typeName} finds no address here", "typed_config", (_XFF, _CUSTOM))
    return None


def _forwarded(section: Section) -> Detect:
    appends = not section.wrapped("skip_xff_append", True)
    hops: int = section.get("xff_num_trusted_hops")
    trusted = section.child("xff_trusted_cidrs")
    if trusted is not None:
        if hops:
            section.refuse("xff_num_trusted_hops and xff_trusted_cidrs are not to be set both", "xff_num_trusted_hops")
        return _beyond(compileCidrSet(trusted.children("cidrs")), appends)

    def detect(headers: RequestHeaders, peer: str | None) -> Detected:
        client, single = addressBefore(headers.joined(b"x-forwarded-for"), hops)
        return Detected(client, single, appends)

    return detect


def _beyond(trusted: CidrSet, appends: bool) -> Detect:
    """
    The last address that is none of the trusted proxies', if the peer is one of them.
    """

    def detect(headers: RequestHeaders, peer: str | None) -> Detected:
        if peer is None or not trusted.containsText(peer):
            return Detected(appends=True)
        forwarded = headers.joined(b"x-forwarded-for")
        parts = [] if forwarded is None else forwarded.split(b",")
        last = None
        for part in reversed(parts):
            last = _address(part)
            if last is None or not trusted.containsText(last):
                break
        return Detected(last, len(parts) == 1, appends)

    return detect


def _customHeader(section: Section) -> Detect:
    name: bytes = section.get("header_name").lower().encode("utf-8")
    mayBeInternal: bool = section.get("allow_extension_to_set_address_as_trusted")
    refusal = None
    status = section.child("reject_with_status")
    if status is not None:
        code = int(status.message.code)
        # As Envoy: a status that refuses nothing stands for 403.
        refusal = Failure.ORIGINAL_IP_DETECTION_FAILED.value.withStatus(code if 400 <= code < 600 else 403)

    def detect(headers: RequestHeaders, peer: str | None) -> Detected:
        value = headers.get(name)
        found = None if value is None else _address(value)
        return Detected(refusal=refusal) if found is None else Detected(found, mayBeInternal)

    return detect
