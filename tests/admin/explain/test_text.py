"""
Tests for L{meshproxy.admin.explain.text}.
"""

from __future__ import annotations

from meshproxy.admin.explain.text import readable
from tests.admin.explain.support import ExplainCase, lineOf


class ReadableTests(ExplainCase):
    """
    L{readable}.
    """

    def test_whole(self) -> None:
        """
        What decided and what lost, one line each, in the order in which a request passes.
        """
        lines = readable(self.ask("/cart", "x-beta: no")).splitlines()
        expected = [
            "GET http://shop.example/cart",
            "  x-beta: no",
            "=> forwarded to web or beta",
            f"listener front ({lineOf('listener front')}), 127.0.0.1:8080",
            f"filter chain all ({lineOf('chain all')})",
            f"  not inside ({lineOf('chain inside')}):",
            f"      source_prefix_ranges wants 10.0.0.0/8, is 127.0.0.1 ({lineOf('inside only')})",
            f"virtual host shop ({lineOf('host shop')}): shop.example, *.shop.example",
            f"route cart ({lineOf('route cart')})",
            f"  not beta ({lineOf('route beta')}):",
            f'      header x-beta wants {{"string_match": {{"exact": "yes"}}}}, is no ({lineOf("header of beta")})',
            "filters:",
            f"  envoy.filters.http.fault ({lineOf('fault')}), configured for this route at {lineOf('fault of cart')}",
            f"retries: 2 on 5xx ({lineOf('retries')})",
            "time-outs:",
        ]
        places = [lines.index(line) for line in expected]
        self.assertEqual(places, sorted(places))
        self.assertTrue(any(", disabled" in line for line in lines))
        self.assertTrue(any("nobody" in line and "left out: no such filter" in line for line in lines))
        self.assertIn("  no endpoints: 503, no healthy upstream", lines)

    def test_ends(self) -> None:
        """
        An answer that ends early is read as well.
        """
        for url, fields, more in (
            ("/none", (), {}),
            ("/", ("host: other",), {}),
            ("/", (), {"listener": "nobody"}),
            ("/", (), {"source": "10.1.1.1"}),
            ("/gone", ("x-cluster: nobody",), {}),
        ):
            answer = self.ask(url, *fields, **more)
            self.assertIn(f"=> {answer['outcome']}\n", readable(answer))
