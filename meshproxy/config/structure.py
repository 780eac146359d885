# -*- test-case-name: tests.config.test_structure -*-
"""
Plain data to instances of attrs classes, by their annotations.

This is how a filter in Python gets its configuration (the value of a C{TypedStruct}), and how the control plane reads
resources.  A class is all that is needed::

    @frozen
    class DelayConfig:
        delay: Seconds
        percentage: float = field(default=100.0, validator=[ge(0), le(100)])
        pathPrefixes: list[str] = Factory(list)

Keys are C{delay}, C{percentage} and C{path_prefixes} or C{pathPrefixes}; C{field(metadata={"key": "..."})} names
another.  All faults are reported at once, each with its path and its place.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, Final, Literal, NewType, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from meshproxy.config.near import didYouMean, near
from meshproxy.config.nodes import Node, Place, describe, nodeOf, plain
from meshproxy.config.report import Report
from meshproxy.config.scalars import WrongValue
from meshproxy.config.section import Section
from meshproxy.config.structs import structNode
from meshproxy.config.walker import keyPath

__all__ = ["Seconds", "goDuration", "structure", "structureOrRaise"]

_T = TypeVar("_T")

#: A duration: C{1.5s} in the text, as C{250ms} and C{1h30m} too; a number of seconds in the instance.
Seconds = NewType("Seconds", float)

_FAILED: Final = object()

#: The path and the place of a value.
_Where: TypeAlias = tuple[str, Place]

_DURATION = re.compile(r"(?P<sign>[-+]?)(?P<parts>(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:h|m|s|ms|us|ns))+)\Z")
_PART = re.compile(r"(?P<number>[0-9.]+)(?P<unit>[a-z]+)")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_TRUTH = re.compile(r"true|false")

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# ``Any`` below: annotations are objects of many kinds, and what they describe is any value.


def structure(cls: type[_T], value: object, report: Report, path: str = "", camelCase: bool = False) -> _T | None:
    """
    Make an instance of an attrs class.

    @param cls: The class.
    @param value: A mapping: a section that is a Struct or a TypedStruct, a node, or plain data.
    @param report: Takes the faults.
    @param path: Where the value is; that of a section is known.
    @param camelCase: Whether faults name keys in camel case, as Kubernetes does.

    @return: The instance, or L{None} after a fault.
    """
    if isinstance(value, Section):
        path = path or value.path
        if value.typeName.endswith(".TypedStruct"):
            path = f"{path}.value" if path else "value"
        node = structNode(value)
    else:
        node = nodeOf(value)
    made = _Structurer(report, camelCase).make(cls, node, path)
    return None if made is _FAILED else made


def structureOrRaise(cls: type[_T], value: object, path: str = "", camelCase: bool = False) -> _T:
    """
    The same, for whoever has no report.

    @raise ConfigErrors: With every fault.
    """
    report = Report()
    made = structure(cls, value, report, path, camelCase)
    report.raiseIfAny()
    assert made is not None
    return made


def goDuration(text: str) -> float:
    """
    A duration as Go and Kubernetes write it, in seconds.

    @raise WrongValue: If it is none.
    """
    if text == "0":
        return 0.0
    match = _DURATION.match(text)
    if match is None:
        raise WrongValue("a duration such as 1.5s, 250ms or 1h30m")
    total = sum(float(part["number"]) * _UNITS[part["unit"]] for part in _PART.finditer(match["parts"]))
    return -total if match["sign"] == "-" else total


def _snakeCase(name: str) -> str:
    return _CAPITAL.sub("_", name).lower()


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _keys(cls: type) -> dict[str, Any]:
    """
    The attributes of a class by the keys that a text may use.
    """
    found: dict[str, Any] = {}
    for attribute in attrs.fields(cls):  # type: ignore[arg-type, unused-ignore]  # whoever calls has asked attrs.has
        if attribute.init:
            key = attribute.metadata.get("key")
            names = (key,) if key else (attribute.name, _snakeCase(attribute.name))
            found.update(dict.fromkeys(names, attribute))
    return found


class _Structurer:
    """
    Makes values of annotated types, and reports what it cannot.
    """

    def __init__(self, report: Report, camelCase: bool) -> None:
        self._report = report
        self._camelCase = camelCase

    def make(self, annotation: Any, node: Node, path: str) -> Any:
        """
        A value for an annotation, or L{_FAILED}.
        """
        try:
            return self._make(annotation, node, path)
        except WrongValue as wrong:
            self._report.refuse(path, f"{describe(node.value)} is not {wrong.wanted}", node.place)
            return _FAILED

    def _make(self, annotation: Any, node: Node, path: str) -> Any:
        if annotation in _SCALARS:
            return _SCALARS[annotation](node.value)
        if annotation is Any or annotation is object:
            return plain(node)
        if annotation is Node:
            return node
        origin = get_origin(annotation)
        if origin is Union or origin is types.UnionType:
            return self._union(get_args(annotation), node, path)
        if origin is Literal:
            return _chosen(node.value, {value: value for value in get_args(annotation)})
        if origin in _COLLECTIONS:
            return self._list(origin, get_args(annotation)[0], node, path)
        if origin is dict:
            return self._dict(get_args(annotation)[1], node, path)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return _member(annotation, node.value)
        if isinstance(annotation, type) and attrs.has(annotation):
            return self._instance(annotation, node, path)
        raise TypeError(f"the structurer knows no {annotation!r}")

    def _union(self, members: tuple[Any, ...], node: Node, path: str) -> Any:
        """
        The first member that takes the value; if only one is not None, that one tells what is wrong.
        """
        if node.value is None and type(None) in members:
            return None
        members = tuple(member for member in members if member is not type(None))
        if len(members) == 1:
            return self._make(members[0], node, path)
        for member in members:
            trial = Report()
            made = _Structurer(trial, self._camelCase).make(member, node, path)
            if made is not _FAILED:
                return made
        raise WrongValue("any of " + ", ".join(getattr(member, "__name__", str(member)) for member in members))

    def _list(self, kind: Any, inner: Any, node: Node, path: str) -> Any:
        if not isinstance(node.value, list):
            raise WrongValue("a list")
        made = [self.make(inner, item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        return _FAILED if any(item is _FAILED for item in made) else kind(made)

    def _dict(self, inner: Any, node: Node, path: str) -> Any:
        if not isinstance(node.value, dict):
            raise WrongValue("a mapping")
        made = {key: self.make(inner, entry.node, keyPath(path, key)) for key, entry in node.value.items()}
        return _FAILED if any(item is _FAILED for item in made.values()) else made

    def _instance(self, cls: Any, node: Node, path: str) -> Any:
        """
        An instance of an attrs class.
        """
        if not isinstance(node.value, dict):
            raise WrongValue("a mapping")
        keys = _keys(cls)
        hints = _hints(cls)
        values: dict[str, Any] = {}
        where: dict[str, _Where] = {}
        for key, entry in node.value.items():
            attribute = keys.get(key)
            here = keyPath(path, key)
            if attribute is None:
                self._unknown(key, keys, here, entry.place)
                values[key] = _FAILED
            elif entry.node.value is not None or _takesNull(hints[attribute.name]):
                where[attribute.name] = here, entry.node.place
                values[attribute.name] = self.make(hints[attribute.name], entry.node, here)
        complete = self._complete(cls, values, node, path)
        converted = self._converted(cls, values, where)
        if complete and not any(value is _FAILED for value in converted.values()):
            return self._construct(cls, values, where, (path, node.place))
        # There will be no instance, but what can be said of the other values is to be said now as well.
        self._validate(cls, _draft(cls, converted), where, (path, node.place), isDraft=True)
        return _FAILED

    def _nameOf(self, attribute: Any) -> str:
        """
        How an error names an attribute.
        """
        key: str | None = attribute.metadata.get("key")
        return key or (attribute.name if self._camelCase else _snakeCase(attribute.name))

    def _unknown(self, key: str, keys: dict[str, Any], path: str, place: Place) -> None:
        meant = near(key, [self._nameOf(attribute) for attribute in keys.values()], 1)
        known = dict.fromkeys(self._nameOf(attribute) for attribute in keys.values())
        why = f"{key!r} is not known here"
        self._report.refuse(path, why if meant else f"{why}, only {', '.join(known)}", place, meant)

    def _complete(self, cls: Any, values: dict[str, Any], node: Node, path: str) -> bool:
        """
        Whether every attribute without a default is there.
        """
        missing = [
            attribute
            for attribute in attrs.fields(cls)
            if attribute.init and attribute.default is attrs.NOTHING and attribute.name not in values
        ]
        for attribute in missing:
            self._report.refuse(keyPath(path, self._nameOf(attribute)), "is required, and not set", node.place)
        return not missing

    def _converted(self, cls: Any, values: dict[str, Any], where: dict[str, _Where]) -> dict[str, Any]:
        """
        The values as the class's converters leave them.
        """
        converted = dict(values)
        for attribute in attrs.fields(cls):
            value = values.get(attribute.name, _FAILED)
            if value is not _FAILED and isinstance(attribute.converter, types.FunctionType | type):
                converted[attribute.name] = self._told(where[attribute.name], attribute.converter, value)
        return converted

    def _construct(self, cls: Any, values: dict[str, Any], where: dict[str, _Where], whole: _Where) -> Any:
        """
        Construct, then validate.
        """
        arguments = {
            attribute.alias: values[attribute.name] for attribute in attrs.fields(cls) if attribute.name in values
        }
        # All validators are to speak, not only the first; so they are called one by one.
        with attrs.validators.disabled():
            made = self._told(whole, cls, **arguments)
        if made is _FAILED:
            return _FAILED
        return made if self._validate(cls, made, where, whole) else _FAILED

    def _validate(
        self, cls: Any, instance: Any, where: dict[str, _Where], whole: _Where, isDraft: bool = False
    ) -> bool:
        """
        Whether the validators of an instance, or of the draft of one, find no fault.
        """
        before = len(self._report.errors)
        for attribute in attrs.fields(cls):
            if attribute.validator is not None and attribute.init and hasattr(instance, attribute.name):
                value = getattr(instance, attribute.name)
                try:
                    self._told(where.get(attribute.name, whole), attribute.validator, instance, attribute, value)
                except AttributeError:
                    # The validator looks at another attribute, one that a draft lacks.
                    if not isDraft:
                        raise
        return len(self._report.errors) == before

    def _told(self, where: _Where, call: Callable[..., Any], *values: Any, **named: Any) -> Any:
        """
        Call the class's own code, and report the faults that it finds.
        """
        try:
            return call(*values, **named)
        except (ValueError, TypeError) as error:
            path, place = where
            self._report.refuse(path, str(error.args[0]) if error.args else type(error).__name__, place)
            return _FAILED


def _draft(cls: Any, values: dict[str, Any]) -> Any:
    """
    An instance with those attributes that are known, for validators to look at.
    """
    draft = cls.__new__(cls)
    for name, value in values.items():
        if value is not _FAILED:
            object.__setattr__(draft, name, value)
    return draft


def _takesNull(annotation: Any) -> bool:
    return annotation is Any or annotation is Node or type(None) in get_args(annotation)


def _chosen(value: Any, choices: dict[Any, Any]) -> Any:
    """
    One of some values.
    """
    if isinstance(value, (str, int, bool)):
        for known, chosen in choices.items():
            # 1 == True in Python, but not in a configuration.
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return chosen
    names = [str(choice) for choice in choices]
    raise WrongValue(f"one of {', '.join(names)}{didYouMean(near(str(value), names, 1))}")


def _member(enum: type[Enum], value: Any) -> Enum:
    """
    A member of an enumeration by its value, or by its name where its values are not what a text holds.
    """
    inText = all(isinstance(member.value, str) for member in enum)
    found: Enum = _chosen(value, {member.value if inText else member.name: member for member in enum})
    return found


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
        raise WrongValue("a whole number" + didYouMean(_unquoted(value, _INTEGER)))
    return int(value)


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongValue("a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValue("a string" + ("; put it in quotes" if isinstance(value, (bool, int, float)) else ""))
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongValue("true or false" + didYouMean(_unquoted(value, _TRUTH)))
    return value


def _unquoted(value: Any, pattern: re.Pattern[str]) -> list[str]:
    """
    What a text would be without its quotes, if that is of the pattern.
    """
    return [value] if isinstance(value, str) and pattern.fullmatch(value) else []


def _duration(value: Any) -> float:
    try:
        return goDuration(value if isinstance(value, str) else "")
    except WrongValue as wrong:
        # Numbers are seconds nearly everywhere else.
        isNumber = isinstance(value, int | float | str) and _NUMBER.fullmatch(str(value)) is not None
        raise WrongValue(wrong.wanted + didYouMean([f"{value}s"] if isNumber else [])) from None


_SCALARS: Final[dict[Any, Callable[[Any], Any]]] = {
    int: _integer,
    float: _real,
    str: _text,
    bool: _truth,
    bytes: lambda value: _text(value).encode(),
    Seconds: _duration,
}

_COLLECTIONS: Final = frozenset((list, tuple, set, frozenset))
