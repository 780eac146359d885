"""
C{on_demand} of tcp_proxy: a proxy and a control plane in memory, in virtual time.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.config.pool import typeURL
from meshproxy.testing import Peer
from tests.filters.http.test_on_demand import static
from tests.xds.support import ADS, XDSTestCase

_STDOUT = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"


class OnDemandTests(XDSTestCase):
    """
    Connections to a cluster C{t} that is not there, beside clusters that all come by themselves.
    """

    variant = "DELTA_GRPC"

    def begin(self, *clusters: str, whole: bool = False, **config: Any) -> None:
        """
        Start the proxy.

        @param clusters: What the control plane has.
        @param whole: Whether it is asked for all clusters.
        """
        text = {"text_format_source": {"inline_string": "%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON%\n"}}
        proxy = {
            "@type": typeURL("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "bytes",
            **({} if "weighted_clusters" in config else {"cluster": "t"}),
            "on_demand": {"odcds_config": ADS, "timeout": "2s"},
            "access_log": [{"name": "log", "typed_config": {"@type": typeURL(_STDOUT), "log_format": text}}],
            **config,
        }
        address = {"socketAddress": {"address": "192.0.2.1", "portValue": 80}}
        self.front = {
            "name": "in",
            "address": address,
            "filterChains": [{"filters": [{"name": "x", "typedConfig": proxy}]}],
        }
        self.source.set(listeners=[self.front], clusters=[static(name) for name in clusters])
        self.whole = whole
        self.start()
        self.backend = self.proxy.backend("192.0.2.20:80")

    def bootstrap(self, **static: Any) -> str:
        """
        See L{XDSTestCase.bootstrap}.
        """
        made = json.loads(super().bootstrap(**static))
        if not self.whole:
            del made["dynamic_resources"]["cds_config"]
        return json.dumps(made)

    def connect(self) -> Peer:
        """
        A client that asks.
        """
        peer = Peer()
        self.proxy.connect(peer, "192.0.2.1:80")
        peer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.proxy.advance(0.1)
        return peer

    def silence(self) -> None:
        """
        Have the control plane go away.
        """
        self.listening.stopListening()
        self.server.stop()
        self.proxy.advance(0.1)

    def counted(self) -> list[int]:
        """
        The attempts, and what became of them.
        """
        names = ("attempt", "success", "missing", "timeout")
        return [self.proxy.stat(f"tcp.bytes.on_demand_cluster_{name}") for name in names]

    def test_comes(self) -> None:
        """
        The cluster is asked for, and the connection goes there; the next one finds it.
        """
        self.begin("t")
        for _ in range(2):
            self.assertTrue(self.connect().received.startswith(b"HTTP/1.1 200"))
            self.assertEqual(self.counted(), [1, 1, 0, 0])

    def test_missing(self) -> None:
        """
        Where there is none the connection is closed, as without C{on_demand}.
        """
        self.begin()
        self.assertTrue(self.connect().closed)
        self.assertEqual(self.counted(), [1, 0, 1, 0])
        self.assertEqual(self.proxy.stat("tcp.bytes.downstream_cx_no_route"), 1)
        self.assertEqual(self.proxy.accessLog, ["NC tcp_initializion_failure:3"])

    def test_timeout(self) -> None:
        """
        Where nobody answers it is closed when the time is over.
        """
        self.begin()
        self.silence()
        peer = self.connect()
        self.assertFalse(peer.closed)
        self.proxy.advance(2)
        self.assertTrue(peer.closed)
        self.assertEqual(self.counted(), [1, 0, 0, 1])

    def test_gone(self) -> None:
        """
        A connection that ends before is forgotten.
        """
        self.begin(max_downstream_connection_duration="1s")
        self.silence()
        peer = self.connect()
        self.proxy.advance(1)
        self.assertTrue(peer.closed)
        self.proxy.advance(10)
        self.assertEqual(self.counted(), [1, 0, 0, 0])

    def test_weighted(self) -> None:
        """
        The connection goes to the cluster that was chosen for it and asked for.
        """
        entries = [{"name": "t", "weight": 1}, {"name": "u", "weight": 1}]
        self.begin("t", "u", weighted_clusters={"clusters": entries})
        self.assertTrue(self.connect().received.startswith(b"HTTP/1.1 200"))
        self.assertEqual(self.counted(), [1, 1, 0, 0])

    def test_beside(self) -> None:
        """
        Where all clusters are asked for, those by name are asked for beside them.
        """
        self.begin("a", whole=True)
        self.assertTrue(self.connect().closed)
        self.assertEqual({cluster.name for cluster in self.proxy.server.clusters}, {"xds", "a"})
        self.change(listeners=[self.front], clusters=[static("b"), static("t")])
        self.assertTrue(self.connect().received.startswith(b"HTTP/1.1 200"))
        self.assertEqual({cluster.name for cluster in self.proxy.server.clusters}, {"xds", "b", "t"})
        (connected,) = self.xds.connected()
        subscription = connected.session.subscriptions[typeURL("envoy.config.cluster.v3.Cluster")]
        self.assertEqual((subscription.names, subscription.isWildcard), ({"t"}, True))


class WorldTests(OnDemandTests):
    """
    The same where the state of the world is spoken.
    """

    variant = "GRPC"

    def test_missing(self) -> None:
        """
        There is no word for what does not exist.
        """
        self.begin()
        peer = self.connect()
        self.proxy.advance(2)
        self.assertTrue(peer.closed)
        self.assertEqual(self.counted(), [1, 0, 0, 1])

    def test_beside(self) -> None:
        """
        Where all clusters are asked for, those by name are asked for beside them.
        """
        self.begin("a", whole=True)
        peer = self.connect()
        self.proxy.advance(2)
        self.assertTrue(peer.closed)
        self.change(listeners=[self.front], clusters=[static("b"), static("t")])
        self.assertTrue(self.connect().received.startswith(b"HTTP/1.1 200"))
        self.assertEqual({cluster.name for cluster in self.proxy.server.clusters}, {"xds", "b", "t"})
