"""
L{meshproxy.http.resolutions}: how often routes are looked for.
"""

from __future__ import annotations

from typing import Any

from tests.http.support import ProxyCase, scripted

_RECORDS = {"record_route_resolution_stats": True}


class ResolutionTests(ProxyCase):
    """
    C{record_route_resolution_stats}.
    """

    def recorded(self, name: str) -> dict[float, int] | None:
        """
        What is in a histogram; L{None} where there is none.
        """
        histogram = self.proxy.server.context.store.histograms.get(f"http.test.downstream_rq_{name}")
        return None if histogram is None else {value: count for value, count in histogram.bins.items() if count}

    def test_counted(self) -> None:
        """
        Once for each request that a route is looked for, whether there is one or not.
        """
        routes: list[Any] = [{"match": {"path": "/a"}, "route": {"cluster": "backend"}}]
        self.start(routes=routes, manager=_RECORDS)
        self.assertEqual([self.proxy.request(path=path).status for path in ("/a", "/b", "/a")], [200, 404, 200])
        self.assertEqual(self.recorded("route_resolutions"), {1: 3})
        self.assertEqual(self.recorded("route_resolution_time_us"), {0: 3})

    def test_cleared(self) -> None:
        """
        And again where a filter clears it.
        """
        self.start(scripted(requestHeaders=lambda stream, *args: stream.clearRouteCache()), manager=_RECORDS)
        self.proxy.request()
        self.assertEqual(self.recorded("route_resolutions"), {2: 1})

    def test_notAsked(self) -> None:
        """
        Nobody else has such figures.
        """
        self.start()
        self.proxy.request()
        self.assertIsNone(self.recorded("route_resolutions"))

    def test_logged(self) -> None:
        """
        Access logs show it, without figures; none for what is answered before.
        """
        shown = "%ROUTE_RESOLUTION_COUNT% %ROUTE_RESOLUTION_TIME_US%"
        self.start(scripted(requestHeaders=lambda stream, *args: stream.clearRouteCache()), accessLog=shown)
        self.proxy.request()
        client = self.proxy.client()
        client.write(b"GET / HTTP/1.1\r\n\r\n")
        self.proxy.settle()
        self.assertEqual(self.proxy.accessLog, ["2 0", "0 -"])
        self.assertIsNone(self.recorded("route_resolutions"))

    def test_refused(self) -> None:
        """
        What is answered before a route is looked for is not among them.
        """
        self.start(manager=_RECORDS)
        client = self.proxy.client()
        client.write(b"GET / HTTP/1.1\r\n\r\n")
        self.proxy.settle()
        self.assertIn(b"400", client.received)
        self.assertEqual(self.recorded("route_resolutions"), {})
