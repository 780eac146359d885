"""
L{meshproxy.http.hedging}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer
from meshproxy.testing.network import parseAddress
from tests.http.support import ProxyCase

_POLICY: dict[str, Any] = {
    "retry_on": "5xx",
    "num_retries": 2,
    "per_try_timeout": "1s",
    "retry_back_off": {"base_interval": "0.001s"},
}
_HEDGES = {"hedge_on_per_try_timeout": True}


def late(seconds: float, body: bytes = b"ok", status: int = 200) -> Answer:
    """
    An answer after a while.
    """
    raw = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    return Answer(raw=raw, delay=seconds)


class HedgingCase(ProxyCase):
    """
    A route whose late tries go on.
    """

    def ask(self, *answers: Answer, **config: Any) -> None:
        """
        Send a request.

        @param answers: What its tries get.
        """
        route = {"timeout": "8s", "retry_policy": _POLICY, "hedge_policy": _HEDGES}
        self.start(**{"route": route, **config})
        self.backend.answer(*answers)
        self.client = self.proxy.client()
        self.client.send("GET", "/")
        self.proxy.settle()

    def advance(self, seconds: float) -> int | None:
        """
        Let time pass.

        @return: The status of the response, if there is one by now.
        """
        for _ in range(int(seconds * 10)):
            self.proxy.advance(0.1)
        return self.client.response().status if self.client.received else None

    def assertEnded(self) -> None:
        """
        Nothing is left of any try.
        """
        self.assertEqual(self.clusterStat("upstream_rq_active"), 0)
        self.assertEqual(self.clusterStat("upstream_rq_pending_active"), 0)
        self.assertEqual(self.proxy.stat("cluster.backend.circuit_breakers.default.rq_retry_open"), 0)
        self.assertQuiet()


class HedgingTests(HedgingCase):
    """
    Late tries.
    """

    def test_firstAnswers(self) -> None:
        """
        The first try may still be the one that answers; the other is given up.
        """
        self.ask(late(1.6, b"first"), late(5, b"second"))
        self.assertIsNone(self.advance(1.4))
        self.assertEqual(len(self.backend.requests), 2)
        self.assertEqual(self.advance(0.5), 200)
        self.assertEqual(self.client.response().body, b"first")
        self.assertEqual(self.clusterStat("upstream_rq_per_try_timeout"), 0)
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 1)
        self.assertEqual(self.clusterStat("upstream_rq_200"), 1)
        self.assertEnded()

    def test_secondAnswers(self) -> None:
        """
        So may a later one be; the first is given up then.
        """
        self.ask(late(5, b"first"), late(0.3, b"second"))
        self.assertEqual(self.advance(1.6), 200)
        self.assertEqual(self.client.response().body, b"second")
        self.assertEqual(self.clusterStat("upstream_rq_retry_success"), 1)
        self.assertEnded()

    def test_bad(self) -> None:
        """
        A bad response is left aside while another try may answer, whichever try it is of; the last one is the answer.
        """
        self.ask(late(1.5, b"bad", 503), late(1.2, b"good"))
        self.assertIsNone(self.advance(2))
        self.assertEqual(self.advance(0.5), 200)
        self.assertEnded()
        self.ask(late(1.5, b"bad", 503), late(0.1, b"worse", 503), late(0.1, b"worst", 503))
        self.assertIsNone(self.advance(1.4))
        self.assertEqual(self.advance(0.4), 503)
        self.assertEqual(self.client.response().body, b"bad")
        self.assertEnded()

    def test_gone(self) -> None:
        """
        The same of tries that break off.
        """
        self.ask(Answer.reset(delay=1.5), late(1.2, b"good"))
        self.assertIsNone(self.advance(2))
        self.assertEqual(self.advance(0.5), 200)
        self.assertEnded()
        self.ask(late(1.5, b"good"), Answer.reset(delay=0.1), Answer.reset(delay=0.1))
        self.assertEqual(self.advance(1.8), 200)
        self.assertEnded()
        self.ask(*[Answer.reset(delay=2.5)] * 3)
        self.assertEqual(self.advance(6), 503)
        self.assertEnded()

    def test_timeout(self) -> None:
        """
        The time-out of the route ends all of them, and each is counted.
        """
        self.ask(*[Answer.hang()] * 3)
        self.assertEqual(self.advance(8.2), 504)
        self.assertEqual(len(self.backend.requests), 3)
        self.assertEqual(self.clusterStat("upstream_rq_timeout"), 3)
        self.assertEqual(self.clusterStat("upstream_rq_retry_limit_exceeded"), 1)
        self.assertEnded()

    def test_connecting(self) -> None:
        """
        A late try may still wait for its connection.
        """
        route = {"timeout": "8s", "retry_policy": {**_POLICY, "num_retries": 1}, "hedge_policy": _HEDGES}
        self.start(route=route, cluster={"connect_timeout": "3s"})
        self.proxy.network.silent.add(parseAddress("127.0.0.1:9000"))
        self.client = self.proxy.client()
        self.client.send("GET", "/")
        self.assertIsNone(self.advance(2))
        self.assertEqual(self.clusterStat("upstream_rq_pending_active"), 2)
        self.assertEqual(self.advance(2.5), 503)
        self.assertEnded()

    def test_clientLeaves(self) -> None:
        """
        Nothing goes on without the client.
        """
        self.ask(*[Answer.hang()] * 3)
        self.advance(1.5)
        self.client.abort()
        self.proxy.settle()
        self.assertEnded()

    def test_not(self) -> None:
        """
        Without it, with a time-out of the try only, a try is given up.
        """
        self.ask(late(1.5, b"first"), late(0.3, b"second"), route={"timeout": "8s", "retry_policy": _POLICY})
        self.assertEqual(self.advance(1.4), 200)
        self.assertEqual(self.clusterStat("upstream_rq_per_try_timeout"), 1)
        host = {"hedge_policy": _HEDGES}
        self.ask(late(5), late(0.3), route={"timeout": "8s", "retry_policy": _POLICY}, virtualHost=host)
        self.assertEqual(self.advance(1.6), 200)
        self.assertEqual(self.clusterStat("upstream_rq_per_try_timeout"), 0)
