"""
Tests for L{meshproxy.xds.client}, with this project's own server on the other side.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.worldsession import WorldSession
from meshproxy.errors import RemoteProtocolError
from meshproxy.xds.client import Client, DeltaClient, Update, WorldClient
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, VIRTUAL_HOST, shortName
from tests.controlplane.xds.support import snapshot

_DISCOVERY = "envoy.service.discovery.v3."


class _Both:
    """
    What holds for both variants. Mixed into a test case.
    """

    request: str
    client: Client
    session: Any

    def makeClient(self) -> Client:
        """
        A client.
        """
        raise NotImplementedError

    def makeSession(self) -> Any:
        """
        The server's side of a stream.
        """
        raise NotImplementedError

    def begin(self, **resources: str) -> None:
        """
        A stream begins.
        """
        self.session = self.makeSession()
        self.session.setSnapshot(snapshot(**resources))
        self.client.begin()

    def exchange(self, refuse: str = "") -> list[str]:
        """
        Let both speak until neither has more to say.

        @return: What came: types, and names.
        """
        told: list[str] = []
        for _ in range(20):
            for data in self.client.requests():
                self.session.receive(messageClass(_DISCOVERY + self.request).FromString(data))
            responses = self.session.responses()
            if not responses:
                break
            for _, data in responses:
                update = self.client.receive(data)
                told.append(self.tell(update))
                if refuse:
                    self.client.refuse(update, refuse)
                else:
                    self.client.take(update)
        return told

    def tell(self, update: Update) -> str:
        """
        A response in a word.
        """
        gone = "".join(f" -{name}" for name in sorted(update.removed))
        return f"{shortName(update.typeURL)}: {' '.join(sorted(update.resources))}{gone}"


class WorldClientTests(_Both, SynchronousTestCase):
    """
    L{WorldClient}.
    """

    request = "DiscoveryRequest"

    def setUp(self) -> None:
        self.client = self.makeClient()

    def makeClient(self) -> Client:
        node: Any = newMessage("envoy.config.core.v3.Node")
        node.id = "p1"
        return WorldClient(node)

    def makeSession(self) -> Any:
        return WorldSession()

    def test_follow(self) -> None:
        """
        All, some, and what changes.
        """
        self.client.want(CLUSTER, None)
        self.begin(clusters="a b", endpoints="a b c")
        self.assertEqual(self.exchange(), ["CDS: a b"])
        self.client.want(ENDPOINTS, ["a"])
        self.assertEqual(self.exchange(), ["EDS: a"])
        self.client.want(ENDPOINTS, ["a", "b"])
        self.assertEqual(self.exchange(), ["EDS: b"])
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a=2 b c"))
        self.assertEqual(self.exchange(), ["EDS: a"])
        self.client.want(ENDPOINTS, ["b"])
        self.session.setSnapshot(snapshot(clusters="a b", endpoints="a=3 b c"))
        self.assertEqual(self.exchange(), [])

    def test_nothingWanted(self) -> None:
        """
        Nothing is asked for where nothing is wanted; what is wanted already is not asked for again.
        """
        self.client.want(ENDPOINTS, [])
        self.client.want(CLUSTER, None)
        self.begin()
        self.assertEqual(len(self.client.requests()), 1)
        self.client.want(CLUSTER, None)
        self.assertEqual(self.client.requests(), [])

    def test_nodeOnce(self) -> None:
        """
        The node is sent with the first request of each stream.
        """
        self.client.want(CLUSTER, None)
        self.client.want(LISTENER, None)
        for _ in range(2):
            self.begin(clusters="a")
            requests = [messageClass(_DISCOVERY + self.request).FromString(one) for one in self.client.requests()]
            self.assertEqual([request.node.id for request in requests], ["p1", ""])  # type: ignore[attr-defined]

    def test_refused(self) -> None:
        """
        What is refused is said to be, with the reason, and the version from before.
        """
        self.client.want(CLUSTER, None)
        self.begin(clusters="a")
        self.exchange()
        accepted = self.session.subscriptions[CLUSTER].accepted
        self.session.setSnapshot(snapshot(clusters="a=2"))
        self.exchange(refuse="bad " + "x" * 10_000)
        subscription = self.session.subscriptions[CLUSTER]
        self.assertEqual(subscription.accepted, accepted)
        assert subscription.rejection is not None
        self.assertTrue(subscription.rejection.message.startswith("bad xx"))
        self.assertTrue(len(subscription.rejection.message) < 5000)

    def test_resume(self) -> None:
        """
        On a new stream nothing comes again that is there already.
        """
        self.client.want(CLUSTER, None)
        self.begin(clusters="a b")
        self.exchange()
        self.begin(clusters="a b")
        self.assertEqual(self.exchange(), [])
        self.begin(clusters="a b=2")
        self.assertEqual(self.exchange(), ["CDS: a b"] if self.request == "DiscoveryRequest" else ["CDS: b"])

    def test_hostile(self) -> None:
        """
        What is no response, or one that nobody asked for, is a fault of the server's.
        """
        self.client.want(CLUSTER, None)
        self.client.begin()
        self.assertRaises(RemoteProtocolError, self.client.receive, b"\xff\xff")
        other: Any = newMessage(_DISCOVERY + "DiscoveryResponse")
        other.type_url = LISTENER
        self.assertRaises(RemoteProtocolError, self.client.receive, other.SerializeToString())

    def test_wrongInside(self) -> None:
        """
        So is a resource of another type in it.
        """
        self.client.want(CLUSTER, None)
        self.client.begin()
        self.assertRaises(RemoteProtocolError, self.client.receive, self.mixed())

    def mixed(self) -> bytes:
        """
        A response of clusters with a listener in it.
        """
        response: Any = newMessage(_DISCOVERY + "DiscoveryResponse")
        response.type_url = CLUSTER
        response.resources.add().type_url = LISTENER
        data: bytes = response.SerializeToString()
        return data


class DeltaClientTests(WorldClientTests):
    """
    L{DeltaClient}.
    """

    request = "DeltaDiscoveryRequest"

    def makeClient(self) -> Client:
        node: Any = newMessage("envoy.config.core.v3.Node")
        node.id = "p1"
        return DeltaClient(node)

    def makeSession(self) -> Any:
        return DeltaSession()

    def mixed(self) -> bytes:
        response: Any = newMessage(_DISCOVERY + "DeltaDiscoveryResponse")
        response.type_url = CLUSTER
        response.resources.add().resource.type_url = LISTENER
        data: bytes = response.SerializeToString()
        return data

    def test_gone(self) -> None:
        """
        What is gone is told, and not asked for on the next stream.
        """
        self.client.want(CLUSTER, None)
        self.begin(clusters="a b")
        self.exchange()
        self.session.setSnapshot(snapshot(clusters="b=2 c"))
        self.assertEqual(self.exchange(), ["CDS: b c -a"])
        self.begin(clusters="b=2 c")
        self.assertEqual(self.exchange(), [])


class DeltaHostsTests(SynchronousTestCase):
    """
    Virtual hosts by delta, as Envoy asks for them.
    """

    def sent(self, client: DeltaClient) -> list[tuple[list[str], list[str]]]:
        """
        What is subscribed to and what not any more, of each request.
        """
        make = messageClass(_DISCOVERY + "DeltaDiscoveryRequest")
        requests: list[Any] = [make.FromString(data) for data in client.requests()]
        return [(list(one.resource_names_subscribe), list(one.resource_names_unsubscribe)) for one in requests]

    def test_asks(self) -> None:
        """
        First for all, without a name; on a new stream likewise, and then for those by name.
        """
        client = DeltaClient(newMessage("envoy.config.core.v3.Node"))
        client.want(VIRTUAL_HOST, None)
        self.assertEqual(self.sent(client), [([], [])])
        client.wantBeside(VIRTUAL_HOST, ["r/a"])
        client.wantBeside(VIRTUAL_HOST, ["r/a"])
        self.assertEqual(self.sent(client), [(["r/a"], [])])
        client.wantBeside(VIRTUAL_HOST, ["r/a"], ["r/a"])
        self.assertEqual(self.sent(client), [(["r/a"], [])])
        client.begin()
        self.assertEqual(self.sent(client), [([], []), (["r/a"], [])])
        client.wantBeside(VIRTUAL_HOST, [])
        self.assertEqual(self.sent(client), [([], ["r/a"])])
        client.want(VIRTUAL_HOST, ())
        self.assertEqual(self.sent(client), [([], ["*"])])
        client.begin()
        self.assertEqual(self.sent(client), [])

    def test_empty(self) -> None:
        """
        A resource without content is none, for its name and its aliases.
        """
        client = DeltaClient(newMessage("envoy.config.core.v3.Node"))
        client.want(VIRTUAL_HOST, None)
        response: Any = newMessage(_DISCOVERY + "DeltaDiscoveryResponse")
        response.type_url = VIRTUAL_HOST
        response.resources.add(name="r/a", aliases=["r/b"])
        there = response.resources.add(name="r/c", version="1")
        there.resource.type_url = VIRTUAL_HOST
        update = client.receive(response.SerializeToString())
        self.assertEqual((dict(update.resources), update.aliases), ({"r/c": b""}, {"r/a": ("r/b",), "r/c": ()}))
