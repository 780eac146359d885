# -*- test-case-name: tests.routing.test_mutations -*-
"""
Header mutations: C{request_headers_to_add}, C{..._to_remove} and their likes on every level of a route configuration,
and Envoy's C{HeaderMutation} messages, compiled to one function.

Envoy's order within one list: first what is to be removed goes; then every value is made from the headers as they are
then; then what overwrites is set, and last what adds is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from meshproxy.accesslog.formatter import Operators
from meshproxy.accesslog.operators import OPERATORS
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.expressions import Expression
from meshproxy.config.matchers import BytesTest, compileStringMatcher
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap
from meshproxy.routing.values import Value, compileValue

__all__ = ["Mutation", "chain", "compileHeaderMutations", "compileHeaderOptions"]

#: Changes headers in place, with what is known about the stream.
Mutation: TypeAlias = Callable[[HeaderMap, StreamInfo], None]

# So many changes, and no more, stand in one function with what other filters do.
_MOST_TOLD = 16

_APPEND = "APPEND_IF_EXISTS_OR_ADD"
_ABSENT = "ADD_IF_ABSENT"
_OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"
_EXISTING = "OVERWRITE_IF_EXISTS"


class _Option(NamedTuple):
    """
    One header to add.

    @ivar name: In lower case.
    @ivar value: Its value, or how to make it.
    @ivar action: The C{append_action}.
    @ivar keepEmpty: Whether an empty value is added.
    """

    name: bytes
    value: Value
    action: str
    keepEmpty: bool


def chain(mutations: Sequence[Mutation | None]) -> Mutation | None:
    """
    One function for several, one after the other; L{None} where there is nothing to do.
    """
    steps = tuple([mutation for mutation in mutations if mutation is not None])
    if not steps:
        return None
    if len(steps) == 1:
        return steps[0]
    if len(steps) == 2:
        first, second = steps

        def both(headers: HeaderMap, info: StreamInfo) -> None:
            first(headers, info)
            second(headers, info)

        return _tellingAll(both, steps)

    def each(headers: HeaderMap, info: StreamInfo) -> None:
        for step in steps:
            step(headers, info)

    return _tellingAll(each, steps)


def _telling(mutation: Mutation, *statements: Expression) -> Mutation:
    """
    A mutation that tells what it does, to heads that have no name twice, as statements about their dictionary C{first}.
    """
    mutation.statements = statements  # type: ignore[attr-defined]  # functions take any
    return mutation


def _tellingAll(mutation: Mutation, steps: Sequence[Mutation]) -> Mutation:
    """
    One that tells what all of its steps do, if each tells that.
    """
    told = [getattr(step, "statements", None) for step in steps]
    if len(told) > _MOST_TOLD or None in told:
        return mutation
    return _telling(mutation, *[statement for statements in told for statement in statements or ()])


def _readOption(section: Section, operators: Operators = OPERATORS) -> _Option | None:
    """
    Read C{envoy.config.core.v3.HeaderValueOption}; refuse what Envoy refuses.
    """
    header = section.childOrEmpty("header")
    name: str = header.get("key").lower()
    if name.startswith(":") or name == "host":
        header.refuse(":-prefixed or host headers may not be modified", "key")
        return None
    action: str = section.get("append_action")
    if section.has("append"):
        if action != _APPEND:
            section.refuse("append and append_action are not to be set both", "append")
        action = _APPEND if section.wrapped("append", True) else _OVERWRITE
    value = compileValue(header, "value", True, operators)
    keepEmpty: bool = section.get("keep_empty_value")
    if value == b"" and not keepEmpty:
        return None
    return _Option(name.encode("utf-8"), value, action, keepEmpty)


def _set(headers: HeaderMap, name: bytes, value: bytes) -> None:
    headers.first[name] = value
    if headers.more is not None:
        headers.more.pop(name, None)


def _add(headers: HeaderMap, name: bytes, value: bytes) -> None:
    if name in headers.first:
        HeaderMap.add(headers, name, value)
    else:
        headers.first[name] = value


def _constantMutation(options: Sequence[_Option]) -> Mutation | None:
    """
    The function for options that neither look at the headers nor make their values; L{None} if one does.
    """
    overwrites: list[tuple[bytes, bytes]] = []
    adds: list[tuple[bytes, bytes]] = []
    for name, value, action, _ in options:
        if not isinstance(value, bytes) or action not in (_APPEND, _OVERWRITE):
            return None
        (adds if action == _APPEND else overwrites).append((name, value))

    return _fixedMutation([*[(name, value, False) for name, value in overwrites], *[(*add, True) for add in adds]])


def _fixedMutation(changes: Sequence[tuple[bytes, bytes, bool]]) -> Mutation:
    """
    Names and values, in order, each with whether it is added to what is there or takes its place.
    """
    each = tuple(changes)
    if len(each) == 1:
        onlyName, onlyValue, adding = each[0]

        def overwrite(headers: HeaderMap, info: StreamInfo) -> None:
            if headers.more is None:
                headers.first[onlyName] = onlyValue
            else:
                HeaderMap.set(headers, onlyName, onlyValue)

        def add(headers: HeaderMap, info: StreamInfo) -> None:
            if onlyName in headers.first:
                HeaderMap.add(headers, onlyName, onlyValue)
            else:
                headers.first[onlyName] = onlyValue

        return add if adding else _telling(overwrite, *_overwriting(each))

    def mutate(headers: HeaderMap, info: StreamInfo) -> None:
        # The steps of HeaderMap.set and add, without their calls: this runs for most requests of a mesh.
        first = headers.first
        for name, value, adds in each:
            if name not in first:
                first[name] = value
            elif adds:
                HeaderMap.add(headers, name, value)
            else:
                HeaderMap.set(headers, name, value)

    if len(each) > _MOST_TOLD or any(adds for _, _, adds in each):
        # What is added may be a name's second value, and then the dictionary is not all that there is of the head.
        return mutate
    return _telling(mutate, *_overwriting(each))


def _overwriting(changes: Sequence[tuple[bytes, bytes, bool]]) -> list[Expression]:
    """
    Statements that give names their values.
    """
    return [Expression.statement("first[{name}] = {value}", name=name, value=value) for name, value, _ in changes]


def _generalMutation(options: Sequence[_Option]) -> Mutation:
    each = tuple(options)

    def mutate(headers: HeaderMap, info: StreamInfo) -> None:
        overwrites: list[tuple[bytes, bytes]] = []
        adds: list[tuple[bytes, bytes]] = []
        for name, how, action, keepEmpty in each:
            value = how if isinstance(how, bytes) else how(info)
            if not value and not keepEmpty:
                continue
            if action == _APPEND:
                adds.append((name, value))
            elif action == _OVERWRITE:
                overwrites.append((name, value))
            elif (name in headers.first) is (action == _EXISTING):
                (adds if action == _ABSENT else overwrites).append((name, value))
        for name, value in overwrites:
            _set(headers, name, value)
        for name, value in adds:
            _add(headers, name, value)

    return mutate


def _removal(names: Sequence[bytes]) -> Mutation | None:
    if not names:
        return None
    each = tuple(names)
    if len(each) == 1:
        only = each[0]

        def removeOne(headers: HeaderMap, info: StreamInfo) -> None:
            headers.first.pop(only, None)
            if headers.more is not None:
                headers.more.pop(only, None)

        return _telling(removeOne, Expression.statement("first.pop({name}, None)", name=only))

    def remove(headers: HeaderMap, info: StreamInfo) -> None:
        first, more = headers.first, headers.more
        for name in each:
            first.pop(name, None)
            if more is not None:
                more.pop(name, None)

    return remove


def compileHeaderOptions(section: Section, add: str, remove: str = "") -> Mutation | None:
    """
    Compile a list of C{HeaderValueOption} and one of names to remove.

    @param section: The message that has both.
    @param add: The field with the headers to add.
    @param remove: The field with the names to remove, if there is one.

    @return: L{None} where there is nothing to do.
    """
    names: list[bytes] = []
    for index, name in enumerate(section.scalars(remove) if remove else ()):
        if name.startswith(":") or name.lower() == "host":
            section.refuse(":-prefixed or host headers may not be removed", f"{remove}[{index}]")
        else:
            names.append(name.lower().encode("utf-8"))
    options = [option for option in map(_readOption, section.children(add)) if option is not None]
    adding = (_constantMutation(options) or _generalMutation(options)) if options else None
    return chain([_removal(names), adding])


def _removalOnMatch(test: BytesTest) -> Mutation:
    def remove(headers: HeaderMap, info: StreamInfo) -> None:
        for name in [name for name in headers.first if test(name)]:
            headers.remove(name)

    return remove


def compileHeaderMutations(sections: Sequence[Section], operators: Operators = OPERATORS) -> Mutation | None:
    """
    Compile a list of C{envoy.config.common.mutation_rules.v3.HeaderMutation}. Each sees what the one before it did.

    @param operators: Those that values may have.

    @return: L{None} where there is nothing to do.
    """
    steps: list[Mutation | None] = []
    fixed: list[tuple[bytes, bytes, bool]] = []
    for section in sections:
        option = None
        if section.oneof("action") == "append":
            option = _readOption(section.childOrEmpty("append"), operators)
        if option is not None and isinstance(option.value, bytes) and option.action in (_APPEND, _OVERWRITE):
            # Neighbours that look at nothing go into one function.
            fixed.append((option.name, option.value, option.action == _APPEND))
            continue
        if fixed:
            steps.append(_fixedMutation(fixed))
            fixed = []
        steps.append(_compileRemoval(section) if option is None else _generalMutation([option]))
    if fixed:
        steps.append(_fixedMutation(fixed))
    return chain(steps)


def _compileRemoval(section: Section) -> Mutation | None:
    """
    Compile a C{HeaderMutation} that removes.
    """
    kind = section.oneof("action")
    if kind == "remove":
        name: str = section.get("remove").lower()
        if name.startswith(":") or name == "host":
            # Envoy takes this and does nothing but harm; a head needs these fields.
            section.refuse(":-prefixed or host headers may not be removed", "remove")
        return _removal([name.encode("utf-8")])
    if kind == "remove_on_match":
        matcher = section.childOrEmpty("remove_on_match").childOrEmpty("key_matcher")
        return _removalOnMatch(compileStringMatcher(matcher))
    return None
