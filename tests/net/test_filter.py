"""
Tests for L{meshproxy.net.filter}.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext
from meshproxy.runtime import Runtime
from meshproxy.stats import Store
from meshproxy.testing import MemoryNetwork, VirtualReactor


class Echo(NetworkFilter):
    """
    A filter that does what is necessary and nothing else.
    """

    configType = "google.protobuf.Struct"

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        super().__init__(section, context)
        self.accepted = context.listenerScope.counter("accepted")

    def buildProtocol(self, info: Any) -> Protocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        self.accepted.value += 1
        return Protocol()


class NetworkFilterTests(SynchronousTestCase):
    """
    L{NetworkFilter} is the least that a filter is.
    """

    def setUp(self) -> None:
        clock = VirtualReactor()
        self.store = Store()
        self.context = NetworkFilterContext(
            listenerScope=self.store.scope("listener.0.0.0.0:80."),
            store=self.store,
            clock=clock,
            random=lambda: 0.5,
            network=MemoryNetwork(clock),
            runtime=Runtime(lambda: 0.5),
            bufferLimit=1024,
            proxy=None,
        )
        self.section = Section.of("google.protobuf.Struct", {})

    def test_smallest(self) -> None:
        """
        A subclass needs to build protocols only: reloads, drains and the end are nothing to it, and refuse nothing.
        """
        old, new = Echo(self.section, self.context), Echo(self.section, self.context)
        new.succeed(old)
        new.buildProtocol(None)
        for closing in (True, False):
            new.closeGently(closing)
        new.drain()
        new.stop()
        self.section.report.raiseIfAny()
        self.assertEqual(self.store.counters["listener.0.0.0.0_80.accepted"].value, 1)

    def test_shared(self) -> None:
        """
        What filters of one chain share cannot be changed by one of them.
        """
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, self.context, "bufferLimit", 1)

    def test_nameless(self) -> None:
        """
        A filter that names no message is chosen by none.
        """
        self.assertEqual((NetworkFilter.configType, Echo.configType), ("", "google.protobuf.Struct"))
