# -*- test-case-name: tests.controlplane.xds.test_server -*-
"""
xDS over gRPC: streams of proxies, aggregated or of one type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.config.pool import descriptorPool, messageClass
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.session import Session
from meshproxy.controlplane.xds.worldsession import WorldSession
from meshproxy.grpc.server import IReceiver, Method, ServerCall
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.xds.types import AGGREGATED_DELTA, AGGREGATED_STREAM, METHODS, shortName

__all__ = ["Connected", "ISource", "XDSServer"]

_PATIENCE = 1.0
"""
Seconds that listeners and routes wait for a proxy to ask for the endpoints of its new clusters.
"""

_WORLD = "envoy.service.discovery.v3.DiscoveryRequest"
_DELTA = "envoy.service.discovery.v3.DeltaDiscoveryRequest"


class ISource(Protocol):
    """
    Where a proxy's configuration comes from.
    """

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        Take care of a proxy.

        @param node: Its node, in protobuf's JSON form, as far as it was proven.
        @param changed: Called with what it is to have, soon and at each change; never from within this call.

        @return: To be called when it is gone.
        """


@dataclass(frozen=True, slots=True)
class Connected:
    """
    A stream of a proxy, for whoever looks.

    @ivar peer: Its address.
    @ivar identity: The SPIFFE ID that it proved, or nothing.
    @ivar variant: C{world} or C{delta}.
    @ivar since: Seconds since 1970.
    """

    node: Mapping[str, Any]
    peer: str
    identity: str
    variant: str
    since: float
    session: Session


class XDSServer:
    """
    The services of xDS.

    @ivar pushes: How many responses were sent, by type.
    @ivar rejections: How many of them were not taken, by type.
    """

    def __init__(
        self,
        source: ISource,
        reactor: Any,
        identityOf: Callable[[Any], str] | None = None,
        check: Callable[[Mapping[str, Any], str], None] | None = None,
    ) -> None:
        """
        @param identityOf: The SPIFFE ID that a transport's peer proved, or nothing.
        @param check: Is given a node and that identity; raises L{GRPCError} if the one is not the other's.
        """
        self.source = source
        self.reactor = reactor
        self.identityOf = identityOf or (lambda transport: "")
        self.check = check or (lambda node, identity: None)
        self.pushes: dict[str, int] = {}
        self.rejections: dict[str, int] = {}
        self._streams: dict[_Stream, None] = {}

    def methods(self) -> dict[str, Method]:
        """
        For a L{meshproxy.grpc.server.GRPCServer}.
        """
        found: dict[str, Method] = {
            AGGREGATED_STREAM: lambda call: _Stream(self, call, WorldSession(), _WORLD),
            AGGREGATED_DELTA: lambda call: _Stream(self, call, DeltaSession(), _DELTA),
        }
        for path, (typeURL, isDelta) in METHODS.items():
            found[path] = self._single(typeURL, isDelta)
        return found

    def _single(self, typeURL: str, isDelta: bool) -> Method:
        if isDelta:
            return lambda call: _Stream(self, call, DeltaSession(typeURL), _DELTA)
        return lambda call: _Stream(self, call, WorldSession(typeURL), _WORLD)

    def connected(self) -> Sequence[Connected]:
        """
        The streams whose proxy said who it is.
        """
        return [stream.shown for stream in self._streams if stream.shown is not None]

    def opened(self, stream: _Stream) -> None:
        """
        A stream began.
        """
        self._streams[stream] = None

    def closed(self, stream: _Stream) -> None:
        """
        A stream is over.
        """
        self._streams.pop(stream, None)


@implementer(IReceiver)
class _Stream:
    """
    One stream.

    @ivar shown: What is to be seen of it, once the proxy said who it is.
    """

    _log = Logger()

    def __init__(self, server: XDSServer, call: ServerCall, session: WorldSession | DeltaSession, request: str) -> None:
        self.shown: Connected | None = None
        self._server = server
        self._call = call
        self._session = session
        self._request = messageClass(request)
        self._detach: Callable[[], object] | None = None
        self._patience: Any = None
        self._isPaused = False
        self._identity = server.identityOf(call.transport)
        server.opened(self)

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IReceiver}.
        """
        try:
            request: Any = self._request.FromString(message)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, "this is no discovery request") from error
        if self._detach is None:
            self._begin(request)
        self._noticeAnswer(request)
        self._session.receive(request)
        self._push()

    def _begin(self, request: Any) -> None:
        """
        The first request says who it is.
        """
        if not request.HasField("node"):
            raise GRPCError(Status.INVALID_ARGUMENT, "the first request on a stream has a node")
        node = MessageToDict(request.node, descriptor_pool=descriptorPool())
        self._server.check(node, self._identity)
        variant = "delta" if isinstance(self._session, DeltaSession) else "world"
        peer = getattr(self._call.transport.getPeer(), "host", "")
        since = self._server.reactor.seconds()
        self.shown = Connected(node, str(peer), self._identity, variant, since, self._session)
        self._detach = self._server.source.attach(node, self._changed)

    def _noticeAnswer(self, request: Any) -> None:
        if request.HasField("error_detail"):
            name = shortName(request.type_url)
            rejections = self._server.rejections
            rejections[name] = rejections.get(name, 0) + 1
            assert self.shown is not None
            self._log.warn(
                "{node} rejected {type}: {why}",
                node=self.shown.node.get("id", ""),
                type=name,
                why=request.error_detail.message,
            )

    def _changed(self, snapshot: Snapshot) -> None:
        self._session.setSnapshot(snapshot)
        self._push()

    def _push(self) -> None:
        """
        Send what is due, unless the proxy does not read: then the newest of it goes when it does.
        """
        if self._isPaused or self._call.isOver:
            return
        pushes = self._server.pushes
        for typeURL, response in self._session.responses():
            self._call.send(response)
            name = shortName(typeURL)
            pushes[name] = pushes.get(name, 0) + 1
        if self._session.isWaiting:
            if self._patience is None:
                self._patience = self._server.reactor.callLater(_PATIENCE, self._impatient)
        elif self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _impatient(self) -> None:
        self._patience = None
        self._session.mayWait = False
        self._push()

    def halfClosed(self) -> None:
        """
        See L{IReceiver}.
        """
        self._over()
        self._call.finish()

    def cancelled(self, error: GRPCError) -> None:
        """
        See L{IReceiver}.
        """
        self._over()

    def _over(self) -> None:
        self._server.closed(self)
        detach, self._detach = self._detach, None
        if detach is not None:
            detach()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def pauseSending(self) -> None:
        """
        See L{IReceiver}.
        """
        self._isPaused = True

    def resumeSending(self) -> None:
        """
        See L{IReceiver}.
        """
        self._isPaused = False
        self._push()
