"""
The benchmark of one exchange does what it is meant to measure.
"""

from __future__ import annotations

import gc
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.exchange import Exchanges
from bench.load import MESSAGE
from meshproxy.http.routedrequest import RoutedRequest
from tests.codec.http2.frames import framesIn


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
        exchanges = Exchanges(case, folder, connections=4)
        before = exchanges.answered
        self.assertGreater(exchanges.run(12), 0)
        self.assertEqual(exchanges.answered, before + 12)
        exchanges.stop()
        log = folder / "access.log"
        return exchanges, log.read_text() if log.exists() else ""

    def test_garbage(self) -> None:
        """
        Exchanges leave nothing to the garbage collector, which takes longer the more there is in the process.
        """
        for case in ("http1", "full", "mesh", "http2", "http2-full", "grpc", "grpc-full"):
            folder = Path(self.mktemp())
            folder.mkdir()
            exchanges = Exchanges(case, folder, connections=4)
            exchanges.run(400)
            gc.collect()
            gc.disable()
            self.addCleanup(gc.enable)
            exchanges.run(100)
            self.assertLess(gc.collect(), 50, case)
            gc.enable()
            exchanges.stop()

    def test_bare(self) -> None:
        """
        A router alone.
        """
        exchanges, _ = self.exchange("http1")
        self.assertTrue(exchanges.answer.startswith(b"HTTP/1.1 200 OK\r\n"), exchanges.answer)
        self.assertTrue(exchanges.asked.startswith(b"GET / HTTP/1.1\r\n"), exchanges.asked)

    def test_full(self) -> None:
        """
        All filters take part, and every exchange has its line in the log.
        """
        exchanges, log = self.exchange("full")
        self.assertTrue(exchanges.answer.startswith(b"HTTP/1.1 200 OK\r\n"), exchanges.answer)
        self.assertIn(b"x-proxy: bench\r\n", exchanges.asked)
        self.assertIn(b"x-via: front\r\n", exchanges.asked)
        self.assertNotIn(b"x-internal", exchanges.asked)
        self.assertIn(b"x-served-by: bench\r\n", exchanges.answer)
        self.assertEqual(len(log.splitlines()), exchanges.answered)

    def test_mesh(self) -> None:
        """
        Requests to services by name, each counted as its first try, none of which leaves the short way.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        exchanges = Exchanges("mesh", folder, connections=8)
        started: list[object] = []
        self.patch(RoutedRequest, "start", lambda request, *args: started.append(request))
        exchanges.run(400)
        exchanges.stop()
        self.assertEqual(started, [])
        self.assertIn(b"x-envoy-attempt-count: 1\r\n", exchanges.asked)
        lines = (folder / "access.log").read_text().splitlines()
        self.assertEqual(len({line.split()[-6] for line in lines}), 4, lines[-1])

    def test_serviceTime(self) -> None:
        """
        The backend takes another time each turn, and the answers tell of it.
        """
        exchanges, _ = self.exchange("http1")
        told = set()
        for _ in range(20):
            exchanges.turn()
            told.add(exchanges.answer.partition(b"x-envoy-upstream-service-time: ")[2].partition(b"\r")[0])
        self.assertGreater(len(told), 3, told)
        self.assertTrue(all(time.isdigit() for time in told), told)

    def test_http2(self) -> None:
        """
        Four requests at once on one connection, all of which are answered.
        """
        exchanges, _ = self.exchange("http2")
        self.assertTrue(exchanges.asked.startswith(b"GET / HTTP/1.1\r\n"), exchanges.asked)
        self.assertEqual(exchanges.answer.count(b"x" * 200), 4)

    def test_http2Full(self) -> None:
        """
        The same with all filters, paths that differ, and fields as browsers send them.
        """
        exchanges, log = self.exchange("http2-full")
        self.assertIn(b"x-proxy: bench\r\n", exchanges.asked)
        self.assertIn(b"user-agent: Mozilla/5.0 ", exchanges.asked)
        self.assertIn(b"cookie: session=", exchanges.asked)
        self.assertNotIn(b"x-internal", exchanges.asked)
        lines = log.splitlines()
        self.assertEqual(len(lines), exchanges.answered)
        self.assertEqual(len({line.split('"')[1] for line in lines}), len(lines))

    def test_grpc(self) -> None:
        """
        Four calls at once on one connection; all have their message and their status.
        """
        exchanges, _ = self.exchange("grpc")
        self.assertEqual(exchanges.asked.count(MESSAGE), 4)
        self.assertIn(b"\x00\x00\xcd\x00\x01", exchanges.asked)
        self.assertEqual(exchanges.answer.count(MESSAGE), 4)
        self.assertNotIn(b"\x00\x00\x04\x03", exchanges.answer)

    def test_cutAnswers(self) -> None:
        """
        As with nginx, what the backend sends ends behind the head of an answer, and begins with the rest of another.
        """
        exchanges, _ = self.exchange("grpc")
        (upstream,) = [each for each in exchanges._upstreams if MESSAGE in each.inbox]
        frames = [frame[:3] for frame in framesIn(upstream.inbox)]
        last = frames[-1][2]
        self.assertEqual(frames[-1], (1, 4, last))
        self.assertEqual(frames[:3], [(0, 0, last - 8), (1, 5, last - 8), (3, 0, last - 8)])
        self.assertEqual(len(frames), 16)
