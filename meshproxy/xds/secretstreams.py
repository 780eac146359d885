# -*- test-case-name: tests.xds.test_secretstreams -*-
"""
Secrets that come from a control plane of their own (C{api_config_source}), such as an agent on a unix socket: one
stream for each secret, as Envoy has it. A stream is there while anybody uses its secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall

from meshproxy.config import Report, Section
from meshproxy.config.sources import StreamSource, compileStreamSource
from meshproxy.errors import ConfigErrors
from meshproxy.http.context import ProxyContext
from meshproxy.secrets.store import NamedSecret
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.client import Client, DeltaClient, Update, WorldClient
from meshproxy.xds.counting import secretScope
from meshproxy.xds.dynamic import dynamicSection
from meshproxy.xds.settings import channelTo
from meshproxy.xds.stream import DiscoveryStream
from meshproxy.xds.types import METHODS, SECRET

__all__ = ["SecretStreams", "StreamSecret"]

#: The method of each variant.
_PATHS = {isDelta: path for path, (typeURL, isDelta) in METHODS.items() if typeURL == SECRET}

#: Seconds that a stream stays after the last user left: a listener that is made anew asks for the same secret.
_LINGER = 10.0

#: Seconds that Envoy waits for the first response where nothing is said.
_FETCH_TIMEOUT = 15.0


class StreamSecret(NamedSecret):
    """
    A secret, and the stream that it comes by.
    """

    def __init__(self, name: str, source: StreamSource, timeout: float, streams: SecretStreams) -> None:
        """
        @param timeout: Seconds to wait for the first content; 0 to wait for as long as it takes.
        """
        NamedSecret.__init__(self, name)
        self._source = source
        self._timeout = timeout
        self._streams = streams
        self._stream: DiscoveryStream | None = None
        self._waiting: list[Deferred[None]] = []
        self._call: IDelayedCall | None = None
        self._lingering: IDelayedCall | None = None
        self._stats: SubscriptionStats | None = None

    def subscribe(self, changed: Callable[[], object]) -> Callable[[], None]:
        """
        See L{NamedSecret.subscribe}.
        """
        leave = NamedSecret.subscribe(self, changed)
        self.follow()

        def left() -> None:
            leave()
            if not self._users and self._stream is not None and self._lingering is None:
                self._lingering = self._streams.context.clock.callLater(_LINGER, self._lingered)

        return left

    def _lingered(self) -> None:
        self._lingering = None
        if not self._users:
            self.leave()

    def follow(self) -> None:
        """
        Ask for it, if anybody uses it and streams may begin.
        """
        if self._stream is None and self._users and self._streams.areOpen:
            context = self._streams.context
            client: Client = (DeltaClient if self._source.isDelta else WorldClient)(self._streams.node)
            client.want(SECRET, (self.name,))
            scope = secretScope(context.store, self.name)
            self._stats = SubscriptionStats(scope, context.clock.seconds)
            self._stream = DiscoveryStream(
                client,
                channelTo(self._source, context.clusters, context.clock),
                _PATHS[self._source.isDelta],
                self._received,
                context.clock,
                scope,
                {SECRET: self._stats},
                context.random,
                self._source.metadata,
            )
            if self._timeout:
                self._call = context.clock.callLater(self._timeout, self._late)
            self._stream.start()

    def leave(self) -> None:
        """
        Ask for it no more; what came stays.
        """
        stream, self._stream = self._stream, None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if stream is not None:
            self._goOn()
            stream.stop()

    def wait(self) -> Deferred[None]:
        """
        Wait for the first content.

        @return: Fires when it is there, and when the time for it is over.
        """
        if self.section is not None or self._stream is None or (self._timeout and self._call is None):
            return succeed(None)
        waited: Deferred[None] = Deferred()
        self._waiting.append(waited)
        return waited

    def _received(self, update: Update) -> list[str]:
        errors = [f"secrets[{name}]: {self.name!r} was asked for" for name in update.resources if name != self.name]
        value = update.resources.get(self.name)
        if value is not None and not errors:
            report = Report()
            section = dynamicSection(SECRET, "secrets", self.name, value, report)
            secrets = self._streams.context.secrets
            try:
                report.raiseIfAny()
                self.receive(section, update.version, secrets.clock.seconds())
            except ConfigErrors as error:
                secrets.rejected.value += 1
                return list(map(str, error.errors))
            secrets.updated.value += 1
            self._goOn()
        return errors

    def _late(self) -> None:
        if self._stats is not None:
            self._stats.timedOut()
        self._goOn()

    def _goOn(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class SecretStreams:
    """
    All of a proxy.

    @ivar clusterNames: The clusters that may be asked: those of the bootstrap that is being compiled.
    @ivar areOpen: Whether streams may begin.
    """

    def __init__(self, context: ProxyContext, node: Any) -> None:
        """
        @param node: The C{core.v3.Node} of this proxy.
        """
        self.context = context
        self.node = node
        self.clusterNames: Sequence[str] = ()
        self.areOpen = False
        self._secrets: dict[tuple[bytes, str], StreamSecret] = {}

    def find(self, name: str, section: Section) -> NamedSecret | None:
        """
        See L{meshproxy.secrets.store.ISecretStreams}.
        """
        api = section.childOrEmpty("api_config_source")
        if api.get("api_type") not in ("GRPC", "DELTA_GRPC"):
            # As in Envoy: what is aggregated comes by ads.
            api.refuse("a secret comes by GRPC or DELTA_GRPC", "api_type")
            return None
        before = len(api.report.errors)
        source = compileStreamSource(api, self.clusterNames)
        if source is None or len(api.report.errors) > before:
            return None
        key = (section.message.SerializeToString(deterministic=True), name)
        found = self._secrets.get(key)
        if found is None:
            timeout = section.seconds("initial_fetch_timeout", _FETCH_TIMEOUT)
            found = self._secrets[key] = StreamSecret(name, source, timeout, self)
        return found

    @property
    def all(self) -> list[NamedSecret]:
        """
        Those that are used.
        """
        return [secret for secret in self._secrets.values() if secret.isUsed]

    def start(self) -> Deferred[Any]:
        """
        Begin to ask.

        @return: Fires when there is a first word of all that are used, and when the time for it is over.
        """
        self.areOpen = True
        for secret in list(self._secrets.values()):
            secret.follow()
        return gatherResults([secret.wait() for secret in self._secrets.values()])

    def stop(self) -> None:
        """
        Ask no more.
        """
        self.areOpen = False
        for secret in self._secrets.values():
            secret.leave()
