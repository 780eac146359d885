"""
Tests for L{meshproxy.controlplane.explain.text}.
"""

from __future__ import annotations

from meshproxy.controlplane.explain.text import readable
from tests.controlplane.explain.given import MESH, lineOf
from tests.controlplane.explain.test_explanation import ExplanationCase


class ReadableTests(ExplanationCase):
    """
    L{readable}.
    """

    def lines(self, *arguments: str, text: str = MESH) -> list[str]:
        """
        An explanation in lines.
        """
        return list(readable(self.ask(*arguments, text=text)))

    def test_whole(self) -> None:
        """
        The end first, then each part with what set it; the next proxy is told further in.
        """
        lines = self.lines("page", "http://reviews:9080/x", "end-user: jason")
        self.assertEqual(lines[0], "GET http://reviews:9080/x")
        self.assertEqual(lines[2], "=> forwarded to outbound|9080|v2|reviews.shop.svc.cluster.local")
        for line in (
            f"route: VirtualService shop/reviews spec.http[0].match[0] ({lineOf('jason')})",
            f"  envoy.filters.http.fault: VirtualService shop/reviews spec.http[0].fault ({lineOf('fault')})",
            "    delays all requests by 7s",
            "  10.0.0.3:9080 app=reviews,version=v2,security.istio.io/tlsMode=istio, mutual TLS",
            "  timeout never (default): no whole response since the request was received, all tries together: 504",
            "then:",
            f"  mutual TLS STRICT: PeerAuthentication shop/strict spec ({lineOf('strict')})",
        ):
            self.assertIn(line, lines)

    def test_misses(self) -> None:
        """
        What lost, and why; what is set, by whom.
        """
        lines = self.lines("page", "http://reviews:9080/x")
        self.assertIn(f"  not route: VirtualService shop/reviews spec.http[0].match[0] ({lineOf('jason')})", lines)
        self.assertIn("""      header end-user wants {"string_match": {"exact": "jason"}}, is (not there)""", lines)
        self.assertIn("  sent with :path: /x -> /all/x", lines)
        found = [line for line in lines if line.startswith("  per_try_timeout 1s")]
        self.assertEqual(len(found), 1)
        self.assertIn(lineOf("retries"), found[0])

    def test_ends(self) -> None:
        """
        Where nobody listens, and where a cluster is not there.
        """
        self.assertIn("=> nothing listens for port 80", self.lines("page", "http://reviews/")[1])
        text = MESH.replace("subset: v2}}]", "subset: v9}}]")
        lines = self.lines("page", "http://reviews:9080/", "end-user: jason", text=text)
        told = [line for line in lines if line.startswith("cluster ")]
        self.assertIn("there is none of this name", told[0])
        self.assertTrue(any(line.startswith("warning: VirtualService shop/reviews") for line in lines))
