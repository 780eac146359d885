"""
Tests for L{meshproxy.admin.explain.command}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.explain.support import CONFIG
from tests.admin.support import ask, makeServer


class CommandTests(SynchronousTestCase):
    """
    C{/explain}.
    """

    def setUp(self) -> None:
        """
        A proxy.
        """
        admin = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}\n"
        self.server = makeServer(admin + CONFIG)

    def test_formats(self) -> None:
        """
        Text to read, or JSON; several headers.
        """
        query = "url=http://127.0.0.1:8080/cart&header=host:shop.example&header=x-beta:%20yes&method=POST"
        answer = ask(self.server, f"/explain?{query}")
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=UTF-8")
        self.assertTrue(answer.text.startswith("POST http://shop.example/cart\n  x-beta: yes\n=> forwarded to beta\n"))
        told = ask(self.server, f"/explain?{query}&format=json").json
        self.assertEqual((told["route"]["name"], told["clusters"][0]["name"]), ("beta", "beta"))

    def test_steps(self) -> None:
        """
        Many routes are looked at a few in each turn of the reactor.
        """
        route = "              - {match: {path: /old%d}, direct_response: {status: 200}}\n"
        text = CONFIG.replace(
            "              - name: moved\n", "".join(route % n for n in range(40)) + "              - name: moved\n"
        )
        admin = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}\n"
        server = makeServer(admin + text)
        url = "/explain?url=http://127.0.0.1:8080/old39&header=host:shop.example"
        self.assertRaises(IndexError, ask, server, url, pieces=0)
        self.assertIn("=> 200, a direct response", ask(server, url).text)

    def test_wrong(self) -> None:
        """
        What is no question is 400 with the usage.
        """
        for query in ("", "url=ftp://a/", "url=/&header=x", "url=/&format=xml"):
            answer = ask(self.server, f"/explain?{query}")
            self.assertEqual(answer.status, 400)
            self.assertIn("usage: /explain?url=", answer.text)
