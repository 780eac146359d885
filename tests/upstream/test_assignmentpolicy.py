"""
L{meshproxy.upstream.assignmentpolicy}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.testing import MemoryNetwork, VirtualReactor
from meshproxy.upstream.assignmentpolicy import AssignmentPolicy, compileAssignmentPolicy
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.cluster import Cluster

_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"


def _policy(**fields: Any) -> Section:
    return Section.of(_ASSIGNMENT + ".Policy", fields)


def _endpoint(host: str, status: str) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": 80}}
    return {"endpoint": {"address": address}, "health_status": status}


class PolicyTests(SynchronousTestCase):
    """
    Policies, and what is wrong with some.
    """

    def test_read(self) -> None:
        """
        What it says, and what it means where it says nothing.
        """
        self.assertEqual(compileAssignmentPolicy(_policy()), AssignmentPolicy(140, False, 0.0))
        overload = {"category": "a", "drop_percentage": {"numerator": 25, "denominator": "TEN_THOUSAND"}}
        section = _policy(overprovisioning_factor=200, weighted_priority_health=True, drop_overloads=[overload])
        self.assertEqual(compileAssignmentPolicy(section), AssignmentPolicy(200, True, 0.0025))

    def test_refused(self) -> None:
        """
        As in Envoy, there is one category, and no more than everything.
        """
        half = {"category": "a", "drop_percentage": {"numerator": 50}}
        more = {"category": "a", "drop_percentage": {"numerator": 150}}
        for overloads, place in (([half, half], "drop_overloads"), ([more], "drop_overloads[0].drop_percentage")):
            section = _policy(drop_overloads=overloads)
            compileAssignmentPolicy(section)
            self.assertEqual([fault.path for fault in section.report.errors], [place])


class DiscoveredTests(SynchronousTestCase):
    """
    Policies that come by C{EDS}.
    """

    chance = 0.0

    def test_heeded(self) -> None:
        """
        The policy of the last assignment counts, for all subsets too; one with a fault changes nothing.
        """
        for subsets in ({}, {"lb_subset_config": {"subset_selectors": [{"keys": ["v"]}], "panic_mode_any": True}}):
            source: dict[str, Any] = {"eds_config": {"ads": {}}}
            config = {"name": "c", "type": "EDS", "eds_cluster_config": source, **subsets}
            if subsets:
                config["lb_subset_config"]["fallback_policy"] = "ANY_ENDPOINT"  # type: ignore[index]
            section = Section.of("envoy.config.cluster.v3.Cluster", config)
            reactor = VirtualReactor()
            assignments = Assignments(Clock())
            assignments.hasSource = True
            network = MemoryNetwork(reactor)
            cluster = Cluster(section, Store(), network, reactor, lambda: self.chance, None, assignments)
            section.report.raiseIfAny()
            cluster.start()
            groups = [
                {"lb_endpoints": [_endpoint("192.0.2.1", "HEALTHY"), _endpoint("192.0.2.2", "UNHEALTHY")]},
                {"priority": 1, "lb_endpoints": [_endpoint("192.0.2.3", "HEALTHY")]},
            ]
            for policy, host, drops in (
                ({}, "192.0.2.3", 0.0),
                ({"overprovisioning_factor": 200}, "192.0.2.1", 0.0),
                ({"drop_overloads": [{"category": "a", "drop_percentage": {"numerator": 50}}]}, "192.0.2.3", 0.5),
                ({"drop_overloads": [{"category": "a", "drop_percentage": {"numerator": 500}}]}, "192.0.2.3", 0.5),
                ({}, "192.0.2.3", 0.0),
            ):
                told = {"cluster_name": "c", "endpoints": groups, "policy": policy}
                assignments.receive("c", Section.of(_ASSIGNMENT, told))
                # Of a hundred the last quarter, or third, is the second priority's, unless the first can take all.
                self.chance = 0.9
                chosen = cluster.chooseEndpoint()
                assert chosen is not None
                self.assertEqual(
                    (chosen.address.host, cluster.drops, cluster.isParticular),
                    (host, drops, bool(drops or subsets)),
                    policy,
                )
