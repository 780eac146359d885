"""
L{meshproxy.filters.http.ext_authz}.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.ext_authz import ExtAuthz
from meshproxy.grpc.framing import encodeFrame
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.backend import MemoryBackend
from meshproxy.testing.harness import Result

OFF = {"default_value": {"numerator": 0}}


def names(*exact: str) -> dict[str, Any]:
    """
    A list of names of fields.
    """
    return {"patterns": [{"exact": name} for name in exact]}


class ExtAuthzCase(SynchronousTestCase):
    """
    A filter with a service, in a proxy.
    """

    auth: MemoryBackend

    def start(
        self, service: dict[str, Any] | None = None, route: dict[str, Any] | None = None, **fields: Any
    ) -> FilterHarness:
        """
        Make them.
        """
        http = {"server_uri": {"uri": "http://auth", "cluster": "auth", "timeout": "0.2s"}, **(service or {})}
        self.harness = FilterHarness(ExtAuthz, {"http_service": http, **fields}, route, clusters=["auth"])
        self.auth = self.harness.backends["auth"]
        return self.harness

    def counted(self, *names: str) -> list[int]:
        """
        Some counters of the filter, held to those of the cluster.
        """
        stat = self.harness.proxy.stat
        found = [stat(f"http.test.ext_authz.{name}") for name in names]
        self.assertEqual([stat(f"cluster.backend.ext_authz.{name}") for name in names], found)
        return found

    def seen(self, result: Result) -> tuple[int, object, object, bool]:
        """
        Status, details, flags, and whether the upstream was asked.
        """
        return result.status, result.log["details"], result.log["flags"], result.upstreamRequest is not None


class AnswerTests(ExtAuthzCase):
    """
    What becomes of a request.
    """

    def test_allowed(self) -> None:
        """
        With 200 it passes. The service sees method, path, host and credentials, and nothing else.
        """
        self.start()
        result = self.harness.request("POST", "/a?b", [("authorization", "me"), ("cookie", "c"), ("x-a", "1")], b"abc")
        self.assertEqual(self.seen(result), (200, "via_upstream", "-", True))
        asked = self.auth.last
        self.assertEqual((asked.method, asked.path, asked.body), (b"POST", b"/a?b", b""))
        fields = [(b"content-length", b"0"), (b"authorization", b"me"), (b"host", b"example.com")]
        self.assertEqual(sorted(asked.headers.fields()), sorted(fields))
        self.assertEqual(self.counted("ok", "denied", "error"), [1, 0, 0])

    def test_denied(self) -> None:
        """
        With another status it gets that answer, and is not sent on.
        """
        self.start()
        self.auth.answer(Answer(401, b"who?", headers=[("www-authenticate", "Basic"), ("x-why", "1")]))
        result = self.harness.request()
        self.assertEqual(self.seen(result), (401, "ext_authz_denied", "UAEX", False))
        told = [result.header(name) for name in ("www-authenticate", "x-why", "content-length")]
        self.assertEqual((result.body, told), (b"who?", ["Basic", "1", "4"]))
        self.assertEqual(self.counted("ok", "denied", "error"), [0, 1, 0])

    def test_failures(self) -> None:
        """
        No answer, a late one, and one that is the service's own failure are no permission.
        """
        self.start()
        for answer in (Answer(500), Answer(599), Answer.close(), Answer.reset(), Answer.hang(), Answer(200, delay=0.3)):
            self.auth.answer(answer)
            self.assertEqual(self.seen(self.harness.request()), (403, "ext_authz_error", "UAEX", False))
        self.assertEqual(self.counted("ok", "error", "failure_mode_allowed"), [0, 6, 0])

    def test_noCluster(self) -> None:
        """
        Nor is a service that does not exist.
        """
        self.start(
            {"server_uri": {"uri": "http://a", "cluster": "gone", "timeout": "1s"}}, status_on_error={"code": 503}
        )
        self.assertEqual(self.seen(self.harness.request()), (503, "ext_authz_error", "UAEX", False))

    def test_longAnswer(self) -> None:
        """
        Nor one that does not end.
        """
        self.start()
        self.auth.answer(Answer(403, bytes(2_000_000)))
        self.assertEqual(self.seen(self.harness.request())[:2], (403, "ext_authz_error"))

    def test_failureModeAllow(self) -> None:
        """
        Unless it is said that failures let requests pass; then the upstream may be told.
        """
        self.start(failure_mode_allow=True, failure_mode_allow_header_add=True)
        self.auth.answer(Answer(503))
        result = self.harness.request()
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.headers.get(b"x-envoy-auth-failure-mode-allowed"), b"true")
        self.assertEqual(self.counted("error", "failure_mode_allowed"), [1, 1])

    def test_notUTF8(self) -> None:
        """
        A field that is no UTF-8 is no question, and no failure mode lets it pass (CVE-2023-27488).
        """
        self.start(allowed_headers=names("x-a"), failure_mode_allow=True)
        for fields in ([("x-a", b"\xff")], [("authorization", b"\xe9")]):
            result = self.harness.request("GET", "/", fields)
            self.assertEqual(self.seen(result), (403, "ext_authz_error", "UAEX", False))
        self.assertEqual(self.auth.requests, [])
        self.assertEqual(self.harness.request("GET", "/", [("x-b", b"\xff")]).status, 200)

    def test_clientLeaves(self) -> None:
        """
        A client that leaves ends the question as well.
        """
        self.start({"server_uri": {"uri": "http://a", "cluster": "auth", "timeout": "60s"}})
        self.auth.answer(Answer.hang())
        client = self.harness.client()
        client.send("GET", "/")
        self.harness.advance(0.1)
        client.abort()
        self.harness.advance(0)
        self.assertTrue(self.auth.connections[0].closed)

    def test_manyPass(self) -> None:
        """
        Streams that passed are forgotten.
        """
        made: list[ExtAuthz] = []
        self.patch(ExtAuthz, "__init__", _remembering(ExtAuthz.__init__, made))
        self.start({"authorization_response": {"allowed_client_headers_on_success": names("x-ok")}})
        self.auth.answer(Answer(200, headers=[("x-ok", "1")]), Answer(200, headers=[("x-ok", "2")]))
        self.assertEqual([self.harness.request().header("x-ok") for _ in range(2)], ["1", "2"])
        self.assertEqual(made[0]._told, {})


def _remembering(make: Any, made: list[ExtAuthz]) -> Any:
    def remember(self: ExtAuthz, *arguments: Any) -> None:
        make(self, *arguments)
        made.append(self)

    return remember


class FieldTests(ExtAuthzCase):
    """
    Which fields go where.
    """

    def test_question(self) -> None:
        """
        What is allowed is sent, with all values of a name (CVE-2021-32777); what is disallowed is not; more may be
        added.
        """
        self.start(
            {
                "path_prefix": "/check",
                "authorization_request": {"headers_to_add": [{"key": "X-Path", "value": "%REQ(:PATH)%"}]},
            },
            allowed_headers={"patterns": [{"prefix": "x-"}, {"exact": "connection"}]},
            disallowed_headers=names("x-b"),
        )
        self.harness.request("GET", "/p", [("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("cookie", "c")])
        asked = self.auth.last
        self.assertEqual((asked.path, asked.headers.values(b"x-a")), (b"/check/p", [b"1", b"2"]))
        found = [asked.headers.get(name) for name in (b"x-b", b"cookie", b"x-path", b"connection")]
        self.assertEqual(found, [None, None, b"/p", None])

    def test_rules(self) -> None:
        """
        What rules do not let the service change stays, or makes its answer one that cannot be.
        """
        response = {"allowed_upstream_headers": names("x-user"), "allowed_upstream_headers_to_append": names("x-role")}
        for strict, status, left in ((False, 200, [b"me", b"a", b"1"]), (True, 500, None)):
            self.start(
                {"authorization_response": response},
                decoder_header_mutation_rules={
                    "disallow_expression": {"regex": "x-user|x-one"},
                    "disallow_is_error": strict,
                },
            )
            told = [("x-user", "you"), ("x-role", "a"), ("x-envoy-auth-headers-to-remove", "x-one")]
            self.auth.answers.append(Answer(headers=told))
            result = self.harness.request("GET", "/", [("x-user", "me"), ("x-one", "1")])
            details = "ext_authz_invalid" if strict else "via_upstream"
            self.assertEqual((result.status, result.log["details"]), (status, details))
            sent = result.upstreamRequest
            names_ = (b"x-user", b"x-role", b"x-one")
            self.assertEqual(None if sent is None else [sent.headers.get(name) for name in names_], left)

    def test_path(self) -> None:
        """
        Another path may stand for the request's.
        """
        self.start({"path_override": "/always?a=b"})
        self.harness.request("GET", "/p?c=d")
        self.assertEqual(self.auth.last.path, b"/always?a=b")

    def test_charged(self) -> None:
        """
        An answer that denies counts as a response of the cluster that the request was for, to one from within, unless
        that is not wanted; one that fails does not.
        """
        for charges, status, expected in ((True, 401, 1), (False, 401, 0), (True, 503, 0)):
            self.start(charge_cluster_response_stats=charges)
            self.auth.answers.append(Answer(status))
            self.harness.request()
            stats = self.harness.proxy.stats("cluster.backend.")
            names = ("upstream_rq_401", "internal.upstream_rq_401", "internal.upstream_rq_4xx")
            self.assertEqual([stats.get(f"cluster.backend.{name}", 0) for name in names], [expected] * 3)

    def test_request(self) -> None:
        """
        The service may set, add and remove fields of the request, but none that a head needs.
        """
        response = {
            "allowed_upstream_headers": names("x-user"),
            "allowed_upstream_headers_to_append": names("x-role"),
        }
        self.start({"authorization_response": response})
        fields = [
            ("x-user", "you"),
            ("x-role", "b"),
            ("x-envoy-auth-headers-to-remove", "x-gone, host, :path, x-role2"),
        ]
        self.auth.answer(Answer(200, headers=[*fields, ("x-other", "1")]))
        result = self.harness.request(
            "GET", "/p", [("x-user", "me"), ("x-role", "a"), ("x-gone", "1"), ("x-role2", "1")]
        )
        assert result.upstreamRequest is not None
        headers = result.upstreamRequest.headers
        self.assertEqual((headers.values(b"x-user"), headers.values(b"x-role")), ([b"you"], [b"a", b"b"]))
        self.assertEqual([headers.get(name) for name in (b"x-gone", b"x-role2", b"x-other")], [None] * 3)
        self.assertEqual(result.upstreamRequest.path, b"/p")

    def test_denied(self) -> None:
        """
        A denied client is told what is allowed and what it needs; what is between two hops never.
        """
        self.start({"authorization_response": {"allowed_client_headers": names("x-a")}})
        fields = [("x-a", "1"), ("x-b", "1"), ("location", "/l"), ("connection", "close"), ("keep-alive", "1")]
        self.auth.answer(Answer(302, headers=fields))
        result = self.harness.request()
        found = [result.header(name) for name in ("x-a", "x-b", "location", "connection", "keep-alive")]
        self.assertEqual(found, ["1", None, "/l", None, None])

    def test_metadata(self) -> None:
        """
        Fields may be noted in the dynamic metadata, whatever the verdict is.
        """
        self.start({"authorization_response": {"dynamic_metadata_from_headers": names("x-note")}})
        for status in (200, 403):
            self.auth.answer(Answer(status, headers=[("x-note", "n"), ("x-other", "o")]))
            result = self.harness.request()
            assert result.stream is not None
            self.assertEqual(result.stream.dynamicMetadata, {"envoy.filters.http.ext_authz": {"x-note": "n"}})

    def test_shortDenial(self) -> None:
        """
        The body of a denial may be cut.
        """
        self.start(max_denied_response_body_bytes=2)
        self.auth.answer(Answer(403, b"abcdef"))
        result = self.harness.request()
        self.assertEqual((result.body, result.header("content-length")), (b"ab", "2"))


class BodyTests(ExtAuthzCase):
    """
    Bodies.
    """

    def test_whole(self) -> None:
        """
        The service may see the body, and the upstream gets it all the same; a longer one gets 413.
        """
        self.start(with_request_body={"max_request_bytes": 4})
        result = self.harness.request("POST", "/", body=b"abcd")
        assert result.upstreamRequest is not None
        self.assertEqual((self.auth.last.body, result.upstreamRequest.body), (b"abcd", b"abcd"))
        self.assertEqual(self.auth.last.headers.get(b"x-envoy-auth-partial-body"), b"false")
        self.assertEqual(self.harness.request("POST", "/", body=b"abcde").status, 413)

    def test_partial(self) -> None:
        """
        Or the beginning of a longer one.
        """
        self.start(with_request_body={"max_request_bytes": 4, "allow_partial_message": True})
        body = bytes(range(256)) * 20
        result = self.harness.request("POST", "/", body=body)
        assert result.upstreamRequest is not None
        self.assertEqual((self.auth.last.body, result.upstreamRequest.body), (body[:4], body))
        self.assertEqual(self.auth.last.headers.get(b"x-envoy-auth-partial-body"), b"true")

    def test_partialWaitsForNoMore(self) -> None:
        """
        The question is asked as soon as the beginning is here, and no more is read than the limit until it is answered.
        """
        self.start(with_request_body={"max_request_bytes": 4, "allow_partial_message": True})
        client = self.harness.client()
        client.send("POST", "/", whole=False)
        client.sendChunk(b"abc")
        self.harness.advance(0)
        self.assertEqual(self.auth.requests, [])
        client.sendChunk(b"def")
        self.harness.advance(0)
        self.assertEqual(self.auth.last.body, b"abcd")
        client.endChunks()
        self.harness.advance(0)
        self.assertEqual(self.harness.upstream.last.body, b"abcdef")

    def test_routes(self) -> None:
        """
        A route may send none of it, or another part, or not ask at all.
        """
        buffer = {"max_request_bytes": 4}
        self.start(route={"check_settings": {"disable_request_body_buffering": True}}, with_request_body=buffer)
        self.harness.request("POST", "/", body=b"abc")
        self.assertEqual(self.auth.last.body, b"")
        self.start(route={"check_settings": {"with_request_body": {"max_request_bytes": 8}}}, with_request_body=buffer)
        self.harness.request("POST", "/", body=b"abcdefgh")
        self.assertEqual(self.auth.last.body, b"abcdefgh")
        self.start(route={"disabled": True})
        self.assertEqual((self.harness.request().status, self.auth.requests), (200, []))


class EnabledTests(ExtAuthzCase):
    """
    Whether anybody is asked.
    """

    def test_disabled(self) -> None:
        """
        Switched off it asks nobody, and lets everything pass, or nothing.
        """
        self.start(filter_enabled=OFF)
        self.assertEqual((self.harness.request().status, self.auth.requests), (200, []))
        self.assertEqual(self.harness.proxy.stat("http.test.ext_authz.disabled"), 1)
        deny = {"default_value": True, "runtime_key": "k"}
        self.start(filter_enabled=OFF, deny_at_disable=deny, status_on_error={"code": 401})
        self.assertEqual(self.seen(self.harness.request()), (401, "ext_authz_error", "UAEX", False))

    def test_metadata(self) -> None:
        """
        It may depend on what other filters noted.
        """
        wanted = {"filter": "n", "path": [{"key": "k"}], "value": {"present_match": True}}
        self.start(filter_enabled_metadata=wanted)
        self.assertEqual((self.harness.request().status, self.auth.requests), (200, []))

    def test_statPrefix(self) -> None:
        """
        Its counters may have a name of their own.
        """
        self.start(stat_prefix="mine")
        self.harness.request()
        self.assertEqual(self.harness.proxy.stat("http.test.ext_authz.mine.ok"), 1)

    def test_refused(self) -> None:
        """
        Without a service over HTTP, nobody would be kept out: that is refused, and so are two lists of the same kind.
        """
        self.assertRaises(ConfigErrors, FilterHarness, ExtAuthz, {})
        with self.assertRaises(ConfigErrors):
            self.start({"authorization_request": {"allowed_headers": names("a")}}, allowed_headers=names("b"))
        with self.assertRaises(ConfigErrors):
            self.start({"path_prefix": "check"})
        for service in ({"path_override": "check"}, {"path_override": "/a", "path_prefix": "/b"}):
            with self.assertRaises(ConfigErrors):
                self.start(service)
        with self.assertRaises(ConfigErrors):
            self.start(encode_raw_headers=True)
        with self.assertRaises(ConfigErrors):
            self.start(include_peer_certificate=True)
        with self.assertRaises(ConfigErrors):
            self.start(include_tls_session=True)
        google = {"google_grpc": {"target_uri": "a:1", "stat_prefix": "a"}}
        self.assertRaises(ConfigErrors, FilterHarness, ExtAuthz, {"grpc_service": google})


class GRPCTests(ExtAuthzCase):
    """
    A service that is asked over gRPC.
    """

    def check(self, told: dict[str, Any], status: bytes = b"0", **fields: Any) -> Result:
        """
        What becomes of a request.
        """
        service = {"envoy_grpc": {"cluster_name": "auth"}, "timeout": "0.2s"}
        self.harness = FilterHarness(ExtAuthz, {"grpc_service": service, **fields}, clusters=["auth"])
        self.auth = self.harness.backends["auth"]
        message: Any = newMessage("envoy.service.auth.v3.CheckResponse")
        data = ParseDict(told, message, descriptor_pool=descriptorPool()).SerializeToString()
        # The backend speaks HTTP/1.1, whose trailers the pool leaves out.
        self.auth.answers.append(Answer(body=encodeFrame(data), headers=[(b"grpc-status", status)]))
        return self.harness.request("GET", "/a", [("x-a", "1")])

    def test_answers(self) -> None:
        """
        It passes with what the service sets, or is denied as the service says; a call that fails denies.
        """
        added = {"header": {"key": "x-new", "value": "n"}}
        result = self.check({"okResponse": {"headers": [added], "responseHeadersToAdd": [added]}})
        self.assertEqual(self.seen(result), (200, "via_upstream", "-", True))
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.headers.get(b"x-new"), b"n")
        self.assertEqual(result.headers.get(b"x-new"), b"n")
        self.assertEqual((self.auth.last.method, self.auth.last.path), (
            b"POST", b"/envoy.service.auth.v3.Authorization/Check",
        ))  # fmt: skip
        self.assertEqual(self.counted("ok", "denied", "error"), [1, 0, 0])
        denied = {"status": {"code": 7}, "deniedResponse": {"status": {"code": "Unauthorized"}, "body": "who?"}}
        result = self.check(denied)
        self.assertEqual((self.seen(result), result.body), ((401, "ext_authz_denied", "UAEX", False), b"who?"))
        self.assertEqual(self.counted("ok", "denied", "error"), [0, 1, 0])
        self.assertEqual(self.seen(self.check({}, b"14")), (403, "ext_authz_error", "UAEX", False))
        self.assertEqual(self.counted("ok", "denied", "error"), [0, 0, 1])

    def test_invalid(self) -> None:
        """
        An answer that makes no request of it denies, whatever is allowed to fail.
        """
        wrong = {"okResponse": {"headers": [{"header": {"key": "x", "value": "a\nb"}}]}}
        result = self.check(wrong, failure_mode_allow=True)
        self.assertEqual(self.seen(result), (500, "ext_authz_invalid", "UAEX", False))
        self.assertEqual(self.seen(self.check({}, b"14", failure_mode_allow=True))[0], 200)
