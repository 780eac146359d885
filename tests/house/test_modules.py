"""
What every module carries: a docstring, C{__all__}, a name of its tests that exists.
"""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec

from twisted.trial.unittest import SynchronousTestCase

from tests.house.source import Module, modules, parsed


def isPublic(module: Module) -> bool:
    """
    Whether no part of a module's name begins with an underscore. Plugin files are no modules to import from.
    """
    parts = module.name.split(".")
    return not any(part.startswith("_") for part in parts) and parts[1:2] != ["plugins"]


def definedNames(module: Module) -> set[str]:
    """
    The public classes and functions that a module defines.
    """
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in module.tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


def exportedNames(module: Module) -> set[str] | None:
    """
    What a module's C{__all__} lists, or L{None} where it has none.
    """
    for node in module.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = getattr(node, "value", None)
            return set(ast.literal_eval(value)) if value is not None else set()
    return None


class ModuleTests(SynchronousTestCase):
    """
    Modules introduce themselves.
    """

    maxDiff = None

    def test_docstrings(self) -> None:
        """
        Each module says in its first lines what it is for.
        """
        self.assertEqual([module.name for module in modules() if not ast.get_docstring(module.tree)], [])

    def test_exports(self) -> None:
        """
        A public module lists every class and function it defines; what is private begins with an underscore.
        """
        missing = {
            module.name: definedNames(module) - (exportedNames(module) or set())
            for module in modules()
            if isPublic(module)
        }
        self.assertEqual({name: sorted(names) for name, names in missing.items() if names}, {})

    def test_exportsExist(self) -> None:
        """
        Each listed name can be imported.
        """
        missing = [
            f"{module.name}.{name}"
            for module in modules()
            for name in sorted(exportedNames(module) or ())
            if not hasattr(import_module(module.name), name)
        ]
        self.assertEqual(missing, [])

    def test_testCaseNames(self) -> None:
        """
        Where a module's first line names its tests, those exist.
        """
        wrong = []
        for module in modules():
            match = re.match(r"# -\*- test-case-name: ([\w.,]+) -\*-\n", module.text)
            for name in match[1].split(",") if match else ():
                try:
                    found = find_spec(name) is not None
                except ModuleNotFoundError:
                    found = False
                if not found:
                    wrong.append(f"{module.name} names {name}")
        self.assertEqual(wrong, [])


class RuleTests(SynchronousTestCase):
    """
    The rules above see what they should.
    """

    def test_exportedNames(self) -> None:
        """
        C{__all__} is found with and without an annotation; none is not the same as an empty one.
        """
        self.assertEqual(exportedNames(parsed("m", "__all__ = ['a', 'b']")), {"a", "b"})
        self.assertEqual(exportedNames(parsed("m", "__all__: list[str] = []")), set())
        self.assertIsNone(exportedNames(parsed("m", "x = 1")))

    def test_definedNames(self) -> None:
        """
        Classes and functions count, private ones and methods do not.
        """
        text = "class A:\n    def m(self): pass\ndef b(): pass\nasync def c(): pass\ndef _d(): pass\ne = 1\n"
        self.assertEqual(definedNames(parsed("m", text)), {"A", "b", "c"})

    def test_isPublic(self) -> None:
        """
        One underscore anywhere in the path makes a module private.
        """
        self.assertTrue(isPublic(parsed("meshproxy.codec.http1", "")))
        self.assertFalse(isPublic(parsed("meshproxy.codec._tables", "")))
        self.assertFalse(isPublic(parsed("meshproxy.plugins.filters", "")))
