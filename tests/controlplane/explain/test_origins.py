"""
Tests for L{meshproxy.controlplane.explain.origins}. What it finds is seen in the tests of explanations, too.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.explain.origins import Origins, originOf, stepsOf
from tests.controlplane.explain.given import lineOf, meshOf


class OriginTests(SynchronousTestCase):
    """
    L{Origins}.
    """

    def setUp(self) -> None:
        """
        A mesh.
        """
        self.mesh = meshOf()
        self.origins = Origins(self.mesh)

    def test_steps(self) -> None:
        """
        A path, step by step.
        """
        self.assertEqual(stepsOf("spec.http[1].match[0]"), ("spec", "http", 1, "match", 0))
        self.assertEqual(stepsOf(""), ())

    def test_place(self) -> None:
        """
        The line is told where there is a text, and not where there is none.
        """
        (rule,) = self.mesh.resources.all("DestinationRule")
        self.assertEqual(originOf(rule, "spec", "subsets", 1)["at"], lineOf("subset v2"))
        self.assertEqual(originOf(rule)["resource"], "DestinationRule shop/reviews")

    def test_unknown(self) -> None:
        """
        What is not there any more, or is no resource's, is nobody's.
        """
        gone = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/gone"
        for config in ("", "nonsense", gone, "/apis/x/v1/namespaces/shop/envoy-filter/x"):
            told = {"origin": {"config": config, "field": "spec.http[0]"}}
            self.assertEqual(self.origins.route(told), [], config)
            self.assertIsNone(self.origins.ofRoute(told, "timeout"))
            self.assertEqual(self.origins.cluster(told, "v1"), [])
        self.assertEqual(self.origins.policies(["ns[shop]-policy[gone]-rule[0]", "mine"]), [])

    def test_policies(self) -> None:
        """
        One name of RBAC is one rule, whatever stands around it.
        """
        for name in ("ns[shop]-policy[pages]-rule[0]", "istio-ext-authz-p-ns[shop]-policy[pages]-rule[0]-deny"):
            (told,) = self.origins.policies([name])
            self.assertEqual((told["field"], told["at"]), ("spec.rules[0]", lineOf("pages")))
