"""
L{meshproxy.upstream.proxyheader}: what upstreams are told of a connection.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.proxyprotocol import ProxyHeader, encodeV2, parseProxyHeader
from meshproxy.config import Section
from meshproxy.config.pool import typeURL
from meshproxy.net.address import Address
from meshproxy.net.proxyheader import ProxyProtocolData
from meshproxy.stats import Store
from meshproxy.testing import MemoryBackend, MemoryProxy
from meshproxy.upstream.proxyheader import PROXY_TRANSPORT, HeaderConnector, UpstreamHeader
from tests.codec.test_proxyprotocol import ADDRESSES, DESTINATION, SOURCE, V1, tlv, v2
from tests.filters.network.support import TCP, FilterProxy, refusals
from tests.integration.configs import bootstrap, cluster, forward, listener

HERE, THERE = Address("127.0.0.1", 5), Address("127.0.0.2", 6)
ADDED = [{"type": 5, "value": "YWRk"}, {"type": 9, "value": "b3Zlcg=="}]


def transport(**config: Any) -> dict[str, Any]:
    """
    A C{transport_socket}.
    """
    raw = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    return {
        "name": "proxy",
        "typed_config": {
            "@type": typeURL(PROXY_TRANSPORT),
            "config": config,
            "transport_socket": {"name": "inner", "typed_config": {"@type": typeURL(raw)}},
        },
    }


class EncodeTests(SynchronousTestCase):
    """
    The header of one connection.
    """

    def header(self, told: ProxyProtocolData | None, **config: Any) -> ProxyHeader:
        """
        What an upstream reads.
        """
        store = Store()
        section = Section.of("envoy.config.core.v3.ProxyProtocolConfig", config)
        self.made = UpstreamHeader(section, store.scope("cluster.c."))
        found = parseProxyHeader(self.made.encode(told, HERE, THERE))
        section.report.raiseIfAny()
        assert found is not None
        self.exceeded = store.counters["cluster.c.upstream.proxyprotocol.v2_tlvs_exceed_max_length"].value
        return found

    def test_versions(self) -> None:
        """
        Version 1 unless another is asked for.
        """
        told = ProxyProtocolData(SOURCE, DESTINATION)
        for config, version in (({}, 1), ({"version": "V1"}, 1), ({"version": "V2"}, 2)):
            found = self.header(told, **config)
            self.assertEqual((found.version, found.source, found.destination), (version, SOURCE, DESTINATION))

    def test_own(self) -> None:
        """
        A connection of the proxy's own is told by its own addresses, or as C{LOCAL}.
        """
        self.assertEqual(self.header(None).source, ("127.0.0.1", 5))
        self.assertEqual(self.header(None, version="V2"), ProxyHeader(2, 16))

    def test_unknown(self) -> None:
        """
        A client without an IP address is unknown.
        """
        told = ProxyProtocolData(None, DESTINATION)
        self.assertIsNone(self.header(told).source)
        self.assertIsNone(self.header(told, version="V2").source)

    def test_tlvs(self) -> None:
        """
        TLVs pass if they are asked for; those of the configuration come first and stand for theirs.
        """
        told = ProxyProtocolData(SOURCE, DESTINATION, ((1, b"h2"), (9, b"nine"), (3, b"three")))
        self.assertEqual(self.header(told, version="V2").tlvs, ())
        some = {"match_type": "INCLUDE", "tlv_type": [1, 3]}
        self.assertEqual(self.header(told, version="V2", pass_through_tlvs=some).tlvs, ((1, b"h2"), (3, b"three")))
        found = self.header(told, version="V2", pass_through_tlvs={}, added_tlvs=ADDED)
        self.assertEqual(found.tlvs, ((5, b"add"), (9, b"over"), (1, b"h2"), (3, b"three")))
        self.assertEqual(self.exceeded, 0)

    def test_tooLong(self) -> None:
        """
        TLVs that do not fit are left out whole, and counted.
        """
        told = ProxyProtocolData(SOURCE, DESTINATION, ((1, b"x" * 65520),))
        found = self.header(told, version="V2", pass_through_tlvs={}, added_tlvs=ADDED)
        self.assertEqual(found.tlvs, ((5, b"add"), (9, b"over")))
        self.assertEqual(self.exceeded, 1)


class ConnectorTests(SynchronousTestCase):
    """
    The header goes first.
    """

    def test_beforeTLS(self) -> None:
        """
        It is sent before whoever comes next, such as TLS, hears of the connection; then that one is the transport's
        protocol.
        """
        done: list[object] = []

        class Transport:
            """
            Remembers.
            """

            localAddress, peerAddress = HERE, THERE
            protocol: object = None

            def write(self, data: bytes) -> None:
                """
                Remember.
                """
                done.append(data)

            def flush(self) -> None:
                """
                Remember.
                """
                done.append("flush")

        class Inner:
            """
            Remembers.
            """

            def makeConnection(self, transport: Any) -> None:
                """
                Remember.
                """
                done.append(transport.protocol)

        class Network:
            """
            Connects at once.
            """

            def connect(self, address: Address, protocol: Any, failed: Any, *more: object) -> object:
                """
                Connect.
                """
                protocol.makeConnection(Transport())
                return more

        inner: Any = Inner()
        header = UpstreamHeader(None, Store().scope("c."))
        connector = HeaderConnector(Network(), header, ProxyProtocolData(SOURCE, DESTINATION))
        self.assertEqual(connector.connect(THERE, inner, self.fail, 3.0, 111), (3.0, 111, None))
        self.assertEqual(done, [V1, "flush", inner])


class ProxyTests(SynchronousTestCase):
    """
    Through a whole proxy.
    """

    def told(self, wire: bytes, tcp: dict[str, Any] | None = None, **config: Any) -> tuple[ProxyHeader, bytes]:
        """
        The header that the upstream gets, and what follows.
        """
        proxy = FilterProxy(
            ("tcp_proxy", {**TCP, **(tcp or {})}),
            before=[
                ("proxy_protocol", {"allow_requests_without_proxy_protocol": True, "pass_through_tlvs": {}}),
            ],
            cluster={"transport_socket": transport(**config)},
        )
        proxy.talk(wire)
        [received] = proxy.backend.received
        found = parseProxyHeader(received)
        assert found is not None
        return found, received[found.size :]

    def test_client(self) -> None:
        """
        The client of the socket, or the one that its own header told; never two headers, never a byte less of what
        follows.
        """
        for version in ("V1", "V2"):
            found, rest = self.told(b"hello", version=version)
            assert found.source is not None
            self.assertEqual((found.source[0], found.destination, rest), ("127.0.0.1", ("127.0.0.1", 10000), b"hello"))
            for wire in (V1, v2()):
                found, rest = self.told(wire + b"hello", version=version)
                self.assertEqual((found.source, found.destination, rest), (SOURCE, DESTINATION, b"hello"))

    def test_tlvs(self) -> None:
        """
        TLVs pass through from one header to the next; those of tcp_proxy are for connections that came without one.
        """
        wire = v2(ADDRESSES + tlv(1, b"h2") + tlv(9, b"nine")) + b"hello"
        config = {"version": "V2", "pass_through_tlvs": {}}
        own = {"proxy_protocol_tlvs": [{"type": 6, "value": "dGNw"}]}
        self.assertEqual(self.told(wire, own, **config)[0].tlvs, ((1, b"h2"), (9, b"nine")))
        self.assertEqual(self.told(b"hello", own, **config)[0].tlvs, ((6, b"tcp"),))
        self.assertEqual(self.told(v2(b"", 0x20, 0) + b"hello", own, **config)[0].tlvs, ())

    def test_merged(self) -> None:
        """
        C{proxy_protocol_tlv_merge_policy} says what becomes of tcp_proxy's own TLVs where the client has some; those
        that are formatted come last.
        """
        wire = v2(ADDRESSES + tlv(1, b"h2") + tlv(9, b"nine")) + b"hello"
        text = {"text_format_source": {"inline_string": "to %DOWNSTREAM_LOCAL_PORT%"}}
        added = [{"type": 6, "format_string": text}, {"type": 1, "value": "dGNw"}]
        said, own = ((1, b"h2"), (9, b"nine")), ((1, b"tcp"), (6, b"to 443"))
        for policy, expected in {
            "ADD_IF_ABSENT": said,
            "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD": (*own, (9, b"nine")),
            "APPEND_IF_EXISTS_OR_ADD": (*said, *own),
        }.items():
            tcp = {"proxy_protocol_tlvs": added, "proxy_protocol_tlv_merge_policy": policy}
            found, rest = self.told(wire, tcp, version="V2", pass_through_tlvs={})
            self.assertEqual((found.tlvs, found.source, rest), (expected, SOURCE, b"hello"))
            alone, _ = self.told(b"hello", tcp, version="V2", pass_through_tlvs={})
            self.assertEqual(alone.tlvs, ((1, b"tcp"), (6, b"to 10000")))

    def test_requests(self) -> None:
        """
        Requests of two clients never share a connection, for each connection says whose it is.
        """
        resources = [
            listener("l", 10000, forward("c")),
            cluster("c", 9000, transport_socket=transport(version="V2")),
        ]
        proxy = MemoryProxy(bootstrap(*resources))
        heads: list[bytes] = []
        backend = _TellingBackend(proxy, "127.0.0.1:9000", heads)
        for source in ("10.0.0.1", "10.0.0.2"):
            client = proxy.client(source=source)
            for _ in range(2):
                self.assertEqual(client.request().status, 200)
        headers = [parseProxyHeader(head) for head in heads]
        self.assertEqual(
            [header and header.source and header.source[0] for header in headers], ["10.0.0.1", "10.0.0.2"]
        )
        self.assertEqual(len(backend.requests), 4)

    def test_refused(self) -> None:
        """
        One header is enough, and a TLV has one byte of type.
        """
        outer = transport()
        outer["typed_config"]["transport_socket"] = transport()
        twice = {"transport_socket": outer}
        self.assertIn("begins with one header", refusals(("tcp_proxy", TCP), cluster=twice))
        wrong = {"transport_socket": transport(version="V2", added_tlvs=[{"type": 300, "value": "eA=="}])}
        self.assertIn("added_tlvs[0].type", refusals(("tcp_proxy", TCP), cluster=wrong))
        text = {"text_format_source": {"inline_string": "x"}}
        written = {"transport_socket": transport(version="V2", added_tlvs=[{"type": 3, "format_string": text}])}
        self.assertIn("added_tlvs[0].format_string", refusals(("tcp_proxy", TCP), cluster=written))
        for entry, field in (
            ({"type": 3}, "value"),
            ({"type": 3, "value": "eA==", "format_string": text}, "format_string"),
            ({"type": 300, "format_string": text}, "type"),
        ):
            tcp = {**TCP, "proxy_protocol_tlvs": [entry]}
            self.assertIn(f"proxy_protocol_tlvs[0].{field}", refusals(("tcp_proxy", tcp)))

    def test_roundTrip(self) -> None:
        """
        What one proxy writes the next one reads.
        """
        wire, _ = encodeV2(SOURCE, DESTINATION, [(1, b"h2")])
        found, rest = self.told(wire + b"x", version="V2", pass_through_tlvs={})
        self.assertEqual((found.source, found.tlvs, rest), (SOURCE, ((1, b"h2"),), b"x"))


class _TellingBackend(MemoryBackend):
    """
    An HTTP server that takes a header of version 2 off each connection.
    """

    def __init__(self, proxy: MemoryProxy, address: str, heads: list[bytes]) -> None:
        self._heads = heads
        super().__init__(proxy.network, address)

    def _buildProtocol(self, peer: Address) -> Any:
        protocol: Any = super()._buildProtocol(peer)
        received = protocol.dataReceived

        def first(data: bytes) -> None:
            found = parseProxyHeader(data)
            assert found is not None
            self._heads.append(data[: found.size])
            protocol.dataReceived = received
            received(data[found.size :])

        protocol.dataReceived = first
        return protocol
