"""
Tests for L{meshproxy.interfaces}. That implementations fit is seen by C{tests.house.test_interfaces}.
"""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.interface import InterfaceClass, Method

from meshproxy import interfaces
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import MORE, STOP, IHTTPFilter, IListenerFilter, More, Stop
from meshproxy.net.listenerfilter import ListenerFilter


def declared() -> dict[str, InterfaceClass]:
    """
    The interfaces of the module by name.
    """
    found = {name: value for name, value in vars(interfaces).items() if isinstance(value, InterfaceClass)}
    return {name: value for name, value in found.items() if value is not Interface}


class InterfacesTests(SynchronousTestCase):
    """
    The interfaces are whole, and say what the base classes do.
    """

    def test_exported(self) -> None:
        """
        Each interface is public, and nothing but those and the answers L{STOP} and L{MORE} are.
        """
        self.assertEqual({*declared(), "STOP", "Stop", "MORE", "More"}, set(interfaces.__all__))

    def test_documented(self) -> None:
        """
        Each interface, and each of its methods and attributes, says what it is for.
        """
        silent = [
            f"{name}.{attribute}"
            for name, interface in declared().items()
            for attribute, description in interface.namesAndDescriptions()
            if not description.getDoc().strip()
        ]
        self.assertEqual(silent, [])
        self.assertEqual([name for name, interface in declared().items() if not interface.getDoc().strip()], [])

    def test_noSelf(self) -> None:
        """
        Methods of interfaces have no C{self}: with it, correct classes would be refused.
        """
        wrong = [
            f"{name}.{method}"
            for name, interface in declared().items()
            for method, description in interface.namesAndDescriptions()
            if isinstance(description, Method) and "self" in description.positional
        ]
        self.assertEqual(wrong, [])

    def test_filterNames(self) -> None:
        """
        The base classes of filters take arguments of the interface's names, so that filters may name them.
        """
        for interface, base in ((IHTTPFilter, HTTPFilter), (IListenerFilter, ListenerFilter)):
            for name, method in interface.namesAndDescriptions():
                if isinstance(method, Method):
                    parameters = list(inspect.signature(getattr(base, name)).parameters)[1:]
                    self.assertEqual(parameters, list(method.positional))


class StopTests(SynchronousTestCase):
    """
    L{STOP}.
    """

    def test_distinct(self) -> None:
        """
        It is no other answer of a filter: neither nothing nor bytes, and true.
        """
        self.assertIsInstance(STOP, Stop)
        self.assertNotIn(STOP, (None, b"", False))
        self.assertTrue(STOP)

    def test_repr(self) -> None:
        """
        It shows as what authors of filters write.
        """
        self.assertEqual(repr(STOP), "STOP")


class MoreTests(SynchronousTestCase):
    """
    L{MORE}.
    """

    def test_distinct(self) -> None:
        """
        It is no other answer of a filter.
        """
        self.assertIsInstance(MORE, More)
        self.assertNotIn(MORE, (None, STOP, b"", False))
        self.assertEqual(repr(MORE), "MORE")
