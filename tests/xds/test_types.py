"""
Tests for L{meshproxy.xds.types}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.xds.types import AGGREGATED_DELTA, AGGREGATED_STREAM, ENDPOINTS, METHODS, ORDER, nameOf


class TypeTests(SynchronousTestCase):
    """
    The words of xDS.
    """

    def test_types(self) -> None:
        """
        Each type is one that Envoy's API knows.
        """
        for typeURL in ORDER:
            self.assertIsNotNone(newMessage(typeURL.rpartition("/")[2]))

    def test_methods(self) -> None:
        """
        Each service and method is one of Envoy's API, in the right variant.
        """
        for path in (AGGREGATED_STREAM, AGGREGATED_DELTA, *METHODS):
            _, service, name = path.split("/")
            method: Any = descriptorPool().FindServiceByName(service).FindMethodByName(name)
            isDelta = METHODS.get(path, ("", path == AGGREGATED_DELTA))[1]
            self.assertEqual(method.input_type.name, "DeltaDiscoveryRequest" if isDelta else "DiscoveryRequest")

    def test_names(self) -> None:
        """
        Endpoints are named by their cluster.
        """
        message: Any = newMessage("envoy.config.endpoint.v3.ClusterLoadAssignment")
        message.cluster_name = "a"
        self.assertEqual(nameOf(ENDPOINTS, message), "a")
