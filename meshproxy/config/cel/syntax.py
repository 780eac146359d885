# -*- test-case-name: tests.config.cel.test_syntax -*-
"""
Expressions as syntax trees: C{cel.expr.Expr}, and C{google.api.expr.v1alpha1.Expr}, which is the same on the wire.
"""

from __future__ import annotations

from typing import Any, Final

from meshproxy.config.pool import newMessage
from meshproxy.config.supported import accept, declare, decline

__all__ = [
    "ExpressionError",
    "Index",
    "Node",
    "constantText",
    "holderOf",
    "newNode",
    "nodeOf",
    "partsOf",
    "pathOf",
]

#: A C{cel.expr.Expr}. C{Any}: its class is made at run time.
Node = Any


class ExpressionError(ValueError):
    """
    An expression that cannot be used; its text says why.
    """


_PARSER: Final = "the parser notes there where things stood in a text"
_CHECKER: Final = "as in Envoy, nothing but the expression is looked at"

for _package in ("google.api.expr.v1alpha1.", "cel.expr."):
    _expr = _package + "Expr"
    declare(_expr, "const_expr", "ident_expr", "select_expr", "call_expr", "list_expr", "struct_expr")
    accept(_expr, "id", "it numbers the parts for those who look at them")
    decline(_expr, "comprehension_expr", "Envoy has no comprehensions, such as exists() and all(): they may run long")
    declare(_expr + ".Ident", "name")
    declare(_expr + ".Select", "operand", "field", "test_only")
    declare(_expr + ".Call", "target", "function", "args")
    declare(_expr + ".CreateList", "elements")
    declare(_expr + ".CreateStruct", "message_name", "entries")
    declare(_expr + ".CreateStruct.Entry", "field_key", "map_key", "value")
    accept(_expr + ".CreateStruct.Entry", "id", "it numbers the parts for those who look at them")
    declare(_package + "Constant", "null_value", "bool_value", "int64_value", "uint64_value", "double_value")
    declare(_package + "Constant", "string_value", "bytes_value")
    declare(_package + "ParsedExpr", "expr")
    accept(_package + "ParsedExpr", "source_info", _PARSER)
    declare(_package + "CheckedExpr", "expr")
    for _field in ("reference_map", "type_map", "source_info", "expr_version"):
        accept(_package + "CheckedExpr", _field, _CHECKER)


class Index(str):
    """
    A name that stood in brackets: C{headers["x"]}, not C{headers.x}.
    """

    __slots__ = ()


def newNode() -> Node:
    """
    An empty node.
    """
    return newMessage("cel.expr.Expr")


def nodeOf(message: Any) -> Node:
    """
    A copy of an expression of either package.

    @raise ExpressionError: If it is empty.
    """
    node = newNode()
    node.ParseFromString(message.SerializeToString())
    if node.WhichOneof("expr_kind") is None:
        raise ExpressionError("the expression is empty")
    return node


def constantText(node: Node) -> str | None:
    """
    The text that a node is, where it is one.
    """
    if node.WhichOneof("expr_kind") != "const_expr" or node.const_expr.WhichOneof("constant_kind") != "string_value":
        return None
    text: str = node.const_expr.string_value
    return text


def pathOf(node: Node) -> list[str] | None:
    """
    The names that lead from a variable to a part of it: C{["request", "headers", Index("x")]}.

    @return: L{None} where a node is something else.
    """
    kind = node.WhichOneof("expr_kind")
    if kind == "ident_expr":
        return [node.ident_expr.name.removeprefix(".")]
    if kind == "select_expr" and not node.select_expr.test_only:
        held = pathOf(node.select_expr.operand)
        return None if held is None else [*held, node.select_expr.field]
    if kind == "call_expr" and node.call_expr.function == "_[_]" and len(node.call_expr.args) == 2:
        key = constantText(node.call_expr.args[1])
        held = None if key is None else pathOf(node.call_expr.args[0])
        return None if held is None else [*held, Index(key)]
    return None


def holderOf(node: Node) -> Node:
    """
    Of what a node of a path (L{pathOf}) is a part.
    """
    return node.select_expr.operand if node.WhichOneof("expr_kind") == "select_expr" else node.call_expr.args[0]


def partsOf(node: Node) -> list[Node]:
    """
    The nodes right below a node.
    """
    kind = node.WhichOneof("expr_kind")
    if kind == "select_expr":
        return [node.select_expr.operand]
    if kind == "call_expr":
        call = node.call_expr
        return [*([call.target] if call.HasField("target") else []), *call.args]
    if kind == "list_expr":
        return list(node.list_expr.elements)
    if kind == "struct_expr":
        found = []
        for entry in node.struct_expr.entries:
            found += [*([entry.map_key] if entry.HasField("map_key") else []), entry.value]
        return found
    return []
