"""
L{meshproxy.identity.sds}, asked by a client in memory.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.grpc.client import ClientCall
from meshproxy.identity.sds import SecretService
from meshproxy.stats import Store
from meshproxy.xds.types import SECRET
from tests.grpc.support import GRPCTestCase, Received

_SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService/"
_DISCOVERY = "envoy.service.discovery.v3."


def secret(name: str, text: str) -> Any:
    """
    A secret with something in it.
    """
    message: Any = newMessage("envoy.extensions.transport_sockets.tls.v3.Secret")
    message.name = name
    message.generic_secret.secret.inline_string = text
    return message


class SecretServiceTests(GRPCTestCase):
    """
    L{SecretService}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.store = Store()
        self.secrets = SecretService(self.store.scope("sds."))
        for path, method in self.secrets.methods().items():
            self.method(path, method)

    def publish(self, **versions: str) -> None:
        """
        Serve secrets, in each the text of its version.
        """
        messages = {name: secret(name, version) for name, version in versions.items()}
        self.secrets.publish(messages, versions)
        self.settle()

    def open(self, variant: str = "StreamSecrets") -> tuple[ClientCall, Received]:
        """
        A stream.
        """
        received = Received()
        return self.channel.open(_SERVICE + variant, received), received

    def ask(self, call: ClientCall, *names: str, nonce: str = "", error: str = "", typeURL: str = SECRET) -> None:
        """
        A request of the state of the world.
        """
        request: Any = newMessage(_DISCOVERY + "DiscoveryRequest")
        request.type_url = typeURL
        request.resource_names.extend(names)
        request.response_nonce = nonce
        if error:
            request.error_detail.message = error
        call.send(request.SerializeToString())
        self.settle()

    def said(self, received: Received) -> list[tuple[str, dict[str, str]]]:
        """
        The responses: nonce, and text of each secret.
        """
        found = []
        for message in received.messages:
            response: Any = messageClass(_DISCOVERY + "DiscoveryResponse").FromString(message)
            self.assertEqual(response.type_url, SECRET)
            self.assertTrue(response.version_info)
            found.append((response.nonce, dict(self.unpack(one) for one in response.resources)))
        return found

    def unpack(self, packed: Any) -> tuple[str, str]:
        """
        Name and text of a secret.
        """
        self.assertEqual(packed.type_url, SECRET)
        message: Any = messageClass("envoy.extensions.transport_sockets.tls.v3.Secret").FromString(packed.value)
        return message.name, message.generic_secret.secret.inline_string

    def askDelta(self, call: ClientCall, *names: str, without: tuple[str, ...] = (), **has: str) -> None:
        """
        A delta request.
        """
        request: Any = newMessage(_DISCOVERY + "DeltaDiscoveryRequest")
        request.resource_names_subscribe.extend(names)
        request.resource_names_unsubscribe.extend(without)
        request.initial_resource_versions.update(has)
        call.send(request.SerializeToString())
        self.settle()

    def saidDelta(self, received: Received) -> list[tuple[dict[str, str], list[str]]]:
        """
        The responses: what there is, and what there is not.
        """
        found = []
        for message in received.messages:
            response: Any = messageClass(_DISCOVERY + "DeltaDiscoveryResponse").FromString(message)
            for one in response.resources:
                self.assertEqual((one.name, one.version), self.unpack(one.resource))
            texts = dict(self.unpack(one.resource) for one in response.resources)
            found.append((texts, list(response.removed_resources)))
        return found

    def test_world(self) -> None:
        """
        Who asks gets what it names, and each new version of it; an answer to it is no request for more.
        """
        self.publish(default="1", ROOTCA="1")
        call, received = self.open()
        self.ask(call, "default")
        self.assertEqual(self.said(received), [("1", {"default": "1"})])
        self.ask(call, "default", nonce="1")
        self.publish(default="2")
        self.publish(ROOTCA="2")
        self.assertEqual(self.said(received)[1:], [("2", {"default": "2"})])
        self.assertEqual(received.status, "")

    def test_early(self) -> None:
        """
        Who asks before there is anything is told when it is there.
        """
        call, received = self.open()
        self.ask(call, "ROOTCA", "default")
        self.assertEqual(received.messages, [])
        self.publish(ROOTCA="1", default="1")
        self.assertEqual(self.said(received), [("1", {"ROOTCA": "1", "default": "1"})])

    def test_more(self) -> None:
        """
        A name that is asked for later comes alone; one that is given up comes no more, and anew when asked for again.
        """
        self.publish(default="1", ROOTCA="1")
        call, received = self.open()
        self.ask(call, "default")
        self.ask(call, "default", "ROOTCA", nonce="1")
        self.ask(call, "ROOTCA", nonce="2")
        self.publish(default="2")
        self.ask(call, "ROOTCA", "default", nonce="2")
        texts = [texts for _, texts in self.said(received)]
        self.assertEqual(texts, [{"default": "1"}, {"ROOTCA": "1"}, {"default": "2"}])

    def test_staleNonce(self) -> None:
        """
        An answer to an earlier response is not taken for a wish.
        """
        self.publish(default="1")
        call, received = self.open()
        self.ask(call, "default")
        self.publish(default="2")
        self.ask(call, nonce="1")
        self.publish(default="3")
        self.assertEqual(len(self.said(received)), 3)

    def test_unknown(self) -> None:
        """
        What does not exist is not answered, in the state of the world.
        """
        self.publish(default="1")
        call, received = self.open()
        self.ask(call, "somebody-elses")
        self.assertEqual((received.messages, received.status), ([], ""))

    def test_refused(self) -> None:
        """
        A secret that Envoy does not take is counted and logged, and sent no second time.
        """
        self.publish(default="1")
        call, received = self.open()
        self.ask(call, "default")
        self.ask(call, "default", nonce="1", error="no such key")
        self.assertEqual(self.store.counters["sds.update_rejected"].value, 1)
        self.assertEqual(len(received.messages), 1)

    def test_faults(self) -> None:
        """
        What is no request for secrets ends the stream.
        """
        for typeURL, names, status in (
            ("type.googleapis.com/envoy.config.cluster.v3.Cluster", ("a",), "INVALID_ARGUMENT"),
            (SECRET, tuple(map(str, range(101))), "RESOURCE_EXHAUSTED"),
        ):
            call, received = self.open()
            self.ask(call, *names, typeURL=typeURL)
            self.assertEqual(received.status, status)
        call, received = self.open()
        call.send(b"\xff\xff")
        self.settle()
        self.assertEqual(received.status, "INVALID_ARGUMENT")

    def test_delta(self) -> None:
        """
        Delta: what is asked for, what changes, and what does not exist, once.
        """
        self.publish(default="1", ROOTCA="1")
        call, received = self.open("DeltaSecrets")
        self.askDelta(call, "default", "nobody")
        self.assertEqual(self.saidDelta(received), [({"default": "1"}, ["nobody"])])
        self.askDelta(call)
        self.publish(default="2")
        self.askDelta(call, "ROOTCA", without=("default",))
        self.publish(default="3")
        self.assertEqual(self.saidDelta(received)[1:], [({"default": "2"}, []), ({"ROOTCA": "1"}, [])])

    def test_deltaEarly(self) -> None:
        """
        Before anything was published nothing is said to be missing.
        """
        call, received = self.open("DeltaSecrets")
        self.askDelta(call, "default")
        self.assertEqual(received.messages, [])
        self.publish(default="1")
        self.assertEqual(self.saidDelta(received), [({"default": "1"}, [])])

    def test_deltaAgain(self) -> None:
        """
        Who comes again and has the newest is sent nothing; who has another one is.
        """
        self.publish(default="1")
        for has, count in (("1", 0), ("0", 1)):
            call, received = self.open("DeltaSecrets")
            self.askDelta(call, "default", default=has)
            self.assertEqual(len(received.messages), count)

    def test_gone(self) -> None:
        """
        A stream that ended is forgotten, however it ends.
        """
        calls = [self.open()[0] for _ in range(2)]
        for call in calls:
            self.ask(call, "default")
        self.assertEqual(len(self.secrets._streams), 2)
        calls[0].cancel()
        calls[1].halfClose()
        self.settle()
        self.assertEqual(self.secrets._streams, {})
        self.publish(default="1")

    def test_slow(self) -> None:
        """
        A client that reads nothing is sent the newest version when it reads again, and not each one.
        """
        call, received = self.open()
        self.ask(call, "default")
        (stream,) = self.secrets._streams
        stream.pauseSending()
        self.publish(default="1")
        self.publish(default="2")
        stream.resumeSending()
        self.settle()
        self.assertEqual(self.said(received), [("1", {"default": "2"})])
