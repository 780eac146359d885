# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
Which chains a port of a workload has, by what it speaks and its mode of mutual TLS.
"""

from __future__ import annotations

from attrs import frozen

from meshproxy.controlplane.translate.authentication import MutualTLSMode
from meshproxy.controlplane.translate.tls import MUTUAL_ALPN, MUTUAL_HTTP_ALPN

__all__ = ["CHAIN_KINDS", "ChainKind"]

_PLAIN_HTTP = ("http/1.1", "h2c")


@frozen
class ChainKind:
    """
    One kind of connection to a port.

    @ivar transport: C{tls} or C{raw_buffer}.
    @ivar alpn: What it asks for, if that counts.
    @ivar isHTTP: Whether its requests are looked at.
    @ivar ends: Whether TLS ends here; otherwise it goes to the workload as it is.
    """

    transport: str
    alpn: tuple[str, ...]
    isHTTP: bool
    ends: bool


_TCP_ALPN = ("istio-peer-exchange", "istio")

#: The kinds of connections by what a port speaks and its mode: reference, "PERMISSIVE mechanics".
CHAIN_KINDS: dict[tuple[str, MutualTLSMode], tuple[ChainKind, ...]] = {
    ("http", MutualTLSMode.STRICT): (ChainKind("tls", (), True, True),),
    ("http", MutualTLSMode.PERMISSIVE): (
        ChainKind("tls", MUTUAL_ALPN, True, True),
        ChainKind("raw_buffer", (), True, False),
    ),
    ("http", MutualTLSMode.DISABLE): (ChainKind("raw_buffer", (), True, False),),
    ("tcp", MutualTLSMode.STRICT): (ChainKind("tls", (), False, True),),
    ("tcp", MutualTLSMode.PERMISSIVE): (
        ChainKind("tls", MUTUAL_ALPN, False, True),
        ChainKind("tls", (), False, False),
        ChainKind("raw_buffer", (), False, False),
    ),
    ("tcp", MutualTLSMode.DISABLE): (ChainKind("raw_buffer", (), False, False),),
    ("auto", MutualTLSMode.STRICT): (ChainKind("tls", MUTUAL_HTTP_ALPN, True, True), ChainKind("tls", (), False, True)),
    ("auto", MutualTLSMode.PERMISSIVE): (
        ChainKind("tls", MUTUAL_HTTP_ALPN, True, True),
        ChainKind("raw_buffer", _PLAIN_HTTP, True, False),
        ChainKind("tls", _TCP_ALPN, False, True),
        ChainKind("raw_buffer", (), False, False),
        ChainKind("tls", (), False, False),
    ),
    ("auto", MutualTLSMode.DISABLE): (
        ChainKind("raw_buffer", _PLAIN_HTTP, True, False),
        ChainKind("raw_buffer", (), False, False),
    ),
}
