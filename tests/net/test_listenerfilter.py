"""
L{meshproxy.net.listenerfilter}.
"""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.config import Section
from meshproxy.interfaces import IIncomingConnection, IListenerFilter
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext
from meshproxy.runtime import Runtime
from meshproxy.stats import Store
from meshproxy.testing import VirtualReactor


class Indifferent(ListenerFilter):
    """
    The least that a filter is.
    """

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        return None


class ListenerFilterTests(SynchronousTestCase):
    """
    L{ListenerFilter} is the least that a filter is.
    """

    def setUp(self) -> None:
        store = Store()
        scope = store.scope("listener.x.")
        runtime = Runtime(lambda: 0.5)
        self.context = ListenerFilterContext(scope, store, VirtualReactor(), lambda: 0.5, runtime, None)

    def test_smallest(self) -> None:
        """
        A subclass needs to inspect only; it looks at no bytes unless it says so, and the end is nothing to it.
        """
        section = Section.of("google.protobuf.Struct", {})
        made = Indifferent(section, self.context)
        self.assertTrue(verifyObject(IListenerFilter, made))
        self.assertEqual((made.maxBytes, made.configType), (0, ""))
        made.stop()
        section.report.raiseIfAny()

    def test_shared(self) -> None:
        """
        What filters of one listener share cannot be changed by one of them.
        """
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, self.context, "proxy", 1)
