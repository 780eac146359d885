"""
Tests for L{meshproxy.controlplane.xds.server}, over gRPC in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.config.pool import messageClass
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.xds.server import XDSServer
from meshproxy.grpc.client import ClientCall
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.xds.types import AGGREGATED_DELTA, AGGREGATED_STREAM, METHODS, shortName
from tests.controlplane.xds.support import (
    CLUSTERS,
    ENDPOINT_TYPE,
    LISTENERS,
    ROUTE_TYPE,
    deltaRequest,
    snapshot,
    worldRequest,
)
from tests.grpc.support import GRPCTestCase, Received


class Source:
    """
    Gives every proxy the same.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.snapshot = snapshot(clusters="a", endpoints="a", listeners="l", routes="r")
        self.nodes: list[Mapping[str, Any]] = []
        self.told: list[Callable[[Snapshot], object]] = []

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        See L{meshproxy.controlplane.xds.server.ISource}.
        """
        self.nodes.append(node)
        self.told.append(changed)
        call = self.reactor.callLater(0, changed, self.snapshot)

        def detach() -> None:
            self.told.remove(changed)
            if call.active():
                call.cancel()

        return detach

    def change(self, **resources: str) -> None:
        """
        Have something else.
        """
        self.snapshot = snapshot(**resources)
        for changed in self.told:
            changed(self.snapshot)


class XDSServerTests(GRPCTestCase):
    """
    L{XDSServer} and a proxy.
    """

    def setUp(self) -> None:
        super().setUp()
        self.source = Source(self.reactor)
        self.refused = ""

        def check(node: Mapping[str, Any], identity: str) -> None:
            if node.get("id") == self.refused:
                raise GRPCError(Status.PERMISSION_DENIED, f"{identity} is not {self.refused}")

        self.xds = XDSServer(self.source, self.reactor, lambda transport: "spiffe://td/ns/a/sa/b", check)
        for path, method in self.xds.methods().items():
            self.method(path, method)

    def open(self, path: str = AGGREGATED_STREAM) -> tuple[ClientCall, Received]:
        """
        A stream.
        """
        received = Received()
        return self.channel.open(path, received), received

    def send(self, call: ClientCall, request: Any) -> None:
        """
        Send a request, and let happen what happens.
        """
        call.send(request.SerializeToString())
        self.settle()

    def responses(self, received: Received, delta: bool = False) -> list[Any]:
        """
        The responses that came since the last time.
        """
        name = "envoy.service.discovery.v3." + ("DeltaDiscoveryResponse" if delta else "DiscoveryResponse")
        found = [messageClass(name).FromString(message) for message in received.messages]
        received.messages.clear()
        return found

    def test_world(self) -> None:
        """
        A proxy asks, gets, takes, and is told what changes.
        """
        call, received = self.open()
        self.send(call, worldRequest(CLUSTERS, node="proxy-1"))
        (response,) = self.responses(received)
        self.send(call, worldRequest(CLUSTERS, nonce=response.nonce, version=response.version_info))
        self.assertEqual(self.responses(received), [])
        self.source.change(clusters="a b")
        self.settle()
        (response,) = self.responses(received)
        self.assertEqual(len(response.resources), 2)
        self.assertEqual((self.source.nodes, self.xds.pushes), ([{"id": "proxy-1"}], {"CDS": 2}))

    def test_delta(self) -> None:
        """
        The same by delta.
        """
        call, received = self.open(AGGREGATED_DELTA)
        self.send(call, deltaRequest(CLUSTERS, node="proxy-1"))
        (response,) = self.responses(received, True)
        self.send(call, deltaRequest(CLUSTERS, nonce=response.nonce))
        self.source.change(clusters="b")
        self.settle()
        (response,) = self.responses(received, True)
        self.assertEqual(([one.name for one in response.resources], list(response.removed_resources)), (["b"], ["a"]))

    def test_connected(self) -> None:
        """
        Who is connected is seen with what it said, and no more when it left.
        """
        call, received = self.open()
        self.settle()
        self.assertEqual(self.xds.connected(), [])
        self.send(call, worldRequest(CLUSTERS, node="proxy-1"))
        (response,) = self.responses(received)
        self.send(call, worldRequest(CLUSTERS, nonce=response.nonce, error="no such thing"))
        (connected,) = self.xds.connected()
        self.assertEqual((connected.node["id"], connected.variant), ("proxy-1", "world"))
        self.assertEqual((connected.identity, connected.peer), ("spiffe://td/ns/a/sa/b", "127.0.0.1"))
        (subscription,) = connected.session.subscriptions.values()
        assert subscription.rejection is not None
        self.assertEqual((subscription.rejection.message, self.xds.rejections), ("no such thing", {"CDS": 1}))
        call.halfClose()
        self.settle()
        self.assertEqual((self.xds.connected(), self.source.told, received.status), ([], [], "OK"))

    def test_leaves(self) -> None:
        """
        A proxy that is gone without a word is forgotten, with its timers.
        """
        call, _ = self.open()
        self.send(call, worldRequest(CLUSTERS, node="proxy-1"))
        call.cancel()
        self.settle()
        self.assertEqual((self.xds.connected(), self.source.told), ([], []))

    def test_refused(self) -> None:
        """
        A node that is not whom its certificate names gets nothing.
        """
        self.refused = "other"
        call, received = self.open()
        self.send(call, worldRequest(CLUSTERS, node="other"))
        self.assertEqual((received.status, received.messages, self.source.nodes), ("PERMISSION_DENIED", [], []))

    def test_wrongRequests(self) -> None:
        """
        What cannot be served ends the stream with a reason.
        """
        for request in (worldRequest(CLUSTERS), worldRequest(node="a")):
            call, received = self.open()
            self.send(call, request)
            self.assertEqual(received.status, "INVALID_ARGUMENT")
        call, received = self.open()
        call.send(b"\xff\xff")
        self.settle()
        self.assertEqual(received.status, "INVALID_ARGUMENT")

    def test_single(self) -> None:
        """
        The services of single types serve theirs.
        """
        for path, (typeURL, isDelta) in METHODS.items():
            call, received = self.open(path)
            make = deltaRequest if isDelta else worldRequest
            self.send(call, make("", "a r", node="proxy-1"))
            (response,) = self.responses(received, isDelta)
            self.assertEqual(response.type_url, typeURL)
            call.cancel()
            self.settle()
        self.assertEqual(set(self.xds.pushes), {shortName(typeURL) for typeURL, _ in METHODS.values()})

    def test_impatience(self) -> None:
        """
        A proxy that never asks for the endpoints of a new cluster gets its routes a second later.
        """
        call, received = self.open()
        last: dict[str, Any] = {}

        def take() -> list[str]:
            found = self.responses(received)
            last.update((one.type_url.rpartition("/")[2], one) for one in found)
            for one in found:
                names = {ENDPOINT_TYPE: "a", ROUTE_TYPE: "r"}.get(one.type_url.rpartition("/")[2], "")
                answer = worldRequest(one.type_url.rpartition("/")[2], names, one.nonce, one.version_info)
                self.send(call, answer)
            return [shortName(one.type_url) for one in found]

        for typeName, names in ((CLUSTERS, ""), (ENDPOINT_TYPE, "a"), (LISTENERS, ""), (ROUTE_TYPE, "r")):
            self.send(call, worldRequest(typeName, names, node="proxy-1"))
            take()
        self.source.change(clusters="a b", endpoints="a b", listeners="l", routes="r=2")
        self.settle()
        self.assertEqual((take(), take()), (["CDS"], []))
        self.settle(0.9)
        self.assertEqual(take(), [])
        self.settle(0.1)
        self.assertEqual(take(), ["RDS"])

    def test_slowProxy(self) -> None:
        """
        For a proxy that does not read no responses pile up; it gets the newest when it does.
        """
        call, received = self.open()
        self.send(call, worldRequest(CLUSTERS, node="proxy-1"))
        (response,) = self.responses(received)
        (stream,) = self.xds._streams
        stream.pauseSending()
        for names in ("a b", "a b c", "a b c d"):
            self.source.change(clusters=names)
            self.send(call, worldRequest(CLUSTERS, nonce=response.nonce))
        self.assertEqual(self.responses(received), [])
        stream.resumeSending()
        self.settle()
        (response,) = self.responses(received)
        self.assertEqual(len(response.resources), 4)
