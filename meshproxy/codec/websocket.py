# -*- test-case-name: tests.codec.test_websocket -*-
"""
The handshake of WebSocket, where it crosses from HTTP/2 to HTTP/1.1 or back.

HTTP/1.1 has a key, which the server answers in a way that only a WebSocket server does (RFC 6455, 4.2.2). In HTTP/2
there is neither (RFC 8441, 5): whoever stands in between does that part of the handshake.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

__all__ = ["acceptOf", "makeKey"]

# RFC 6455, 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def acceptOf(key: bytes) -> bytes:
    """
    What a server says in C{sec-websocket-accept}.

    @param key: The C{sec-websocket-key} of the request.
    """
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def makeKey(random: Callable[[], float]) -> bytes:
    """
    Make a key: sixteen bytes by chance.

    @param random: From 0 up to 1.
    """
    return base64.b64encode(b"".join(int(random() * (1 << 32)).to_bytes(4, "big") for _ in range(4)))
