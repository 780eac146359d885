"""
Tests for L{meshproxy.admin.explain.live}: what is told of requests under way.
"""

from __future__ import annotations

import json
from typing import Any, cast
from urllib.parse import parse_qsl

from meshproxy.admin.commands import AdminRequest
from meshproxy.admin.explain.command import explainCommand
from meshproxy.interfaces import STOP
from meshproxy.testing import Answer, httpBootstrap
from meshproxy.testing.network import parseAddress
from tests.http.support import ProxyCase, scripted

_BUSY = {"retry_on": "5xx", "num_retries": 3, "retry_back_off": {"base_interval": "5s", "max_interval": "9s"}}
_ROUTES = [
    {
        "name": "secret",
        "match": {
            "prefix": "/",
            "headers": [{"name": "authorization", "string_match": {"exact": "other"}}],
            "query_parameters": [{"name": "q", "string_match": {"exact": "other"}}],
        },
        "route": {"cluster": "backend"},
    },
    {"name": "busy", "match": {"prefix": "/busy"}, "route": {"cluster": "backend", "retry_policy": _BUSY}},
    {
        "name": "rewritten",
        "match": {"prefix": "/old"},
        "route": {"cluster": "backend", "prefix_rewrite": "/new", "host_rewrite_literal": "else.example"},
    },
    {
        "name": "drawn",
        "match": {"prefix": "/drawn"},
        "route": {"weighted_clusters": {"clusters": [{"name": "backend", "weight": 1}, {"name": "far", "weight": 1}]}},
    },
    {"name": "far", "match": {"prefix": "/far"}, "route": {"cluster": "far", "timeout": "30s"}},
    {"name": "rest", "match": {"prefix": "/"}, "route": {"cluster": "backend"}},
]


class LiveTests(ProxyCase):
    """
    C{/explain} of a request under way.
    """

    def setUp(self) -> None:
        """
        A proxy, whose backend does not answer.
        """
        held = scripted(requestHeaders=lambda stream, headers, end: STOP if headers.path == b"/held" else None)
        self.start(held, routes=_ROUTES, clusters={"far": "192.0.2.9:80"})
        self.proxy.network.silent.add(parseAddress("192.0.2.9:80"))

    def begin(self, path: str, wait: float = 1.5, **headers: str) -> None:
        """
        Have a request under way for a while.
        """
        self.backend.answer(Answer.hang())
        self.client = self.proxy.client(source="192.0.2.7")
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.client.send("GET", path, {"x-request-id": "id-1", **fields})
        self.proxy.advance(wait)

    def asked(self, query: str) -> tuple[int, str]:
        """
        The status and the text of an answer.
        """
        answer = explainCommand(cast(Any, self.proxy.server), AdminRequest("/explain", dict(parse_qsl(query))))
        body = answer.body
        return answer.status, body if isinstance(body, str) else "".join(cast(Any, body))

    def told(self, query: str = "request_id=id-1") -> Any:
        """
        What is told, as JSON.
        """
        return json.loads(self.asked(f"{query}&format=json")[1])

    def deadlines(self, told: Any) -> dict[str, int]:
        """
        The time-outs that run.
        """
        return {row["name"]: row["in_ms"] for row in told["deadlines"]}

    def test_response(self) -> None:
        """
        It waits for the response of an endpoint; the time-outs that run are told with what is left of them and what set
        them, the next one first; and the route with the near misses, without any value that may be secret.
        """
        self.begin("/x?q=hidden", authorization="hidden")
        told = self.told()
        self.assertEqual(told["outcome"], "waits for the response")
        self.assertEqual(told["stream"]["upstream_host"], "127.0.0.1:9000")
        self.assertEqual(self.deadlines(told), {"timeout": 13500, "stream_idle_timeout": 298500})
        self.assertEqual(told["deadlines"][0]["set_by"], "default")
        self.assertEqual(told["route"]["name"], "rest")
        misses = {miss["what"]: miss["actual"] for miss in told["routes_before"][0]["missed"]}
        self.assertEqual(misses, {"header authorization": "(not shown)", "query parameter q": "(not shown)"})
        self.assertEqual([each["name"] for each in told["clusters"]], ["backend"])
        status, text = self.asked("request_id=id-1")
        self.assertEqual(status, 200)
        self.assertNotIn("hidden", text + json.dumps(told))
        self.assertIn("=> waits for the response\n   for 1.5s; it came 1.5s ago, from 192.0.2.7:", text)
        self.assertIn("   sent to 127.0.0.1:9000, try 1\n   timeout in 13.5s (default)\n", text)
        self.assertIn("route rest", text)

    def test_connection(self) -> None:
        """
        It is found by the connection, too; and it may wait for a connection of its own.
        """
        self.begin("/far")
        number = self.told()["stream"]["connection_id"]
        told = self.told(f"connection_id={number}")
        self.assertEqual(told["outcome"], "waits for an upstream connection")
        self.assertEqual(self.deadlines(told)["connect_timeout"], 3500)
        self.assertEqual(self.deadlines(told)["timeout"], 28500)
        self.assertEqual(told["deadlines"][1], {"name": "timeout", "in_ms": 28500, "set_by": "--config-yaml:1"})

    def test_filter(self) -> None:
        """
        A filter that holds it is named.
        """
        self.begin("/held")
        told = self.told()
        self.assertEqual(told["outcome"], "waits for the filter f0")
        self.assertEqual([each.get("holds") for each in told["filters"]], ["request", None])
        self.assertIn("f0", self.asked("request_id=id-1")[1])
        self.assertIn(", holds the request", self.asked("request_id=id-1")[1])

    def test_nextTry(self) -> None:
        """
        Between two tries it waits for the next one.
        """
        self.backend.answer(Answer(503))
        self.begin("/busy", wait=0.5)
        told = self.told()
        self.assertEqual(told["outcome"], "waits for the next try")
        self.assertEqual(self.deadlines(told)["back-off"], 2000)

    def test_rewritten(self) -> None:
        """
        What the router rewrote meanwhile does not hide which route it was.
        """
        self.begin("/old/x")
        told = self.told()
        self.assertEqual((told["route"]["name"], told["request"]["path"]), ("rewritten", "/old/x"))
        self.assertEqual([row["holds"] for row in told["route"]["matched"]], [True])
        self.assertEqual(told["virtual_host"]["domains"], ["*"])

    def test_drawn(self) -> None:
        """
        Of several clusters the one that was drawn.
        """
        self.begin("/drawn")
        told = self.told()
        self.assertEqual([each["name"] for each in told["clusters"]], [told["stream"]["cluster"]])

    def test_reloaded(self) -> None:
        """
        One that began with a former configuration ends on it; of the new one nothing is told.
        """
        self.begin("/x")
        self.assertTrue(self.proxy.reload(httpBootstrap(routes=_ROUTES[-1:], cluster={"connect_timeout": "9s"})))
        told = self.told()
        self.assertEqual(told["outcome"], "waits for the response")
        self.assertIn("earlier configuration", told["stream"]["began_with"])
        self.assertNotIn("route", told)
        self.assertIn("earlier configuration", self.asked("request_id=id-1")[1])

    def test_none(self) -> None:
        """
        One that is not under way is 404.
        """
        for query in ("request_id=x", "connection_id=999"):
            status, text = self.asked(query)
            self.assertEqual(status, 404)
            self.assertIn("/streams", text)
