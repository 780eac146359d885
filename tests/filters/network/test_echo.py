"""
L{meshproxy.filters.network.echo}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.network.support import FilterProxy


class EchoTests(SynchronousTestCase):
    """
    Everything comes back.
    """

    def test_echo(self) -> None:
        """
        Byte for byte, and the end too.
        """
        peer = FilterProxy(("echo", {})).talk(b"abc", b"def")
        self.assertEqual((peer.received, peer.closed), (b"abcdef", False))
        peer.finish()

    def test_ended(self) -> None:
        """
        A peer that finished gets what was under way, then its end.
        """
        proxy = FilterProxy(("echo", {}))
        peer = proxy.talk(b"abc")
        peer.finish()
        proxy.proxy.settle()
        self.assertEqual((peer.received, peer.closed), (b"abc", True))

    def test_pressure(self) -> None:
        """
        A peer that sends and does not read is not read either: what is kept stays bounded.
        """
        proxy = FilterProxy(("echo", {}), per_connection_buffer_limit_bytes=65536)
        peer = proxy.talk()
        peer.pause()
        for _ in range(40):
            peer.write(b"x" * 65536)
            proxy.proxy.settle()
        [connection] = proxy.proxy.server.listeners.byName["l"].connections
        transport: Any = connection.transport
        self.assertLess(transport.unsent, 3 * 65536)
        peer.resume()
        proxy.proxy.settle()
        self.assertEqual(len(peer.received), 40 * 65536)
