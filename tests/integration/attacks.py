"""
What a client may try in HTTP/2: the attacks that were published, and their relatives.

Each is cheap to send and meant to be dear to take. What is to become of it stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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

__all__ = ["ATTACKS", "Attack"]

_CALM = 11


@dataclass(frozen=True)
class Attack:
    """
    @ivar name: What its test is called.
    @ivar intent: What is tried, and where it was published.
    @ivar wire: What a connection sends after its preface, by its number and the size.
    @ivar counter: Envoy's name of what counts it.
    @ivar size: How long it is.
    @ivar code: The code of the GOAWAY that ends the connection; L{None} where it is not ended: then it is cheap.
    @ivar resets: The code by which streams are reset, if they are.
    @ivar reads: Whether the attacker reads what comes.
    @ivar connections: How many connections try it at once.
    @ivar settings: What the client announces.
    @ivar lingers: For how many seconds a connection that is not ended stays.
    @ivar leaves: Whether the attacker leaves at once when all is sent.
    @ivar grows: Whether there may be more of it.
    """

    name: str
    intent: str
    wire: Callable[[int, int], bytes]
    counter: str = ""
    size: int = 10000
    code: int | None = _CALM
    resets: int | None = None
    reads: bool = True
    connections: int = 2
    settings: tuple[tuple[int, int], ...] = ()
    lingers: float = 0.2
    leaves: bool = False
    grows: bool = True

    @property
    def ends(self) -> bool:
        """
        Whether the proxy ends the connection.
        """
        return self.code is not None


_GET = block(request(path=b"/direct"))
_UNANSWERED = block(request(path=b"/swallowing"))
_POST = block(request(method=b"POST", path=b"/swallowing"))
_OPEN = headers(1, _POST, False)


def _each(count: int, make: Callable[[int], bytes], first: int = 1) -> bytes:
    return b"".join(make(first + 2 * number) for number in range(count))


def _repeated(before: bytes, repeated: bytes) -> Callable[[int, int], bytes]:
    return lambda number, size: before + repeated * size


# Faults of the client that make the proxy reset a stream.
_FAULTS: tuple[Callable[[int], bytes], ...] = (
    lambda n: headers(n, _UNANSWERED) + windowUpdate(n, 0),
    lambda n: headers(n, _POST, False) + windowUpdate(n, 2**31 - 1),
    lambda n: headers(n, block(request((b"content-length", b"1"), method=b"POST")), False) + data(n, b"xy"),
    lambda n: headers(n, block(request((b"content-length", b"9"), method=b"POST")), False) + data(n, b"x", True),
    lambda n: headers(n, _UNANSWERED) + data(n, b"x"),
)

# A field of 4,000 bytes in the dynamic table, and a head that names it again and again: 60 MB decoded for each.
_INDEXED = 0x40


def _bomb(name: bytes, times: int) -> Callable[[int, int], bytes]:
    first = headers(1, _GET + block([(name, b"b" * 3900)], _INDEXED))
    return lambda number, size: first + _each(size, lambda n: headers(n, _GET + b"\xbe" * times), 3)


def _churn(number: int, size: int) -> bytes:
    # Each head has the table evict what the one before had put there.
    return _each(size, lambda n: headers(n, _GET + block([(b"x-%d" % n, b"c" * 3000)], _INDEXED)))


def _settings(number: int, size: int) -> bytes:
    return settings(*[(3, number) for number in range(size)])


def _opened(size: int, wire: Callable[[int], bytes]) -> bytes:
    return _each(size, lambda n: headers(n, _POST, False)) + _each(size, wire)


ATTACKS = (
    Attack(
        "rapidReset",
        "CVE-2023-44487, CVE-2019-9514: requests that are reset at once.",
        lambda number, size: _each(size, lambda n: headers(n, _UNANSWERED) + reset(n)),
        "http.front.downstream_rq_too_many_premature_resets",
    ),
    Attack(
        "rapidResetPosts",
        "The same with bodies that an upstream waits for.",
        lambda number, size: _each(size, lambda n: headers(n, _POST, False) + reset(n)),
        "http.front.downstream_rq_too_many_premature_resets",
        size=4000,
    ),
    *(
        Attack(
            f"madeYouReset{number}",
            "CVE-2025-8671: faults that make the proxy reset its streams.",
            lambda _, size, fault=fault: _each(size, fault),  # type: ignore[misc]  # bound now
            "http.front.downstream_rq_too_many_premature_resets",
            size=4000,
        )
        for number, fault in enumerate(_FAULTS)
    ),
    Attack(
        "continuations",
        "CVE-2024-27919: a head that does not end, in large frames.",
        _repeated(headers(1, _GET, True, False), continuation(1, block([(b"x", b"y" * 16000)]), False)),
        "http2.header_list_size_too_large",
        size=500,
    ),
    Attack(
        "continuationsSmall",
        "CVE-2024-30255: one in small frames.",
        _repeated(headers(1, _GET, True, False), continuation(1, block([(b"x", b"y")]), False)),
        "http2.header_overflow",
    ),
    Attack(
        "continuationsClosed",
        "CVE-2024-28182: one on a stream that was reset.",
        _repeated(
            headers(1, _POST, False) + windowUpdate(1, 0) + headers(1, _GET, True, False),
            continuation(1, block([(b"x", b"y")]), False),
        ),
        "http2.header_overflow",
    ),
    Attack(
        "continuationsEmpty",
        "CVE-2019-9518: one in empty frames.",
        _repeated(headers(1, _GET, True, False), continuation(1, b"", False)),
        "http2.inbound_empty_frames_flood",
    ),
    Attack(
        "emptyData",
        "CVE-2019-9518: empty frames of a body.",
        _repeated(_OPEN, data(1, b"")),
        "http2.inbound_empty_frames_flood",
    ),
    Attack(
        "paddedData",
        "Such that are nothing but padding.",
        _repeated(_OPEN, data(1, b"", padding=255)),
        "http2.inbound_empty_frames_flood",
    ),
    Attack(
        "priorities",
        "CVE-2019-9513: a tree of priorities that is shuffled again and again.",
        lambda number, size: b"".join(priority(n, n + 2) for n in range(1, 2 * size, 2)),
        "http2.inbound_priority_frames_flood",
    ),
    Attack(
        "windowUpdates",
        "Credit in crumbs, for nothing.",
        _repeated(_OPEN, windowUpdate(1, 1)),
        "http2.inbound_window_update_frames_flood",
    ),
    Attack(
        "windowUpdatesAll",
        "The same for the connection.",
        _repeated(b"", windowUpdate(0, 1)),
        "http2.inbound_window_update_frames_flood",
    ),
    Attack(
        "pings",
        "CVE-2019-9512: pings whose answers nobody reads.",
        _repeated(b"", ping()),
        "http2.outbound_control_flood",
        reads=False,
    ),
    Attack(
        "settings",
        "CVE-2019-9515: settings whose acknowledgements nobody reads.",
        _repeated(b"", settings()),
        "http2.outbound_control_flood",
        size=20000,
        reads=False,
    ),
    Attack("pongs", "Answers to pings that nobody sent.", _repeated(b"", ping(ack=True)), code=None),
    Attack(
        "acknowledgements",
        "Acknowledgements of nothing.",
        _repeated(b"", settings(ack=True)),
        "http.front.downstream_cx_protocol_error",
        code=1,
    ),
    Attack("settingsMany", "CVE-2020-11080: thousands of settings in one frame.", _settings, size=2700, grows=False),
    Attack(
        "windowsFlap",
        "Windows of many streams that shrink and grow with each frame.",
        lambda number, size: (
            _each(1000, lambda n: headers(n, _POST, False)) + (settings((4, 0)) + settings((4, 1 << 30))) * size
        ),
        size=500,
        code=None,
        connections=1,
    ),
    Attack(
        "unread",
        "CVE-2019-9517: responses that nobody reads, though the windows are wide.",
        lambda number, size: windowUpdate(0, 1 << 30) + _each(size, lambda n: headers(n, _GET)),
        "http2.outbound_control_flood",
        reads=False,
    ),
    Attack(
        "dribble",
        "CVE-2019-9511: a large response that is asked for byte by byte, and not read.",
        lambda number, size: headers(1, block(request(path=b"/large"))) + windowUpdate(1, 1) * size,
        "http2.inbound_window_update_frames_flood",
        size=40000,
        reads=False,
        settings=((4, 1),),
    ),
    Attack(
        "zeroWindows",
        "CVE-2020-12604: responses that are asked for and never let go.",
        lambda number, size: _each(size, lambda n: headers(n, _GET)),
        "http2.tx_flush_timeout",
        size=1000,
        code=None,
        grows=False,
        resets=2,
        settings=((4, 0),),
        lingers=3.5,
    ),
    Attack(
        "zeroWindowsLarge",
        "The same with bodies of 100 kB that come from an upstream.",
        lambda number, size: _each(size, lambda n: headers(n, block(request(path=b"/large")))),
        "http2.tx_flush_timeout",
        size=80,
        code=None,
        resets=2,
        settings=((4, 0),),
        lingers=3.5,
        grows=False,
    ),
    Attack(
        "endless",
        "Requests that never end, as many as there may be.",
        lambda number, size: _each(size, lambda n: headers(n, _POST, False) + data(n, b"x")),
        "http.front.downstream_rq_idle_timeout",
        size=240,
        code=None,
        resets=0,
        lingers=3.0,
        grows=False,
    ),
    Attack(
        "tooMany",
        "More streams at a time than there may be.",
        lambda number, size: _each(size, lambda n: headers(n, _POST, False)),
        "http2.stream_refused_errors",
        size=1900,
        code=None,
        grows=False,
        resets=7,
        connections=1,
        lingers=3.0,
    ),
    Attack(
        "headStops",
        "A head that begins and never ends.",
        lambda number, size: headers(1, _GET, True, False),
        "http.front.downstream_rq_header_timeout",
        code=1,
        connections=20,
    ),
    Attack(
        "bombs",
        "CVE-2016-6581: small heads that are large when decoded.",
        _bomb(b"x-big", 15000),
        "http2.header_list_size_too_large",
        size=200,
    ),
    Attack(
        "bombsCookie",
        "CVE-2026-47774: the same in crumbs of a cookie.",
        _bomb(b"cookie", 15000),
        "http2.header_list_size_too_large",
        size=200,
    ),
    Attack(
        "bombsSmall",
        "Many that are not so large that the first one ends it all.",
        _bomb(b"cookie", 80),
        "http2.header_list_size_too_large",
        size=1000,
        resets=2,
    ),
    Attack(
        "bombsHost",
        "CVE-2026-73550: the same in a field that is left out.",
        _bomb(b"host", 15000),
        "http2.rx_messaging_error",
        size=200,
        code=1,
    ),
    Attack(
        "tinyFields",
        "CVE-2019-15226: thousands of fields of two bytes.",
        lambda number, size: _each(size, lambda n: headers(n, _GET + b"\x00\x01a\x00" * 3900)),
        "http2.header_overflow",
        size=200,
    ),
    Attack(
        "longNames",
        "CVE-2020-12605: names of many kilobytes.",
        lambda number, size: _each(
            size,
            lambda n: (
                headers(n, _GET, True, False)
                + continuation(n, block([(b"n" * 12000, b"v")]), False) * 5
                + continuation(n, block([(b"n" * 12000, b"v")]))
            ),
        ),
        "http2.header_list_size_too_large",
        size=100,
        code=None,
        resets=2,
        grows=False,
    ),
    Attack(
        "integers",
        "CVE-2026-59980: a number in a head that does not end.",
        lambda number, size: headers(1, b"\x7f" + b"\xff" * size),
        "http.front.downstream_cx_protocol_error",
        code=9,
        grows=False,
    ),
    Attack(
        "tableSizes",
        "A dynamic table that is cut and made large in turn.",
        lambda number, size: _each(size, lambda n: headers(n, b"\x20\x3f\xe1\x1f" * 4000 + _GET)),
        "http.front.downstream_cx_protocol_error",
        size=20,
        code=9,
    ),
    Attack("churn", "Heads that change all of the dynamic table.", _churn, size=500, code=None, grows=False),
    Attack(
        "smallFrames",
        "CVE-2020-8659, CVE-2020-12603: a body in frames of one byte.",
        _repeated(_OPEN, data(1, b"x")),
        size=50000,
        code=None,
    ),
    Attack(
        "paddedFrames",
        "The same with padding, which is credited.",
        _repeated(_OPEN, data(1, b"x", padding=255)),
        code=None,
    ),
    Attack(
        "unknownFrames",
        "Frames of a kind that nobody knows.",
        _repeated(b"", frame(0x77, 0, 1, bytes(100))),
        size=20000,
        code=None,
    ),
    Attack(
        "goAways",
        "A client that says again and again that it leaves.",
        _repeated(_OPEN, goAway(0, 0, bytes(1000))),
        size=5000,
        code=None,
    ),
    Attack(
        "resetsClosed",
        "Resets of a stream that is over.",
        _repeated(headers(1, _GET), reset(1)),
        "http.front.downstream_cx_protocol_error",
        size=20000,
    ),
    Attack(
        "leave",
        "CVE-2021-32778, CVE-2023-35945: GOAWAY, resets, and a connection that ends with a thousand streams.",
        lambda number, size: _opened(size, lambda n: data(n, b"x")) + goAway(0) + _each(200, reset),
        size=1000,
        code=None,
        reads=False,
        connections=4,
        leaves=True,
    ),
    Attack(
        "pushed",
        "A client that pushes.",
        lambda number, size: pushPromise(1, 2, request()),
        "http.front.downstream_cx_protocol_error",
        code=1,
        connections=20,
    ),
    Attack(
        "injected",
        "CVE-2019-19330, CVE-2025-57804: a line end within a field.",
        lambda number, size: headers(1, block(request((b"x", b"a\r\nhost: other")))),
        "http2.rx_messaging_error",
        code=1,
        connections=20,
    ),
)
