"""
Tests for L{meshproxy.dryrun.explainResources}, as those find it who import nothing of the proxy.
"""

from __future__ import annotations

from typing import Any

from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

import meshproxy.plugins
from meshproxy.controlplane.translate.messages import CLUSTER, LISTENER, ROUTES, messageOf
from meshproxy.interfaces import IExplainer
from tests.xds.support import cluster, listener, routes


class ResourcesTests(SynchronousTestCase):
    """
    Explanations of serialized resources.
    """

    def ask(self, request: dict[str, Any], **clusters: dict[str, Any]) -> Any:
        """
        Ask the plugin.
        """
        (explainer,) = getPlugins(IExplainer, meshproxy.plugins)
        made = {name: messageOf(CLUSTER, one).SerializeToString() for name, one in clusters.items()}
        listeners = {"l": messageOf(LISTENER, listener("l")).SerializeToString()}
        table = {"r": messageOf(ROUTES, routes("r", "web")).SerializeToString()}
        return explainer.explain(listeners, table, made, ["own"], {"url": "http://192.0.2.1:80/x", **request})

    def test_way(self) -> None:
        """
        Routes that are asked for by RDS are those that were given; only clusters are made that somebody asks for.
        """
        answer = self.ask({}, web=cluster("web"), other={"name": "other", "connectTimeout": "-1s"})
        self.assertEqual(answer["outcome"], "forwarded to web")
        self.assertEqual(answer["clusters"][0]["type"], "EDS")
        self.assertNotIn("not_judged", answer)

    def test_notJudged(self) -> None:
        """
        What this proxy does not do is told, and the rest is explained all the same.
        """
        odd = {**cluster("web"), "commonLbConfig": {"overrideHostStatus": {"statuses": ["HEALTHY"]}}}
        answer = self.ask({}, web=odd)
        self.assertEqual(answer["outcome"], "forwarded to web")
        self.assertIn("override_host_status", answer["not_judged"][0])

    def test_wrong(self) -> None:
        """
        What is no request.
        """
        self.assertRaises(ValueError, self.ask, {"url": "ftp://x"})
