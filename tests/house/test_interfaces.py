"""
Every class does what its C{@implementer} says, and so does every plugin.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

from twisted.plugin import getCache
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementedBy, implementer, providedBy
from zope.interface.exceptions import Invalid
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass, verifyObject

import meshproxy.plugins
from tests.house.source import modules


def implementers() -> Iterator[type]:
    """
    The classes of this package that implement an interface, each once.
    """
    for module in modules():
        if module.name.startswith("meshproxy.plugins."):
            continue
        for value in vars(import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name and not isinstance(value, InterfaceClass):
                yield value


def brokenPromises(cls: type) -> list[str]:
    """
    What a class promises by its interfaces and does not keep.
    """
    broken = []
    for interface in implementedBy(cls):
        try:
            verifyClass(interface, cls)
        except Invalid as error:
            broken.append(f"{cls.__module__}.{cls.__qualname__}, {interface.__name__}: {error}")
    return broken


class ImplementerTests(SynchronousTestCase):
    """
    The walk over all classes.
    """

    maxDiff = None

    def test_implementers(self) -> None:
        """
        Each class has every method of each interface it implements, with a signature that fits.
        """
        self.assertEqual([line for cls in implementers() for line in brokenPromises(cls)], [])

    def test_brokenPromise(self) -> None:
        """
        A missing method and one of too few arguments are both seen.
        """

        class IDoor(Interface):
            def open(key: bytes) -> None:
                """
                Open it.
                """

        @implementer(IDoor)
        class Wall:  # type: ignore[misc]  # the fault that is to be seen
            pass

        @implementer(IDoor)
        class Gate:
            def open(self) -> None:  # type: ignore[override]  # the fault that is to be seen
                pass

        @implementer(IDoor)
        class Door:
            def open(self, key: bytes) -> None:
                pass

        self.assertEqual([len(brokenPromises(cls)) for cls in (Wall, Gate, Door)], [1, 1, 0])


class PluginTests(SynchronousTestCase):
    """
    The walk over all plugins.
    """

    def test_plugins(self) -> None:
        """
        Each plugin file loads, and each plugin in it provides what it says.
        """
        for dropin in getCache(meshproxy.plugins).values():
            for found in dropin.plugins:
                plugin = found.load()
                for interface in providedBy(plugin):
                    with self.subTest(plugin=found.name, interface=interface.__name__):
                        verifyObject(interface, plugin)

    def test_everyFileIsADropin(self) -> None:
        """
        No file of the plugin folder failed to import; Twisted would only log that, and its filters be unknown.
        """
        files = {module.name.rpartition(".")[2] for module in modules() if module.name.startswith("meshproxy.plugins.")}
        self.assertEqual(files - set(getCache(meshproxy.plugins)), set())
