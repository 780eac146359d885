"""
L{meshproxy.upstream.healthchecks.http}: in a cluster, over a network in memory.
"""

from __future__ import annotations

from typing import Any, cast

from meshproxy.runtime import Value
from meshproxy.testing import Answer, MemoryProxy
from tests.http.http2backend import HTTP2Backend, answer
from tests.upstream.healthchecks.support import CheckedCase, httpCheck


class HTTPTests(CheckedCase):
    """
    Checks by HTTP/1.1.
    """

    def verdict(self, said: Answer, times: dict[str, Any] | None = None, **fields: Any) -> str:
        """
        The flags of a healthy endpoint after an answer.
        """
        backend = self.backend()
        cluster = self.make(httpCheck(times, **fields))
        # The first answer may be no good one.
        [endpoint] = cluster.endpoints
        endpoint.flags = 0
        backend.answer(said)
        self.reactor.advance(10.0)
        found = self.flags(endpoint)
        cluster.drain()
        backend.stop()
        self.reactor.settle()
        return found

    def test_request(self) -> None:
        """
        What is sent, on one connection; nothing is counted with requests.
        """
        backend = self.backend()
        cluster = self.make(httpCheck())
        self.reactor.advance(10.0)
        self.assertEqual(len(backend.connections), 1)
        first, second = backend.requests
        self.assertEqual(first.headers, second.headers)
        self.assertEqual((first.method, first.path), (b"GET", b"/health"))
        self.assertEqual(sorted(first.headers.fields()), [(b"host", b"c"), (b"user-agent", b"Envoy/HC")])
        self.assertEqual(self.stats("attempt", "success", "healthy"), (2, 2, 1))
        self.assertFalse(cluster.stats.cxTotal.used)
        self.assertEqual(cluster.endpoints[0].cxTotal.value, 0)

    def test_words(self) -> None:
        """
        Method, host, body and headers are what they are said to be.
        """
        backend = self.backend()
        added = [{"header": {"key": "x-a", "value": "%UPSTREAM_HOST%"}}]
        more: dict[str, Any] = {"request_headers_to_add": added, "request_headers_to_remove": ["user-agent"]}
        self.make(httpCheck(method="POST", host="h.example", send={"text": "6869"}, **more))
        seen = backend.last
        self.assertEqual((seen.method, seen.body, seen.headers.get(b"host")), (b"POST", b"hi", b"h.example"))
        self.assertEqual((seen.headers.get(b"user-agent"), seen.headers.get(b"content-length")), (None, b"2"))
        self.assertEqual(seen.headers.get(b"x-a"), b"192.0.2.1:80")

    def test_statuses(self) -> None:
        """
        200 is good, unless others are named. What may be said again takes the threshold, what is neither does not.
        """
        failed, healthy = "/failed_active_hc", "healthy"
        self.assertEqual(self.verdict(Answer(200)), healthy)
        self.assertEqual(self.verdict(Answer(204)), failed)
        self.assertEqual(self.verdict(Answer(503)), failed)
        expected: dict[str, Any] = {
            "expected_statuses": [{"start": 200, "end": 300}],
            "retriable_statuses": [{"start": 500, "end": 600}],
        }
        self.assertEqual(self.verdict(Answer(204), **expected), healthy)
        self.assertEqual(self.verdict(Answer(404), **expected), failed)
        self.assertEqual(self.verdict(Answer(503), **expected), healthy)
        self.assertEqual(self.verdict(Answer(503), {"unhealthy_threshold": 1}, **expected), failed)

    def test_body(self) -> None:
        """
        What is expected has to be in the first bytes of the body, however they come.
        """
        received: dict[str, Any] = {
            "receive": [{"text": b"ab".hex()}, {"text": b"cd".hex()}],
            "response_buffer_size": 6,
        }
        self.assertEqual(self.verdict(Answer(body=[b"a", b"bxc", b"d!"]), **received), "healthy")
        self.assertEqual(self.verdict(Answer(body=b"abxxxcd"), **received), "/failed_active_hc")
        self.assertEqual(self.verdict(Answer(body=b"xxxxxabcd"), **{**received, "response_buffer_size": 0}), "healthy")
        self.assertEqual(self.verdict(Answer(body=b"x"), **received), "/failed_active_hc")

    def test_service(self) -> None:
        """
        The name of the service that answers is looked at, unless the runtime says not to.
        """
        name = {"service_name_matcher": {"prefix": "web"}}
        good = Answer(headers=[(b"x-envoy-upstream-healthchecked-cluster", b"web-1")])
        self.assertEqual(self.verdict(good, **name), "healthy")
        self.assertEqual(self.verdict(Answer(), **name), "/failed_active_hc")
        backend = self.backend()
        self.make(httpCheck(**name))
        self.runtime.values["health_check.verify_cluster"] = Value("0", 0.0, 0, None, 0.0)
        self.reactor.advance(10.0)
        self.assertEqual((len(backend.requests), self.stats("verify_cluster", "success")), (2, (1, 1)))

    def test_immediately(self) -> None:
        """
        A failure may ask for no requests at all; a success may not.
        """
        fields = [(b"x-envoy-immediate-health-check-fail", b"true")]
        self.assertEqual(self.verdict(Answer(503, headers=fields)), "/failed_active_hc/excluded_via_immediate_hc_fail")
        self.assertEqual(self.verdict(Answer(200, headers=fields)), "healthy")

    def test_degraded(self) -> None:
        """
        One that says so is degraded.
        """
        self.assertEqual(self.verdict(Answer(headers=[(b"x-envoy-degraded", b"")])), "/degraded_active_hc")

    def test_network(self) -> None:
        """
        Whatever is no answer is of the network, and takes the threshold.
        """
        times = {"unhealthy_threshold": 1}
        for said in (Answer.close(), Answer.reset(b"HTTP/1.1 200 OK\r\n"), Answer(raw=b"HTTP/1.1 2000 OK\r\n\r\n")):
            self.assertEqual(self.verdict(said), "healthy")
            self.assertEqual(self.verdict(said, times), "/failed_active_hc")
            cluster = self.make(httpCheck())
            self.assertEqual(self.stats("network_failure", "failure"), (1, 1))
            cluster.drain()
            self.reactor.settle()

    def test_refused(self) -> None:
        """
        Nobody listens; when somebody does, there is a new connection.
        """
        cluster = self.make(httpCheck())
        self.assertEqual(self.flags(cluster.endpoints[0]), "/failed_active_hc")
        self.assertEqual(self.stats("attempt", "network_failure"), (1, 1))
        self.backend()
        for _ in range(2):
            self.reactor.advance(10.0)
        self.assertEqual(self.flags(cluster.endpoints[0]), "healthy")
        self.assertEqual(len(self.network.dialled), 2)

    def test_late(self) -> None:
        """
        An answer that does not come in time ends its connection, as an attempt to connect does.
        """
        backend = self.backend()
        cluster = self.make(httpCheck())
        backend.answer(Answer.hang())
        self.reactor.advance(11.0)
        self.assertTrue(backend.connections[0].closed)
        self.network.silent.add(backend.address)
        self.reactor.advance(11.0)
        self.assertEqual(self.flags(cluster.endpoints[0]), "/failed_active_hc/active_hc_timeout")
        self.assertEqual((self.stats("network_failure"), len(self.network.dialled)), ((2,), 2))

    def test_notReused(self) -> None:
        """
        Each check may have a connection of its own; one that its endpoint closes is not used again either.
        """
        backend = self.backend()
        self.make(httpCheck({"reuse_connection": False}))
        self.reactor.advance(10.0)
        self.assertEqual([connection.closed for connection in backend.connections], [True, True])

    def test_closed(self) -> None:
        """
        An endpoint that closes idle connections is healthy.
        """
        backend = self.backend()
        cluster = self.make(httpCheck())
        backend.connections[0].close()
        self.reactor.advance(10.0)
        self.assertEqual((len(backend.connections), self.flags(cluster.endpoints[0])), (2, "healthy"))
        self.assertEqual(self.stats("failure"), (0,))

    def test_faults(self) -> None:
        """
        What cannot be meant is refused.
        """
        for fields, why in (
            ({"send": {"text": "00"}}, "cannot specify a request payload with method 'GET'"),
            ({"receive": [{"text": "00" * 9}], "response_buffer_size": 8}, "response length '9' is over"),
            (
                {"expected_statuses": [{"start": 300, "end": 200}]},
                "expecting start < end, but found start=300 and end=200",
            ),
            ({"expected_statuses": [{"start": 99, "end": 200}]}, "expecting start >= 100"),
            (
                {"retriable_statuses": [{"start": 500, "end": 601}]},
                "Invalid http retriable status range: expecting end <=",
            ),
        ):
            self.assertIn(why, self.refused(httpCheck(**cast(Any, fields))))


