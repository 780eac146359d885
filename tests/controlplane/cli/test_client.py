"""
Tests for L{meshproxy.controlplane.cli.client}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.cli.client import APIClient, CommandFailed, _explain, path
from meshproxy.controlplane.cli.resources import joined
from meshproxy.controlplane.cli.texts import Text


class ClientTests(SynchronousTestCase):
    """
    Addresses, paths, and what is told of errors.
    """

    def test_paths(self) -> None:
        """
        Segments cannot break out of their place; what is empty is left out.
        """
        self.assertEqual(path("v1", "a/b?c", x="1 2", y="", z=None), "/v1/a%2Fb%3Fc?x=1+2")

    def test_addresses(self) -> None:
        """
        What is no address is told, with the exit status of wrong usage.
        """
        for server in ("localhost:15014", "ftp://a", "http://", "http://a:b", "http://a:99999", "http://a/path"):
            error = self.assertRaises(CommandFailed, APIClient, server)
            self.assertEqual(error.code, 2)
        APIClient("http://[::1]:15014/")

    def test_problems(self) -> None:
        """
        A problem is told in lines: each fault with file, line and what was meant.
        """
        told = _explain(
            422,
            b'{"detail": "nothing was changed: one error", "errors": [{"resource": "VirtualService a/b",'
            b' "path": "spec.hots", "message": "is not known here", "suggestion": "hosts", "file": "m.yaml",'
            b' "line": 3, "column": 2}]}',
        )
        self.assertEqual(told.splitlines(), [
            "nothing was changed: one error",
            "m.yaml:3:2  VirtualService a/b, spec.hots: is not known here; did you mean hosts?",
        ])  # fmt: skip

    def test_severalFiles(self) -> None:
        """
        Of several files that are sent as one, a fault is told with its own file and its line there.
        """
        texts = [Text("a.yaml", "1\n2\n3"), Text("b.yaml", "1\n2\n"), Text("c.json", "{}")]
        content, kind, name, locate = joined(texts)
        self.assertEqual((kind, name), ("application/yaml", ""))
        lines = content.splitlines()
        places = [locate(number) for number, line in enumerate(lines, 1) if line not in ("---", "")]
        expected = [("a.yaml", 1), ("a.yaml", 2), ("a.yaml", 3), ("b.yaml", 1), ("b.yaml", 2), ("c.json", 1)]
        self.assertEqual(places, expected)
        told = _explain(422, b'{"errors": [{"path": "x", "message": "bad", "line": 5, "column": 1}]}', locate)
        self.assertEqual(told.splitlines()[-1], "b.yaml:1:1  x: bad")

    def test_otherServers(self) -> None:
        """
        What is no control plane is told as such.
        """
        self.assertEqual(_explain(502, b"<html>"), "HTTP status 502: <html>")
        self.assertEqual(_explain(500, b'["a"]'), 'HTTP status 500: ["a"]')

    def test_nobody(self) -> None:
        """
        Where nobody listens it is said what may be meant.
        """
        from tests.integration.process import freePort

        client = APIClient(f"http://127.0.0.1:{freePort()}")
        error = self.assertRaises(CommandFailed, client.ask, "GET", "/version")
        self.assertIn("is the control plane running?", str(error))
