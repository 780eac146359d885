"""
Tests for L{meshproxy.controlplane.cli.client}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.cli.client import APIClient, CommandFailed, _explain, path


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
