"""
Tests for L{meshproxy.controlplane.api.analyzing}.
"""

from __future__ import annotations

from tests.controlplane.api.client import APITestCase
from tests.controlplane.translate.given import networking, service


class AnalysisTests(APITestCase):
    """
    C{/v1/analyze}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.serveSnapshots()

    def problems(self, method: str, text: str = "") -> tuple[bool, int, list[tuple[str, str]]]:
        """
        What is said: whether all is valid, of how many resources, and the problems.
        """
        answer = self.ask(method, "/v1/analyze?namespace=shop", text or None, content_type="application/yaml")
        self.assertEqual(answer.code, 200, answer.body)
        told = answer.json
        return told["valid"], told["resources"], [(one["resource"], one["code"]) for one in told["problems"]]

    def test_together(self) -> None:
        """
        All that is there is looked at, alone or as it would be with a text; which changes nothing.
        """
        virtual = networking("VirtualService", "v", "hosts: [a], http: [{route: [{destination: {host: b}}]}]")
        text = "---\n".join((service("a", "{name: http, port: 80}"), virtual))
        self.ask("POST", "/v1/apply", text, content_type="application/yaml")
        self.reactor.advance(1)
        missing = [("VirtualService shop/v", "not-found")]
        self.assertEqual(self.problems("GET"), (True, 2, missing))
        self.assertEqual(self.problems("POST", service("b", "{name: http, port: 80}")), (True, 3, []))
        self.assertEqual(self.problems("POST", virtual.replace("host: b", "host: a")), (True, 2, []))
        self.assertEqual(self.problems("GET"), (True, 2, missing))

    def test_faults(self) -> None:
        """
        A text with faults is told of, with the number of its document.
        """
        text = service("a", "{name: http, port: 80}") + "---\n" + networking("VirtualService", "v", "hots: [a]")
        answer = self.ask("POST", "/v1/analyze", text, content_type="application/yaml")
        found = [(one["document"], one["line"], one["path"]) for one in answer.json["problems"]]
        self.assertEqual((answer.json["valid"], found[-1]), (False, (2, 9, "spec.hots")))
        self.assertEqual(self.ask("POST", "/v1/analyze", content_type="application/yaml").code, 400)
