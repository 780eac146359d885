"""
Two proxies in a row, in memory: whatever of them changes, and whenever it does, no request is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import Answer, MemoryProxy, VirtualReactor
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.pki import Authority
from tests.integration.configs import Message, bootstrap, cluster, forward, listener

_GATEWAY, _SIDECAR, _APP = 80, 9080, 19080

# Seconds that bytes travel, and the app takes; and those between two times of a change.
_LATENCY, _WORK, _STEP = 0.05, 0.03, 0.01


_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class HopTests(SynchronousTestCase):
    """
    A client, a gateway, a sidecar and an app; connections are kept.

    @cvar protocol: What the gateway speaks with the sidecar.
    @cvar travels: After so many ways of its bytes all that happens with a request is over.
    """

    protocol = "http_protocol_options"
    travels = 9

    def setUp(self) -> None:
        network = MemoryNetwork(VirtualReactor(), _LATENCY)
        self.sidecar = MemoryProxy(self.hop("s", _SIDECAR, _APP), network)
        self.gateway = MemoryProxy(self.hop("g", _GATEWAY, _SIDECAR), network)
        self.app = self.gateway.backend(f"127.0.0.1:{_APP}", Answer(body=b"ok", delay=_WORK))

    def hop(self, name: str, port: int, to: int, version: int = 0, **fields: object) -> str:
        """
        A proxy that hands on.

        @param version: Of its only filter chain: it does not outlive the version.
        @param fields: Of its cluster.
        """
        made: Message = listener(name, port, forward("next"))
        made["filter_chains"][0]["name"] = f"version {version}"
        if name == "g":
            options = {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {self.protocol: {}}}
            fields["typed_extension_protocol_options"] = {_OPTIONS: options}
        return bootstrap(made, cluster("next", to, **fields))  # type: ignore[arg-type]

    def endure(self, change: Callable[[int], bool], isKept: bool = False) -> None:
        """
        Ask again and again, with a change a little later in each request, from its first byte to long after its end.

        @param isKept: Whether the gateway needs only one connection.
        """
        client = self.gateway.client(f"127.0.0.1:{_GATEWAY}")
        steps = range(int(self.travels * _LATENCY / _STEP))
        for step in steps:
            if client.ended:
                client.close()
                client = self.gateway.client(f"127.0.0.1:{_GATEWAY}")
            client.send()
            self.gateway.advance(step * _STEP)
            self.assertTrue(change(step))
            response = client.response()
            self.assertEqual((response.status, response.body), (200, b"ok"), f"a change after {step * _STEP:.2f} s")
            # On a connection that says no more than that it is idle, so that it is idle for a moment each second time.
            self.gateway.advance(step % 2 * _STEP)
        self.assertEqual(len(self.app.requests), len(steps))
        most = 1 if isKept else len(steps) + 1
        self.assertLessEqual(self.gateway.stat("cluster.next.upstream_cx_total"), most)

    def test_chains(self) -> None:
        """
        The chain of the sidecar is another one each time.
        """
        self.endure(lambda step: self.sidecar.reload(self.hop("s", _SIDECAR, _APP, step + 1)))

    def test_chainsOfTheFirst(self) -> None:
        """
        That of the gateway is: its pool is another's, and stays.
        """
        self.endure(lambda step: self.gateway.reload(self.hop("g", _GATEWAY, _SIDECAR, step + 1)), isKept=True)

    def test_clusters(self) -> None:
        """
        The cluster of the gateway is another one each time: its pool is made anew, what is under way ends in the old.
        """

        def change(step: int) -> bool:
            return self.gateway.reload(self.hop("g", _GATEWAY, _SIDECAR, connect_timeout=f"{5 + step % 2}s"))

        self.endure(change)

    def test_routes(self) -> None:
        """
        What the listener of the sidecar says besides is another thing each time: all connections stay.
        """

        def change(step: int) -> bool:
            made = listener("s", _SIDECAR, forward("next", timeout=f"{20 + step}s"))
            made["filter_chains"][0]["name"] = "version 0"
            return self.sidecar.reload(bootstrap(made, cluster("next", _APP)))

        self.endure(change, isKept=True)


class HTTP2HopTests(HopTests):
    """
    The same over HTTP/2.
    """

    protocol = "http2_protocol_options"


class CertificateTests(HopTests):
    """
    The same over mutual TLS.
    """

    travels = 13

    def setUp(self) -> None:
        self.authority = Authority()
        self.server, self.client = (self.authority.issue(commonName=name) for name in ("sidecar", "gateway"))
        # Whether each request is the last on its connection, so that there are handshakes all the time.
        self.isLast = False
        super().setUp()

    def transport(self, side: str, credential: Any, **fields: Any) -> Message:
        """
        A transport socket that shows a certificate, and wants to see one.
        """
        common = {
            "tls_certificates": [credential.inline],
            "validation_context": {"trusted_ca": {"inline_string": self.authority.root}},
        }
        typeURL = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"
        config = {"@type": typeURL, "common_tls_context": common, **fields}
        return {"name": "envoy.transport_sockets.tls", "typed_config": config}

    def hop(self, name: str, port: int, to: int, version: int = 0, **fields: object) -> str:
        """
        See L{HopTests.hop}.
        """
        found: Message = json.loads(super().hop(name, port, to, version, **fields))
        static = found["static_resources"]
        if name == "g":
            static["clusters"][0]["transport_socket"] = self.transport("Upstream", self.client)
        else:
            [chain] = static["listeners"][0]["filter_chains"]
            chain["transport_socket"] = self.transport("Downstream", self.server, require_client_certificate=True)
            if self.isLast:
                manager = chain["filters"][0]["typed_config"]
                manager["common_http_protocol_options"] = {"max_requests_per_connection": 1}
        return json.dumps(found)

    def test_routes(self) -> None:
        """
        The sidecar has another certificate each time; connections stay.
        """

        def change(step: int) -> bool:
            self.server = self.authority.issue(commonName=f"sidecar {step}")
            return self.sidecar.reload(self.hop("s", _SIDECAR, _APP))

        self.endure(change, isKept=True)

    def test_handshakes(self) -> None:
        """
        Both have others each time, one after the other, while they shake hands.
        """
        self.isLast = True
        self.assertTrue(self.sidecar.reload(self.hop("s", _SIDECAR, _APP)))

        def change(step: int) -> bool:
            if step % 2:
                self.server = self.authority.issue(commonName=f"sidecar {step}")
                return self.sidecar.reload(self.hop("s", _SIDECAR, _APP))
            self.client = self.authority.issue(commonName=f"gateway {step}")
            return self.gateway.reload(self.hop("g", _GATEWAY, _SIDECAR))

        self.endure(change)
