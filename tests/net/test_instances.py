"""
Tests of L{meshproxy.net.instances}.
"""

from __future__ import annotations

import ast
import gc
import inspect
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.downstream import HTTP1Connection
from meshproxy.http.plainrequest import PlainRequest
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.http.stream import Stream
from meshproxy.http.unary import UnaryRequest
from meshproxy.net.instances import MOST_ATTRIBUTES, withAttributes
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.http2connection import HTTP2UpstreamConnection


def hasDictionary(instance: object) -> bool:
    """
    Whether an instance's attributes are in a dictionary.
    """
    return any(type(each) is dict for each in gc.get_referents(instance))


def slotsOf(cls: type[object]) -> set[str]:
    """
    The names that a class has slots for, those of its base classes included.
    """
    return {name for each in cls.__mro__ for name in vars(each).get("__slots__", ())}


class WithAttributesTests(SynchronousTestCase):
    """
    L{withAttributes}.
    """

    def late(self, cls: type[Any]) -> list[Any]:
        """
        Many instances, of which each gets its last attributes when all are there.
        """
        instances = [cls() for _ in range(200)]
        for instance in instances:
            instance.second = instance.third = 1
        return instances

    def test_late(self) -> None:
        """
        What is set late is as quick as what is set at once.
        """

        @withAttributes("second", "third")
        class Known:
            second = third = 0

            def __init__(self) -> None:
                self.first = 1

        self.assertEqual([hasDictionary(each) for each in self.late(Known)], [False] * 200)

    def test_noneHasThem(self) -> None:
        """
        Defaults of the class stay what an instance has until it is told otherwise.
        """

        @withAttributes("second", *(f"other{number}" for number in range(100)))
        class Known:
            second = 2

        self.assertEqual(Known().second, 2)
        self.assertEqual(vars(Known()), {})


class NamesTests(SynchronousTestCase):
    """
    Those who are made by the hundred name what they set after they are made.
    """

    def names(self, cls: type[object]) -> tuple[set[str], set[str], set[str]]:
        """
        What a class says, what is set when an instance is made, and what later.
        """
        tree = ast.parse(inspect.getsource(cls)).body[0]
        assert isinstance(tree, ast.ClassDef)
        said = {
            str(argument.value)
            for decorator in tree.decorator_list
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "withAttributes"
            for argument in decorator.args
            if isinstance(argument, ast.Constant)
        }
        self.assertLessEqual(len(said), MOST_ATTRIBUTES)
        first: set[str] = set()
        later: set[str] = set()
        for method in tree.body:
            if isinstance(method, ast.FunctionDef):
                into = first if method.name == "__init__" else later
                into.update(
                    node.attr
                    for node in ast.walk(method)
                    if isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "self"
                )
        return said, first, later - slotsOf(cls)

    def test_complete(self) -> None:
        """
        Each name is there, and none that nobody sets.
        """
        for cls in (HTTP1UpstreamConnection, HTTP2UpstreamConnection, Stream):
            said, first, later = self.names(cls)
            self.assertTrue(said, cls)
            self.assertLessEqual(later - first, said, cls)
            self.assertLessEqual(len(said | first - slotsOf(cls)), MOST_ATTRIBUTES, cls)

    def test_slots(self) -> None:
        """
        What a plain request has, and a call, is in slots, all of it that is read or set of every one.
        """
        for cls in (PlainRequest, UnaryRequest):
            _, first, later = self.names(cls)
            self.assertEqual(first, slotsOf(cls), cls)
            self.assertEqual(later, set(), cls)

    def test_withoutDefaults(self) -> None:
        """
        What each exchange needs of a connection has no default on a class: CPython 3.12 and later look for it there
        each time, though the instance has it.
        """
        for cls, names in (
            (HTTP1UpstreamConnection, ("request", "served", "_requestEnded")),
            (HTTP1Connection, ("closing", "stream", "served")),
        ):
            _, first, _ = self.names(cls)
            for name in names:
                self.assertIn(name, first)
                self.assertFalse(hasattr(cls, name), f"{cls.__name__}.{name}")

    def test_request(self) -> None:
        """
        A request that is no plain one has more attributes than CPython keeps: those that every one has are among them.
        """
        said, first, later = self.names(RoutedRequest)
        for base in RoutedRequest.__mro__[1:-1]:
            # Its ideas are parted into base classes, which say nothing for themselves.
            saidOfBase, firstOfBase, laterOfBase = self.names(base)
            self.assertEqual(saidOfBase, set())
            first |= firstOfBase
            later |= laterOfBase
        self.assertLessEqual(said, first | later)
        for name in ("over", "responseStarted", "connection", "_requestEnded", "_complete", "_timeouts", "_endpoint"):
            self.assertIn(name, said)
