"""
Upstreams that misbehave at each stage, with and without retries: what the client gets, whether it is whole, and what
the log calls it.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, Step, Until, get, ok, request
from tests.conformance.comparison import Comparison, compared


def _policy(policy: str, more: str = "") -> Manager:
    retries = f", retry_policy: {{{policy}}}" if policy else ""
    return Manager("", "[{match: {prefix: /}, route: {cluster: backend%s%s}}]" % (retries, more))


LISTENERS = {
    "once": _policy("", ", timeout: 2s"),
    "tries": _policy("retry_on: '5xx', num_retries: 1", ", timeout: 2s"),
    "resets": _policy("retry_on: 'reset,connect-failure', num_retries: 2", ", timeout: 2s"),
    "before": _policy("retry_on: 'reset-before-request', num_retries: 1", ", timeout: 2s"),
    "perTry": _policy("retry_on: '5xx', num_retries: 1, per_try_timeout: 0.12s", ", timeout: 2s"),
    # For those who never answer.
    "onceShort": _policy("", ", timeout: 0.4s"),
    "triesShort": _policy("retry_on: '5xx', num_retries: 1", ", timeout: 0.4s"),
}

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n"
_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

# At which stage it ends, and how.
_STAGES: dict[str, list[Step]] = {
    "nothing": [],
    "line": [b"HTTP/1.1 20"],
    "head": [_HEAD],
    "headWhole": [_HEAD + b"\r\n", Do.REST],
    "body": [_HEAD + b"\r\nabc", Do.REST],
    "bodyLast": [_HEAD + b"\r\nabcde", Do.REST],
    "chunkSize": [_CHUNKS + b"3", Do.REST],
    "chunk": [_CHUNKS + b"3\r\nab", Do.REST],
    "chunks": [_CHUNKS + b"3\r\nabc\r\n", Do.REST],
    "lastChunk": [_CHUNKS + b"3\r\nabc\r\n0\r\n", Do.REST],
    "interim": [b"HTTP/1.1 100 Continue\r\n\r\n", Do.REST],
    "untilClose": [b"HTTP/1.1 200 OK\r\n\r\nabc", Do.REST],
}
_ENDS: dict[str, list[Step]] = {
    "closed": [Do.CLOSE],
    "finished": [Do.HALF_CLOSE, Do.DRAIN],
    "reset": [Do.RESET],
}
_POST = request("POST /p", "content-length: 5", body="hello")


def _chunks(*pieces: str) -> list[Step]:
    """
    A request whose body comes in pieces, the first one with the head: who answers the head at once answers no earlier.
    """
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece.encode("ascii")) for piece in pieces]
    steps: list[Step] = [request("POST /c", "transfer-encoding: chunked") + chunks[0], Do.REST]
    for chunk in chunks[1:]:
        steps += [chunk, Do.REST]
    return [*steps, b"0\r\n\r\n"]


def _scripts(name: str, end: str) -> tuple[Script, ...]:
    return ([*_STAGES[name], *_ENDS[end]], OK)


_SLOW: dict[str, tuple[Script, ...]] = {
    "drips": ([bytes([byte]) for byte in ok(body="slowly")],),
    "dripsLate": ([step for byte in b"HTTP/1.1 200 OK\r\n" for step in (bytes([byte]), Pause(0.05))], OK),
    "stallsHead": ([_HEAD, Do.DRAIN], OK),
    "stallsBody": ([_HEAD + b"\r\nabc", Do.DRAIN], OK),
    "stallsChunk": ([_CHUNKS + b"3\r\nab", Do.DRAIN], OK),
    "noAnswer": ([Do.DRAIN], OK),
    # Late for a try, and early for a request.
    "lateAnswer": ([Pause(0.4), ok(body="late")], OK),
    "lateBody": ([_HEAD + b"\r\nabc", Pause(0.4), b"def"], OK),
    "emptyReads": ([_HEAD, Do.REST, b"\r\n", Do.REST, b"abc", Do.REST, b"def"],),
}
_NEVER = ("dripsLate", "stallsHead", "stallsBody", "stallsChunk", "noAnswer")

# What begins with the request's first piece.
_BEGUN: list[Step] = [Do.EARLY, Until(b"2\r\nab\r\n")]
_EARLY: dict[str, tuple[Script, ...]] = {
    "answers": ([*_BEGUN, ok(body="early"), Do.BODY], OK),
    "answersLate": ([*_BEGUN, ok(body="early"), Pause(0.2), Do.BODY], OK),
    "closes": ([*_BEGUN, ok("connection: close", body="early"), Do.CLOSE], OK),
    "refuses": ([*_BEGUN, b"HTTP/1.1 413 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Pause(0.2)], OK),
    "fails": ([*_BEGUN, b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", Pause(0.2)], OK),
    "begins": ([*_BEGUN, _HEAD + b"\r\nabc", Do.BODY, b"def"], OK),
    "leaves": ([*_BEGUN, Do.CLOSE], OK),
    "resets": ([*_BEGUN, Do.RESET], OK),
}

# What happens on a connection that was used before.
_STALE: dict[str, tuple[Script, ...]] = {
    "closedIdle": ([OK, Do.REST, Do.CLOSE], OK),
    "resetIdle": ([OK, Do.REST, Do.RESET], OK),
    "closedOnUse": (OK, [Do.CLOSE], OK),
    "resetOnUse": (OK, [Do.RESET], OK),
    "halfClosed": ([OK, Do.HALF_CLOSE, Do.DRAIN], OK),
    "saysClose": (ok("connection: close"), OK),
    "closesUnsaid": ([OK, Do.CLOSE], OK),
    "cutOnUse": (OK, [_HEAD, Do.CLOSE], OK),
    "oldVersion": ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Do.REST, Do.CLOSE], OK),
    "oldVersionKept": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok", OK),
}

CASES = [
    *[
        Case(f"{name}_{end}_{policy}", f"{name}, {end}, {policy}.", get("/g"), _scripts(name, end), policy, limit=1.0)
        for name in _STAGES
        for end in _ENDS
        for policy in ("once", "tries")
        if end == "closed" or name in ("nothing", "head", "body", "chunk")
    ],
    *[
        Case(f"{name}_{end}_{policy}", f"{name}, {end}, {policy}.", get("/g"), _scripts(name, end), policy, limit=1.0)
        for name in ("nothing", "line", "body")
        for end in ("closed", "reset")
        for policy in ("resets", "before")
    ],
    *[
        Case(
            f"post_{name}_{end}_{policy}",
            f"A POST: {name}, {end}, {policy}.",
            _POST,
            _scripts(name, end),
            policy,
            limit=1.0,
        )
        for name in ("nothing", "head", "body")
        for end in ("closed", "reset")
        for policy in ("once", "tries", "before")
    ],
    *[
        Case(
            f"pieces_{name}_{policy}",
            f"A slow POST: {name}, {policy}.",
            _chunks("ab", "cd", "ef"),
            _scripts(name, "closed"),
            policy,
            limit=1.0,
        )
        for name in ("nothing", "head", "body")
        for policy in ("once", "tries")
    ],
    *[
        Case(
            f"slow_{name}_{policy}",
            f"{name}, {policy}.",
            get("/g"),
            scripts,
            f"{policy}Short" if name in _NEVER and policy != "perTry" else policy,
            limit=1.2,
        )
        for name, scripts in _SLOW.items()
        for policy in ("once", "tries", "perTry")
    ],
    *[
        Case(
            f"early_{name}_{policy}",
            f"Before the request's end it {name}, {policy}.",
            _chunks("ab", "cd", "ef"),
            scripts,
            policy,
            limit=1.0,
        )
        for name, scripts in _EARLY.items()
        for policy in ("once", "tries")
    ],
    *[
        Case(
            f"stale_{name}_{policy}",
            f"{name}, {policy}.",
            [get("/1"), Do.AWAIT, Do.REST, get("/2")],
            scripts,
            policy,
            responses=2,
            limit=1.0,
        )
        for name, scripts in _STALE.items()
        for policy in ("once", "tries", "before")
    ],
    *[
        Case(
            f"stalePost_{name}_{policy}",
            f"{name}, a POST, {policy}.",
            [get("/1"), Do.AWAIT, Do.REST, _POST],
            scripts,
            policy,
            responses=2,
            limit=1.0,
        )
        for name, scripts in _STALE.items()
        if name in ("closedIdle", "closedOnUse", "resetOnUse")
        for policy in ("once", "tries")
    ],
]


@compared(Comparison(LISTENERS, CASES))
class MisbehaviourTests(SynchronousTestCase):
    """
    Misbehaving upstreams.
    """
