# -*- test-case-name: tests.accesslog.test_filters -*-
"""
Which streams a log takes: C{envoy.config.accesslog.v3.AccessLogFilter} compiled to one function.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import reduce
from operator import eq, ge, le, ne, or_
from typing import TYPE_CHECKING

from meshproxy.accesslog.attributes import ofStreams
from meshproxy.accesslog.headervalues import responseStatusOf
from meshproxy.config.cel.functions import compileOptions
from meshproxy.config.cel.program import compileText
from meshproxy.config.cel.syntax import ExpressionError
from meshproxy.config.matchers import compileHeaderMatcher
from meshproxy.config.supported import declare
from meshproxy.config.valuematchers import MISSING, compileValueMatcher, lookUp
from meshproxy.flags import GRPC_STATUSES, maskOf

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo
    from meshproxy.config import Section

__all__ = ["LogFilter", "RuntimeInteger", "compileFilter", "configuredInteger"]

#: Whether to log a stream.
LogFilter = Callable[["StreamInfo"], bool]

#: The value of a runtime key, or the default given.
RuntimeInteger = Callable[[str, int], int]


def configuredInteger(key: str, default: int) -> int:
    """
    A L{RuntimeInteger} where there is no runtime.
    """
    return default


_EXPRESSION = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

declare(_EXPRESSION, "expression", "cel_config")

_OPERATIONS: dict[str, Callable[[float, float], bool]] = {"EQ": eq, "GE": ge, "LE": le, "NE": ne}
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def compileFilter(section: Section, runtime: RuntimeInteger = configuredInteger) -> LogFilter | None:
    """
    Compile a filter.

    @return: L{None} if it is empty, or wrong, which is then recorded: everything is logged.
    """
    kind = section.oneof("filter_specifier")
    if kind is None:
        return None
    compile = _KINDS.get(kind)
    if compile is None:
        section.refuse("this kind of access log filter is not supported", kind)
        return None
    return compile(section.childOrEmpty(kind), runtime)


def _comparison(section: Section, runtime: RuntimeInteger) -> Callable[[float], bool]:
    comparison = section.childOrEmpty("comparison")
    compare = _OPERATIONS[comparison.get("op")]
    value = comparison.childOrEmpty("value")
    default = value.get("default_value")
    key = value.get("runtime_key")
    return lambda found: compare(found, runtime(key, default))


def _statusCode(section: Section, runtime: RuntimeInteger) -> LogFilter:
    holds = _comparison(section, runtime)
    return lambda info: holds(info.responseCode)


def _duration(section: Section, runtime: RuntimeInteger) -> LogFilter:
    holds = _comparison(section, runtime)

    def test(info: StreamInfo) -> bool:
        return info.end is not None and holds(int((info.end - info.startMonotonic) * 1000 + 1e-6))

    return test


def _notHealthCheck(section: Section, runtime: RuntimeInteger) -> LogFilter:
    return lambda info: not info.healthCheck


def _traceable(section: Section, runtime: RuntimeInteger) -> LogFilter:
    return lambda info: info.traced


def _runtime(section: Section, runtime: RuntimeInteger) -> LogFilter:
    key = section.get("runtime_key")
    percent = section.childOrEmpty("percent_sampled")
    numerator = percent.get("numerator")
    denominator = _DENOMINATORS[percent.get("denominator")]
    independent = section.get("use_independent_randomness")

    def test(info: StreamInfo) -> bool:
        # A value from the runtime is a percentage (RuntimeFractionalPercent).
        configured = runtime(key, -1)
        limit, among = (numerator, denominator) if configured < 0 else (configured, 100)
        drawn = None if independent else _drawn(info.requestId)
        return (random.randrange(among) if drawn is None else drawn % among) < limit

    return test


def _drawn(requestId: str) -> int | None:
    """
    The number that a request's id stands for, so that all proxies on its way decide alike; L{None} if the id is
    not a UUID.
    """
    if len(requestId) != 36:
        return None
    try:
        return int(requestId[:8], 16)
    except ValueError:
        return None


def _and(section: Section, runtime: RuntimeInteger) -> LogFilter:
    tests = _several(section, runtime)
    return lambda info: all(test(info) for test in tests)


def _or(section: Section, runtime: RuntimeInteger) -> LogFilter:
    tests = _several(section, runtime)
    return lambda info: any(test(info) for test in tests)


def _several(section: Section, runtime: RuntimeInteger) -> list[LogFilter]:
    compiled = [compileFilter(child, runtime) for child in section.children("filters")]
    return [test for test in compiled if test is not None]


def _header(section: Section, runtime: RuntimeInteger) -> LogFilter:
    matches = compileHeaderMatcher(section.childOrEmpty("header"))
    return lambda info: info.requestHeaders is not None and matches(info.requestHeaders)


def _responseFlag(section: Section, runtime: RuntimeInteger) -> LogFilter:
    masks: list[int] = []
    for position, name in enumerate(section.scalars("flags")):
        mask = maskOf(name)
        if mask is None:
            section.refuse(f"there is no response flag {name!r}", f"flags[{position}]")
        else:
            masks.append(mask)
    # Without names, any flag will do.
    wanted = reduce(or_, masks, 0) or -1
    return lambda info: info.responseFlags & wanted != 0


def _grpcStatus(section: Section, runtime: RuntimeInteger) -> LogFilter:
    names = list(_GRPC_STATUS)
    wanted = frozenset(names.index(name) for name in section.scalars("statuses") if name in _GRPC_STATUS)
    exclude = section.get("exclude")

    def test(info: StreamInfo) -> bool:
        # Envoy takes a response that is no gRPC for what its HTTP status means.
        return (responseStatusOf(info) in wanted) is not exclude

    return test


# Envoy's enum spells one of them in its own way.
_GRPC_STATUS = tuple("CANCELED" if name == "CANCELLED" else name for name in GRPC_STATUSES)


def _logType(section: Section, runtime: RuntimeInteger) -> LogFilter:
    wanted = frozenset(section.scalars("types"))
    exclude = section.get("exclude")
    return lambda info: (info.logType in wanted) is not exclude


def _metadata(section: Section, runtime: RuntimeInteger) -> LogFilter:
    matcher = section.child("matcher")
    # What the metadata does not have.
    otherwise: bool = section.wrapped("match_if_key_not_found", True)
    if matcher is None:
        return lambda info: otherwise
    name: str = matcher.get("filter")
    path = tuple(segment.get("key") for segment in matcher.children("path"))
    matches = compileValueMatcher(matcher.childOrEmpty("value"))

    def test(info: StreamInfo) -> bool:
        found = lookUp(info.dynamicMetadata, name, path)
        return otherwise if found is MISSING else matches(found)

    return test


def _extension(section: Section, runtime: RuntimeInteger) -> LogFilter | None:
    held = section.any("typed_config")
    if held is None or held.typeName != _EXPRESSION:
        section.refuse(f"not a filter that this program has: there is {_EXPRESSION}", "typed_config", (_EXPRESSION,))
        return None
    try:
        return compileText(held.get("expression"), ofStreams, compileOptions(held.child("cel_config"))).holds
    except ExpressionError as error:
        held.refuse(str(error), "expression")
        return None


_KINDS: dict[str, Callable[[Section, RuntimeInteger], LogFilter | None]] = {
    "status_code_filter": _statusCode,
    "duration_filter": _duration,
    "not_health_check_filter": _notHealthCheck,
    "traceable_filter": _traceable,
    "runtime_filter": _runtime,
    "and_filter": _and,
    "or_filter": _or,
    "header_filter": _header,
    "response_flag_filter": _responseFlag,
    "grpc_status_filter": _grpcStatus,
    "log_type_filter": _logType,
    "metadata_filter": _metadata,
    "extension_filter": _extension,
}
