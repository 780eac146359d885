"""
L{meshproxy.codec.websocket}: the part of the handshake that one protocol has and the other has not.
"""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.websocket import acceptOf, makeKey


class HandshakeTests(SynchronousTestCase):
    """
    Keys and answers.
    """

    def test_accept(self) -> None:
        """
        The example of RFC 6455, 1.3.
        """
        self.assertEqual(acceptOf(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_key(self) -> None:
        """
        A key has sixteen bytes, whatever chance says, each part of which is by chance.
        """
        for least in (0.0, 1 - 2**-53):
            self.assertEqual(len(base64.b64decode(makeKey(lambda least=least: least), validate=True)), 16)  # type: ignore[misc]
        chances = iter([0.0, 0.25, 0.5, 0.75])
        key = base64.b64decode(makeKey(lambda: next(chances)))
        self.assertEqual(key, b"\0\0\0\0\x40\0\0\0\x80\0\0\0\xc0\0\0\0")
