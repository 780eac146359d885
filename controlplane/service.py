# -*- test-case-name: tests.controlplane.test_service -*-
"""
The control plane, put together: store, authority, configuration of proxies, xDS, API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from meshproxy.controlplane.api.access import Access, Role, TokenGrant
from meshproxy.controlplane.api.application import makeSite
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.objects import Objects
from meshproxy.controlplane.ca.authority import Authority
from meshproxy.controlplane.ca.identity import Identity, IdentityError
from meshproxy.controlplane.ca.issuing import CertificateService
from meshproxy.controlplane.ca.material import Material
from meshproxy.controlplane.ca.tokens import BootstrapTokens
from meshproxy.controlplane.memory import Quiet
from meshproxy.controlplane.metrics import ControlMetrics
from meshproxy.controlplane.registration import Registration
from meshproxy.controlplane.settings import ListenSettings, Settings
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.snapshot.world import World
from meshproxy.controlplane.status import ResourceStatus
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.sqlite import SQLiteJournal
from meshproxy.controlplane.tls import ServerTLS, peerURIs
from meshproxy.controlplane.translate.proxy import proxyOf
from meshproxy.controlplane.xds.server import XDSServer
from meshproxy.grpc.server import GRPCServer, ServerOptions
from meshproxy.grpc.status import GRPCError, Status

__all__ = ["ControlPlane", "checkNode"]

_SWEEP = 3600.0


def checkNode(node: Mapping[str, Any], identity: str) -> None:
    """
    A proxy gets what is its own: with a certificate it is whom that names.

    @raise GRPCError: If its node says something else.
    """
    if not identity:
        return
    try:
        proven = Identity.parse(identity)
    except IdentityError as error:
        raise GRPCError(Status.PERMISSION_DENIED, str(error)) from error
    proxy = proxyOf(node)
    if (proxy.namespace, proxy.serviceAccount) != (proven.namespace, proven.serviceAccount):
        told = f"namespace {proxy.namespace}, service account {proxy.serviceAccount}"
        raise GRPCError(Status.PERMISSION_DENIED, f"the node says {told}, its certificate {identity}")


class ControlPlane(Service):
    """
    See the module.

    @ivar exitStatus: What the process ends with.
    @ivar addresses: Where it listens, once it does: C{rest}, C{xds}, C{xds-tls} to host and port.
    """

    _log = Logger()

    exitStatus = 0

    def __init__(self, settings: Settings, data: Path, reactor: Any) -> None:
        """
        Open what is on the disk; nothing listens yet.

        @raise meshproxy.errors.MeshProxyError: If it cannot be opened.
        """
        self.settings = settings
        self.addresses: dict[str, tuple[str, int]] = {}
        self._reactor = reactor
        self._ports: list[Any] = []
        self._sweepCall: Any = None
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca = settings.ca
        trustDomain = settings.mesh.trustDomain
        material = Material(Path(ca.folder) if ca.folder else data / "ca", trustDomain, reactor.seconds)
        journal = SQLiteJournal(data / "store.sqlite") if settings.store.type == "sqlite" else None
        self.store = Ledger(reactor, journal, settings.store.history)
        self.authority = Authority(
            material.signer,
            trustDomain,
            reactor.seconds,
            timedelta(seconds=ca.workloadCertTTL),
            timedelta(seconds=ca.maxWorkloadCertTTL),
        )
        self.tokens = BootstrapTokens(self.store, reactor.seconds)
        self.snapshots = Snapshots(self.store, World(settings.mesh), reactor)
        self.registration = Registration(self.snapshots, Objects(self.store, reactor.seconds), reactor)
        self.xds = XDSServer(self.registration, reactor, self._identityOf, checkNode)
        self.certificates = CertificateService(self.authority, self.tokens, self._ownURIs)
        methods = {**self.xds.methods(), **self.certificates.methods()}
        self._grpc = GRPCServer(methods, reactor, ServerOptions(maxMessage=16 << 20))
        self._site = makeSite(
            self.store,
            self._access(),
            reactor,
            self.authority,
            self._audit,
            self._ownURIs,
            ResourceStatus(self.snapshots, self.xds.connected),
            self.xds.connected,
            self.snapshots,
            lambda: self.metrics.text(),
        )
        self.metrics = ControlMetrics(
            self.store, self.authority, self.snapshots, self.xds, lambda: self._site.answers, reactor.seconds
        )
        self._quiet = Quiet(lambda: self.snapshots.made, reactor)
        self._tls = ServerTLS(self.authority, settings.xds.names, reactor.seconds)
        self._restTLS = ServerTLS(self.authority, settings.xds.names, reactor.seconds, (b"http/1.1",))

    def _access(self) -> Access:
        auth = self.settings.auth
        return Access(
            [TokenGrant(one.name, one.sha256, _roles(one.roles)) for one in auth.tokens],
            {one.id: _roles(one.roles) for one in auth.identities},
            _roles(auth.local),
        )

    def _ownURIs(self, transport: Any) -> list[str]:
        """
        The identities of this mesh that a peer proved.
        """
        domains = self.settings.mesh.trustDomains
        return [uri for uri in peerURIs(transport) if uri.startswith(tuple(f"spiffe://{one}/" for one in domains))]

    def _identityOf(self, transport: Any) -> str:
        """
        Who a proxy is; on a port with TLS it has to be somebody.
        """
        uris = self._ownURIs(transport)
        if not uris and getattr(transport, "getPeerCertificate", None) is not None:
            raise GRPCError(Status.UNAUTHENTICATED, "a certificate of this mesh is needed for xDS on this port")
        return uris[0] if uris else ""

    def _audit(self, call: Call, code: int) -> None:
        self._log.info(
            "audit: {principal} from {peer}: {method} {path} {code}",
            principal=call.principal.name,
            peer=call.peer,
            method=call.method,
            path=call.path,
            code=code,
        )

    # Life

    def reloadAll(self) -> None:
        """
        SIGHUP: its configuration is read when it starts; resources change by the API.
        """
        self._log.info("nothing to reload: the configuration of the control plane is read when it starts")

    def privilegedStartService(self) -> None:
        """
        Bind.

        @raise twisted.internet.error.CannotListenError: If an address cannot be bound.
        """
        rest, xds = self.settings.rest, self.settings.xds
        self._listen("rest", rest.listen, self._secured(self._site, self._restTLS) if rest.tls else self._site)
        if xds.plain is not None:
            self._listen("xds", xds.plain, self._grpc)
        if xds.secure is not None:
            self._listen("xds-tls", xds.secure, self._secured(self._grpc, self._tls))

    def _secured(self, factory: Any, tls: ServerTLS) -> Any:
        # As a client it would verify the server's name; as a server it asks the creator for each connection.
        return TLSMemoryBIOFactory(tls, False, factory, self._reactor)

    def _listen(self, name: str, where: ListenSettings, factory: Any) -> None:
        port = self._reactor.listenTCP(where.port, factory, interface=where.address)
        self._ports.append(port)
        host = port.getHost()
        self.addresses[name] = (host.host, host.port)
        self._log.info("{name} on {host}:{port}", name=name, host=host.host, port=host.port)

    def startService(self) -> None:
        """
        Follow the store, and serve.
        """
        Service.startService(self)
        for reader in (self.snapshots, self.registration):
            reader.start().addErrback(lambda why: self._log.failure("the store cannot be read", why))
        self._sweep()
        self._quiet.start()

    def stopService(self) -> Deferred[Any]:
        """
        Accept no more, end what goes on, let go of the store last.
        """
        Service.stopService(self)
        if self._sweepCall is not None and self._sweepCall.active():
            self._sweepCall.cancel()
        stopped = [Deferred.fromCoroutine(_maybe(port.stopListening())) for port in self._ports]
        self._ports.clear()
        self._quiet.stop()
        self._site.stop()
        self.registration.stop()
        self._grpc.stop()
        self.snapshots.stop()
        done = DeferredList(stopped)
        done.addCallback(lambda _: self.store.close())
        return done

    def _sweep(self) -> None:
        """
        Forget tokens that expired, now and then.
        """
        swept = Deferred.fromCoroutine(self.tokens.sweep())
        swept.addErrback(lambda why: self._log.failure("expired tokens could not be swept", why))
        self._sweepCall = self._reactor.callLater(_SWEEP, self._sweep)


async def _maybe(result: Any) -> None:
    if result is not None:
        await result


def _roles(names: Sequence[str]) -> frozenset[Role]:
    return frozenset(Role(name) for name in names)
