"""
Clients that attack a running proxy in HTTP/2, each in its own way.

C{tox -e soak} attacks for longer, and measures.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.client import Reading
from tests.codec.http2.frames import PREFACE, data, headers, request, settings
from tests.integration.attacks import ATTACKS, Attack
from tests.integration.configs import bootstrap, cluster, forward, listener
from tests.integration.peers import Backend, Client, answer, readHead
from tests.integration.process import Proxy, freePort
from tests.integration.siege import shared

#: How many times longer than usual each attack is.
FACTOR = int(os.environ.get("MESHPROXY_TEST_ATTACKS", "1"))

# What an attack may cost the proxy in memory, in bytes.
_MEMORY = 20 << 20

# And with time to measure: how long others may wait, and how much CPU it may take, in seconds.
_WAIT = 0.25
_CPU = 1.0


# Which of them the suite tries over TLS, too: those whose frames come in large pieces, unread ones, and ends.
_SECURE = ("rapidReset", "continuations", "pings", "unread", "zeroWindowsLarge", "smallFrames", "leave")


class AttackCase(SynchronousTestCase):
    """
    Each attack is ended, or is cheap; it is counted under Envoy's name; everybody else is served meanwhile; and nothing
    of it is left.
    """

    secure = False

    def withstands(self, attack: Attack) -> None:
        """
        One of them.
        """
        siege = shared()
        outcome = siege.under(attack, FACTOR, self.secure)
        self.assertTrue(outcome.isAlive)
        self.assertEqual(outcome.failures, [])
        self.assertGreater(outcome.served, 0)
        if attack.ends:
            self.assertEqual(outcome.ended, attack.connections)
            # Who does not read may have been cut off before it could see why.
            self.assertLessEqual(outcome.codes, {attack.code})
            self.assertTrue(outcome.codes or not attack.reads)
        else:
            self.assertEqual((outcome.ended, outcome.codes), (0, set()))
        if attack.resets is not None:
            self.assertIn(attack.resets, outcome.resets)
        if attack.counter:
            self.assertGreaterEqual(outcome.counters.get(attack.counter, 0), attack.connections)
        self.assertLess(outcome.memory, _MEMORY)
        self.assertEqual(siege.leftovers(), {})
        if FACTOR > 1:
            self.assertLess(outcome.longest, _WAIT)
            self.assertLess(outcome.cpu / FACTOR, _CPU)


class AttackTests(AttackCase):
    """
    All of them.
    """


class SecureAttackTests(AttackCase):
    """
    Some of them over TLS, and all where there is time.
    """

    secure = True


_BODY = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"


def _lines(*more: tuple[bytes, bytes], **fields: bytes | None) -> bytes:
    return headers(1, request(*more, **fields))  # type: ignore[arg-type]  # pseudo-header fields only


# Requests that a naive translation to HTTP/1.1 would make another request of, or two.
_DANGEROUS: dict[str, bytes] = {
    "CVE-2023-27491: a :method with a line in it": _lines(method=b"GET /smuggled HTTP/1.1\r\nx: y"),
    "a :path with a line in it": _lines(path=b"/ HTTP/1.1\r\nhost: b\r\n\r\nGET /smuggled"),
    "CVE-2021-39240: a :scheme that is none": _lines(scheme=b"http://b/smuggled?"),
    "an :authority with a path": _lines(authority=b"a/smuggled"),
    "CVE-2019-19330, CVE-2025-57804: a value with a line in it": _lines((b"x", b"y\r\n\r\nGET /smuggled")),
    "a name with a line in it": _lines((b"x: y\r\nhost", b"b")),
    "CVE-2023-25725: an empty name": _lines((b"", b"b")),
    "CVE-2026-71554: two hosts": _lines((b"host", b"test"), (b"host", b"b")),
    "CVE-2021-39242: a host that is not the authority": _lines((b"host", b"b")),
    "transfer-encoding": headers(1, request((b"transfer-encoding", b"chunked"), method=b"POST"), False)
    + data(1, b"0\r\n\r\n" + _BODY, True),
    "CVE-2026-48743: a body longer than its length": headers(
        1, request((b"content-length", b"0"), method=b"POST"), False
    )
    + data(1, _BODY, True),
    "a body shorter than its length": headers(1, request((b"content-length", b"900"), method=b"POST"), False)
    + data(1, _BODY, True),
    "a length without a body": _lines((b"content-length", b"900")),
    "CVE-2023-40225: an empty length": headers(1, request((b"content-length", b""), method=b"POST"), False)
    + data(1, _BODY, True),
    "two lengths": headers(1, request((b"content-length", b"0"), (b"content-length", b"38"), method=b"POST"), False)
    + data(1, _BODY, True),
    "CVE-2021-32779: a fragment": _lines(path=b"/a#/smuggled"),
    "CVE-2026-73547: CONNECT without a path": headers(1, [(b":method", b"CONNECT"), (b":authority", b"a:1")], False)
    + data(1, _BODY),
    "CVE-2025-64763: a tunnel's data before it is there": headers(
        1, [(b":protocol", b"websocket"), *request(method=b"CONNECT")], False
    )
    + data(1, _BODY),
}


def _listen(received: list[bytes]) -> Callable[[socket.socket], None]:
    """
    A service that keeps what comes, and answers the first request of a connection.
    """

    def serve(connection: socket.socket) -> None:
        head = readHead(connection)
        if not head:
            return
        received.append(head)
        if b"\r\nupgrade:" not in head.lower() and not head.startswith(b"POST"):
            connection.sendall(answer(b"once"))
        while came := connection.recv(65536):
            received[-1] += came

    return serve


class MessageTests(SynchronousTestCase):
    """
    Requests that are meant to become others on their way to an upstream that speaks HTTP/1.1.
    """

    def test_neverForwarded(self) -> None:
        """
        Each is refused, or what reaches the upstream is no whole request; nor does what follows on its connection
        become one.
        """
        received: list[bytes] = []
        service = Backend(serve=_listen(received))
        self.addCleanup(service.close)
        port = freePort()
        options: dict[str, Any] = {
            "http2_protocol_options": {"allow_connect": True},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        }
        front = listener("front", port, forward("service", timeout="1s"), codec_type="AUTO", **options)
        Proxy(self, "--config-yaml", bootstrap(front, cluster("service", service.port))).ready(port)
        for what, wire in _DANGEROUS.items():
            received.clear()
            reading = Reading()
            with Client(port) as client:
                client.send(PREFACE + settings() + wire)
                client.socket.settimeout(0.15)
                try:
                    while came := client.socket.recv(65536):
                        reading.feed(came)
                        if reading.goAways or reading.of(1).done:
                            break
                except TimeoutError:
                    pass  # a tunnel that waits for its upstream
            upstream = b"".join(received)
            self.assertNotIn(b"smuggled", upstream, what)
            self.assertNotIn(b"host: b", upstream, what)
            self.assertNotEqual(reading.of(1).status, 200, what)
        # Everybody else gets an answer of their own, on a connection that nothing is left on.
        received.clear()
        with Client(port) as client:
            self.assertEqual(client.get("/good").body, b"once")
        self.assertTrue(received[0].startswith(b"GET /good HTTP/1.1\r\n"), received)


def _addTests() -> None:
    def testOf(attack: Attack) -> Callable[[Any], None]:
        def test(self: AttackCase) -> None:
            self.withstands(attack)

        test.__doc__ = f"\n        {attack.intent}\n        "
        return test

    for attack in ATTACKS:
        setattr(AttackTests, f"test_{attack.name}", testOf(attack))
        if FACTOR > 1 or attack.name in _SECURE:
            setattr(SecureAttackTests, f"test_{attack.name}", testOf(attack))


_addTests()
