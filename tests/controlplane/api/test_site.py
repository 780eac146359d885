"""
Tests for L{meshproxy.controlplane.api.site}.
"""

from __future__ import annotations

from meshproxy.controlplane.api import site
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.router import Operation
from tests.controlplane.api.client import READER, VIRTUAL_SERVICE, WRITER, Answer, APITestCase


class APISiteTests(APITestCase):
    """
    L{site.APISite}: who asks, what is taken, how it is answered.
    """

    def addOperation(self, handler: object, method: str = "GET", path: str = "/v1/test") -> None:
        """
        An operation of a test's own.
        """
        self.site._router.add(Operation(method, path, handler, Role.READ))  # type: ignore[arg-type]  # any callable

    def test_answer(self) -> None:
        """
        An answer is JSON that nobody keeps, and the connection goes on.
        """
        conversation = self.open("GET", "/version")
        answer = conversation.answer
        self.assertEqual((answer.code, answer.headers["content-type"]), (200, "application/json"))
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.json["major"], "1")
        conversation.transport.clear()
        conversation.send(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(conversation.answer.code, 200)

    def test_head(self) -> None:
        """
        HEAD is GET without the body.
        """
        answer = self.ask("HEAD", "/version")
        self.assertEqual((answer.code, answer.body), (200, b""))
        self.assertTrue(int(answer.headers["content-length"]) > 10)

    def test_strangers(self) -> None:
        """
        From elsewhere nothing is answered without a token, not even which paths there are.
        """
        for path in ("/version", "/v1/nothing", "/apis"):
            answer = self.ask("GET", path, peer="10.0.0.1")
            self.assertEqual((answer.code, answer.headers["www-authenticate"]), (401, 'Bearer realm="meshproxy"'))
        self.assertEqual(self.ask("GET", "/version", peer="10.0.0.1", authorization=f"Bearer {READER}").code, 200)
        self.assertEqual(self.ask("GET", "/version", authorization="Bearer wrong").code, 401)

    def test_roles(self) -> None:
        """
        Who may read may not write, who may write may not issue; each refusal says what is missing.
        """
        read, write = f"Bearer {READER}", f"Bearer {WRITER}"
        answer = self.ask("POST", "/v1/apply", VIRTUAL_SERVICE, authorization=read)
        self.assertEqual(answer.code, 403)
        self.assertIn("lacks the role 'write' (it has: read)", answer.json["detail"])
        self.assertEqual(self.ask("POST", "/v1/apply", VIRTUAL_SERVICE, authorization=write).code, 200)
        self.assertEqual(self.ask("POST", "/v1/ca/tokens", {}, authorization=write).code, 403)
        self.assertEqual(self.ask("POST", "/v1/ca/tokens", {}).code, 201)

    def test_pages(self) -> None:
        """
        A page in a browser of this machine gets nothing: not by another name, not from another origin.
        """
        for fields in (
            {"host": "evil.test"},
            {"host": "localhost.evil.test"},
            {"origin": "http://evil.test"},
            {"origin": "null"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
        ):
            self.assertEqual(self.ask("GET", "/version", **fields).code, 403, fields)
        for fields in ({"host": "127.0.0.1:15014"}, {"host": "[::1]"}, {"origin": "http://localhost:15014"}):
            self.assertEqual(self.ask("GET", "/version", **fields).code, 200, fields)

    def test_types(self) -> None:
        """
        A body of a type that a page could send without asking is refused.
        """
        for contentType in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = self.ask("POST", "/v1/apply", VIRTUAL_SERVICE, content_type=contentType)
            self.assertEqual(answer.code, 415)
            self.assertIn("application/json", answer.json["detail"])

    def test_doubledFields(self) -> None:
        """
        What two programs may read in two ways is refused.
        """
        conversation = self.connect()
        conversation.send(b"GET /version HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n")
        self.assertEqual(conversation.answer.code, 400)

    def test_paths(self) -> None:
        """
        A path that is not UTF-8, or a query of thousands of fields, is refused.
        """
        self.assertEqual(self.ask("GET", "/v1/%ff").code, 400)
        self.assertEqual(self.ask("GET", "/v1/history?" + "a&" * 200).code, 400)
        self.assertEqual(self.ask("GET", "/v1/history?limit=%ff").code, 400)

    def test_largeBody(self) -> None:
        """
        A body that is announced too large, or turns out to be, is refused without being kept, and the connection ends.
        """
        self.patch(site, "MAX_BODY", 1000)
        announced = self.connect()
        announced.send(b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n")
        self.assertEqual((announced.answer.code, announced.transport.disconnected), (413, True))
        chunked = self.connect()
        chunked.send(b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            chunked.send(b"190\r\n" + b"x" * 400 + b"\r\n")
        self.assertEqual((chunked.answer.code, chunked.transport.disconnected), (413, True))

    def test_handlerRaises(self) -> None:
        """
        What a handler raises is logged, and the caller learns nothing of it.
        """

        async def handler(call: Call) -> None:
            raise ZeroDivisionError("secret")

        self.addOperation(handler)
        answer = self.ask("GET", "/v1/test")
        self.assertEqual(answer.code, 500)
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_callerLeaves(self) -> None:
        """
        A caller that leaves takes its request with it.
        """
        from twisted.internet.defer import Deferred
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        cancelled: list[object] = []

        async def handler(call: Call) -> None:
            await Deferred(cancelled.append)

        self.addOperation(handler)
        conversation = self.open("GET", "/v1/test")
        conversation.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(cancelled), 1)

    def test_audit(self) -> None:
        """
        Each request that may change something is told to the audit, refused ones too.
        """
        self.ask("POST", "/v1/apply", VIRTUAL_SERVICE)
        self.ask("POST", "/v1/apply", VIRTUAL_SERVICE, authorization=f"Bearer {READER}")
        self.ask("GET", "/version")
        self.assertEqual(self.audited, [("local", "POST", "/v1/apply", 200), (READER, "POST", "/v1/apply", 403)])

    def test_shapes(self) -> None:
        """
        Problems are RFC 9457's; who asks Kubernetes' paths for JSON gets its Status.
        """
        path = "/apis/networking.istio.io/v1/namespaces/default/gateways/none"

        def shape(answer: Answer) -> tuple[int, str, object]:
            return answer.code, answer.headers["content-type"], answer.json.get("kind") or answer.json["title"]

        self.assertEqual(shape(self.ask("GET", path)), (404, "application/problem+json", "Not Found"))
        asked = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        self.assertEqual(shape(self.ask("GET", path, accept=asked)), (404, "application/json", "Status"))
        both = "application/problem+json, application/json"
        self.assertEqual(shape(self.ask("GET", path, accept=both)), (404, "application/problem+json", "Not Found"))
        self.assertEqual(shape(self.ask("GET", "/v1/none", accept="application/json"))[2], "Not Found")

    def test_methods(self) -> None:
        """
        A method that is not for a path is told which ones are.
        """
        answer = self.ask("DELETE", "/v1/apply")
        self.assertEqual((answer.code, answer.headers["allow"]), (405, "POST"))

    def test_stop(self) -> None:
        """
        When the API stops, answers that go on end.
        """
        conversation = self.open("GET", "/v1/events")
        self.site.stop()
        self.assertTrue(conversation.transport.value().endswith(b"0\r\n\r\n"))
