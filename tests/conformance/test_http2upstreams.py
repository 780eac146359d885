"""
HTTP/2 upstreams that leave, refuse, break the protocol or stall, at each stage, with and without retries: what the
client gets, what the log calls it, and what the upstream sees of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import (
    block,
    continuation,
    data,
    frame,
    goAway,
    headers,
    ping,
    priority,
    pushPromise,
    request,
    reset,
    settings,
    windowUpdate,
)
from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, Pause, get
from tests.conformance.case import request as ask
from tests.conformance.comparison import Comparison, compared
from tests.conformance.http2service import Hello, HTTP2Service, Step, answered

Field = tuple[bytes, bytes]
Make = Callable[[int], bytes]

_HTTP2 = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, %s}}'
)


def _policy(policy: str) -> Manager:
    retries = f", retry_policy: {{{policy}}}" if policy else ""
    return Manager("", "[{match: {prefix: /}, route: {cluster: service, timeout: 0.3s%s}}]" % retries)


LISTENERS = {
    "once": _policy(""),
    "tries": _policy("retry_on: '5xx', num_retries: 1"),
    "refused": _policy("retry_on: 'refused-stream', num_retries: 1"),
    "streams": Manager("", "[{match: {prefix: /}, route: {cluster: lenient, timeout: 0.3s}}]"),
    "auto": Manager("codec_type: AUTO", "[{match: {prefix: /}, route: {cluster: service, timeout: 0.3s}}]"),
}

CLUSTERS = {
    "service": _HTTP2 % "explicit_http_config: {http2_protocol_options: {}}",
    "lenient": _HTTP2
    % "explicit_http_config: {http2_protocol_options: {override_stream_error_on_invalid_http_message: true}}",
}

_LATE = Do.REST
_OK = (b":status", b"200")


def _head(*more: Field, end: bool = False, status: bytes = b"200") -> Make:
    return lambda n: headers(n, [(b":status", status), *more], end)


def _body(text: bytes = b"abc", end: bool = False) -> Make:
    return lambda n: data(n, text, end)


def _away(code: int = 0, less: int = 0) -> Make:
    return lambda n: goAway(max(n - less, 0), code)


def _end(code: int) -> Make:
    return lambda n: reset(n, code)


def _trailers(*fields: Field, end: bool = True) -> Make:
    return lambda n: headers(n, list(fields), end)


# How far the response is.
_STAGES: dict[str, list[Step]] = {
    "nothing": [],
    "interim": [_head(status=b"103"), _LATE],
    "head": [_head(), _LATE],
    "headLength": [_head((b"content-length", b"6")), _LATE],
    "body": [_head(), _body(), _LATE],
}

# And how it ends.
_ENDS: dict[str, list[Step]] = {
    "closed": [Do.CLOSE],
    "resetTCP": [Do.RESET],
    "finished": [Do.HALF_CLOSE],
    "notServed": [_away(less=2)],
    "notServedCalm": [_away(11, less=2)],
    "leavesAndCloses": [_away(), Do.CLOSE],
    "failsAndCloses": [_away(2), Do.CLOSE],
}

_RESETS = {code: [_end(code)] for code in range(14)}

# Whole responses around which something happens.
_AROUND: dict[str, list[Step]] = {
    "goAwayBefore": [_away(), answered],
    "goAwayBetween": [_head(), _away(), _LATE, _body(b"abc", True)],
    "goAwayBehind": [answered, _away()],
    "goAwayLater": [lambda n: goAway(2**31 - 1), answered],
    "goAwayTwice": [lambda n: goAway(2**31 - 1), _away(), answered],
    "goAwayGrows": [_away(), lambda n: goAway(n + 2), answered],
    "goAwayError": [_away(11), answered],
    "resetBehind": [answered, _end(0)],
    "resetBehindCode": [answered, _end(2)],
    "resetTwice": [_end(2), _end(2)],
    "dataBehind": [answered, _body()],
    "headBehind": [answered, _head()],
    "trailers": [_head(), _body(), _trailers((b"t", b"1"))],
    "trailersOpen": [_head(), _body(), _trailers((b"t", b"1"), end=False)],
    "trailersPseudo": [_head(), _body(), _trailers(_OK)],
    "trailersUpper": [_head(), _body(), _trailers((b"T", b"1"))],
    "trailersEmpty": [_head(), _body(), _trailers()],
    "trailersOnly": [_head(end=True)],
    "trailersLength": [_head((b"content-length", b"9")), _body(), _trailers((b"t", b"1"))],
    "interims": [_head(status=b"100"), _head(status=b"103"), _head(status=b"102"), answered],
    "interimEnds": [_head(status=b"103", end=True)],
    "switched": [_head(status=b"101"), answered],
    "noContent": [_head(status=b"204", end=True)],
    "noContentBody": [_head(status=b"204"), _LATE, _body(b"abc", True)],
    "notModifiedBody": [_head(status=b"304"), _LATE, _body(b"abc", True)],
    "lengthRight": [_head((b"content-length", b"3")), _body(b"abc", True)],
    "lengthLong": [_head((b"content-length", b"9")), _LATE, _body(b"abc", True)],
    "lengthShort": [_head((b"content-length", b"2")), _LATE, _body(b"abc", True)],
    "lengthNothing": [_head((b"content-length", b"2"), end=True)],
    "lengthTwice": [_head((b"content-length", b"3"), (b"content-length", b"4")), _body(b"abc", True)],
    "lengthWord": [_head((b"content-length", b"x")), _body(b"abc", True)],
    "dataFirst": [_body()],
    "emptyData": [_head(), _body(b""), _LATE, _body(b"", True)],
    "emptyDataMany": [_head(), _body(b""), _body(b""), _body(b""), _body(b"x", True)],
    "padded": [_head(), lambda n: data(n, b"abc", True, padding=20)],
    "pieces": [_head(), *[_body(b"%d" % number) for number in range(9)], _body(b"", True)],
}

_MALFORMED: dict[str, Make] = {
    "noStatus": lambda n: headers(n, [(b"a", b"b")]),
    "statusTwice": lambda n: headers(n, [_OK, _OK]),
    "statusShort": _head(status=b"20", end=True),
    "statusLong": _head(status=b"2000", end=True),
    "statusLow": _head(status=b"099", end=True),
    "statusHigh": _head(status=b"600", end=True),
    "statusWord": _head(status=b"abc", end=True),
    "statusSigned": _head(status=b"+20", end=True),
    "statusEmpty": _head(status=b"", end=True),
    "statusLate": lambda n: headers(n, [(b"a", b"b"), _OK]),
    "pseudoOfRequest": lambda n: headers(n, [_OK, (b":path", b"/")]),
    "pseudoUnknown": lambda n: headers(n, [_OK, (b":x", b"y")]),
    "upperCase": _head((b"X-A", b"b"), end=True),
    "emptyName": _head((b"", b"b"), end=True),
    "nameBlank": _head((b"x a", b"b"), end=True),
    "nameHigh": _head((b"x\xe4", b"b"), end=True),
    "valueLF": _head((b"x-a", b"b\nc: d"), end=True),
    "valueCR": _head((b"x-a", b"b\rc"), end=True),
    "valueNUL": _head((b"x-a", b"b\0c"), end=True),
    "connection": _head((b"connection", b"close"), end=True),
    "transferEncoding": _head((b"transfer-encoding", b"chunked"), end=True),
    "keepAlive": _head((b"keep-alive", b"1"), end=True),
    "upgrade": _head((b"upgrade", b"h2c"), end=True),
    "proxyConnection": _head((b"proxy-connection", b"close"), end=True),
    "te": _head((b"te", b"gzip"), end=True),
}

_LARGE = [(b"x-%d" % number, b"y" * 7000) for number in range(11)]


def _continued(fields: list[Field]) -> Make:
    def make(streamId: int) -> bytes:
        section = block([_OK, *fields])
        pieces = [section[start : start + 16384] for start in range(0, len(section), 16384)]
        rest = [continuation(streamId, piece, piece is pieces[-1]) for piece in pieces[1:]]
        return headers(streamId, pieces[0], True, len(pieces) == 1) + b"".join(rest)

    return make


_FRAMES: dict[str, Make] = {
    "push": lambda n: pushPromise(n, 2, request()),
    "headEven": lambda n: headers(2, [_OK]),
    "headIdle": lambda n: headers(n + 2, [_OK]),
    "dataIdle": lambda n: data(n + 2, b"x"),
    "dataZero": lambda n: data(0, b"x"),
    "resetIdle": lambda n: reset(n + 2),
    "resetShort": lambda n: frame(3, 0, n, bytes(3)),
    "pingShort": lambda n: ping(bytes(7)),
    "pingOnStream": lambda n: ping(streamId=n),
    "settingsOdd": lambda n: frame(4, 0, 0, bytes(5)),
    "settingsOnStream": lambda n: frame(4, 0, n, b""),
    "settingsAckLong": lambda n: frame(4, 1, 0, bytes(6)),
    "settingsPush": lambda n: settings((2, 1)),
    "settingsWindow": lambda n: settings((4, 2**31)),
    "settingsFrame": lambda n: settings((5, 1)),
    "settingsMany": lambda n: settings(*[(9, 1)] * 40),
    "goAwayShort": lambda n: frame(7, 0, 0, bytes(7)),
    "goAwayOnStream": lambda n: goAway(0, 0, b"", n),
    "updateZero": lambda n: windowUpdate(0, 0),
    "updateZeroStream": lambda n: windowUpdate(n, 0),
    "updateOverflow": lambda n: windowUpdate(0, 2**31 - 1),
    "updateShort": lambda n: frame(8, 0, 0, bytes(3)),
    "priorityOfItself": lambda n: priority(n, n),
    "longFrame": lambda n: frame(0, 0, n, bytes(16385)),
    "interleaved": lambda n: headers(n, [_OK], True, False) + ping(),
    "strayContinuation": lambda n: continuation(n, [_OK]),
    "badIndex": lambda n: headers(n, b"\xff\x00"),
    "badHuffman": lambda n: headers(n, block([_OK]) + bytes.fromhex("0085f2b24a84ff8449509fff")),
    "tableTooLarge": lambda n: headers(n, b"\x3f\xe2\x1f" + block([_OK])),
    "padding": lambda n: frame(0, 8, n, b"\x09abc"),
    "settingsAckAgain": lambda n: settings(ack=True),
    "noHTTP2": lambda n: b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
}
_FINE: dict[str, Make] = {
    "unknownFrame": lambda n: frame(0x77, 0xFF, n, b"x"),
    "unknownSetting": lambda n: settings((0x77, 1)),
    "priority": lambda n: priority(n),
    "pingFine": lambda n: ping(),
    "pong": lambda n: ping(ack=True),
    "update": lambda n: windowUpdate(0, 9) + windowUpdate(n, 9),
    "tableNone": lambda n: settings((1, 0)),
    "connectProtocol": lambda n: settings((8, 1)),
}

_POST = ask("POST /p", "content-length: 5", body="hello")
_LONG_POST = ask("POST /p", "content-length: 3000", body="x" * 3000)

_CRUMB: tuple[Step, ...] = (_LATE, lambda n: windowUpdate(n, 500))

_WINDOWS: dict[str, tuple[Any, ...]] = {
    "none": (Hello((settings((4, 0)),)), answered),
    "later": (Hello((settings((4, 0)), _LATE, settings((4, 65535)))), answered),
    "laterByUpdate": (Hello((settings((4, 0)), _LATE, lambda n: windowUpdate(n, 5000))), answered),
    "crumbs": (Hello((settings((4, 1000)), *_CRUMB * 4)), answered),
    "shrinks": (Hello((settings((4, 2000)), _LATE, settings((4, 10)), _LATE, settings((4, 5000)))), answered),
    "shrinksBelowNothing": (
        Hello(
            (
                *(settings((4, 2000)), _LATE, settings((4, 0)), lambda n: windowUpdate(n, 1000)),
                *(_LATE, settings((4, 2000))),
            )
        ),
        answered,
    ),
    "earlyAnswer": (Hello((settings((4, 0)),)), [Do.EARLY, answered, _end(0)]),
    "earlyAnswerOpen": (Hello((settings((4, 0)),)), [Do.EARLY, answered]),
    "earlyRefusal": (Hello((settings((4, 0)),)), [Do.EARLY, _end(7)]),
    "earlyClose": (Hello((settings((4, 0)),)), [Do.EARLY, Do.CLOSE]),
}

_SETTINGS: dict[str, tuple[Any, ...]] = {
    "noStreams": (Hello((settings((3, 0)),)), answered),
    "noStreamsYet": (Hello((settings((3, 0)), Do.REST, settings((3, 1)))), answered),
    "silent": (Hello(()), answered),
    "late": (Hello((Do.REST, settings())), answered),
    "closes": (Hello((Do.CLOSE,)), answered),
    "closesAfter": (Hello((settings(), _LATE, Do.CLOSE)), [Pause(0.2)]),
    "leaves": (Hello((settings() + goAway(0),)), answered),
    "leavesLater": (Hello((settings() + goAway(2**31 - 1),)), answered),
    "noise": (Hello((b"HTTP/1.1 400 Bad Request\r\n\r\n",)), answered),
    "otherFirst": (Hello((ping(), settings())), answered),
}


def _cases(
    prefix: str, steps: dict[Any, Any], wire: bytes = get("/g"), policies: tuple[str, ...] = ("once",), **more: Any
) -> list[Case]:
    cases = []
    for name, script in steps.items():
        replies = script if isinstance(script, tuple) else ([script] if callable(script) else script, answered)
        for policy in policies:
            called = f"{prefix}_{name}_{policy}"
            cases.append(Case(called, f"{prefix}, {name}, {policy}.", wire, replies, policy, limit=0.8, **more))
    return cases


CASES = [
    *_cases(
        "end",
        {f"{stage}_{end}": [*_STAGES[stage], *_ENDS[end]] for stage in _STAGES for end in _ENDS},
    ),
    *_cases("end", {f"nothing_{end}": _ENDS[end] for end in _ENDS}, policies=("tries", "refused")),
    *_cases("endPost", {f"nothing_{end}": _ENDS[end] for end in _ENDS}, _POST, ("once", "refused")),
    *_cases("reset", _RESETS),
    *_cases("reset", {code: _RESETS[code] for code in (0, 2, 7, 8, 11)}, policies=("tries", "refused")),
    *_cases("resetHead", {code: [_head(), _LATE, _end(code)] for code in (0, 2, 7, 8)}, policies=("once", "tries")),
    *_cases("resetBody", {code: [_head(), _body(), _LATE, _end(code)] for code in (0, 2, 7, 8)}),
    *_cases("around", _AROUND),
    *_cases(
        "onward",
        {
            "fine": _AROUND["trailers"],
            "resetHead": [_head(), _LATE, _end(2)],
            "resetBody": [_head(), _body(), _LATE, _end(0)],
            "closed": _ENDS["closed"],
            "closedBody": [_head(), _body(), _LATE, Do.CLOSE],
            "refused": [_end(7)],
            "lengthLong": _AROUND["lengthLong"],
            "trailersOpen": _AROUND["trailersOpen"],
        },
        headers(1, request(path=b"/g")),
        ("auto",),
        http2=True,
    ),
    *_cases("malformed", _MALFORMED),
    *_cases(
        "malformedStream",
        {name: _MALFORMED[name] for name in ("noStatus", "upperCase", "valueLF", "connection")},
        policies=("streams",),
    ),
    *_cases("frame", _FRAMES),
    *_cases("frame", {name: _FRAMES[name] for name in ("push", "badIndex", "pingShort")}, policies=("tries",)),
    *_cases("fine", {name: [make, answered] for name, make in _FINE.items()}),
    *_cases("large", {"bytes": _continued(_LARGE), "fields": _continued([(b"x-%d" % n, b"") for n in range(120)])}),
    *_cases("window", _WINDOWS, _LONG_POST),
    *_cases("settings", _SETTINGS),
]

# The words of a parser.
_WORDS = [(re.compile(r"(?<=details=codec_error:)\S+"), "(words)")]


@compared(Comparison(LISTENERS, CASES, CLUSTERS, _WORDS, HTTP2Service))
class HTTP2UpstreamTests(SynchronousTestCase):
    """
    Misbehaving upstreams.
    """
