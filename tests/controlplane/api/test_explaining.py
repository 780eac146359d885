"""
Tests for L{meshproxy.controlplane.api.explaining}.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from tests.controlplane.api.client import APITestCase
from tests.controlplane.explain.given import MESH

_ID = "sidecar~10.0.0.1~page.shop~shop.svc.cluster.local"


class ExplainingTests(APITestCase):
    """
    C{/v1/explain}.
    """

    def setUp(self) -> None:
        super().setUp()
        snapshots = self.serveSnapshots()
        self.ask("POST", "/v1/apply?namespace=shop", MESH, content_type="application/yaml")
        metadata = {"NAMESPACE": "shop", "LABELS": {"app": "page"}, "INTERCEPTION_MODE": "NONE"}
        snapshots.attach({"id": _ID, "metadata": metadata}, lambda snapshot: None)
        for _ in range(5):
            self.reactor.advance(1)

    def explain(self, text: str = "", **query: Any) -> Any:
        """
        Ask.
        """
        asked = {"proxy": _ID, "url": "http://reviews:9080/x", **query}
        target = f"/v1/explain?{urlencode(asked, doseq=True)}"
        if text:
            return self.ask("POST", f"{target}&namespace=shop", text, content_type="application/yaml")
        return self.ask("GET", target)

    def test_now(self) -> None:
        """
        What the proxy was sent decides; headers may be several.
        """
        told = self.explain().json
        resource = {"resource": "VirtualService shop/reviews", "field": "spec.http[1]"}
        self.assertEqual(told["route"]["set_by"], [resource])
        told = self.explain(header=["x-a: 1", "end-user: jason"]).json
        self.assertEqual(told["route"]["set_by"][0]["field"], "spec.http[0].match[0]")
        told = self.explain(url="http://page:9080/", inbound="true", principal="spiffe://cluster.local/ns/a/sa/b").json
        self.assertEqual((told["direction"], told["outcome"]), ("inbound", "forwarded to inbound|9080||"))

    def test_applied(self) -> None:
        """
        As it would be with a text applied, whose lines are told; nothing is written.
        """
        (text,) = [one for one in MESH.split("\n---\n") if "  hosts: [reviews]\n" in one]
        told = self.explain(text.replace("jason", "eve"), filename="new.yaml", header="end-user: eve").json
        self.assertEqual(told["route"]["set_by"][0]["at"], "new.yaml:8")
        self.assertEqual(self.explain(header="end-user: eve").json["route"]["set_by"][0]["field"], "spec.http[1]")
        answer = self.explain(text.replace("hosts:", "hots:"))
        self.assertEqual((answer.code, answer.json["errors"][-1]["path"]), (422, "spec.hots"))

    def test_wrong(self) -> None:
        """
        What is not there, and what is no request.
        """
        self.assertEqual(self.explain(proxy="nobody").code, 404)
        wrong = [("url", ""), ("proxy", ""), ("url", "http://[x"), ("header", "x"), ("method", "a b"), ("inbound", "x")]
        for name, value in wrong:
            query = {name: value}
            answer = self.explain(**query)
            self.assertEqual(answer.code, 400, query)
            self.assertTrue(answer.json["detail"], query)
