"""
Tests for L{meshproxy.http.stats}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.stats import ConnectionManagerStats
from meshproxy.stats import Store
from meshproxy.testing import Answer
from tests.http.support import ProxyCase

PREFIX = "http.in."
LISTENER = "listener.0.0.0.0_80.http.in."


class ConnectionManagerStatsTests(SynchronousTestCase):
    """
    L{ConnectionManagerStats} binds a connection manager's metrics.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.stats = ConnectionManagerStats(self.store.scope(PREFIX), self.store.scope(LISTENER))

    def values(self) -> dict[str, int]:
        """
        The counters that moved.
        """
        return {name: counter.value for name, counter in self.store.counters.items() if counter.value}

    def test_distinct(self) -> None:
        """
        No two attributes are the same metric, and each has a name of its own below the manager's prefix.
        """
        bound = [metric for name, metric in vars(self.stats).items() if name not in ("responses", "http1", "http2")]
        for version in (self.stats.http1, self.stats.http2):
            bound += [version.cxTotal, version.cxActive, version.rqTotal]
        self.assertEqual(len({id(metric) for metric in bound}), len(bound))
        self.assertEqual(len({(type(metric), metric.name) for metric in bound}), len(bound))
        self.assertEqual([metric.name for metric in bound if not metric.name.startswith(PREFIX)], [])

    def test_thereFromTheStart(self) -> None:
        """
        Classes of responses are shown before the first response, of the manager and of its listener.
        """
        for prefix in (PREFIX, LISTENER):
            for name in ("completed", "1xx", "2xx", "3xx", "4xx", "5xx"):
                self.assertIn(f"{prefix}downstream_rq_{name}", self.store.counters)

    def test_responses(self) -> None:
        """
        A response moves its class and what is completed, here and at the listener.
        """
        for status in (200, 204, 503):
            self.stats.responses.add(status)
        expected = {"downstream_rq_completed": 3, "downstream_rq_2xx": 2, "downstream_rq_5xx": 1}
        both = {prefix + name: value for prefix in (PREFIX, LISTENER) for name, value in expected.items()}
        self.assertEqual(self.values(), both)

    def test_noResponse(self) -> None:
        """
        As in Envoy, a stream without a response is not completed.
        """
        self.stats.responses.add(0)
        self.assertEqual(self.values(), {})


class ExchangeTests(ProxyCase):
    """
    What whole exchanges count, as Envoy does; beside it all of them are in C{tests.conformance.test_exchangestats}.
    """

    def counted(self, *names: str) -> list[int]:
        """
        Some stats of the connection manager.
        """
        return [self.stat(f"downstream_{name}") for name in names]

    def test_interims(self) -> None:
        """
        Interim responses of an upstream count there, each like a response; what is sent here for C{Expect} counts
        downstream.
        """
        self.start()
        self.backend.answer(Answer(interim=[(103, {}), (100, {})]))
        self.proxy.request("POST", "/", {"expect": "100-continue"}, b"abc")
        names = ("upstream_rq_1xx", "upstream_rq_103", "upstream_rq_100", "upstream_rq_completed")
        self.assertEqual([self.clusterStat(name) for name in names], [2, 1, 1, 3])
        # One of the upstream goes on.
        self.assertEqual(self.counted("rq_1xx", "rq_2xx", "rq_completed"), [2, 1, 3])

    def test_continueOfUpstream(self) -> None:
        """
        So does a 100 that is passed on.
        """
        self.start(manager={"proxy_100_continue": True})
        self.backend.answer(Answer(interim=[(100, {})]))
        self.proxy.request("POST", "/", {"expect": "100-continue"}, b"abc")
        self.assertEqual(self.counted("rq_1xx", "rq_completed"), [1, 2])

    def test_left(self) -> None:
        """
        A client that leaves before its response has no completed request.
        """
        self.start()
        self.backend.answer(Answer.hang())
        client = self.proxy.client()
        client.send()
        self.proxy.settle()
        client.close()
        self.proxy.settle()
        self.assertEqual(self.counted("rq_total", "rq_completed", "rq_rx_reset"), [1, 0, 1])

    def test_early(self) -> None:
        """
        A response before its request's end counts as a reset. Who is told to close and does so in time has closed the
        connection; else this side has.
        """
        for leaves in (True, False):
            self.start()
            self.backend.answer(Answer(404, early=True))
            client = self.proxy.client()
            client.send("POST", "/", {"content-length": "10"}, b"abc")
            self.proxy.settle()
            self.assertEqual(self.counted("rq_response_before_rq_complete", "rq_rx_reset", "rq_tx_reset"), [1, 1, 0])
            if leaves:
                client.close()
            self.proxy.advance(5.0)
            told = self.counted("cx_destroy_remote", "cx_destroy_local", "cx_delayed_close_timeout")
            self.assertEqual(told, [leaves, not leaves, not leaves])

    def test_upgrades(self) -> None:
        """
        Upgrades that are allowed count, whether the upstream agrees or not, and are active until they end.
        """
        self.start(manager={"upgrade_configs": [{"upgrade_type": "websocket"}]})
        self.backend.answer(Answer(raw=b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"))
        client = self.proxy.client()
        asked = {"connection": "upgrade", "upgrade": "websocket"}
        client.send("GET", "/", asked)
        self.proxy.settle()
        self.assertEqual(self.counted("cx_upgrades_total", "cx_upgrades_active"), [1, 1])
        client.close()
        self.proxy.settle()
        self.assertEqual(self.counted("cx_upgrades_total", "cx_upgrades_active"), [1, 0])
        self.assertEqual(self.counted("rq_response_before_rq_complete", "rq_rx_reset"), [1, 1])
        self.backend.answer(Answer(403))
        self.proxy.request("GET", "/", asked)
        self.proxy.request("GET", "/", {"connection": "upgrade", "upgrade": "other"})
        self.assertEqual(self.counted("cx_upgrades_total", "cx_upgrades_active"), [2, 0])
