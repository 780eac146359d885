"""
Tests for L{meshproxy.controlplane.api.router}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.api.router import Operation, Router


async def _handler() -> None:
    """
    Never called.
    """


class RouterTests(SynchronousTestCase):
    """
    L{Router} finds who answers.
    """

    def setUp(self) -> None:
        self.router = Router()
        for pattern in ("/a", "GET /a/{name}", "PUT /a/{name}", "/a/{name}/b", "/a/fixed", "/a/fixed/c", "/"):
            method, _, path = pattern.rpartition(" ")
            self.router.add(Operation(method or "GET", path, _handler, Role.READ))

    def find(self, path: str, method: str = "GET") -> tuple[str, dict[str, str]]:
        """
        The pattern of what is found, and the parts of the path.
        """
        operation, parts = self.router.find(method, [part for part in path.split("/") if part])
        return operation.pattern, parts

    def test_find(self) -> None:
        """
        Literal segments go first; where they lead nowhere, the parameter is tried.
        """
        self.assertEqual(self.find("/a"), ("/a", {}))
        self.assertEqual(self.find("/"), ("/", {}))
        self.assertEqual(self.find("/a/x"), ("/a/{name}", {"name": "x"}))
        self.assertEqual(self.find("/a/fixed"), ("/a/fixed", {}))
        self.assertEqual(self.find("/a/fixed", "PUT"), ("/a/{name}", {"name": "fixed"}))
        self.assertEqual(self.find("/a/fixed/b"), ("/a/{name}/b", {"name": "fixed"}))
        self.assertEqual(self.find("/a/x", "HEAD"), ("/a/{name}", {"name": "x"}))

    def test_nothing(self) -> None:
        """
        Nothing there is 404; something for other methods is 405, with which ones.
        """
        for path in ("/b", "/a/x/c", "/a/x/b/c"):
            self.assertEqual(self.assertRaises(Refused, self.find, path).code, 404)
        error = self.assertRaises(Refused, self.find, "/a/fixed", "DELETE")
        self.assertEqual((error.code, error.headers), (405, {"Allow": "GET, HEAD, PUT"}))

    def test_mistakes(self) -> None:
        """
        Two operations at one place, and two names for one part, are mistakes of the program.
        """
        self.assertRaises(ValueError, self.router.add, Operation("GET", "/a", _handler, Role.READ))
        self.assertRaises(ValueError, self.router.add, Operation("GET", "/a/{other}/x", _handler, Role.READ))
        self.assertEqual(len(list(self.router)), 7)
