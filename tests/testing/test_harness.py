"""
L{meshproxy.testing.harness}.
"""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.header_mutation import HeaderMutation
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import IHTTPStream
from meshproxy.testing import Answer, FilterHarness


@attrs.frozen
class Config:
    """
    A configuration.
    """

    value: str = "default"


class Tagger(HTTPFilter):
    """
    Says what it is told, everywhere.
    """

    Config = Config

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        """
        Tag the request, or refuse it.
        """
        config = self.routeConfig(stream) or self.config
        stream.dynamicMetadata.setdefault("tagger", {})["value"] = config.value
        self.context.log.info("tagging with {value}", value=config.value)
        self.context.scope.counter("tagged").value += 1
        headers.set(b"x-tag", config.value.encode())
        return stream.reply(403, b"no", details="tagger_says_no") if headers.path == b"/no" else None


class Caller(HTTPFilter):
    """
    Asks another cluster first.
    """

    async def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> None:
        """
        Ask.
        """
        answer = await self.context.calls.call("other", RequestHeaders(b"GET", b"/ask", b"other"))
        headers.set(b"x-told", answer.body)


class Raiser(HTTPFilter):
    """
    Has a fault.
    """

    def responseHeaders(self, stream: IHTTPStream, headers: ResponseHeaders, endStream: bool) -> object:
        """
        Fail.
        """
        raise ValueError("the fault")


class FilterHarnessTests(SynchronousTestCase):
    """
    One filter, and what a test sees of it.
    """

    def test_upstream(self) -> None:
        """
        The upstream sees what the filter did, and the client what the upstream answered.
        """
        harness = FilterHarness(Tagger, config={"value": "v"}, upstream=Answer(202, b"body"))
        result = harness.request("PUT", "/a", {"x-a": "b"}, b"data")
        self.assertEqual((result.status, result.body), (202, b"body"))
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.header("x-tag"), "v")
        self.assertEqual(result.upstreamRequest.body, b"data")
        self.assertEqual(result.log["details"], "via_upstream")
        self.assertEqual((result.log["received"], result.log["sent"], result.log["cluster"]), (4, 4, "backend"))
        self.assertIn("tagging with v", result.messages)
        self.assertEqual(harness.proxy.stat("http.test.tagged"), 1)

    def test_reply(self) -> None:
        """
        A reply of the filter's own never reaches the upstream; each result is that of its request.
        """
        harness = FilterHarness(Tagger)
        self.assertIsNotNone(harness.request().upstreamRequest)
        result = harness.request("GET", "/no")
        self.assertEqual((result.status, result.body, result.upstreamRequest), (403, b"no", None))
        self.assertEqual(result.log["details"], "tagger_says_no")
        assert result.stream is not None
        self.assertEqual(result.stream.dynamicMetadata, {"tagger": {"value": "default"}})

    def test_routeConfig(self) -> None:
        """
        A route overrides the configuration.
        """
        harness = FilterHarness(Tagger, config={"value": "v"}, routeConfig={"value": "r"})
        result = harness.request()
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.header("x-tag"), "r")

    def test_refusedConfig(self) -> None:
        """
        A configuration with a fault is refused as in earnest.
        """
        error = self.assertRaises(ConfigErrors, FilterHarness, Tagger, config={"valu": "v"})
        self.assertIn("value", str(error))

    def test_message(self) -> None:
        """
        A filter that a message configures takes its fields.
        """
        append = {"append": {"header": {"key": "x-new", "value": "1"}}}
        harness = FilterHarness(HeaderMutation, config={"mutations": {"response_mutations": [append]}})
        self.assertEqual(harness.request().header("x-new"), "1")

    def test_calls(self) -> None:
        """
        A filter that calls a cluster finds a backend there, that the test scripts.
        """
        harness = FilterHarness(Caller, clusters=["other"])
        harness.backends["other"].answer(Answer(body=b"told", delay=2.0))
        result = harness.request()
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.header("x-told"), "told")
        self.assertEqual(harness.backends["other"].last.path, b"/ask")
        self.assertEqual(result.log["duration"], 2000)

    def test_fault(self) -> None:
        """
        What a filter raises is a 500, as in earnest, and trial's to see.
        """
        result = FilterHarness(Raiser).request()
        self.assertEqual(result.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
