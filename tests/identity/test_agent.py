"""
L{meshproxy.identity.agent}, between the control plane and a client of SDS, all in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.error import CannotListenError

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.grpc.client import GRPCChannel
from meshproxy.identity.agent import Agent, AgentError, AgentOptions
from meshproxy.identity.settings import SettingsError
from meshproxy.net.address import Address
from meshproxy.net.certificates import altNames
from tests.grpc.support import Received
from tests.identity.support import ANN, ControlPlaneTestCase

_STREAM = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"


class AgentTests(ControlPlaneTestCase):
    """
    L{Agent}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.tokenFile = self.folder / "token"
        self.tokenFile.write_text(self.token() + "\n")
        self.socket = str(self.folder / "socket")

    def agent(self, **told: Any) -> Agent:
        """
        An agent that runs.
        """
        settings = self.settings(**{"token": str(self.tokenFile), **told})
        agent = Agent(AgentOptions(identity=settings, socket=self.socket), self.reactor, self.network, lambda: 0.5)
        agent.privilegedStartService()
        agent.startService()
        self.reactor.settle()
        return agent

    def stream(self, *names: str) -> Received:
        """
        Ask it for secrets, as Envoy does.
        """
        received = Received()
        address = Address(self.socket)
        channel = GRPCChannel(lambda protocol, failed: self.network.connect(address, protocol, failed), self.reactor)
        call = channel.open(_STREAM, received)
        request: Any = newMessage("envoy.service.discovery.v3.DiscoveryRequest")
        request.resource_names.extend(names)
        call.send(request.SerializeToString())
        self.reactor.settle()
        return received

    def certificates(self, received: Received) -> list[x509.Certificate]:
        """
        The certificate of each response.
        """
        found = []
        for message in received.messages:
            response: Any = messageClass("envoy.service.discovery.v3.DiscoveryResponse").FromString(message)
            for packed in response.resources:
                secret: Any = messageClass("envoy.extensions.transport_sockets.tls.v3.Secret").FromString(packed.value)
                if secret.name == "default":
                    chain = secret.tls_certificate.certificate_chain.inline_bytes
                    found.append(x509.load_pem_x509_certificates(chain)[0])
        return found

    def test_serves(self) -> None:
        """
        Envoy gets the certificate of the workload, and another one at half of its life, on the same stream.
        """
        self.agent()
        received = self.stream("default")
        (certificate,) = self.certificates(received)
        self.assertEqual(altNames(certificate).uris, (str(ANN),))
        self.reactor.advance(43200)
        first, second = self.certificates(received)
        self.assertNotEqual(first.serial_number, second.serial_number)
        self.assertEqual(self.proofs, [str(ANN)])

    def test_restart(self) -> None:
        """
        With a folder, another process of it needs no other token; without one the used token helps nobody.
        """
        kept = str(self.folder / "kept")
        self.agent(folder=kept).stopService()
        again = self.agent(folder=kept)
        self.assertEqual(len(self.certificates(self.stream("default"))), 1)
        again.stopService()
        self.agent()
        self.assertEqual(self.stream("default").messages, [])

    def test_brokenKept(self) -> None:
        """
        What was kept and cannot be read is told; the token is used.
        """
        kept = self.folder / "kept"
        kept.mkdir()
        (kept / "identity.pem").write_text("nothing")
        self.agent(folder=str(kept))
        self.assertEqual(len(self.certificates(self.stream("default"))), 1)

    def test_cannotKeep(self) -> None:
        """
        A folder that cannot be written is told in the log, and the identity serves all the same.
        """
        (self.folder / "file").write_text("")
        self.agent(folder=str(self.folder / "file" / "below"))
        self.assertEqual(len(self.certificates(self.stream("default"))), 1)

    def test_lateToken(self) -> None:
        """
        A token that comes later is found; with SIGHUP at once.
        """
        token = self.tokenFile.read_text()
        self.tokenFile.unlink()
        agent = self.agent()
        received = self.stream("default")
        self.assertEqual(received.messages, [])
        self.tokenFile.write_text(token)
        agent.reloadAll()
        self.reactor.settle()
        self.assertEqual(len(self.certificates(received)), 1)

    def test_rotatedAuthority(self) -> None:
        """
        While the control plane is away the certificate serves on; when it is back it is renewed.
        """
        self.agent(lifetime="100s")
        received = self.stream("default")
        self.stopServing()
        self.reactor.advance(60)
        self.assertEqual(len(self.certificates(received)), 1)
        self.serve()
        self.reactor.advance(10)
        self.assertEqual(len(self.certificates(received)), 2)

    def test_stop(self) -> None:
        """
        It leaves nothing: no socket, no stream, nothing that waits for its time.
        """
        agent = self.agent()
        received = self.stream("default")
        agent.stopService()
        self.reactor.settle()
        self.assertEqual(received.status, "UNAVAILABLE")
        self.assertNotIn(Address(self.socket), self.network.addresses)

    def test_options(self) -> None:
        """
        What cannot work is told before anything is done.
        """
        settings = self.settings(token="t")
        long = AgentOptions(identity=settings, socket="/" + "s" * 107)
        self.assertRaises(AgentError, Agent, long, self.reactor, self.network)
        missing = AgentOptions(identity=self.settings(roots="/nowhere"))
        self.assertRaises(SettingsError, Agent, missing, self.reactor, self.network)
        Path(self.folder / "file").write_text("")
        below = AgentOptions(identity=settings, socket=str(self.folder / "file" / "socket"))
        self.assertRaises(CannotListenError, Agent(below, self.reactor, self.network).privilegedStartService)
