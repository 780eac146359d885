"""
Upstreams that attack a running proxy in HTTP/2: frames that are cheap to send and dear to take.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import block, continuation, data, headers, ping, priority, settings, windowUpdate
from tests.conformance.http2service import HTTP2Service, answered
from tests.integration.configs import bootstrap, cluster, forward, listener
from tests.integration.peers import Backend, Client
from tests.integration.process import Proxy, fetch, freePorts
from tests.ports import bindFree

_MEMORY = 20 << 20
_OK = (b":status", b"200")
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class Flood:
    """
    What an upstream answers.

    @ivar answer: What comes instead of a response, by the request's stream.
    @ivar status: What the client gets.
    @ivar counter: What counts it, below C{cluster.NAME.}; nothing for what is just cheap.
    """

    answer: Callable[[int], bytes]
    status: int
    counter: str = ""


FLOODS = {
    "continuations": Flood(
        lambda n: headers(n, [_OK], True, False) + continuation(n, block([(b"x", b"y" * 16000)]), False) * 200,
        502,
        "http2.header_list_size_too_large",
    ),
    "continuationsSmall": Flood(
        lambda n: headers(n, [_OK], True, False) + continuation(n, [(b"x", b"y")], False) * 2000,
        502,
        "http2.header_overflow",
    ),
    "bomb": Flood(
        lambda n: headers(n, block([_OK]) + block([(b"x", b"y" * 3900)], 0x40) + b"\xbe" * 12000),
        503,
        "http2.header_list_size_too_large",
    ),
    "fields": Flood(lambda n: headers(n, block([_OK]) + b"\x00\x01a\x00" * 3900), 503, "http2.header_overflow"),
    "trailers": Flood(
        lambda n: headers(n, [_OK], False) + headers(n, b"\x00\x01a\x00" * 3900), 200, "http2.header_overflow"
    ),
    "emptyData": Flood(
        lambda n: headers(n, [_OK], False) + data(n, b"") * 5000, 200, "http2.inbound_empty_frames_flood"
    ),
    "priorities": Flood(lambda n: priority(n) * 5000, 502, "http2.inbound_priority_frames_flood"),
    "windowUpdates": Flood(lambda n: windowUpdate(0, 1) * 5000, 502, "http2.inbound_window_update_frames_flood"),
    "settingsMany": Flood(lambda n: settings(*[(9, 1)] * 2000), 502, "upstream_cx_protocol_error"),
    "smallFrames": Flood(lambda n: headers(n, [_OK], False) + data(n, b"x") * 20000 + data(n, b"x", True), 200),
    "interims": Flood(lambda n: headers(n, [(b":status", b"103")], False) * 5000 + answered(n), 200),
    "pings": Flood(lambda n: ping() * 800 + answered(n), 200),
    "settings": Flood(lambda n: settings((4, 70000)) * 800 + answered(n), 200),
}


class UpstreamAttackTests(SynchronousTestCase):
    """
    The flood is counted and ended, or is cheap; who asked gets an answer; requests to others are not disturbed; and the
    next request to the same upstream is served.
    """

    def setUp(self) -> None:
        listening = bindFree()
        self.service = HTTP2Service(listening)
        self.good = Backend(b"good")
        for backend in (self.service, self.good):
            self.addCleanup(backend.close)
        self.port, self.admin = freePorts(2)
        options: dict[str, Any] = {
            "typed_extension_protocol_options": {
                _OPTIONS: {
                    "@type": f"type.googleapis.com/{_OPTIONS}",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            }
        }
        text = bootstrap(
            listener("front", self.port, forward("good", "/good"), forward("bad", timeout="5s")),
            cluster("good", self.good.port),
            cluster("bad", listening.getsockname()[1], **options),
            admin={"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
        )
        self.proxy = Proxy(self, "--config-yaml", text).ready(self.port, self.admin)

    def stats(self) -> dict[str, int]:
        """
        The stats of the cluster.
        """
        listed = json.loads(fetch(self.admin, "/stats?format=json&filter=cluster.bad")[1])["stats"]
        return {each["name"].removeprefix("cluster.bad."): each["value"] for each in listed if "name" in each}

    def test_floods(self) -> None:
        """
        Each of them.
        """
        memory = self.proxy.memory()
        for name, flood in FLOODS.items():
            before = self.stats()
            self.service.begin([[flood.answer], answered])
            with Client(self.port) as asking, Client(self.port) as other:
                asking.ask("/bad")
                self.assertEqual(other.get("/good").body, b"good", name)
                self.assertEqual(self.statusOf(asking), flood.status, name)
                self.assertEqual(other.get("/good").body, b"good", name)
                self.assertEqual((response := other.get("/bad")).body, b"ok", f"{name}: {response}")
            after = self.stats()
            if flood.counter:
                self.assertEqual(after[flood.counter] - before.get(flood.counter, 0), 1, name)
            self.assertEqual(after["upstream_rq_active"], 0, name)
            self.assertLess(self.proxy.memory() - memory, _MEMORY, name)
        self.assertNotIn("Traceback", self.proxy.log)

    @staticmethod
    def statusOf(client: Client) -> int:
        """
        The status of the final response, whose body may break off.
        """
        status = 0
        while status < 200:
            status = int(client._upTo(b"\r\n\r\n")[9:12])
        return status
