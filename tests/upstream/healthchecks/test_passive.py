"""
L{meshproxy.upstream.healthchecks.passive}: responses to requests, in a whole proxy.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import Answer, MemoryProxy
from meshproxy.testing.bootstraps import BACKEND, httpBootstrap
from meshproxy.testing.messages import Request
from meshproxy.upstream.healthchecks.passive import unwantedIn, watchResponsesOf
from meshproxy.upstream.healthflags import flagsText
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection, answer
from tests.upstream.healthchecks.support import httpCheck
from tests.upstream.support import PoolKit

_FIELD = (b"x-envoy-immediate-health-check-fail", b"true")


class HTTP1Tests(SynchronousTestCase):
    """
    A pool that looks at responses.
    """

    def setUp(self) -> None:
        self.kit = PoolKit()
        self.told = 0
        watchResponsesOf(self.kit.pool, unwantedIn(self.tell))

    def tell(self) -> None:
        self.told += 1

    def test_whole(self) -> None:
        """
        A response that came at once.
        """
        self.kit.backend.answer(Answer(body=b"a"), Answer(body=b"a", headers=[_FIELD]), Answer(body=b"a"))
        for expected in (0, 1, 1):
            asker = self.kit.served()
            self.assertEqual((self.told, asker.told[-1], asker.body), (expected, "end", b"a"))
        self.assertEqual(len(self.kit.backend.connections), 1)

    def test_parts(self) -> None:
        """
        One that came byte by byte, and one without a body.
        """
        self.kit.network.readSize = 1
        self.kit.backend.answer(Answer(body=b"a"), Answer(body=b"a", headers=[_FIELD]), Answer(204, headers=[_FIELD]))
        for expected in (0, 1, 2):
            self.assertEqual((self.kit.served().told[-1], self.told), ("end", expected))

    def test_again(self) -> None:
        """
        It is no other class the second time.
        """
        watching = self.kit.pool.connectionClass
        watchResponsesOf(self.kit.pool, unwantedIn(self.tell))
        self.assertIs(self.kit.pool.connectionClass, watching)
        self.assertIsNot(watching, HTTP1UpstreamConnection)


class ProxyTests(SynchronousTestCase):
    """
    A proxy whose cluster is checked.
    """

    def proxy(self, **cluster: Any) -> MemoryProxy:
        """
        One with a route to a cluster that is checked each ten seconds.
        """
        proxy = MemoryProxy(httpBootstrap(cluster=cluster))
        self.addCleanup(proxy.stop)
        return proxy

    def flags(self, proxy: MemoryProxy) -> str:
        """
        Those of the only endpoint.
        """
        [cluster] = proxy.server.clusters
        return flagsText(cluster.endpoints[0].flags)

    def asked(self, proxy: MemoryProxy) -> list[str]:
        """
        The flags before a request that is answered so, after it, and after a check that is not.
        """
        proxy.advance(20.0)
        found = [self.flags(proxy)]
        proxy.request("GET", "/a")
        proxy.settle()
        found.append(self.flags(proxy))
        [cluster] = proxy.server.clusters
        self.assertEqual(cluster.stats.membershipExcluded.value, 1)
        proxy.advance(20.0)
        return [*found, self.flags(proxy)]

    _EXPECTED = ("healthy", "/failed_active_hc/excluded_via_immediate_hc_fail", "healthy")

    def test_http1(self) -> None:
        """
        By HTTP/1.1: the endpoint is ill with the response, and well when it passes its checks again.
        """

        def script(request: Request) -> Answer:
            return Answer(body=b"a", headers=[_FIELD] if request.path == b"/a" else [])

        proxy = self.proxy(health_checks=[httpCheck()])
        proxy.backend(BACKEND, script)
        self.assertEqual(tuple(self.asked(proxy)), self._EXPECTED)
        name = next(name for name in proxy.stats("cluster.") if name.endswith("health_check.passive_failure"))
        self.assertEqual(proxy.stat(name), 1)

    def test_http2(self) -> None:
        """
        By HTTP/2 likewise.
        """

        def respond(connection: ServiceConnection, seen: Seen) -> None:
            answer(b"a", *[_FIELD] if seen.get(b":path") == b"/a" else [])(connection, seen)

        proxy = self.proxy(health_checks=[httpCheck(codec_client_type="HTTP2")], http2_protocol_options={})
        HTTP2Backend(proxy, BACKEND).respond = respond
        self.assertEqual(tuple(self.asked(proxy)), self._EXPECTED)

    def test_logged(self) -> None:
        """
        So it is where bytes are counted for logs.
        """

        def script(request: Request) -> Answer:
            return Answer(body=b"a", headers=[_FIELD] if request.path == b"/a" else [])

        log = "%UPSTREAM_WIRE_BYTES_RECEIVED%"
        proxy = MemoryProxy(httpBootstrap(cluster={"health_checks": [httpCheck()]}, accessLog=log))
        self.addCleanup(proxy.stop)
        proxy.backend(BACKEND, script)
        self.assertEqual(tuple(self.asked(proxy)), self._EXPECTED)
        self.assertNotEqual(proxy.accessLog, ["0"])
