# -*- test-case-name: tests.http.test_tunnel -*-
"""
L{meshproxy.upstream.tunnel}: CONNECT that ends at the proxy.
"""

from __future__ import annotations

from typing import Any

from meshproxy.net.address import Address
from meshproxy.testing import MemoryNetwork, MemoryProxy, VirtualReactor, httpBootstrap
from meshproxy.testing.bootstraps import BACKEND
from meshproxy.testing.peers import Peer
from tests.http.support import LOG, ProxyCase

CONNECT = b"CONNECT there:80 HTTP/1.1\r\nhost: there:80\r\n\r\n"


class TunnelCase(ProxyCase):
    """
    A proxy before an endpoint that speaks no HTTP.
    """

    capacity = 0

    def begin(
        self,
        listens: bool = True,
        isSilent: bool = False,
        first: bytes = b"",
        request: bytes = CONNECT,
        config: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """
        Make them, and send a CONNECT.

        @param isSilent: Whether the endpoint does not answer attempts to connect.
        @param first: What is sent along.
        @param request: What is sent in place of the CONNECT.
        @param config: The C{connect_config}.
        """
        ends = {"upgrade_type": "CONNECT", "connect_config": config or {}}
        action = {"cluster": "backend", "upgrade_configs": [ends]}
        match: dict[str, Any] = {"connect_matcher": {}} if request is CONNECT else {"prefix": "/"}
        route = {"match": match, "route": {**action, **more.pop("route", {})}}
        network = MemoryNetwork(VirtualReactor(), capacity=self.capacity)
        self.proxy = MemoryProxy(httpBootstrap(routes=[route], accessLog=LOG, **more), network, {}, lambda: 0.5)
        self.endpoints: list[Peer] = []

        def accepted(peer: Address) -> Peer:
            self.endpoints.append(Peer())
            return self.endpoints[-1]

        host, _, port = BACKEND.rpartition(":")
        address = Address(host, int(port))
        if isSilent:
            network.silent.add(address)
        elif listens:
            network.listen(address, accepted)
        self.client = Peer()
        self.proxy.connect(self.client)
        self.client.write(request + first)
        self.proxy.settle()

    def head(self) -> bytes:
        """
        The head that the client got, which is taken away.
        """
        head, _, self.client.received = self.client.received.partition(b"\r\n\r\n")
        return head


class TunnelTests(TunnelCase):
    """
    Bytes.
    """

    def test_bothWays(self) -> None:
        """
        What one side sends the other gets, and the head of the request goes nowhere.
        """
        self.begin()
        self.assertTrue(self.head().startswith(b"HTTP/1.1 200 "))
        [endpoint] = self.endpoints
        self.client.write(b"ping")
        self.proxy.settle()
        endpoint.write(b"pong")
        self.proxy.settle()
        self.assertEqual((endpoint.received, self.client.received), (b"ping", b"pong"))
        self.assertEqual(self.clusterStat("upstream_rq_200"), 1)
        self.client.close()
        self.proxy.settle()
        self.assertTrue(endpoint.closed)
        self.assertQuiet()

    def test_early(self) -> None:
        """
        What comes before the tunnel is there waits for it.
        """
        self.begin(first=b"early")
        self.assertEqual(self.endpoints[0].received, b"early")

    def test_header(self) -> None:
        """
        With C{proxy_protocol_config} the endpoint is told of the client before anything else, TLVs included.
        """
        self.begin(config={"proxy_protocol_config": {"version": "V1"}}, first=b"early")
        self.assertEqual(self.endpoints[0].received[:31], b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
        self.assertTrue(self.endpoints[0].received.endswith(b" 10000\r\nearly"))
        added = [{"type": 0xE0, "value": "YWI="}]
        self.begin(config={"proxy_protocol_config": {"version": "V2", "added_tlvs": added}}, first=b"early")
        received = self.endpoints[0].received
        self.assertEqual(received[:16], b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x11")
        self.assertTrue(received.endswith(b"\xe0\0\x02abearly"))

    def test_post(self) -> None:
        """
        With C{allow_post} the body of a POST is a tunnel as well, be there a body or none; the end of the body is the
        end of what the endpoint gets, and its end that of the response. Without it a POST is a request like others.
        """
        for body in (b"hello", b""):
            post = b"POST /x HTTP/1.1\r\nhost: there\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.begin(request=post, first=body, config={"allow_post": True})
            [endpoint] = self.endpoints
            self.assertEqual((endpoint.received, endpoint.ended), (body, True))
            endpoint.write(b"answer")
            endpoint.close()
            self.proxy.settle()
            self.assertIn(b"HTTP/1.1 200 OK\r\n", self.client.received)
            self.assertTrue(self.client.received.endswith(b"6\r\nanswer\r\n0\r\n\r\n"))
            self.assertFalse(self.client.closed)
            self.assertQuiet()
        self.begin(request=post)
        self.assertTrue(self.endpoints[0].received.startswith(b"POST /x HTTP/1.1\r\n"))

    def test_endpointEnds(self) -> None:
        """
        When the endpoint is done, so is the client's connection, after all that was sent.
        """
        self.begin()
        self.head()
        self.endpoints[0].write(b"bye")
        self.endpoints[0].close()
        self.proxy.settle()
        self.assertEqual((self.client.received, self.client.closed), (b"bye", True))
        self.client.close()
        self.proxy.settle()
        self.assertQuiet()

    def test_clientEnds(self) -> None:
        """
        When the client has no more to say, that is the end of both, as with Envoy.
        """
        self.begin()
        self.head()
        self.client.write(b"last")
        self.client.finish()
        self.proxy.settle()
        [endpoint] = self.endpoints
        self.assertEqual((endpoint.received, endpoint.closed), (b"last", True))
        self.assertQuiet()

    def test_refused(self) -> None:
        """
        Without the endpoint there is no tunnel.
        """
        self.begin(listens=False)
        self.assertTrue(self.head().startswith(b"HTTP/1.1 503 "))
        self.assertIn("remote_connection_failure", self.proxy.accessLog[0])
        self.assertQuiet()

    def test_pending(self) -> None:
        """
        Where nobody may wait, nobody does.
        """
        limits = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}
        self.begin(cluster=limits)
        self.assertTrue(self.head().startswith(b"HTTP/1.1 503 "))
        self.assertEqual(self.endpoints, [])
        self.assertQuiet()

    def test_leaves(self) -> None:
        """
        A client that leaves while the connection is made takes the attempt along.
        """
        self.begin(isSilent=True)
        self.assertEqual(self.client.received, b"")
        self.client.abort()
        self.proxy.settle()
        self.assertEqual(self.clusterStat("upstream_rq_cancelled"), 1)
        self.assertQuiet()


class PressureTests(TunnelCase):
    """
    Between small sockets.
    """

    capacity = 8192

    def test_slow(self) -> None:
        """
        A side that does not read stops the other, and nothing is lost.
        """
        self.begin(listener={"per_connection_buffer_limit_bytes": 16384})
        self.head()
        [endpoint] = self.endpoints
        sides = (self.client, endpoint)
        for sender, receiver in (sides, sides[::-1]):
            receiver.pause()
            before = len(receiver.received)
            for _ in range(40):
                sender.write(b"x" * 10_000)
                self.proxy.settle()
            receiver.resume()
            self.proxy.settle()
            self.assertEqual(len(receiver.received) - before, 400_000)
