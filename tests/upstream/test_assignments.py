"""
Tests for L{meshproxy.upstream.assignments}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.assignments import AssignedDiscovery, Assignments
from meshproxy.upstream.discovery import compileAssigned

_TYPE = "envoy.config.endpoint.v3.ClusterLoadAssignment"


def assignment(*addresses: str) -> Section:
    """
    Endpoints.
    """
    told = [{"endpoint": {"address": {"socket_address": {"address": one, "port_value": 80}}}} for one in addresses]
    return Section.of(_TYPE, {"cluster_name": "a", "endpoints": [{"lb_endpoints": told}]})


class AssignmentsTests(SynchronousTestCase):
    """
    L{Assignments} between who wants endpoints and who gets them.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.assignments = Assignments(self.clock)
        self.wanted: list[frozenset[str]] = []
        self.assignments.changed = lambda: self.wanted.append(self.assignments.wanted)
        self.found: list[list[str]] = []

    def discovery(self, timeout: float = 15.0) -> AssignedDiscovery:
        """
        What a cluster finds its endpoints by.
        """
        return AssignedDiscovery("a", timeout, self.assignments, Store().scope("cluster.a."), compileAssigned)

    def note(self, endpoints: list[Any]) -> None:
        """
        Note what is found.
        """
        self.found.append([endpoint.address.host for endpoint in endpoints])

    def test_counted(self) -> None:
        """
        It is counted for each who wants it that it is asked for, comes, and does not come in time.
        """
        first, second = self.discovery(), self.discovery()
        first.start(self.note)
        second.start(self.note)
        self.clock.advance(15)
        self.assignments.receive("a", assignment("192.0.2.1"), "7")
        counted = [[one.attempt.value, one.success.value, one.initFetchTimeout.value] for one in self.assignments.stats]
        self.assertEqual(counted, [[3, 1, 1]] * 2)
        first.stop()
        self.assertEqual(len(self.assignments.stats), 1)

    def test_wanted(self) -> None:
        """
        A name is wanted as long as anybody wants it, and each change is told.
        """
        first, second = self.discovery(), self.discovery()
        first.start(self.note)
        second.start(self.note)
        first.stop()
        first.stop()
        self.assertEqual(self.assignments.wanted, {"a"})
        second.stop()
        self.assertEqual(self.wanted, [{"a"}, frozenset()])

    def test_found(self) -> None:
        """
        Endpoints are told to all who want them, and at once to who comes later.
        """
        self.discovery().start(self.note)
        self.assignments.receive("a", assignment("192.0.2.1"))
        self.assignments.receive("a", assignment("192.0.2.1", "192.0.2.2"))
        self.discovery().start(self.note)
        self.assertEqual(self.found, [["192.0.2.1"], ["192.0.2.1", "192.0.2.2"], ["192.0.2.1", "192.0.2.2"]])
        self.assignments.receive("other", assignment("192.0.2.3"))
        self.clock.advance(100)
        self.assertEqual(len(self.found), 3)

    def test_late(self) -> None:
        """
        Who is told of none for too long begins without, and takes them when they come.
        """
        self.discovery(5.0).start(self.note)
        self.clock.advance(5)
        self.assignments.receive("a", assignment("192.0.2.1"))
        self.assertEqual(self.found, [[], ["192.0.2.1"]])

    def test_patient(self) -> None:
        """
        With 0 it waits for as long as it takes.
        """
        self.discovery(0.0).start(self.note)
        self.clock.advance(10_000)
        self.assertEqual(self.found, [])

    def test_stopped(self) -> None:
        """
        Who stopped is told nothing.
        """
        discovery = self.discovery(5.0)
        discovery.start(self.note)
        discovery.stop()
        self.clock.advance(10)
        self.assignments.receive("a", assignment("192.0.2.1"))
        self.assertEqual((self.found, self.clock.getDelayedCalls()), ([], []))
