# -*- test-case-name: tests.http.test_shadow -*-
"""
L{meshproxy.http.shadow}: copies for mirrors.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer, MemoryBackend
from tests.http.support import ProxyCase

MIRROR = "127.0.0.1:9100"


class MirrorCase(ProxyCase):
    """
    A route with a mirror.
    """

    mirror: MemoryBackend

    def mirrored(self, policy: dict[str, Any] | None = None, **more: Any) -> None:
        """
        Start both backends.
        """
        route = {"request_mirror_policies": [{"cluster": "mirror", **(policy or {})}], **more.pop("route", {})}
        self.start(route=route, clusters={"mirror": MIRROR}, **more)
        self.mirror = self.proxy.backend(MIRROR)

    def mirrorStat(self, name: str) -> int:
        """
        A stat of the mirror's cluster.
        """
        return self.proxy.stats("cluster.mirror.").get(f"cluster.mirror.{name}", 0)


class ShadowTests(MirrorCase):
    """
    Copies.
    """

    def test_copied(self) -> None:
        """
        The mirror gets what the upstream gets, but for the host and who it is from.
        """
        self.mirrored()
        self.assertEqual(self.proxy.request("POST", "/a?b", {"x": "y"}, b"abc").status, 200)
        self.proxy.settle()
        one, other = self.backend.last, self.mirror.last
        self.assertEqual((one.method, one.path, one.body), (other.method, other.path, other.body))
        self.assertEqual(other.headers.get(b"host"), b"example.com-shadow")
        self.assertEqual(other.headers.get(b"x-envoy-internal"), b"true")
        self.assertNotIn(b"x-envoy-internal", one.headers)
        self.assertEqual((self.mirrorStat("upstream_rq_200"), self.mirrorStat("upstream_rq_total")), (1, 1))
        self.assertQuiet()

    def test_neverWaitedFor(self) -> None:
        """
        A mirror that hangs, fails or cannot be reached costs the request nothing; one that hangs is given up in time.
        """
        for answer in (Answer.hang(), Answer.close(), Answer.reset(), Answer(500), Answer(200, b"x" * 1_000_000)):
            self.mirrored()
            self.mirror.answer(answer)
            self.assertEqual(self.proxy.request().status, 200)
            self.proxy.advance(16)
            self.assertEqual(len(self.mirror.requests), 1)
            self.assertQuiet()
        self.mirrored()
        self.mirror.stop()
        self.assertEqual(self.proxy.request().status, 200)
        self.proxy.settle()
        self.assertEqual(self.mirrorStat("upstream_cx_connect_fail"), 1)
        self.assertQuiet()

    def test_timedOut(self) -> None:
        """
        The route's time-out holds for the copy too, and is counted.
        """
        self.mirrored(route={"timeout": "2s"})
        self.mirror.answer(Answer.hang())
        self.proxy.request()
        self.assertEqual(self.mirrorStat("upstream_rq_active"), 1)
        self.proxy.advance(2)
        self.assertEqual(self.mirrorStat("upstream_rq_timeout"), 1)
        self.assertQuiet()

    def test_fraction(self) -> None:
        """
        Only a part is copied.
        """
        numbers = iter([0.05, 0.95] * 20)
        self.mirrored({"runtime_fraction": {"default_value": {"numerator": 10}}}, chance=lambda: next(numbers))
        for _ in range(4):
            self.proxy.request()
            self.proxy.settle()
        self.assertEqual((len(self.backend.requests), len(self.mirror.requests)), (4, 2))

    def test_requestGone(self) -> None:
        """
        A client that leaves in the middle of its body takes the copy along.
        """
        self.mirrored()
        client = self.proxy.client()
        client.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc")
        self.proxy.settle()
        self.assertEqual(self.mirrorStat("upstream_rq_active"), 1)
        client.close()
        self.proxy.settle()
        self.assertQuiet()

    def test_unknownCluster(self) -> None:
        """
        A cluster that a header names and that is not there gets nothing.
        """
        self.start(route={"request_mirror_policies": [{"cluster_header": "x-mirror"}]})
        for name in ("nobody", "backend"):
            self.assertEqual(self.proxy.request(headers={"x-mirror": name}).status, 200)
            self.proxy.settle()
        self.assertEqual(len(self.backend.requests), 3)
        self.assertQuiet()

    def test_noEndpoint(self) -> None:
        """
        A mirror without endpoints is counted, and costs nothing.
        """
        self.mirrored(cluster={})
        self.proxy.server.clusters.byName["mirror"].endpoints = ()
        self.proxy.server.clusters.byName["mirror"].refresh()
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(self.mirrorStat("upstream_cx_none_healthy"), 1)

    def test_trailers(self) -> None:
        """
        Trailers are copied too.
        """
        self.mirrored(manager=self.trailers(), cluster={"http_protocol_options": {"enable_trailers": True}})
        self.proxy.request("POST", "/", body=b"abc", trailers={"x-sum": "1"})
        self.proxy.settle()
        self.assertEqual(self.mirror.last.trailers, self.backend.last.trailers)
        self.assertQuiet()


class SlowMirrorTests(MirrorCase):
    """
    Sockets that take little at a time, and a mirror that does not read.
    """

    capacity = 4096

    def test_behind(self) -> None:
        """
        What a mirror does not take has to wait within the limit, and above it the copy is given up; the request is not.
        """
        self.mirrored(listener={"per_connection_buffer_limit_bytes": 16384})
        client = self.proxy.client()
        client.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2000000\r\n\r\n")
        self.proxy.settle()
        self.mirror.connections[0].pause()
        for _ in range(20):
            client.write(b"x" * 100_000)
            self.proxy.settle()
        self.assertEqual(self.backend.last.body, b"x" * 2_000_000)
        self.assertEqual(self.mirrorStat("retry_or_shadow_abandoned"), 1)
        self.assertQuiet()

    def test_catchesUp(self) -> None:
        """
        One that was behind for a while has all of it in the end.
        """
        self.mirrored(cluster={"per_connection_buffer_limit_bytes": 8192})
        client = self.proxy.client()
        client.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 60000\r\n\r\n")
        self.proxy.settle()
        mirror = self.mirror.connections[0]
        mirror.pause()
        for _ in range(6):
            client.write(b"x" * 10_000)
            self.proxy.settle()
        mirror.resume()
        self.proxy.settle()
        self.assertEqual(self.mirror.last.body, b"x" * 60000)
        self.assertEqual(self.mirrorStat("retry_or_shadow_abandoned"), 0)
        self.assertQuiet()
