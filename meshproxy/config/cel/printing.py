# -*- test-case-name: tests.config.cel.test_printing -*-
"""
Syntax trees in YAML, for those who write configurations.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict

from meshproxy.config.cel.library import parse
from meshproxy.config.cel.syntax import ExpressionError, Node, partsOf

__all__ = ["main", "treeOf"]


def treeOf(text: str) -> dict[str, Any]:
    """
    The syntax tree of an expression, as C{google.api.expr.v1alpha1.Expr}.

    @raise ExpressionError: If it is none.
    """
    node = parse(text)
    _unnumber(node)
    tree: dict[str, Any] = MessageToDict(node, preserving_proto_field_name=True)
    return tree


def _unnumber(node: Node) -> None:
    node.ClearField("id")
    for entry in node.struct_expr.entries if node.WhichOneof("expr_kind") == "struct_expr" else ():
        entry.ClearField("id")
    for part in partsOf(node):
        _unnumber(part)


def main(arguments: Sequence[str]) -> int:
    """
    Print one.

    @return: The exit status.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m meshproxy.config.cel EXPRESSION\n")
        return 2
    try:
        tree = treeOf(arguments[0])
    except ExpressionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    return 0
