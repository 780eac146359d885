"""
Two proxies in a row, in memory: whatever of them changes, and whenever it does, no request is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import Answer, MemoryProxy, VirtualReactor
from meshproxy.testing.network import MemoryNetwork
from tests.integration.configs import Message, bootstrap, cluster, forward, listener

_GATEWAY, _SIDECAR, _APP = 80, 9080, 19080

# Seconds that bytes travel, and the app takes; all that happens with a request is over after seven of the first.
_LATENCY, _WORK, _STEP = 0.05, 0.03, 0.01


_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class HopTests(SynchronousTestCase):
    """
    A client, a gateway, a sidecar and an app; connections are kept.

    @ivar protocol: What the gateway speaks with the sidecar.
    """

    protocol = "http_protocol_options"

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

    def endure(self, change: Callable[[int], bool], most: int) -> None:
        """
        Ask again and again, with a change a little later in each request, from its first byte to long after its end.

        @param most: How many connections the gateway may make.
        """
        client = self.gateway.client(f"127.0.0.1:{_GATEWAY}")
        steps = range(int(9 * _LATENCY / _STEP))
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
        self.assertLessEqual(self.gateway.stat("cluster.next.upstream_cx_total"), most)

    def test_chains(self) -> None:
        """
        The chain of the sidecar is another one each time.
        """
        self.endure(lambda step: self.sidecar.reload(self.hop("s", _SIDECAR, _APP, step + 1)), 45)

    def test_chainsOfTheFirst(self) -> None:
        """
        That of the gateway is: its pool is another's, and stays.
        """
        self.endure(lambda step: self.gateway.reload(self.hop("g", _GATEWAY, _SIDECAR, step + 1)), 1)

    def test_clusters(self) -> None:
        """
        The cluster of the gateway is another one each time: its pool is made anew, what is under way ends in the old.
        """

        def change(step: int) -> bool:
            return self.gateway.reload(self.hop("g", _GATEWAY, _SIDECAR, connect_timeout=f"{5 + step % 2}s"))

        self.endure(change, 46)

    def test_routes(self) -> None:
        """
        What the listener of the sidecar says besides is another thing each time: all connections stay.
        """

        def change(step: int) -> bool:
            made = listener("s", _SIDECAR, forward("next", timeout=f"{20 + step}s"))
            made["filter_chains"][0]["name"] = "version 0"
            return self.sidecar.reload(bootstrap(made, cluster("next", _APP)))

        self.endure(change, 1)


class HTTP2HopTests(HopTests):
    """
    The same over HTTP/2.
    """

    protocol = "http2_protocol_options"
