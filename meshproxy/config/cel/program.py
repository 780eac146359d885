# -*- test-case-name: tests.config.cel.test_program -*-
"""
Expressions compiled: what an expression names is found once, so that an evaluation reads that and nothing else.

C{request.headers["x"]} is one variable of the expression that is evaluated, not a part of a map that would have to be
made first. A value that is not there is a variable without a value: what it stands in is an error, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from meshproxy.config.cel.functions import DEFAULTS, Options, hasFunction, isFunction
from meshproxy.config.cel.library import Evaluate, checkPattern, evaluator, isError, parse
from meshproxy.config.cel.syntax import (
    ExpressionError,
    Node,
    constantText,
    holderOf,
    newNode,
    nodeOf,
    partsOf,
    pathOf,
)
from meshproxy.config.cel.text import textOf
from meshproxy.config.section import Section
from meshproxy.config.valuematchers import MISSING

__all__ = ["FindVariable", "Program", "Read", "Variable", "compileProgram", "compileSection", "compileText"]

#: Reads a value of what an expression is about, or L{MISSING}.
Read: TypeAlias = Callable[[Any], Any]


class Variable(NamedTuple):
    """
    What a name stands for.

    @ivar names: How many names of the path it takes.
    @ivar kind: The type in the library, where a value of Python does not say it: C{UINT}, C{TIMESTAMP}, C{DURATION}.
    @ivar isThere: What C{has()} says of it: whether it is there, or L{MISSING} where even that of which it is a part is
        not; L{None} where its own value says it.
    @ivar foldsKeys: Whether it is a map in whose keys case does not matter, and which has them in lower case.
    """

    names: int
    read: Read
    kind: str = ""
    isThere: Read | None = None
    foldsKeys: bool = False


#: Finds what a path begins with.
#: @raise ExpressionError: If there is nothing of that name, or nothing that can be given.
FindVariable: TypeAlias = Callable[[Sequence[str]], Variable]

# Names of types, which are values of their own.
_TYPES: Final = frozenset(
    ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"),
)


# The largest that a sum may become, in bytes.
_LARGEST: Final = 1 << 18


class Program:
    """
    A compiled expression.

    @ivar text: As it was written, or as it would be.
    """

    __slots__ = ("_conjuncts", "_evaluate", "_reads", "text")

    def __init__(self, text: str, compiled: _Compiled, conjuncts: Sequence[tuple[str, Node]] = ()) -> None:
        """
        @param conjuncts: What it is made of, where all of that must hold: each as text and as it is evaluated.
        """
        self.text = text
        self._evaluate = compiled.evaluate
        self._reads = compiled.reads
        self._conjuncts = tuple(conjuncts)

    @property
    def names(self) -> tuple[str, ...]:
        """
        What it asks: C{request.headers.x-a}; C{has(request.id)} where it asks only whether that is there.
        """
        return tuple(self._reads)

    def value(self, subject: Any) -> Any:
        """
        Evaluate it.

        @return: A C{Value} of the library's.
        """
        data = {}
        for name, (read, _) in self._reads.items():
            value = read(subject)
            if value is not MISSING:
                data[name] = value
        return self._evaluate(data)

    def holds(self, subject: Any) -> bool:
        """
        Whether it is true: neither false, nor an error, nor something else.
        """
        return self.value(subject).value() is True

    def whyNot(self, subject: Any) -> str:
        """
        Say why it does not hold: which part of it is false, or fails.
        """
        for text, node in self._conjuncts:
            part = Program(text, _Compiled(evaluator(node, _kindsOf(self._reads)), self._reads))
            if not part.holds(subject):
                return part.whyNot(subject)
        value = self.value(subject)
        if isError(value):
            return f"{self.text} cannot be evaluated ({value.value()})"
        return f"{self.text} is false" if value.value() is False else f"{self.text} is neither true nor false"


class _Compiled(NamedTuple):
    """
    @ivar reads: The variables by name, each with the type that the library must be told.
    """

    evaluate: Evaluate
    reads: dict[str, tuple[Read, str]]


def _kindsOf(reads: dict[str, tuple[Read, str]]) -> dict[str, str]:
    return {name: kind for name, (_, kind) in reads.items() if kind}


def compileProgram(node: Node, find: FindVariable, options: Options = DEFAULTS, text: str = "") -> Program:
    """
    Compile a syntax tree.

    @param node: It is written anew.
    @param find: Finds what its names stand for.
    @param text: As it was written, if that is known.

    @raise ExpressionError: If it cannot be used.
    """
    conjuncts = [(textOf(part), part) for part in _conjuncts(node)]
    shown = text or textOf(node)
    writer = _Writer(find, options)
    writer.write(node)
    reads = writer.reads
    compiled = _Compiled(evaluator(node, _kindsOf(reads)), reads)
    return Program(shown, compiled, conjuncts if len(conjuncts) > 1 else ())


def compileText(text: str, find: FindVariable, options: Options = DEFAULTS) -> Program:
    """
    Compile a text.

    @raise ExpressionError: If it cannot be used.
    """
    return compileProgram(parse(text), find, options, text)


def compileSection(section: Section, find: FindVariable, options: Options = DEFAULTS) -> Program | None:
    """
    Compile an C{Expr}, of C{google.api.expr.v1alpha1} or C{cel.expr}.

    @return: L{None} if it cannot be used, which is then told by C{refuse}.
    """
    try:
        return compileProgram(nodeOf(section.message), find, options)
    except ExpressionError as error:
        section.refuse(str(error))
        return None


def _conjuncts(node: Node) -> list[Node]:
    if node.WhichOneof("expr_kind") != "call_expr" or node.call_expr.function != "_&&_":
        return [node]
    return [part for side in node.call_expr.args for part in _conjuncts(side)]


class _Writer:
    """
    Writes an expression anew: names become variables, and functions those that do as Envoy's do.

    @ivar reads: The variables that it came upon.
    """

    def __init__(self, find: FindVariable, options: Options) -> None:
        self._find = find
        self._options = options
        self.reads: dict[str, tuple[Read, str]] = {}

    def write(self, node: Node) -> None:
        """
        Write a node anew, and what is below it.

        @raise ExpressionError: If it cannot be used.
        """
        path = pathOf(node)
        if path is not None:
            self._writePath(node, path)
            return
        kind = node.WhichOneof("expr_kind")
        if kind == "comprehension_expr":
            raise ExpressionError("Envoy has no comprehensions, such as exists() and all(): they may run long")
        if kind == "const_expr" and node.const_expr.WhichOneof("constant_kind") is None:
            # Null is what YAML says for nothing, too.
            node.const_expr.null_value = 0
        if kind is None:
            raise ExpressionError("a part of the expression is empty")
        if kind == "select_expr" and node.select_expr.test_only:
            self._writeTest(node)
        elif kind == "call_expr":
            self._writeCall(node)
        else:
            for part in partsOf(node):
                self.write(part)

    def _writePath(self, node: Node, path: list[str]) -> Variable | None:
        """
        @return: What the node stands for, if that is all it is.
        """
        if path[0] in _TYPES:
            return None
        variable = self._find(path)
        for _ in range(len(path) - variable.names):
            node = holderOf(node)
        self._name(node, ".".join(path[: variable.names]), variable.read, variable.kind)
        return variable if len(path) == variable.names else None

    def _name(self, node: Node, name: str, read: Read, kind: str = "") -> None:
        node.ident_expr.name = name
        self.reads[name] = (read, kind)

    def _writeTest(self, node: Node) -> None:
        """
        Write C{has()} anew.
        """
        held = pathOf(node.select_expr.operand)
        path = None if held is None or held[0] in _TYPES else [*held, node.select_expr.field]
        variable = None if path is None else self._find(path)
        if path is None or variable is None or variable.names < len(path):
            self.write(node.select_expr.operand)
            return
        read = variable.read
        self._name(node, f"has({'.'.join(path)})", variable.isThere or (lambda subject: read(subject) is not MISSING))

    def _writeCall(self, node: Node) -> None:
        call = node.call_expr
        name, args = call.function, call.args
        isMember = call.HasField("target")
        if isMember and call.target.WhichOneof("expr_kind") == "ident_expr":
            # A function in a name space: strings.quote(...).
            spaced = f"{call.target.ident_expr.name}.{name}"
            if isFunction(spaced, len(args)):
                call.function = name = spaced
                call.ClearField("target")
                isMember = False
        fault = hasFunction(name, len(args), isMember, self._options)
        if fault is not None:
            raise ExpressionError(fault)
        if name in ("_[_]", "@in"):
            self._writeLookup(*(args if name == "_[_]" else reversed(args)))
            return
        for part in partsOf(node):
            self.write(part)
        if name == "_+_":
            self._writeSum(node)
        elif name == "matches":
            pattern = constantText(args[-1])
            if pattern is None:
                raise ExpressionError("a regular expression is to be written out here: its size is checked beforehand")
            checkPattern(pattern)

    def _writeSum(self, node: Node) -> None:
        """
        Write C{a + b} anew as C{[b - b, a + b][1]}, which fails where C{b} is no number and no time, as Envoy's does;
        where it adds texts too, C{b < b} fails for lists.
        """
        args = node.call_expr.args
        if any(_isNumber(each) for each in args):
            return
        guard, whole = newNode(), newNode()
        guard.call_expr.function = "_<_" if self._options.addsStrings else "_-_"
        guard.call_expr.args.extend([args[1], args[1]])
        whole.CopyFrom(node)
        node.Clear()
        node.call_expr.function = "_[_]"
        listed, index = node.call_expr.args.add(), node.call_expr.args.add()
        listed.list_expr.elements.extend([guard, whole])
        index.const_expr.int64_value = 1
        if node.ByteSize() > _LARGEST:
            raise ExpressionError("there are too many sums in each other")

    def _writeLookup(self, held: Node, key: Node) -> None:
        """
        Write the look-up of a key anew.
        """
        path = pathOf(held)
        variable = self._writePath(held, path) if path is not None else None
        if path is None:
            self.write(held)
        self.write(key)
        if variable is None or not variable.foldsKeys:
            return
        text = constantText(key)
        if text is not None:
            key.const_expr.string_value = text.lower()
        elif key.WhichOneof("expr_kind") != "const_expr":
            whole = newNode()
            whole.CopyFrom(key)
            key.Clear()
            key.call_expr.function = "lowerAscii"
            key.call_expr.target.CopyFrom(whole)


def _isNumber(node: Node) -> bool:
    if node.WhichOneof("expr_kind") != "const_expr":
        return False
    return node.const_expr.WhichOneof("constant_kind") in ("int64_value", "uint64_value", "double_value")
