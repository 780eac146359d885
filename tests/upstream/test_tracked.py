"""
L{meshproxy.upstream.tracked}: what clusters count where they are asked to.
"""

from __future__ import annotations

from typing import Any

from meshproxy.stats import TagExtractor
from meshproxy.testing import Answer, httpBootstrap
from tests.http.support import ProxyCase

_RETRY = {"retry_policy": {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"}}}
_ENDPOINT = "endpoint.127.0.0.1_9000."


def late(seconds: float) -> Answer:
    """
    An answer after a while.
    """
    return Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", delay=seconds)


class TrackedCase(ProxyCase):
    """
    A cluster that counts more than others.
    """

    def begin(self, *answers: Answer, tracked: dict[str, Any], **config: Any) -> None:
        """
        Start the proxy.
        """
        self.start(cluster={"track_cluster_stats": tracked}, **config)
        self.backend.answer(*answers)

    def recorded(self, name: str) -> dict[float, int]:
        """
        What is in a histogram of the cluster: values, and how often.
        """
        histogram = self.proxy.server.context.store.histograms[f"cluster.backend.{name}"]
        return {value: count for value, count in histogram.bins.items() if count}


class SizeTests(TrackedCase):
    """
    C{request_response_sizes}.
    """

    def test_bodies(self) -> None:
        """
        Bodies of requests and responses, for each try.
        """
        self.begin(Answer(503, b"bad"), Answer(200, b"hello"), tracked={"request_response_sizes": True}, route=_RETRY)
        self.proxy.request("POST", body=b"abc")
        self.assertEqual(self.recorded("upstream_rq_body_size"), {3: 2})
        # What is tried again does not go on.
        self.assertEqual(self.recorded("upstream_rs_body_size"), {0: 1, 5: 1})

    def test_heads(self) -> None:
        """
        Heads with their pseudo-fields, interim ones added.
        """
        raw = b"HTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        self.begin(Answer(raw=raw), tracked={"request_response_sizes": True})
        self.proxy.request()
        self.assertEqual(self.recorded("upstream_rs_headers_count"), {4: 1})
        self.assertEqual(
            self.recorded("upstream_rs_headers_size"), {2 * len(":status200") + len("ab") + len("content-length0"): 1}
        )

    def test_noResponse(self) -> None:
        """
        Without a response there is none to measure.
        """
        self.begin(Answer.reset(), tracked={"request_response_sizes": True})
        self.proxy.request()
        self.assertEqual(self.recorded("upstream_rq_body_size"), {0: 1})
        self.assertEqual(self.recorded("upstream_rs_body_size"), {})

    def test_notAsked(self) -> None:
        """
        Others have no such figures.
        """
        self.start()
        self.proxy.request()
        self.assertNotIn("cluster.backend.upstream_rq_body_size", self.proxy.stats())


class TimeoutTests(TrackedCase):
    """
    C{timeout_budgets}.
    """

    whole, tries = "upstream_rq_timeout_budget_percent_used", "upstream_rq_timeout_budget_per_try_percent_used"

    def test_shares(self) -> None:
        """
        In percent, of the request's time-out and of the try's.
        """
        retry = {"retry_on": "5xx", "per_try_timeout": "2s"}
        self.begin(late(1.0), tracked={"timeout_budgets": True}, route={"timeout": "4s", "retry_policy": retry})
        self.proxy.request()
        self.assertEqual((self.recorded(self.whole), self.recorded(self.tries)), ({25: 1}, {50: 1}))

    def test_none(self) -> None:
        """
        Of no time-out nothing is used.
        """
        self.begin(late(1.0), tracked={"timeout_budgets": True}, route={"timeout": "0s"})
        self.proxy.request()
        self.assertEqual((self.recorded(self.whole), self.recorded(self.tries)), ({0: 1}, {0: 1}))

    def test_over(self) -> None:
        """
        A request whose time is over took all of it; its try is not counted.
        """
        self.begin(Answer.hang(), tracked={"timeout_budgets": True}, route={"timeout": "1s"})
        self.proxy.request()
        self.assertEqual((self.recorded(self.whole), self.recorded(self.tries)), ({100: 1}, {}))

    def test_tryOver(self) -> None:
        """
        So did tries, of theirs.
        """
        retry = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "1s"}
        self.begin(
            Answer.hang(),
            Answer.hang(),
            tracked={"timeout_budgets": True},
            route={"timeout": "9s", "retry_policy": retry},
        )
        self.assertEqual(self.proxy.request().status, 504)
        self.assertEqual(self.recorded(self.tries), {100: 2})
        self.assertEqual(len(self.recorded(self.whole)), 1)

    def test_older(self) -> None:
        """
        The older field says the same.
        """
        self.start(cluster={"track_timeout_budgets": True}, route={"timeout": "4s"})
        self.backend.answer(late(1.0))
        self.proxy.request()
        self.assertEqual(self.recorded(self.whole), {25: 1})


class EndpointTests(TrackedCase):
    """
    C{per_endpoint_stats}.
    """

    def test_figures(self) -> None:
        """
        The stats have the figures of each endpoint.
        """
        self.begin(Answer(200), Answer(500), tracked={"per_endpoint_stats": True})
        for _ in range(2):
            self.proxy.request()
        found = self.proxy.stats(f"cluster.backend.{_ENDPOINT}")
        names = "cx_active cx_connect_fail cx_total healthy rq_active rq_error rq_pending_active rq_success"
        names += " rq_timeout rq_total"
        values = (1, 0, 1, 1, 0, 1, 0, 1, 0, 2)
        self.assertEqual(
            list(found.items()),
            [(f"cluster.backend.{_ENDPOINT}{name}", value) for name, value in zip(names.split(), values, strict=True)],
        )

    def test_gone(self) -> None:
        """
        Those of an endpoint that is gone go with it.
        """
        tracked = {"track_cluster_stats": {"per_endpoint_stats": True}}
        self.begin(tracked={"per_endpoint_stats": True})
        self.assertTrue(self.proxy.stats(f"cluster.backend.{_ENDPOINT}"))
        cluster = self.proxy.server.clusters.byName["backend"]
        cluster._found([])
        self.assertEqual(self.proxy.stats("cluster.backend.endpoint."), {})
        self.assertTrue(self.proxy.reload(httpBootstrap(cluster=tracked)))

    def test_label(self) -> None:
        """
        Its address is a label, as it is written elsewhere.
        """
        extracted = TagExtractor().extract(f"cluster.backend.{_ENDPOINT}rq_total")
        self.assertEqual(extracted.name, "cluster.endpoint.rq_total")
        self.assertEqual(
            extracted.tags, (("envoy.cluster_name", "backend"), ("envoy.endpoint_address", "127.0.0.1:9000"))
        )
