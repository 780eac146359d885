"""
The source tree as the house tests see it: every module of the package, parsed, with the names it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import meshproxy

__all__ = ["Module", "PACKAGE", "modules", "parsed"]

PACKAGE = Path(meshproxy.__file__).resolve().parent


@dataclass(frozen=True)
class Module:
    """
    One source file.

    @ivar name: Its full name: C{meshproxy.codec.http1.decoder}.
    @ivar isPackage: Whether it is the C{__init__} of a folder.
    @ivar text: The source.
    """

    name: str
    isPackage: bool
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """
        The syntax tree.
        """
        return ast.parse(self.text)

    def _base(self, level: int) -> str:
        parts = self.name.split(".")
        drop = level - 1 if self.isPackage else level
        return ".".join(parts[: len(parts) - drop])

    @cached_property
    def imports(self) -> frozenset[str]:
        """
        Every name that is imported anywhere in the file, inside functions and under TYPE_CHECKING too.

        C{from a import b} gives C{a.b}, since C{b} may be a module.
        """
        return frozenset(self._imported(ast.walk(self.tree)))

    @cached_property
    def importsWhenLoaded(self) -> frozenset[str]:
        """
        The names that are imported as soon as the module is: not inside a function, not under TYPE_CHECKING.
        """
        return frozenset(self._imported(_outsideFunctions(self.tree)))

    def _imported(self, nodes: Iterator[ast.AST]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    base = ".".join(filter(None, [self._base(node.level), base]))
                for alias in node.names:
                    yield f"{base}.{alias.name}"


def _outsideFunctions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _outsideFunctions(child)


def parsed(name: str, text: str, isPackage: bool = False) -> Module:
    """
    A module of the given text, for tests of the rules themselves.
    """
    return Module(name, isPackage, text)


def _walk(folder: Path, name: str) -> Iterator[Module]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            yield from _walk(path, f"{name}.{path.name}")
        elif path.suffix == ".py":
            isPackage = path.stem == "__init__"
            yield Module(name if isPackage else f"{name}.{path.stem}", isPackage, path.read_text())


@lru_cache
def modules() -> tuple[Module, ...]:
    """
    Every module below L{meshproxy}, the filters and the control plane (which are links there) included.
    """
    return tuple(_walk(PACKAGE, "meshproxy"))
