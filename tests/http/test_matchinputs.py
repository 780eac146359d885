"""
L{meshproxy.http.matchinputs}.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.config.matchertree import CompileInput
from meshproxy.config.valuematchers import MISSING
from meshproxy.headers import ResponseHeaders
from meshproxy.http.matchinputs import REQUEST_INPUTS, RESPONSE_INPUTS
from meshproxy.net.address import Address
from tests.filters.http.support import FakeStream


class InputTests(SynchronousTestCase):
    """
    What is read of a stream.
    """

    def read(self, message: str, text: str = "{}", stream: Any = None, inputs: Mapping[str, CompileInput] = {}) -> Any:
        """
        Read one input.
        """
        name = next(name for name in RESPONSE_INPUTS if name.endswith(f".{message}"))
        stream = stream or FakeStream([(b"x-a", b"1"), (b"x-a", b"2")], b"/p?q=1&q=2&r")
        return (inputs or RESPONSE_INPUTS)[name](sectionFromYAML(name, text))(stream)

    def test_request(self) -> None:
        """
        Headers, joined where there are several, and query parameters, of which the first counts.
        """
        self.assertEqual(self.read("HttpRequestHeaderMatchInput", "header_name: X-A"), b"1,2")
        self.assertEqual(self.read("HttpRequestHeaderMatchInput", "header_name: ':path'"), b"/p?q=1&q=2&r")
        self.assertIsNone(self.read("HttpRequestHeaderMatchInput", "header_name: x-b"))
        self.assertEqual(self.read("HttpRequestQueryParamMatchInput", "query_param: q"), b"1")
        self.assertIsNone(self.read("HttpRequestQueryParamMatchInput", "query_param: z"))

    def test_response(self) -> None:
        """
        Status, its class, headers.
        """
        stream = FakeStream()
        stream.responseHeaders = ResponseHeaders(404, [(b"x-b", b"1")])
        self.assertEqual(self.read("HttpResponseStatusCodeMatchInput", stream=stream), b"404")
        self.assertEqual(self.read("HttpResponseStatusCodeClassMatchInput", stream=stream), b"4xx")
        self.assertEqual(self.read("HttpResponseHeaderMatchInput", "header_name: x-b", stream), b"1")

    def test_addresses(self) -> None:
        """
        Both ends of the connection, and the client where it is told.
        """
        names = ("DestinationIP", "DestinationPort", "SourceIP", "SourcePort", "DirectSourceIP")
        self.assertEqual(
            [self.read(f"{name}Input") for name in names],
            [b"198.51.100.1", b"8080", b"192.0.2.7", b"40000", b"192.0.2.7"],
        )
        stream = FakeStream()
        stream.remoteAddress = Address("203.0.113.9", 1)
        self.assertEqual(self.read("SourceIPInput", stream=stream), b"203.0.113.9")
        self.assertEqual(self.read("DirectSourceIPInput", stream=stream), b"192.0.2.7")

    def test_serverName(self) -> None:
        """
        The name that the client asked for, if it did.
        """
        stream = FakeStream()
        self.assertIsNone(self.read("ServerNameInput", stream=stream))
        stream.connection.requestedServerName = "a.example"
        self.assertEqual(self.read("ServerNameInput", stream=stream), b"a.example")

    def test_certificate(self) -> None:
        """
        The names in the client's certificate, several in one value; none without TLS.
        """
        stream = FakeStream()
        names = ("UriSanInput", "DnsSanInput", "SubjectInput")
        self.assertEqual([self.read(name, stream=stream) for name in names], [None] * 3)
        facts = {"PEER_URI_SAN": "spiffe://a/b,spiffe://a/c", "PEER_DNS_SAN": "", "PEER_SUBJECT": "CN=a"}
        stream.connection.tls = SimpleNamespace(get=facts.__getitem__)
        self.assertEqual(
            [self.read(name, stream=stream) for name in names], [b"spiffe://a/b,spiffe://a/c", None, b"CN=a"]
        )

    def test_noted(self) -> None:
        """
        What filters noted, as the value that it is, and what they share, as text.
        """
        stream = FakeStream()
        stream.dynamicMetadata = {"notes": {"a": {"b": [1]}}}
        stream.filterState = {"k": "v"}
        self.assertEqual(self.read("DynamicMetadataInput", "{filter: notes, path: [{key: a}, {key: b}]}", stream), [1])
        self.assertIs(self.read("DynamicMetadataInput", "{filter: notes, path: [{key: c}]}", stream), MISSING)
        self.assertEqual(self.read("FilterStateInput", "key: k", stream), b"v")
        self.assertIsNone(self.read("FilterStateInput", "key: z", stream))

    def test_origin(self) -> None:
        """
        Whether the response is the proxy's own.
        """
        stream: Any = FakeStream()
        for replied, told in ((False, b"false"), (True, b"true")):
            stream.replied = replied
            self.assertEqual(self.read("HttpResponseLocalReplyMatchInput", stream=stream), told)

    def test_requestsOnly(self) -> None:
        """
        Where there is no response yet, none can be looked at.
        """
        self.assertEqual([name for name in REQUEST_INPUTS if "Response" in name], [])
