# -*- test-case-name: tests.xds.test_dynamic -*-
"""
The stream to a control plane: begun again when it ends, with pauses that grow. While there is none the proxy serves
what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.errors import RemoteProtocolError
from meshproxy.grpc.client import ClientCall, GRPCChannel, IResponseReceiver
from meshproxy.grpc.status import GRPCError
from meshproxy.stats import Scope
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.client import Client, Update
from meshproxy.xds.types import shortName

__all__ = ["DiscoveryStream"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
"""
Envoy's own (C{retry_initial_delay_ms}, C{retry_max_delay_ms}).
"""


@implementer(IResponseReceiver)
class DiscoveryStream:
    """
    Moves requests and responses between a L{Client} and a control plane.
    """

    _log = Logger()

    def __init__(
        self,
        client: Client,
        channel: GRPCChannel,
        path: str,
        receive: Callable[[Update], list[str]],
        reactor: Any,
        scope: Scope,
        counters: Mapping[str, SubscriptionStats],
        chance: Callable[[], float],
        metadata: Iterable[tuple[bytes, bytes]] = (),
        named: Callable[[], Mapping[str, Iterable[SubscriptionStats]]] = dict,
    ) -> None:
        """
        @param path: The method.
        @param receive: Takes a response, and gives what is wrong with it.
        @param scope: Where it is counted whether there is a stream.
        @param counters: Of the types of which each response counts.
        @param chance: From 0 up to 1, for the pauses.
        @param named: Of other types, those of all that is asked for: what is wrong counts for them, and streams that
            end; what is served of them is counted by those who take it.
        """
        self._client = client
        self._channel = channel
        self._path = path
        self._receive = receive
        self._reactor = reactor
        self._chance = chance
        self._metadata = list(metadata)
        self._call: ClientCall | None = None
        self._again: Any = None
        self._pause = _FIRST_PAUSE
        self._isBegun = False
        self._isStopped = False
        self._connected = scope.scope("control_plane.").gauge("connected_state")
        self._counters = counters
        self._named = named

    def start(self) -> None:
        """
        Begin.
        """
        self._again = None
        if not self._isBegun:
            # As in Envoy, the beginning counts as an attempt, and so does each response and each stream that ends.
            self._isBegun = True
            for counters in self._asked():
                counters.begun()
        self._client.begin()
        self._call = self._channel.open(self._path, self, self._metadata)
        self.flush()

    def hold(self, versions: Mapping[str, Mapping[str, str]]) -> None:
        """
        What is held did not come by this stream: end it, if there is one, and say with the next what is held.

        @param versions: By type and name.
        """
        for typeURL, held in versions.items():
            self._client.hold(typeURL, held)
        if self._call is not None:
            self._call.cancel()

    def stop(self) -> None:
        """
        End, for good.
        """
        self._isStopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._call is not None:
            self._call.cancel()
        self._channel.close()

    def _asked(self) -> list[SubscriptionStats]:
        """
        Those of the types that are asked for, of which each response counts.
        """
        return [counters for typeURL, counters in self._counters.items() if typeURL in self._client.types]

    def timedOut(self, taken: Container[str]) -> None:
        """
        The time for the first responses is over.

        @param taken: The types that came.
        """
        for typeURL, counters in self._counters.items():
            if typeURL in self._client.types and typeURL not in taken:
                counters.timedOut()

    def flush(self) -> None:
        """
        Send what the client has to say.
        """
        if self._call is not None:
            for request in self._client.requests():
                self._call.send(request)

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IResponseReceiver}.
        """
        self._connected.value = 1
        self._pause = _FIRST_PAUSE
        try:
            update = self._client.receive(message)
        except RemoteProtocolError as error:
            self._log.error("the control plane breaks its protocol: {why}", why=error.why)
            if self._call is not None:
                self._call.cancel()
            return
        errors = self._take(update)
        counters = self._counters.get(update.typeURL)
        if errors:
            why = "\n".join(errors)
            name = shortName(update.typeURL)
            self._log.error("{type} {version} is refused:\n{why}", type=name, version=update.version, why=why)
            self._client.refuse(update, why)
            for each in (*self._named().get(update.typeURL, ()), *(() if counters is None else (counters,))):
                each.refused()
        else:
            self._client.take(update)
            if counters is not None:
                counters.received(update.version)
        self.flush()

    def _take(self, update: Update) -> list[str]:
        try:
            return self._receive(update)
        except Exception:
            # A mistake of ours is no reason to lose what runs, nor the stream.
            self._log.failure("{type} could not be taken", type=shortName(update.typeURL))
            return ["the proxy failed at it; its log tells why"]

    def callEnded(self, error: GRPCError | None) -> None:
        """
        See L{IResponseReceiver}.
        """
        self._call = None
        self._connected.value = 0
        if self._isStopped:
            return
        for counters in (*self._asked(), *(each for some in self._named().values() for each in some)):
            counters.failed()
        # Fully jittered, so that a thousand proxies do not come back at once.
        pause = self._pause * (0.5 + self._chance() / 2)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        why = str(error or "it ended")
        self._log.warn("no stream to the control plane ({why}), again in {pause:.1f} s", why=why, pause=pause)
        self._again = self._reactor.callLater(pause, self.start)
