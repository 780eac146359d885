# -*- test-case-name: tests.config.cel.test_text -*-
"""
An expression as text, for those who are told of it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from meshproxy.config.cel.syntax import Node

__all__ = ["textOf"]

# Operators between two operands, with how tightly they bind.
_BINARY: Final = {
    "_||_": ("||", 1),
    "_&&_": ("&&", 2),
    **{f"_{sign}_": (sign, 3) for sign in ("==", "!=", "<", "<=", ">", ">=")},
    "@in": ("in", 3),
    "_+_": ("+", 4),
    "_-_": ("-", 4),
    "_*_": ("*", 5),
    "_/_": ("/", 5),
    "_%_": ("%", 5),
}
_UNARY: Final = {"!_": "!", "-_": "-"}
_TIGHTEST: Final = 7


def textOf(node: Node) -> str:
    """
    The text, in one line.
    """
    return _written(node)[0]


def _written(node: Node) -> tuple[str, int]:
    """
    @return: The text, and how tightly its outermost operator binds.
    """
    kind = node.WhichOneof("expr_kind")
    if kind == "ident_expr":
        return node.ident_expr.name, _TIGHTEST
    if kind == "const_expr":
        return _constant(node.const_expr), _TIGHTEST
    if kind == "select_expr":
        text = f"{_within(node.select_expr.operand, _TIGHTEST)}.{node.select_expr.field}"
        return (f"has({text})" if node.select_expr.test_only else text), _TIGHTEST
    if kind == "call_expr":
        return _call(node.call_expr)
    if kind == "list_expr":
        return f"[{_joined(node.list_expr.elements)}]", _TIGHTEST
    if kind == "struct_expr":
        held = node.struct_expr
        entries = [
            f"{entry.field_key if entry.WhichOneof('key_kind') == 'field_key' else textOf(entry.map_key)}: "
            f"{textOf(entry.value)}"
            for entry in held.entries
        ]
        return f"{held.message_name}{{{', '.join(entries)}}}", _TIGHTEST
    return "...", _TIGHTEST


def _within(node: Node, tightness: int) -> str:
    text, mine = _written(node)
    return text if mine >= tightness else f"({text})"


def _joined(nodes: Any) -> str:
    return ", ".join(map(textOf, nodes))


def _call(call: Any) -> tuple[str, int]:
    name, args = call.function, call.args
    if name in _BINARY and len(args) == 2:
        sign, tightness = _BINARY[name]
        return f"{_within(args[0], tightness)} {sign} {_within(args[1], tightness + 1)}", tightness
    if name in _UNARY and len(args) == 1:
        return f"{_UNARY[name]}{_within(args[0], _TIGHTEST - 1)}", _TIGHTEST - 1
    if name == "_[_]" and len(args) == 2:
        return f"{_within(args[0], _TIGHTEST)}[{textOf(args[1])}]", _TIGHTEST
    if name == "_?_:_" and len(args) == 3:
        return f"{_within(args[0], 1)} ? {_within(args[1], 1)} : {textOf(args[2])}", 0
    target = f"{_within(call.target, _TIGHTEST)}." if call.HasField("target") else ""
    return f"{target}{name}({_joined(args)})", _TIGHTEST


def _constant(constant: Any) -> str:
    kind = constant.WhichOneof("constant_kind")
    if kind == "string_value":
        return json.dumps(constant.string_value, ensure_ascii=False)
    if kind == "bytes_value":
        return f"b{json.dumps(constant.bytes_value.decode('utf-8', 'backslashreplace'), ensure_ascii=False)}"
    if kind == "bool_value":
        return "true" if constant.bool_value else "false"
    if kind == "uint64_value":
        return f"{constant.uint64_value}u"
    if kind == "int64_value":
        return str(constant.int64_value)
    if kind == "double_value":
        return repr(constant.double_value)
    return "null"
