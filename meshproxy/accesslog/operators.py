# -*- test-case-name: tests.accesslog.test_operators -*-
"""
The operators by name.

Each compiles to a function of the stream that gives a value: text, a number, or L{None} for what a line of
text shows as C{-} and JSON as C{null}. Those of requests and responses are in L{meshproxy.accesslog.headervalues},
those of addresses in L{meshproxy.accesslog.addressvalues}, those of metadata in L{meshproxy.accesslog.statevalues},
those of expressions in L{meshproxy.accesslog.expressionvalues}.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING

from meshproxy.accesslog.addressvalues import ADDRESS_OPERATORS
from meshproxy.accesslog.commands import Command, FormatError
from meshproxy.accesslog.expressionvalues import EXPRESSION_OPERATORS
from meshproxy.accesslog.headervalues import HEADER_OPERATORS
from meshproxy.accesslog.inline import Inline
from meshproxy.accesslog.statevalues import STATE_OPERATORS
from meshproxy.accesslog.timeformat import DEFAULT_LOCAL_TIME, DEFAULT_TIME, compileTime
from meshproxy.accesslog.values import Value, clean, plainText
from meshproxy.config.near import near
from meshproxy.flags import SHORT, flagsLong

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["OPERATORS", "compileOperator"]


def _none(command: Command) -> None:
    """
    Refuse parameters and length.
    """
    if command.parameters is not None or command.length is not None:
        raise FormatError(f"%{command.name}% takes neither parameters nor a length")


def _plain(value: Value) -> Callable[[Command], Value]:
    """
    An operator without parameters.
    """

    def compile(command: Command) -> Value:
        _none(command)
        return value

    return compile


def _number(attribute: str) -> Callable[[Command], Value]:
    """
    An operator that shows an attribute which is a number.
    """
    return _plain(Inline(f"info.{attribute}", True))


def _known(attribute: str) -> Callable[[Command], Value]:
    """
    An operator that shows a number where it is known.
    """
    return _plain(Inline(f"info.{attribute}"))


def _text(*attributes: str) -> Callable[[Command], Value]:
    """
    An operator that shows an attribute which is text, empty if there is none; then the next one.
    """
    text = "(text := " + " or ".join(f"info.{attribute}" for attribute in attributes) + ")"
    source = f"None if not {text} else text if text.isprintable() else {{clean}}(text)"
    raw = f"{{encoded}}[text] if {text} else {{missing}}"
    return _plain(Inline(source, False, raw, clean=clean))


def _underscored(attribute: str) -> Callable[[Command], Value]:
    source = f"{{show}}(text) if (text := info.{attribute}) else None"
    raw = f"{{encoded}}[{{show}}(text)] if (text := info.{attribute}) else {{missing}}"
    return _plain(Inline(source, False, raw, show=lambda text: clean(text).replace(" ", "_")))


# Times. Points that one request may pass, by Envoy's names.
_POINTS = {
    "DS_RX_BEG": "startMonotonic",
    "DS_RX_END": "requestEnd",
    "US_CX_BEG": "upstreamConnectStart",
    "US_CX_END": "upstreamConnectEnd",
    "US_TX_BEG": "upstreamRequestStart",
    "US_TX_END": "upstreamRequestEnd",
    "US_RX_BEG": "upstreamResponseStart",
    "US_RX_END": "upstreamResponseEnd",
    "DS_TX_BEG": "responseStart",
    "DS_TX_END": "responseEnd",
}

# The difference of two floats may be a hair less than the whole milliseconds that it is.
_ROUNDING = 1e-6

_UNITS = {"ms": 1000, "us": 1000000, "ns": 1000000000}


def _between(start: str, end: str, factor: int = 1000) -> Value:
    first = attrgetter(start)
    last = attrgetter(end)

    def duration(info: StreamInfo) -> object:
        begin, finish = first(info), last(info)
        if begin is None or finish is None:
            return None
        return None if finish < begin else int((finish - begin) * factor + _ROUNDING)

    return duration


def _sinceStart(end: str) -> Callable[[Command], Value]:
    whole = "int((finish - info.startMonotonic) * 1000 + 1e-6)"
    return _plain(
        Inline(
            f"None if (finish := info.{end}) is None else {whole}",
            False,
            f"{{missing}} if (finish := info.{end}) is None else b'%d' % {whole}",
        )
    )


def _commonDuration(command: Command) -> Value:
    words = command.words()
    if len(words) != 3:
        raise FormatError("%COMMON_DURATION% takes START:END:PRECISION, for example DS_RX_BEG:DS_TX_END:ms")
    start, end, unit = words
    if unit not in _UNITS:
        raise FormatError(f"{unit!r} is not one of ms, us and ns", tuple(_UNITS))
    if start not in _POINTS or end not in _POINTS:
        # Envoy takes any name here, for points that a filter may set. None does yet.
        return lambda info: None
    return _between(_POINTS[start], _POINTS[end], _UNITS[unit])


def _startTime(local: bool) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        format = compileTime(command.parameters or (DEFAULT_LOCAL_TIME if local else DEFAULT_TIME), local)
        return Inline("{format}(info.startTime)", False, "{format}(info.startTime).encode()", format=format)

    return compile


def _emitTime(local: bool) -> Callable[[Command], Value]:
    def compile(command: Command) -> Value:
        format = compileTime(command.parameters or (DEFAULT_LOCAL_TIME if local else DEFAULT_TIME), local)
        return lambda info: format(time.time())

    return compile


# The rest.


def _details(command: Command) -> Value:
    if command.parameters == "ALLOW_WHITESPACES":
        return lambda info: clean(info.responseCodeDetails).strip() if info.responseCodeDetails else None
    shown = "(text if text.isidentifier() else {joined}(text))"
    source = f"{shown} if (text := info.responseCodeDetails) else None"
    raw = f"{{encoded}}[{shown}] if (text := info.responseCodeDetails) else {{missing}}"
    return Inline(source, False, raw, joined=lambda text: "_".join(clean(text).split()))


def _environment(command: Command) -> Value:
    # Envoy reads it once, and shows "-" even in JSON where there is none.
    value = os.environ.get(command.words("\0")[0], "-")
    text = clean(value[: command.length])
    return lambda info: text


def _hostname(command: Command) -> Value:
    _none(command)
    name = socket.gethostname() or "-"
    return lambda info: name


def _coalesce(command: Command) -> Value:
    """
    C{%COALESCE({"operators": [...]})%}: the first of several operators that has a value.
    """
    try:
        given = json.loads(command.parameters or "")
        listed = given["operators"]
        compiled = [compileOperator(_coalesced(item)) for item in listed]
    except (ValueError, TypeError, KeyError):
        compiled = []
    if not compiled:
        raise FormatError('%COALESCE% takes {"operators": [...]}, each a name or {"command", "param", "max_length"}')
    length = command.length

    def value(info: StreamInfo) -> object:
        for each in compiled:
            found = each(info)
            if found is not None:
                return found if length is None else plainText(found)[:length]
        return None

    return value


def _coalesced(item: object) -> Command:
    if isinstance(item, str):
        return Command(item, None, None)
    if not isinstance(item, dict):
        raise TypeError
    return Command(str(item["command"]), item.get("param"), item.get("max_length"))


def _poolReady(command: Command) -> Value:
    _none(command)

    def value(info: StreamInfo) -> object:
        seconds = info.connectionPoolReady
        return None if seconds is None else int(seconds * 1000 + _ROUNDING)

    return value


def _resolutionTime(info: StreamInfo) -> object:
    count, seconds = info.routeResolutions
    return int(seconds * 1000000 + _ROUNDING) if count else None


def _roundTrip(info: StreamInfo) -> object:
    accepted = info.connection.accepted
    seconds = None if accepted is None else accepted.roundTripTime()
    return None if seconds is None else int(seconds * 1000 + _ROUNDING)


def _constant(value: object) -> Callable[[Command], Value]:
    return _plain(lambda info: value)


OPERATORS: dict[str, Callable[[Command], Value]] = {
    "START_TIME": _startTime(False),
    "START_TIME_LOCAL": _startTime(True),
    "EMIT_TIME": _emitTime(False),
    "EMIT_TIME_LOCAL": _emitTime(True),
    "DURATION": _sinceStart("end"),
    "REQUEST_DURATION": _sinceStart("requestEnd"),
    "REQUEST_TX_DURATION": _sinceStart("upstreamRequestEnd"),
    "RESPONSE_DURATION": _sinceStart("upstreamResponseStart"),
    "RESPONSE_TX_DURATION": _plain(_between("upstreamResponseStart", "responseEnd")),
    "UPSTREAM_CONNECTION_POOL_READY_DURATION": _poolReady,
    "DOWNSTREAM_HANDSHAKE_DURATION": _constant(None),
    "COMMON_DURATION": _commonDuration,
    "ROUNDTRIP_DURATION": _constant(None),  # QUIC only
    # Of QUIC, too.
    "BYTES_RETRANSMITTED": _constant(0),
    "PACKETS_RETRANSMITTED": _constant(0),
    "BYTES_RECEIVED": _number("bytesReceived"),
    "BYTES_SENT": _number("bytesSent"),
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": _known("wireBytesReceived"),
    "DOWNSTREAM_WIRE_BYTES_SENT": _known("wireBytesSent"),
    "DOWNSTREAM_HEADER_BYTES_RECEIVED": _known("headerBytesReceived"),
    "DOWNSTREAM_HEADER_BYTES_SENT": _known("headerBytesSent"),
    "UPSTREAM_WIRE_BYTES_RECEIVED": _known("upstreamWireBytesReceived"),
    "UPSTREAM_WIRE_BYTES_SENT": _known("upstreamWireBytesSent"),
    "UPSTREAM_HEADER_BYTES_RECEIVED": _known("upstreamHeaderBytesReceived"),
    "UPSTREAM_HEADER_BYTES_SENT": _known("upstreamHeaderBytesSent"),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": _known("fieldBytesReceived"),
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": _known("fieldBytesSent"),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": _known("upstreamFieldBytesReceived"),
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT": _known("upstreamFieldBytesSent"),
    "ROUTE_RESOLUTION_COUNT": _plain(lambda info: info.routeResolutions[0]),
    "ROUTE_RESOLUTION_TIME_US": _plain(_resolutionTime),
    "DOWNSTREAM_CX_RTT": _plain(_roundTrip),
    "PROTOCOL": _text("protocol"),
    "UPSTREAM_PROTOCOL": _text("upstreamProtocol"),
    # As in Envoy, filters of the response know its status before its head went downstream.
    "RESPONSE_CODE": _plain(Inline("(info.responseCode or getattr(info.responseHeaders, 'status', 0))", True)),
    "RESPONSE_CODE_DETAILS": _details,
    "RESPONSE_FLAGS": _plain(
        Inline("{flags}[info.responseFlags]", False, "{encoded}[{flags}[info.responseFlags]]", flags=SHORT)
    ),
    "RESPONSE_FLAGS_LONG": _plain(lambda info: flagsLong(info.responseFlags)),
    "COALESCE": _coalesce,
    "CUSTOM_FLAGS": _constant(""),
    "CONNECTION_TERMINATION_DETAILS": _text("connectionTerminationDetails", "connection.terminationDetails"),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _underscored("upstreamTransportFailureReason"),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": _underscored("connection.transportFailureReason"),
    "UPSTREAM_LOCAL_CLOSE_REASON": _text("upstreamLocalCloseReason"),
    "DOWNSTREAM_LOCAL_CLOSE_REASON": _text("connection.localCloseReason"),
    "UPSTREAM_DETECTED_CLOSE_TYPE": _plain(lambda info: info.upstreamCloseType if info.upstreamHost else None),
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": _text("downstreamCloseType"),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _number("upstreamAttempts"),
    # Not cleaned: a local reply's own format shows the body as it is, with its lines.
    "LOCAL_REPLY_BODY": _plain(Inline("info.localReplyBody")),
    "UPSTREAM_CLUSTER": _text("upstreamCluster"),
    "UPSTREAM_CLUSTER_RAW": _text("upstreamClusterRaw", "upstreamCluster"),
    "ROUTE_NAME": _text("routeName"),
    "VIRTUAL_CLUSTER_NAME": _text("virtualClusterName"),
    "FILTER_CHAIN_NAME": _text("connection.filterChainName"),
    "ACCESS_LOG_TYPE": _plain(Inline("info.logType")),
    "STREAM_ID": _text("requestId"),
    "UNIQUE_ID": _plain(lambda info: str(uuid.uuid4())),
    "TRACE_ID": _text("traceId"),
    "SPAN_ID": _text("spanId"),
    "CONNECTION_ID": _number("connection.id"),
    "UPSTREAM_CONNECTION_ID": _number("upstreamConnectionId"),
    # As in Envoy, that of the last try.
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": _plain(lambda info: str(info.upstreamConnectionId or "") or None),
    "LISTENER_NAME": _text("connection.listenerName"),
    "HOSTNAME": _hostname,
    "ENVIRONMENT": _environment,
    **HEADER_OPERATORS,
    **ADDRESS_OPERATORS,
    **STATE_OPERATORS,
    **EXPRESSION_OPERATORS,
}


def compileOperator(command: Command, operators: Mapping[str, Callable[[Command], Value]] = OPERATORS) -> Value:
    """
    Compile one operator.

    @param operators: Those there are.

    @raise FormatError: If there is none of this name, or if its parameters are wrong.
    """
    compile = operators.get(command.name)
    if compile is None:
        raise FormatError(f"there is no operator %{command.name}%", tuple(near(command.name, operators)))
    return compile(command)
