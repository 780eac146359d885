"""
Tests for L{meshproxy.http.authorization.checks}. What both proxies ask, and do with answers, is compared in
C{tests.conformance.test_extauthzgrpc}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.grpc.framing import encodeFrame
from meshproxy.grpc.status import GRPCError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.authorization.checks import Checked, CheckPlan, GRPCRequest, InvalidAnswer
from meshproxy.http.calls import CallResponse
from meshproxy.net.address import Address


class _TLS:
    """
    What is known of a session of TLS.
    """

    def __init__(self, **facts: str) -> None:
        self.get = facts.get


def plan(**more: Any) -> CheckPlan:
    """
    A plan.
    """
    told = {
        "isRaw": False,
        "packsBytes": False,
        "tellsCertificate": False,
        "tellsSession": False,
        "namespaces": (),
        "routeNamespaces": (),
        **more,
    }
    return CheckPlan(b"auth", 0.2, (), lambda name: True, **told)


class QuestionTests(SynchronousTestCase):
    """
    What is told of a request.
    """

    def asked(self, held: CheckPlan, tls: Any = None, body: bytes | None = None, **fields: bytes) -> Any:
        """
        The attributes.
        """
        stream: Any = StreamInfo()
        stream.connection = ConnectionInfo()
        stream.connection.remoteAddress, stream.connection.localAddress = Address("192.0.2.1", 7), Address("/run/a")
        stream.connection.tls = tls
        stream.connection.requestedServerName = "a.example"
        stream.route = SimpleNamespace(metadata={"ours": {"d": "e"}, "other": {}})
        stream.dynamicMetadata = {"mine": {"a": 1.0, "b": ["x"]}, "other": {"c": True}}
        headers = RequestHeaders(b"GET", b"/\xff", b"h", [(name.encode(), value) for name, value in fields.items()])
        frame = GRPCRequest(held, stream, headers, body).frame()
        message: Any = newMessage("envoy.service.auth.v3.CheckRequest")
        message.ParseFromString(frame[5:])
        return MessageToDict(message, descriptor_pool=descriptorPool())["attributes"]

    def test_session(self) -> None:
        """
        The server name of a session of TLS, and what the route notes, where that is asked for.
        """
        asking = plan(tellsSession=True, routeNamespaces=("ours", "none"))
        self.assertEqual(self.asked(asking, _TLS())["tlsSession"], {"sni": "a.example"})
        asked = self.asked(asking)
        self.assertEqual(asked["tlsSession"], {})
        self.assertEqual(asked["routeMetadataContext"], {"filterMetadata": {"ours": {"d": "e"}}})
        self.assertNotIn("tlsSession", self.asked(plan(), _TLS()))

    def test_peers(self) -> None:
        """
        Addresses, and names out of certificates: a URI before a DNS name before the subject; the certificate itself if
        it is asked for.
        """
        tls = _TLS(PEER_URI_SAN="spiffe://a,spiffe://b", LOCAL_DNS_SAN="d", LOCAL_SUBJECT="CN=s", PEER_CERT="c")
        told = self.asked(plan(), tls)
        address = {"socketAddress": {"address": "192.0.2.1", "portValue": 7}}
        self.assertEqual(told["source"], {"address": address, "principal": "spiffe://a"})
        self.assertEqual(told["destination"], {"address": {"pipe": {"path": "/run/a"}}, "principal": "d"})
        told = self.asked(plan(tellsCertificate=True), _TLS(PEER_SUBJECT="CN=p", PEER_CERT="c"))
        self.assertEqual((told["source"]["principal"], told["source"]["certificate"]), ("CN=p", "c"))
        self.assertNotIn("principal", told["destination"])

    def test_metadata(self) -> None:
        """
        Of what earlier filters noted, what is asked for and there.
        """
        told = self.asked(plan(namespaces=("mine", "none")))
        self.assertEqual(told["metadataContext"], {"filterMetadata": {"mine": {"a": 1.0, "b": ["x"]}}})

    def test_body(self) -> None:
        """
        Its size is what the request says; no number is too large.
        """
        http = self.asked(plan(), None, b"ab", **{"content-length": b"9" * 30})["request"]["http"]
        self.assertEqual((http["size"], http["body"], http["path"]), (str(2**63 - 1), "ab", "/!"))
        self.assertEqual(self.asked(plan(packsBytes=True), None, b"\xff")["request"]["http"]["rawBody"], "/w==")


class AnswerTests(SynchronousTestCase):
    """
    What is made of an answer.
    """

    def read(self, told: Any, status: bytes = b"0", messages: int = 1) -> Checked:
        """
        Read one.
        """
        message: Any = newMessage("envoy.service.auth.v3.CheckResponse")
        data = ParseDict(told, message, descriptor_pool=descriptorPool()).SerializeToString()
        trailers = HeaderMap([(b"grpc-status", status)])
        return Checked.read(CallResponse(ResponseHeaders(200), encodeFrame(data) * messages, trailers))

    def test_failed(self) -> None:
        """
        A call that failed, one without a message, or with more than one, is no answer.
        """
        for status, messages in ((b"7", 1), (b"x", 1), (b"0", 0), (b"0", 2)):
            self.assertRaises(GRPCError, self.read, {}, status, messages)
        self.assertRaises(GRPCError, Checked.read, CallResponse(ResponseHeaders(200), b"", None))
        wrong = CallResponse(ResponseHeaders(200), encodeFrame(b"\xff"), HeaderMap([(b"grpc-status", b"0")]))
        self.assertRaises(GRPCError, Checked.read, wrong)

    def test_invalid(self) -> None:
        """
        What would make another request of it than was asked about, or none, is refused whole.
        """
        fields = [("x bad", "1"), ("x", "a\r\nb"), ("x", "\0"), (":path", "/ HTTP/1.1"), (":path", ""), ("", "a")]
        for key, value in fields:
            header = {"header": {"key": key, "value": value}}
            self.assertRaises(InvalidAnswer, self.read, {"okResponse": {"headers": [header]}})
        header = {"header": {"key": ":status", "value": "200"}}
        for told in ({"okResponse": {"responseHeadersToAdd": [header]}}, {"okResponse": {"headers": [header]}}):
            self.assertRaises(InvalidAnswer, self.read, told)
        denied = {"status": {"code": 7}, "deniedResponse": {"headers": [{"header": {"key": "x", "value": "a\nb"}}]}}
        self.assertRaises(InvalidAnswer, self.read, denied)
        found = self.read({"okResponse": {"queryParametersToSet": [{"key": "a", "value": "b c"}]}})
        headers = RequestHeaders(b"GET", b"/p?x=1", b"h")
        self.assertRaises(InvalidAnswer, found.changeRequest, headers)
        self.assertEqual(headers.path, b"/p?x=1")

    def test_framing(self) -> None:
        """
        How messages end stays as it is, whatever the service says.
        """
        headers = [{"header": {"key": key, "value": "7"}} for key in ("content-length", "Transfer-Encoding", "te")]
        answer = {"headers": headers, "headersToRemove": ["Content-Length"], "responseHeadersToAdd": headers}
        found = self.read({"okResponse": answer})
        request = RequestHeaders(b"POST", b"/", b"h", [(b"content-length", b"3")])
        found.changeRequest(request)
        self.assertEqual((request.values(b"content-length"), request.values(b"te")), ([b"3"], []))
        self.assertEqual(found.answers, ())

    def test_parameters(self) -> None:
        """
        The last one that is taken away takes the mark along; what nothing is said of changes nothing.
        """
        headers = RequestHeaders(b"GET", b"/p?b=1&b=2", b"h")
        self.assertFalse(self.read({}).changeRequest(headers))
        self.assertTrue(self.read({"okResponse": {"queryParametersToRemove": ["b"]}}).changeRequest(headers))
        self.assertEqual(headers.path, b"/p")
