"""
A control plane that signs, in memory: its authority, its tokens, its port with TLS.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.structure import structureOrRaise
from meshproxy.controlplane.ca.authority import Authority, Issued
from meshproxy.controlplane.ca.certificates import pemOf
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.ca.issuing import CertificateService
from meshproxy.controlplane.ca.material import Material
from meshproxy.controlplane.ca.tokens import BootstrapTokens
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.tls import ServerTLS, peerURIs
from meshproxy.grpc.server import GRPCServer
from meshproxy.identity.credential import Credential, credentialOf, newKey, signingRequest
from meshproxy.identity.settings import IdentitySettings
from meshproxy.net.address import Address
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.network import MemoryNetwork

__all__ = ["ANN", "BOB", "ControlPlaneTestCase", "certificates", "credential"]

ANN = Identity("cluster.local", "default", "ann")
BOB = Identity("cluster.local", "default", "bob")

_WHERE = Address("192.0.2.9", 15012)


def certificates(issued: Issued) -> list[str]:
    """
    As they are answered: each for itself, the roots at the end.
    """
    return [pemOf([one]) for one in (*issued.chain, *issued.roots)]


def credential(authority: Authority, identity: Identity = ANN, life: float = 1000.0) -> Credential:
    """
    One that an authority gave.
    """
    key = newKey()
    return credentialOf(key, certificates(authority.issue(signingRequest(key), identity, timedelta(seconds=life))))


class ControlPlaneTestCase(SynchronousTestCase):
    """
    A control plane at 192.0.2.9:15012 whose name is C{control.test}, and a clock.

    @ivar proofs: How each request for a certificate was proven: C{token}, or the identity of the certificate.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        # OpenSSL looks at the real clock.
        self.reactor.rightNow = float(int(time.time()))
        self.network = MemoryNetwork(self.reactor)
        self.network.hosts["control.test"] = [_WHERE.host]
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.proofs: list[str] = []
        self.authority = self.makeAuthority("ca")
        self.roots = str(self.folder / "roots.pem")
        Path(self.roots).write_text(pemOf(self.authority.roots))
        self.serve()

    def makeAuthority(self, folder: str) -> Authority:
        """
        An authority of its own.
        """
        material = Material(self.folder / folder, "cluster.local", self.reactor.seconds)
        return Authority(material.signer, "cluster.local", self.reactor.seconds)

    def serve(self) -> None:
        """
        Let the control plane listen, with whatever C{authority} is.
        """
        self.tokens = BootstrapTokens(Ledger(self.reactor), self.reactor.seconds)
        service = CertificateService(self.authority, self.tokens, self._uris)
        grpc = self.grpc = GRPCServer(service.methods(), self.reactor)
        tls = ServerTLS(self.authority, ["control.test", "192.0.2.9"], self.reactor.seconds)
        factory: Any = TLSMemoryBIOFactory(tls, False, grpc, self.reactor)
        self.listening = self.network.listen(_WHERE, factory.buildProtocol)

    def _uris(self, transport: Any) -> list[str]:
        found = peerURIs(transport)
        self.proofs.append(found[0] if found else "nobody")
        return found

    def stopServing(self) -> None:
        """
        Let nobody listen there any more.
        """
        self.listening.stopListening()
        self.grpc.stop()
        self.reactor.settle()

    def token(self, identity: Identity = ANN) -> str:
        """
        A bootstrap token.
        """
        made: str = self.successResultOf(Deferred.fromCoroutine(self.tokens.make(identity, 600, "admin")))
        return made

    def settings(self, **told: Any) -> IdentitySettings:
        """
        How a workload finds it.
        """
        return structureOrRaise(IdentitySettings, {"address": "control.test:15012", "roots": self.roots, **told})
