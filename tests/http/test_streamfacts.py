"""
Tests for L{meshproxy.http.streamfacts}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer
from tests.http.support import ProxyCase


class StreamFactsTests(ProxyCase):
    """
    L{meshproxy.http.streamfacts.StreamFacts}, as logs show it.
    """

    def line(self, form: str, **config: Any) -> str:
        """
        The line of a request's log.
        """
        self.start(accessLog=form, **config)
        self.proxy.request(headers={"x-request-id": "id-1"})
        return self.proxy.accessLog[-1]

    def test_lost(self) -> None:
        """
        What is known of an upstream connection is known when it is gone, too.
        """
        self.start(accessLog="%RESPONSE_FLAGS% %UPSTREAM_LOCAL_ADDRESS%")
        self.backend.answer(Answer.close(), Answer.reset())
        for _ in range(2):
            self.assertEqual(self.proxy.request().status, 503)
        lines = [line.split() for line in self.proxy.accessLog]
        self.assertEqual([flags for flags, _ in lines], ["UC", "UC"])
        self.assertTrue(all(address.startswith("127.0.0.1:") for _, address in lines), lines)
        self.assertQuiet()

    def test_metadata(self) -> None:
        """
        Metadata of everything that a request passes.
        """

        def metadata(name: str) -> dict[str, Any]:
            return {"metadata": {"filter_metadata": {"ns": {"of": name}}}}

        route = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}, **metadata("route")}
        kinds = ("ROUTE", "VIRTUAL_HOST", "CLUSTER", "LISTENER", "UPSTREAM_HOST")
        line = self.line(
            " ".join(f"%METADATA({kind}:ns:of)%" for kind in kinds),
            routes=[route],
            virtualHost=metadata("host"),
            cluster=metadata("cluster"),
            listener=metadata("listener"),
        )
        self.assertEqual(line, "route host cluster listener -")

    def test_upstream(self) -> None:
        """
        The upstream connection has a number, an address and a protocol; the cluster a name besides that for stats.
        """
        form = "%UPSTREAM_PROTOCOL% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"
        line = self.line(form, cluster={"alt_stat_name": "other"})
        self.assertEqual(line, "HTTP/1.1 other backend 127.0.0.1")
        self.start(accessLog="%UPSTREAM_CONNECTION_ID%")
        self.proxy.request()
        self.proxy.request()
        first, second = self.proxy.accessLog
        self.assertEqual(first, second)
        self.assertNotEqual(first, "0")

    def test_requestId(self) -> None:
        """
        The stream is known by its request id.
        """
        self.assertEqual(self.line("%STREAM_ID%"), "id-1")

    def test_times(self) -> None:
        """
        How long it took to get a connection, or none, is known, and that the request went on when it was there.
        """
        connect = "%COMMON_DURATION(US_CX_BEG:US_CX_END:ms)%"
        form = f"%UPSTREAM_CONNECTION_POOL_READY_DURATION% %REQUEST_TX_DURATION% {connect}"
        self.assertEqual(self.line(form), "0 0 0")
        self.start(accessLog=form, clusters={"nowhere": "127.0.0.1:9"}, route={"cluster": "nowhere"})
        self.proxy.request()
        self.assertEqual(self.proxy.accessLog[-1], "0 - -")

    def test_attempts(self) -> None:
        """
        Endpoints are told once each, if there was a connection.
        """
        policy = {"retry_on": "5xx", "num_retries": 1}
        self.start(accessLog="%UPSTREAM_HOSTS_ATTEMPTED%", route={"retry_policy": policy})
        self.backend.answer(Answer(status=503), Answer())
        self.proxy.request()
        self.assertEqual(self.proxy.accessLog[-1], "127.0.0.1:9000")
