# -*- test-case-name: tests.routing.test_querymutations -*-
"""
Mutations of a path's query: a list of C{envoy.config.core.v3.KeyValueMutation}, compiled to one function.

As in Envoy, a query that is mutated comes out with its parameters sorted by name, each with an equals sign. Envoy
decodes what stands there and sends it on undecoded; this leaves the encoding of all others as it came, and encodes what
a value must not hold: a header that is copied into the query adds no parameter and no line to the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import quote_from_bytes

from meshproxy.accesslog.formatter import Operators
from meshproxy.accesslog.operators import OPERATORS
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.values import Value, compileValue

__all__ = ["QueryMutation", "compileQueryMutations"]

#: Changes the path of a request in place.
QueryMutation: TypeAlias = Callable[[RequestHeaders, StreamInfo], None]

# RFC 3986, 3.4, without the ampersand, which would begin another parameter; a percent sign is what the operator wrote.
_LEGAL = "!$'()*+,;=:@/?-._~%"


class _Step(NamedTuple):
    """
    One mutation.

    @ivar action: Of C{KeyValueAppend.KeyValueAppendAction}, or C{REMOVE}.
    """

    key: bytes
    action: str
    value: Value


def _append(section: Section, operators: Operators) -> _Step | None:
    record = section.child("record")
    if record is None:
        section.refuse("record is needed", "record")
        return None
    value = record.child("value")
    if value is None or value.oneof("kind") != "string_value":
        record.refuse("only a string value is allowed", "value")
        return None
    key = quote_from_bytes(record.get("key").encode("utf-8"), "%").encode("ascii")
    return _Step(key, section.get("action"), compileValue(value, "string_value", True, operators))


def compileQueryMutations(sections: Sequence[Section], operators: Operators = OPERATORS) -> QueryMutation | None:
    """
    Compile a list of mutations, each of which sees what the one before it did.

    @param operators: Those that values may have.

    @return: L{None} where there is nothing to do.
    """
    steps: list[_Step] = []
    for section in sections:
        removed: str = section.get("remove")
        if removed:
            steps.append(_Step(removed.encode("utf-8"), "REMOVE", b""))
        appending = section.child("append")
        step = None if appending is None else _append(appending, operators)
        if step is not None:
            steps.append(step)
        elif not removed and appending is None:
            section.refuse("one of append and remove is needed")
    if not steps:
        return None

    def mutate(headers: RequestHeaders, info: StreamInfo) -> None:
        path, _, query = headers.path.partition(b"?")
        query = query.partition(b"#")[0]
        parameters: dict[bytes, list[bytes]] = {}
        for pair in query.split(b"&") if query else ():
            name, _, value = pair.partition(b"=")
            parameters.setdefault(name, []).append(value)
        for key, action, how in steps:
            _apply(parameters, key, action, how if isinstance(how, bytes) else how(info))
        pairs = [b"%b=%b" % (name, value) for name in sorted(parameters) for value in parameters[name]]
        headers.path = b"%b?%b" % (path, b"&".join(pairs)) if pairs else path

    return mutate


def _apply(parameters: dict[bytes, list[bytes]], key: bytes, action: str, raw: bytes) -> None:
    if action == "REMOVE":
        parameters.pop(key, None)
        return
    value = quote_from_bytes(raw, _LEGAL).encode("ascii")
    there = key in parameters
    if action == "APPEND_IF_EXISTS_OR_ADD":
        parameters.setdefault(key, []).append(value)
    elif action == "OVERWRITE_IF_EXISTS_OR_ADD" or there is (action == "OVERWRITE_IF_EXISTS"):
        # What is left is ADD_IF_ABSENT, where it is absent.
        parameters[key] = [value]
