"""
Messages that were published as attacks, sent to a proxy in a process of its own with rules that they are to get past,
while somebody else is served.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.client import Reading
from tests.codec.http2.frames import PREFACE, data, headers, request, reset, settings
from tests.integration.configs import _ROUTER, address, bootstrap, cluster, forward, listener
from tests.integration.gatherer import LIMIT
from tests.integration.peers import Backend, Client, answer, readHead
from tests.integration.process import PATIENCE, Proxy, fetch, freePorts, until
from tests.integration.published import MESSAGES, SMUGGLED, Message
from tests.integration.test_attacks import FACTOR

_TYPES = "type.googleapis.com/envoy.extensions.filters.http."
_GATHERER = {
    "name": "gatherer",
    "typed_config": {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "python:tests.integration.gatherer:Gatherer",
        "value": {},
    },
}

# What all of them together may cost in memory, and with time to measure, how long others may wait, in seconds.
_MEMORY = 20 << 20
_WAIT = 0.25


def _path(value: str) -> dict[str, Any]:
    return {"url_path": {"path": {"prefix": value}}}


def _denials() -> dict[str, Any]:
    """
    The rules that are to be passed.
    """
    anybody = {"principals": [{"any": True}]}
    scheme = {"header": {"name": ":scheme", "string_match": {"exact": "http"}}}
    policies = {
        "paths": {"permissions": [_path("/admin")], **anybody},
        "roles": {"permissions": [{"header": {"name": "x-role", "string_match": {"contains": "admin"}}}], **anybody},
        "schemes": {"permissions": [{"and_rules": {"rules": [_path("/plain"), scheme]}}], **anybody},
    }
    config = {"@type": f"{_TYPES}rbac.v3.RBAC", "rules": {"action": "DENY", "policies": policies}}
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


class PublishedTests(SynchronousTestCase):
    """
    Each message gets the answer that is due, is counted, and reaches no upstream as what it is not.
    """

    def setUp(self) -> None:
        self.received: list[bytes] = []
        self.backend = Backend(serve=self._serve)
        self.addCleanup(self.backend.close)
        self.port, self.other, self.admin = freePorts(3)
        options: dict[str, Any] = {
            "codec_type": "AUTO",
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http2_protocol_options": {"allow_connect": True},
        }
        regex = {"match": {"safe_regex": {"regex": "/regex/(a+)+$"}}, "route": {"cluster": "service"}}
        deadline = {"max_stream_duration": {"grpc_timeout_header_max": "1s"}}
        routes = [forward("service", "/grpc", **deadline), regex, forward("service")]
        front = listener("front", self.port, *routes, http_filters=[_denials(), _ROUTER], **options)
        gathered = listener("front", self.other, *routes, http_filters=[_GATHERER, _ROUTER], **options)
        front["name"], gathered["name"] = "front", "gathered"
        text = bootstrap(front, gathered, cluster("service", self.backend.port), admin={"address": address(self.admin)})
        self.proxy = Proxy(self, "--config-yaml", text).ready(self.port, self.other, self.admin)

    def _serve(self, connection: socket.socket) -> None:
        while head := readHead(connection):
            self.received.append(head)
            if b"/gathered/large" in head:
                connection.sendall(answer(bytes(5 * LIMIT)))
            elif b"/gathered/reset" not in head:
                connection.sendall(answer(b"served", "connection: close\r\n" if head.startswith(b"POST") else ""))
            if head.startswith(b"POST"):
                # Its body is not read: nobody is to take it for a request.
                return

    def stat(self, name: str) -> int:
        """
        What was counted.
        """
        listed = json.loads(fetch(self.admin, f"/stats?format=json&filter=^{name}$")[1])["stats"]
        return int(listed[0]["value"]) if listed else 0

    def counts(self, name: str, before: int) -> bool:
        """
        Whether something more is counted, be it a moment after its answer.
        """
        end = time.monotonic() + PATIENCE
        while self.stat(name) <= before:
            if time.monotonic() > end:
                return False
        return True

    def ask(self, message: Message) -> tuple[list[int], bytes]:
        """
        Send one.

        @return: The statuses of the answers, 0 for none, and all that came.
        """
        port = self.other if b"/gathered" in message.wire[:500] or "gathered" in message.name else self.port
        with Client(port) as client:
            if not message.isHTTP2:
                client.send(message.wire)
                head, body = client.firstHead(), b""
                return [int(head.split(b" ")[1])] if head else [0], head + body
            reading = Reading()
            client.send(PREFACE + settings() + message.wire)
            if message.statuses == (0,):
                # Where nothing is due, nothing is waited for.
                client.socket.settimeout(0.5)
            came = b""
            try:
                while piece := client.socket.recv(65536):
                    came += piece
                    reading.feed(piece)
                    if reading.of(1).done:
                        break
            except TimeoutError:
                pass
            exchange = reading.of(1)
            return [exchange.status if exchange.headers is not None else 0], exchange.body

    def test_messages(self) -> None:
        """
        One after the other, each on a connection of its own, while somebody else is served without pause.
        """
        stop = threading.Event()
        waits: list[float] = []
        failures: list[str] = []

        def other() -> None:
            with Client(self.port) as client:
                while not stop.is_set():
                    began = time.monotonic()
                    response = client.get("/others")
                    waits.append(time.monotonic() - began)
                    if (response.status, response.body) != (200, b"served"):
                        failures.append(f"{response}")
                    time.sleep(0.005)

        victim = threading.Thread(target=other, daemon=True)
        victim.start()
        memory = self.proxy.memory()
        found: dict[str, object] = {}
        for number, message in enumerate(MESSAGES):
            key = f"{number} {message.name}"
            before = self.stat(message.counter) if message.counter else 0
            first = len(self.received)
            statuses, came = self.ask(message)
            if tuple(statuses) != message.statuses:
                found[key] = statuses, came
                continue
            seen = [each for each in self.received[first:] if b"/others" not in each]
            if any(message.never in each.lower() or SMUGGLED in each for each in seen):
                found[key] = seen
            if message.sees and not any(message.sees in each for each in seen):
                found[key] = (message.sees, seen)
            if message.body not in came or message.keeps in came:
                found[key] = came
            if message.counter and not self.counts(message.counter, before):
                found[key] = f"{message.counter} is {self.stat(message.counter)}, and was {before}"
        stop.set()
        victim.join()
        self.assertEqual(found, {})
        self.assertEqual(failures, [])
        self.assertGreater(len(waits), 10)
        if FACTOR > 1:
            self.assertLess(max(waits), _WAIT)
        self.assertLess(self.proxy.memory() - memory, _MEMORY)

    def test_resetAnywhere(self) -> None:
        """
        CVE-2026-26311, CVE-2021-43825: hundreds of requests are reset while a filter waits, while the response is
        gathered, or as its local reply is made: no filter is told of anything behind the end, and nothing stays.
        """
        for wait in (0.0, 0.02, 0.05, 0.06, None):
            with Client(self.other) as client:
                client.send(PREFACE + settings())
                streams = range(1, 80, 2)
                for streamId in streams:
                    path = b"/gathered/large" if streamId % 4 == 1 else b"/gathered/reset"
                    client.send(headers(streamId, request(method=b"POST", path=path), False) + data(streamId, b"x"))
                if wait is None:
                    until(lambda: self.stat("http.front.rs_too_large") > 0, "a response that is too long")
                else:
                    time.sleep(wait)
                client.send(b"".join(reset(streamId) + data(streamId, b"late") for streamId in streams))
                time.sleep(0.1)
        until(lambda: self.stat("http.front.downstream_rq_active") == 0, "all streams to end")
        until(lambda: self.stat("cluster.service.upstream_rq_active") == 0, "the upstream's too")
        self.assertEqual(self.stat("gatherer.after_end"), 0)
        self.assertGreater(self.stat("gatherer.passed"), 0)
        # Each time half of them are never answered.
        self.assertGreaterEqual(self.stat("http.front.downstream_rq_rx_reset"), 100)
        self.assertGreater(self.stat("http.front.rs_too_large"), 0)
        self.assertEqual(fetch(self.other, "/gathered/small")[1], b"served")
        self.assertIsNone(self.proxy.process.poll())
