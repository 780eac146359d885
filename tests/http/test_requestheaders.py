"""
Tests for L{meshproxy.http.requestheaders}.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders
from meshproxy.http.requestheaders import (
    BEHIND_EDGE,
    INTERNAL,
    ForwardingSettings,
    compileEdgeHeaders,
    compileInsideHeaders,
    compileRequestHeaders,
    localAddress,
)
from meshproxy.net.address import Address

PEER = "192.0.2.7"
Pair = tuple[bytes, bytes]


def connectionFrom(host: str = PEER, port: int | None = 40000) -> ConnectionInfo:
    """
    A connection of a peer.
    """
    info = ConnectionInfo()
    info.remoteAddress = info.directRemoteAddress = Address(host, port)
    info.localAddress = Address("198.51.100.1", 8080)
    return info


def isPrivate(address: str) -> bool:
    """
    An C{internal_address_config}.
    """
    return address.startswith("10.")


class RequestHeadersCase(SynchronousTestCase):
    """
    Heads and what is made of them; request ids are C{new}.
    """

    def prepare(self, *pairs: Pair, peer: str = PEER, **settings: Any) -> tuple[RequestHeaders, Address | None]:
        """
        Prepare a head.

        @param settings: Of L{ForwardingSettings}.
        """
        headers = RequestHeaders(b"GET", b"/", b"a", pairs)
        compiled = compileRequestHeaders(ForwardingSettings(**settings), lambda: b"new")
        client = compiled(headers, connectionFrom(peer))
        assert not isinstance(client, LocalReply)
        return headers, client

    def fields(self, *pairs: Pair, **settings: Any) -> dict[bytes, bytes]:
        """
        The fields after it.
        """
        headers, _ = self.prepare(*pairs, **settings)
        self.assertFalse(headers.more)
        return headers.first


class HopByHopTests(RequestHeadersCase):
    """
    Fields of one connection end here.
    """

    def left(self, *pairs: Pair) -> dict[bytes, bytes]:
        """
        What is left of some fields.
        """
        left = self.fields(*pairs, generateRequestId=False)
        self.assertEqual(left.pop(b"x-forwarded-proto"), b"http")
        return left

    def test_removed(self) -> None:
        """
        Each is taken away, however often it is there; others stay.
        """
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"):
            self.assertEqual(self.left((name, b"x-b"), (b"x-a", b"1"), (name, b"x-b")), {b"x-a": b"1"}, name)

    def test_nominated(self) -> None:
        """
        What Connection names goes with it, in any case and with spaces (RFC 9110, 7.6.1).
        """
        left = self.left((b"connection", b"close, X-A ,x-b"), (b"x-a", b"1"), (b"x-b", b"2"), (b"x-c", b"3"))
        self.assertEqual(left, {b"x-c": b"3"})

    def test_nominatedLater(self) -> None:
        """
        A second Connection field names as well as the first.
        """
        self.assertEqual(self.left((b"connection", b"close"), (b"connection", b"x-a"), (b"x-a", b"1")), {})

    def test_notNominated(self) -> None:
        """
        Who the client is may not be removed by the client: such a request is refused.
        """
        for name in (b"host", b"X-Forwarded-For", b"x-forwarded-host", b"x-forwarded-proto", b":path"):
            error = self.assertRaises(RemoteProtocolError, self.left, (b"connection", b"x-a, " + name))
            self.assertEqual((error.statusHint, error.details), (400, "http1.connection_header_rejected"))

    def test_manyNominated(self) -> None:
        """
        Nine names are taken and ten are refused, as in Envoy.
        """
        names = [b"x-%d" % number for number in range(10)]
        self.assertEqual(self.left((b"connection", b",".join(names[:9])), (b"x-8", b"1")), {})
        self.assertRaises(RemoteProtocolError, self.left, (b"connection", b",".join(names)))

    def test_te(self) -> None:
        """
        Of TE only the word C{trailers} goes on; a long one that is nominated is refused.
        """
        for te, kept in ((b"trailers", True), (b"gzip, trailers", True), (b"trailers;q=0.5", False), (b"gzip", False)):
            self.assertEqual(self.left((b"te", te)), {b"te": b"trailers"} if kept else {}, te)
        long = b"trailers" + b"," * 250
        self.assertRaises(RemoteProtocolError, self.left, (b"connection", b"te"), (b"te", long))
        self.assertEqual(self.left((b"connection", b"te"), (b"te", long[:256])), {b"te": b"trailers"})


class InternalMeshTests(RequestHeadersCase):
    """
    Without C{use_remote_address}: the hop before this one is believed.
    """

    def test_usual(self) -> None:
        """
        The scheme and an id are told, and nothing of the peer.
        """
        headers, client = self.prepare((b"x-a", b"1"))
        self.assertEqual(headers.first, {b"x-a": b"1", b"x-forwarded-proto": b"http", b"x-request-id": b"new"})
        self.assertIsNone(client)

    def test_idKept(self) -> None:
        """
        An id that is there stays, and none is made where that is switched off.
        """
        self.assertEqual(self.fields((b"x-request-id", b"old"))[b"x-request-id"], b"old")
        self.assertNotIn(b"x-request-id", self.fields(generateRequestId=False))

    def test_scheme(self) -> None:
        """
        The forwarded scheme becomes the request's; what is no scheme does not.
        """
        for proto, scheme in ((b"https", b"https"), (b"http", b"http"), (b"ftp", b"http"), (b"", b"http")):
            headers, _ = self.prepare((b"x-forwarded-proto", proto))
            self.assertEqual((headers.scheme, headers.first[b"x-forwarded-proto"]), (scheme, proto))

    def test_client(self) -> None:
        """
        The client is the last address that was forwarded, or one that many hops before; the field stays as it is.
        """
        forwarded = (b"x-forwarded-for", b"203.0.113.1, 203.0.113.2,203.0.113.3")
        for hops, expected in enumerate(("203.0.113.3", "203.0.113.2", "203.0.113.1", None)):
            headers, client = self.prepare(forwarded, trustedHops=hops)
            self.assertEqual(client.host if client else None, expected)
            self.assertEqual(headers.first[b"x-forwarded-for"], forwarded[1])

    def test_noClient(self) -> None:
        """
        What is no address, or the peer's own, tells of no other client.
        """
        for text in (b"", b"unknown", b"192.0.2.1:80", b"\xff", b"203.0.113.1,", PEER.encode("ascii")):
            self.assertIsNone(self.prepare((b"x-forwarded-for", text))[1], text)

    def test_ordersRemoved(self) -> None:
        """
        Orders to the router are not believed; what only an edge removes stays.
        """
        pairs = [(name, b"1") for name in sorted(INTERNAL | BEHIND_EDGE)]
        self.assertEqual(set(self.fields(*pairs)) - BEHIND_EDGE, {b"x-forwarded-proto", b"x-request-id"})
        self.assertTrue(set(self.fields(*pairs)) >= BEHIND_EDGE)

    def test_internal(self) -> None:
        """
        A client that is internal, alone in what was forwarded, may give orders, and is marked as such.
        """
        order = (b"x-envoy-max-retries", b"3")
        for forwarded, internal in ((b"10.0.0.1", True), (b"192.0.2.9", False), (b"10.0.0.1, 10.0.0.2", False)):
            left = self.fields(order, (b"x-forwarded-for", forwarded), isInternal=isPrivate)
            self.assertEqual(order[0] in left, internal)
            self.assertEqual(left.get(b"x-envoy-internal"), b"true" if internal else None)

    def test_internalOnly(self) -> None:
        """
        What the routes say that only internal clients may send is taken from all others.
        """
        pairs = ((b"x-secret", b"1"), (b"x-secret", b"2"), (b"x-kept", b"3"))
        for forwarded, isLeft in ((b"10.0.0.1", True), (b"192.0.2.9", False)):
            head, _ = self.prepare(
                *pairs, (b"x-forwarded-for", forwarded), isInternal=isPrivate, internalOnly=frozenset((b"x-secret",))
            )
            self.assertEqual((b"x-secret" in head, head.get(b"x-kept")), (isLeft, b"3"))


class EdgeTests(RequestHeadersCase):
    """
    With C{use_remote_address}: the peer is the client, and what it says of itself is not believed.
    """

    def edge(self, *pairs: Pair, **settings: Any) -> dict[bytes, bytes]:
        """
        The fields after it.
        """
        return self.fields(*pairs, useRemoteAddress=True, **settings)

    def test_usual(self) -> None:
        """
        The peer's address is told; id and scheme are this proxy's own.
        """
        expected = {
            b"x-forwarded-for": b"192.0.2.7",
            b"x-forwarded-proto": b"http",
            b"x-envoy-external-address": b"192.0.2.7",
            b"x-request-id": b"new",
        }
        self.assertEqual(self.edge(), expected)
        told = [(name, b"forged") for name in sorted(INTERNAL | BEHIND_EDGE | {b"x-request-id", b"x-forwarded-proto"})]
        self.assertEqual(self.edge(*told), expected)

    def test_forwarded(self) -> None:
        """
        The peer is appended to what was forwarded before, all fields in one; an empty one counts for nothing.
        """
        for before, after in (
            ([b"203.0.113.1"], b"203.0.113.1,192.0.2.7"),
            ([b"a", b"b"], b"a,b,192.0.2.7"),
            ([b""], b"192.0.2.7"),
        ):
            left = self.edge(*((b"x-forwarded-for", value) for value in before))
            self.assertEqual(left[b"x-forwarded-for"], after)
        self.assertEqual(self.edge((b"x-forwarded-for", b"a"), skipXFFAppend=True)[b"x-forwarded-for"], b"a")

    def test_loopback(self) -> None:
        """
        Instead of a loopback peer this machine is told; the client is still the peer.
        """
        for peer in ("127.0.0.1", "::1"):
            left = self.edge(peer=peer)
            self.assertEqual(left[b"x-forwarded-for"], localAddress().encode("ascii"))
            self.assertEqual(left[b"x-envoy-external-address"], peer.encode("ascii"))
        self.assertEqual(self.edge(peer="127.0.0.2")[b"x-forwarded-for"], b"127.0.0.2")

    def test_idPreserved(self) -> None:
        """
        An id from outside stays only where C{preserve_external_request_id} says so.
        """
        old = (b"x-request-id", b"old")
        self.assertEqual(self.edge(old)[b"x-request-id"], b"new")
        self.assertEqual(self.edge(old, preserveExternalRequestId=True)[b"x-request-id"], b"old")
        self.assertEqual(self.edge(old, generateRequestId=False)[b"x-request-id"], b"old")

    def test_trustedHops(self) -> None:
        """
        With a trusted hop before this one, the client is who that hop told of.
        """
        forwarded = (b"x-forwarded-for", b"203.0.113.1,203.0.113.2")
        headers, client = self.prepare(forwarded, useRemoteAddress=True, trustedHops=1)
        assert client is not None
        self.assertEqual(client.host, "203.0.113.2")
        self.assertEqual(headers.first[b"x-envoy-external-address"], b"203.0.113.2")
        self.assertEqual(headers.first[b"x-forwarded-for"], b"203.0.113.1,203.0.113.2,192.0.2.7")

    def test_internal(self) -> None:
        """
        An internal peer that forwards for nobody may give orders.
        """
        order = (b"x-envoy-max-retries", b"3")
        left = self.edge(order, peer="10.0.0.1", isInternal=isPrivate)
        self.assertEqual((left[order[0]], left[b"x-envoy-internal"]), (b"3", b"true"))
        self.assertNotIn(b"x-envoy-external-address", left)
        left = self.edge(order, (b"x-forwarded-for", b"10.0.0.2"), peer="10.0.0.1", isInternal=isPrivate)
        self.assertNotIn(order[0], left)

    def test_unixPeer(self) -> None:
        """
        A peer without an address is not told of.
        """
        headers = RequestHeaders(b"GET", b"/", b"a")
        compiled = compileRequestHeaders(ForwardingSettings(useRemoteAddress=True), lambda: b"new")
        self.assertIsNone(compiled(headers, connectionFrom("/run/socket", None)))
        self.assertEqual(set(headers.first), {b"x-forwarded-proto", b"x-request-id"})

    def test_unixInternal(self) -> None:
        """
        Whoever comes by a unix socket, and forwards for nobody, may give orders where such sockets are internal and the
        peer is the client.
        """
        order = (b"x-envoy-max-retries", b"3")
        for pairs, useRemoteAddress, internal in (
            ((order,), True, True),
            ((order,), False, False),
            ((order, (b"x-forwarded-for", b"10.0.0.2")), True, False),
        ):
            headers = RequestHeaders(b"GET", b"/", b"a", pairs)
            settings = ForwardingSettings(
                useRemoteAddress=useRemoteAddress, isInternal=lambda text: False, areUnixSocketsInternal=True
            )
            compileRequestHeaders(settings, lambda: b"new")(headers, connectionFrom("/run/socket", None))
            self.assertEqual(headers.get(b"x-envoy-internal"), b"true" if internal else None, pairs)
            self.assertEqual(order[0] in headers.first, internal)


class AdditionsTests(RequestHeadersCase):
    """
    What few configure.
    """

    def test_port(self) -> None:
        """
        C{append_x_forwarded_port} tells the listener's port, unless a trusted hop told its own.
        """
        told = (b"x-forwarded-port", b"1")
        self.assertEqual(self.fields(told, appendXForwardedPort=True)[told[0]], b"8080")
        self.assertEqual(self.fields(told, appendXForwardedPort=True, trustedHops=1)[told[0]], b"1")

    def test_userAgent(self) -> None:
        """
        C{add_user_agent} names this service, and its cluster as the agent where the request has none.
        """
        left = self.fields(serviceCluster=b"c", serviceNode=b"n")
        self.assertEqual(left[b"user-agent"], b"c")
        self.assertEqual(left[b"x-envoy-downstream-service-cluster"], b"c")
        self.assertEqual(left[b"x-envoy-downstream-service-node"], b"n")
        self.assertEqual(self.fields((b"user-agent", b"curl"), serviceCluster=b"c")[b"user-agent"], b"curl")
        # As in Envoy, one that has no name tells that.
        left = self.fields(serviceCluster=b"")
        self.assertEqual((left[b"user-agent"], left[b"x-envoy-downstream-service-cluster"]), (b"", b""))
        self.assertNotIn(b"x-envoy-downstream-service-node", left)
        self.assertNotIn(b"user-agent", self.fields(serviceNode=b"n"))

    def test_via(self) -> None:
        """
        C{via} is appended to what is there.
        """
        self.assertEqual(self.fields(via=b"1.1 me")[b"via"], b"1.1 me")
        self.assertEqual(self.fields((b"via", b"1.0 you"), via=b"1.1 me")[b"via"], b"1.0 you, 1.1 me")


class ProtoOfPortTests(SynchronousTestCase):
    """
    C{forward_proto_config}.
    """

    def test_ports(self) -> None:
        """
        The port that a load balancer tells says what the client spoke; that of the socket does not.
        """
        ports = {443: b"https", 80: b"http"}
        for edge in (False, True):
            settings = ForwardingSettings(useRemoteAddress=edge, protoOfPort=ports)
            prepare = compileRequestHeaders(settings, lambda: b"id")
            for told, socket, expected in ((443, 8080, b"https"), (80, 443, b"http"), (8443, 443, b"http")):
                connection = connectionFrom()
                connection.directLocalAddress = Address("198.51.100.1", socket)
                connection.localAddress = Address("198.51.100.1", told)
                headers = RequestHeaders(b"GET", b"/")
                prepare(headers, connection)
                self.assertEqual((headers.first[b"x-forwarded-proto"], headers.scheme), (expected, expected))
            connection.localAddress = connection.directLocalAddress = Address("198.51.100.1", 443)
            headers = RequestHeaders(b"GET", b"/")
            prepare(headers, connection)
            self.assertEqual(headers.first[b"x-forwarded-proto"], b"http")


class ShortWayTests(RequestHeadersCase):
    """
    L{compileEdgeHeaders} does what L{compileRequestHeaders} does, in less.
    """

    def compile(self, **settings: Any) -> Callable[[RequestHeaders, ConnectionInfo], bool]:
        """
        The short way, which there is.
        """
        compiled = compileEdgeHeaders(ForwardingSettings(useRemoteAddress=True, **settings), lambda: b"new")
        assert compiled is not None
        return compiled

    def test_agrees(self) -> None:
        """
        For all heads that it takes, under all settings that it knows, the outcome is the same.
        """
        optional: list[list[Pair]] = [
            [],
            [(b"x-forwarded-for", b"203.0.113.1")],
            [(b"x-forwarded-for", b"")],
            [(b"x-forwarded-proto", b"https")],
            [(b"x-request-id", b"old")],
            [(b"x-a", b"1"), (b"user-agent", b"u"), (b"x-forwarded-for", b"a, b"), (b"x-request-id", b"")],
        ]
        flags = product((False, True), repeat=2)
        for (generate, preserve), pairs, peer in product(flags, optional, (PEER, "127.0.0.1", "2001:db8::1")):
            settings = {"generateRequestId": generate, "preserveExternalRequestId": preserve}
            general, client = self.prepare(*pairs, useRemoteAddress=True, peer=peer, **settings)
            short = RequestHeaders(b"GET", b"/", b"a", pairs)
            connection = connectionFrom(peer)
            self.assertTrue(self.compile(**settings)(short, connection))
            self.assertIsNone(client)
            self.assertEqual((short.first, short.scheme), (general.first, general.scheme), (settings, pairs, peer))

    def test_oncePerConnection(self) -> None:
        """
        What it tells of a connection is found out once.
        """
        connection = connectionFrom()
        compiled = self.compile()
        compiled(RequestHeaders(b"GET", b"/", b"a"), connection)
        self.assertEqual(connection.edge, (b"192.0.2.7", b"192.0.2.7"))
        connection.remoteAddress = None
        again = RequestHeaders(b"GET", b"/", b"a")
        self.assertTrue(compiled(again, connection))
        self.assertEqual(again.first[b"x-envoy-external-address"], b"192.0.2.7")

    def test_notTaken(self) -> None:
        """
        A peer without an address is left to the general way, its head untouched.
        """
        for connection in (connectionFrom("/run/socket", None), ConnectionInfo()):
            headers = RequestHeaders(b"GET", b"/", b"a")
            self.assertFalse(self.compile()(headers, connection))
            self.assertEqual(headers.first, {})

    def test_peculiar(self) -> None:
        """
        There is no short way where anything else is set.
        """
        others: list[dict[str, Any]] = [
            {"trustedHops": 1},
            {"skipXFFAppend": True},
            {"appendXForwardedPort": True},
            {"isInternal": isPrivate},
            {"serviceCluster": b"c"},
            {"internalOnly": frozenset((b"x-secret",))},
            {"via": b"1.1 me"},
        ]
        for other in others:
            settings = ForwardingSettings(useRemoteAddress=True, **other)
            self.assertTrue(settings.isPeculiar)
            self.assertIsNone(compileEdgeHeaders(settings, lambda: b"new"), other)
        self.assertIsNone(compileEdgeHeaders(ForwardingSettings(), lambda: b"new"))


class _Stream:
    """
    As much of a stream as is told of.
    """

    remoteAddress: Address | None = None

    def __init__(self, connection: ConnectionInfo) -> None:
        self.connection = connection


class InsideTests(RequestHeadersCase):
    """
    L{compileInsideHeaders} does what L{compileRequestHeaders} does, in less.
    """

    def test_agrees(self) -> None:
        """
        For all heads that it takes, under all settings that it knows, the outcome is the same; the second time, too.
        """
        optional: list[list[Pair]] = [
            [],
            [(b"x-forwarded-for", b"203.0.113.1")],
            [(b"x-forwarded-for", b"")],
            [(b"x-forwarded-for", b"203.0.113.1, 10.0.0.1")],
            [(b"x-forwarded-for", b"203.0.113.1,192.0.2.7")],
            [(b"x-forwarded-for", b"unknown")],
            [(b"x-forwarded-for", b"2001:db8::2"), (b"te", b"trailers")],
            [(b"x-forwarded-proto", b"https")],
            [(b"x-forwarded-proto", b"gopher"), (b"x-envoy-external-address", b"1.2.3.4")],
            [(b"x-request-id", b"old"), (b"x-forwarded-client-cert", b"forged")],
        ]

        def append(headers: RequestHeaders, connection: ConnectionInfo) -> None:
            headers.set(b"x-forwarded-client-cert", headers.first.get(b"x-forwarded-client-cert", b"") + b";told")

        certs: list[dict[str, Any]] = [{}, {"clientCert": None}, {"clientCert": append, "setsClientCert": True}]
        for generate, pairs, peer, cert in product((False, True), optional, (PEER, "127.0.0.1"), certs):
            settings = {"generateRequestId": generate, **cert}
            general, client = self.prepare(*pairs, peer=peer, **settings)
            tell = compileInsideHeaders(ForwardingSettings(**settings), lambda: b"new")
            assert tell is not None
            for _ in range(2):
                short, stream = RequestHeaders(b"GET", b"/", b"a", pairs), _Stream(connectionFrom(peer))
                tell(short, stream)  # type: ignore[arg-type]
                self.assertEqual((short.first, short.scheme), (general.first, general.scheme), (settings, pairs, peer))
                self.assertEqual(stream.remoteAddress, client, (settings, pairs, peer))

    def test_bounded(self) -> None:
        """
        However many clients are told of, few are known at a time.
        """
        tell = compileInsideHeaders(ForwardingSettings(), lambda: b"new")
        assert tell is not None
        for number in range(2500):
            stream = _Stream(connectionFrom())
            address = f"10.0.{number // 250}.{number % 250}"
            tell(RequestHeaders(b"GET", b"/", b"a", [(b"x-forwarded-for", address.encode())]), stream)  # type: ignore[arg-type]
            self.assertEqual(stream.remoteAddress, Address(address, 0))
        # Nor is much remembered of each, whatever it said before a proxy told of it.
        long = b"x" * 5000 + b", 10.0.0.1"
        tell(RequestHeaders(b"GET", b"/", b"a", [(b"x-forwarded-for", long)]), stream)  # type: ignore[arg-type]
        self.assertEqual(stream.remoteAddress, Address("10.0.0.1", 0))
        (known,) = [cell.cell_contents for cell in tell.__closure__ or () if isinstance(cell.cell_contents, dict)]
        self.assertLessEqual(len(known), 1000)
        self.assertNotIn(long, known)

    def test_notTaken(self) -> None:
        """
        Where more is set, there is no such way.
        """
        for other in ({"useRemoteAddress": True}, {"trustedHops": 1}, {"via": b"me"}, {"isInternal": isPrivate}):
            self.assertIsNone(compileInsideHeaders(ForwardingSettings(**other), lambda: b"new"), other)
