"""
The benchmark of one exchange does what it is meant to measure.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.exchange import Exchanges


class ExchangesTests(SynchronousTestCase):
    """
    L{Exchanges} makes whole exchanges, again and again on the same connections.
    """

    def exchange(self, case: str) -> tuple[Exchanges, str]:
        """
        Make some.

        @return: They, and the access log.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        exchanges = Exchanges(case, folder, connections=3)
        before = exchanges.answered
        self.assertGreater(exchanges.run(9), 0)
        self.assertEqual(exchanges.answered, before + 9)
        self.assertTrue(exchanges.answer.startswith(b"HTTP/1.1 200 OK\r\n"), exchanges.answer)
        exchanges.stop()
        log = folder / "access.log"
        return exchanges, log.read_text() if log.exists() else ""

    def test_bare(self) -> None:
        """
        A router alone.
        """
        exchanges, _ = self.exchange("http1")
        self.assertTrue(exchanges.asked.startswith(b"GET / HTTP/1.1\r\n"), exchanges.asked)

    def test_full(self) -> None:
        """
        All filters take part, and every exchange has its line in the log.
        """
        exchanges, log = self.exchange("full")
        self.assertIn(b"x-proxy: bench\r\n", exchanges.asked)
        self.assertIn(b"x-via: front\r\n", exchanges.asked)
        self.assertNotIn(b"x-internal", exchanges.asked)
        self.assertIn(b"x-served-by: bench\r\n", exchanges.answer)
        self.assertEqual(len(log.splitlines()), exchanges.answered)
