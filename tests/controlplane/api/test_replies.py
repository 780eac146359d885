"""
Tests for L{meshproxy.controlplane.api.replies}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.replies import Refused, Reply, conflict, invalid, notFound, status
from meshproxy.controlplane.model.problems import Problem, Severity


class RefusedTests(SynchronousTestCase):
    """
    L{Refused} in both of its shapes.
    """

    def setUp(self) -> None:
        self.error = Problem(Severity.ERROR, "unknown-field", "no", "spec.hots", "hosts", "a.yaml", 3, 2)
        warning = Problem(Severity.WARNING, "deprecated", "old", "spec.x")
        self.refused = invalid([self.error, warning], {"name": "a", "kind": "gateways"})

    def test_problem(self) -> None:
        """
        RFC 9457: what is wrong, with file, line and field of each error, and what was meant.
        """
        problem = self.refused.problem("/v1/apply")
        self.assertEqual((problem["status"], problem["title"]), (422, "Unprocessable Content"))
        self.assertEqual((problem["instance"], problem["detail"]), ("/v1/apply", "nothing was changed: one error"))
        self.assertEqual(problem["errors"], [self.error.asDict()])

    def test_status(self) -> None:
        """
        Kubernetes' Status: a reason, causes, and a message for people.
        """
        told = self.refused.status()
        self.assertEqual((told["code"], told["reason"], told["status"]), (422, "Invalid", "Failure"))
        self.assertEqual(
            told["details"],
            {
                "name": "a",
                "kind": "gateways",
                "causes": [{"reason": "FieldValueInvalid", "message": "no; did you mean hosts?", "field": "spec.hots"}],
            },
        )
        self.assertIn("did you mean hosts?", str(told["message"]))

    def test_reasons(self) -> None:
        """
        The words by which Kubernetes' clients decide.
        """
        self.assertEqual(conflict("x").reason, "Conflict")
        self.assertEqual(conflict("x", exists=True).reason, "AlreadyExists")
        self.assertEqual((notFound("x").reason, notFound("x").detail), ("NotFound", "x not found"))
        self.assertEqual(Refused(410, "x").reason, "Expired")
        self.assertEqual(status("Success"), {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200,
        })  # fmt: skip

    def test_bodies(self) -> None:
        """
        Values are JSON, bytes are themselves.
        """
        self.assertEqual((Reply({"a": "ä"}).body(), Reply(b"x").body()), ('{"a":"ä"}\n'.encode(), b"x"))
