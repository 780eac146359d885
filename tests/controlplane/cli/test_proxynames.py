"""
Tests for L{meshproxy.controlplane.cli.proxynames}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.cli.client import CommandFailed
from meshproxy.controlplane.cli.proxynames import namesOf, proxyNamed

_PROXIES = [
    {"id": "sidecar~10.0.0.1~reviews-v1.shop~shop.svc.cluster.local", "cluster": "reviews.shop"},
    {"id": "sidecar~10.0.0.2~reviews-v2.shop~shop.svc.cluster.local", "cluster": "reviews.shop"},
    {"id": "sidecar~10.0.0.3~ratings.shop~shop.svc.cluster.local", "cluster": ""},
    {"id": "plain", "cluster": "edge"},
]


class _Client:
    def ask(self, method: str, target: str) -> Any:
        return {"proxies": _PROXIES} if (method, target) == ("GET", "/v1/proxies") else {}


class ProxyNameTests(SynchronousTestCase):
    """
    L{proxyNamed} and L{namesOf}.
    """

    def named(self, asked: str) -> str:
        """
        Which proxy is meant.
        """
        client: Any = _Client()
        return proxyNamed(client, asked)

    def refused(self, asked: str) -> str:
        """
        Why none is.
        """
        client: Any = _Client()
        return str(self.assertRaises(CommandFailed, proxyNamed, client, asked))

    def test_names(self) -> None:
        """
        The id itself, istioctl's name with the namespace, the bare name, the node's cluster.
        """
        for proxy in _PROXIES:
            self.assertEqual(self.named(proxy["id"]), proxy["id"])
        self.assertEqual(self.named("reviews-v1.shop"), _PROXIES[0]["id"])
        self.assertEqual(self.named("reviews-v2"), _PROXIES[1]["id"])
        self.assertEqual(self.named("edge"), "plain")

    def test_several(self) -> None:
        """
        A name that several bear is refused, with their ids.
        """
        why = self.refused("reviews.shop")
        self.assertIn("2 proxies", why)
        self.assertIn(_PROXIES[0]["id"], why)
        self.assertIn(_PROXIES[1]["id"], why)

    def test_none(self) -> None:
        """
        A name that none bears is refused, with a near one if there is any.
        """
        self.assertIn("did you mean reviews-v1?", self.refused("review-v1"))
        self.assertIn("proxy-status", self.refused("zzz"))

    def test_empty(self) -> None:
        """
        A node without a cluster is not called by nothing.
        """
        self.assertNotIn("", namesOf(_PROXIES))