class HTTP2Tests(CheckedCase):
    """
    Checks by HTTP/2.
    """

    def serve(self) -> HTTP2Backend:
        """
        A service.
        """
        return HTTP2Backend(cast(MemoryProxy, self), "192.0.2.1:80")

    def test_checks(self) -> None:
        """
        One stream after the other, on one connection.
        """
        backend = self.serve()
        cluster = self.make(httpCheck(codec_client_type="HTTP2"))
        self.reactor.advance(10.0)
        self.assertEqual(self.flags(cluster.endpoints[0]), "healthy")
        self.assertEqual(len(backend.connections), 1)
        fields = dict(backend.requests[1].fields)
        self.assertEqual(
            fields,
            {
                b":method": b"GET",
                b":scheme": b"http",
                b":authority": b"c",
                b":path": b"/health",
                b"user-agent": b"Envoy/HC",
            },
        )
        backend.respond = answer(status=b"503")
        self.reactor.advance(10.0)
        self.assertEqual(self.flags(cluster.endpoints[0]), "/failed_active_hc")

    def test_late(self) -> None:
        """
        No answer in time ends the connection, as in Envoy.
        """
        backend = self.serve()
        backend.respond = lambda connection, seen: None
        self.make(httpCheck(codec_client_type="HTTP2"))
        self.reactor.advance(1.0)
        self.assertTrue(backend.connections[0].isLost)
        self.reactor.advance(10.0)
        self.assertEqual(len(backend.connections), 2)
