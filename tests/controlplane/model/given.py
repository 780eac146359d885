"""
Resources for the tests of the model, and what is told of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import dedent, indent

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource

__all__ = ["KindTests", "document", "read"]

_API = {
    "PeerAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "Service": "v1",
    "Secret": "v1",
}


def document(kind: str, spec: str, name: str = "one", namespace: str = "shop") -> str:
    """
    A resource as text, from the text of its spec; that of a Secret stands at the top.
    """
    body = dedent(spec).strip()
    head = f"apiVersion: {_API.get(kind, 'networking.istio.io/v1')}\nkind: {kind}\n"
    head += f"metadata: {{name: {name}, namespace: {namespace}}}\n"
    return f"{head}{body}\n" if kind == "Secret" else f"{head}spec:\n{indent(body, '  ')}\n"


def read(text: str) -> tuple[Resource | None, list[Problem]]:
    """
    The one resource of a text, and its problems.
    """
    resources, problems = parseDocuments(text, "given.yaml")
    return (resources[0] if resources else None), problems


class KindTests(SynchronousTestCase):
    """
    What the tests of each kind share.

    @cvar kind: The kind.
    """

    kind = ""

    def accepted(self, spec: str) -> Resource:
        """
        The resource, of which nothing bad is told.
        """
        resource, problems = read(document(self.kind, spec))
        self.assertEqual([str(problem) for problem in problems], [], spec)
        assert resource is not None
        return resource

    def told(self, spec: str) -> list[tuple[str, str]]:
        """
        Path and code of each problem.
        """
        return [(problem.path, problem.code) for problem in read(document(self.kind, spec))[1]]

    def refusals(self, cases: Iterable[tuple[str, str, str]]) -> None:
        """
        Each spec is refused for exactly one error, at a path and with a code.
        """
        for spec, path, code in cases:
            resource, problems = read(document(self.kind, spec))
            errors = [problem for problem in problems if problem.isError]
            self.assertEqual([(error.path, error.code) for error in errors], [(path, code)], f"{spec}\n{problems}")
            self.assertIsNone(resource)
            self.assertGreater(errors[0].line, 0, spec)

    def warnings(self, cases: Iterable[tuple[str, str, str]]) -> None:
        """
        Each spec is accepted with exactly one warning, at a path and with a code.
        """
        for spec, path, code in cases:
            resource, problems = read(document(self.kind, spec))
            self.assertEqual([(one.path, one.code) for one in problems], [(path, code)], f"{spec}\n{problems}")
            self.assertIsNotNone(resource, spec)
