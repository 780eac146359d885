"""
A configuration is read as it is declared: no field is read that is refused, none is taken that nobody reads.
"""

from __future__ import annotations

from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.section import Section
from meshproxy.config.supported import Supported, supported
from tests.house.declared import neverRead
from tests.house.source import modules, parsed


class DeclaredTests(SynchronousTestCase):
    """
    The walk over all declarations.
    """

    maxDiff = None

    def test_read(self) -> None:
        """
        Something reads each field that is declared as implemented. What is accepted without a meaning says so
        (C{accept}, with the reason).
        """
        dataPlane = [module for module in modules() if not module.name.startswith("meshproxy.controlplane")]
        for module in dataPlane:
            if module.name.startswith("meshproxy.filters."):
                import_module(module.name)
        self.assertEqual(neverRead(supported, dataPlane), [])

    def test_guarded(self) -> None:
        """
        In all tests, a read of a field that is not declared is an error.
        """
        socket = Section.of("envoy.config.core.v3.TransportSocket", {"name": "tls"})
        reads = "lambda section, field: section.get(field)"
        self.assertEqual(eval(reads, {"__name__": "meshproxy.example"})(socket, "name"), "tls")
        self.assertRaises(AssertionError, eval(reads, {"__name__": "meshproxy.example"}), socket, "protocol")


class RuleTests(SynchronousTestCase):
    """
    The rules above see what they should.
    """

    def never(self, *lines: str) -> set[str]:
        """
        Which fields some code does not read.
        """
        declarations = Supported()
        declarations.declare("envoy.config.core.v3.HeaderValueOption", "header", "append", "keep_empty_value")
        declarations.declare("envoy.config.core.v3.Address", "pipe")
        declarations.only("envoy.config.core.v3.SocketAddress", "protocol", "TCP", "UDP")
        declarations.accept("envoy.config.core.v3.HeaderValue", "raw_value", "it says nothing")
        found = neverRead(declarations, [parsed("m", "\n".join(lines))])
        return {name.rpartition(".")[2] for name in found}

    def test_names(self) -> None:
        """
        A field is read by its name, as an attribute of the message, by a name that is put together, or as what a oneof
        holds.
        """
        self.assertEqual(self.never(), {"header", "append", "keep_empty_value", "pipe"})
        self.assertEqual(self.never("section.get('append')", "section.message.pipe"), {"header", "keep_empty_value"})
        self.assertEqual(self.never("section.get(f'{which}_empty_value')"), {"header", "append", "pipe"})
        self.assertEqual(self.never("section.oneof('address')"), {"header", "append", "keep_empty_value"})

    def test_declarations(self) -> None:
        """
        A declaration is no read, nor is a name that could be any.
        """
        self.assertEqual(len(self.never("declare('T', 'header', *('append', 'pipe'))", "f'{a}_{b}'")), 4)
