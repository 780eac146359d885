# -*- test-case-name: tests.test_server -*-
"""
Configuration that comes while the proxy runs: the control plane's stream, files, and the copy of what the control
plane said last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from meshproxy.accesslog.files import inReactorsThreads
from meshproxy.config import Section
from meshproxy.http.context import AwaitedKey, ProxyContext
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.client import Client, Update
from meshproxy.xds.counting import SCOPES
from meshproxy.xds.dynamic import DynamicConfiguration, DynamicResources
from meshproxy.xds.files import FileSources
from meshproxy.xds.localcopy import LocalCopy
from meshproxy.xds.settings import DiscoverySettings, StreamSettings, channelTo
from meshproxy.xds.stream import DiscoveryStream
from meshproxy.xds.types import VIRTUAL_HOST, shortName

__all__ = ["Discovery", "Taker"]

_DEMAND_PAUSE = 0.05
"""
Seconds from one request for what somebody needs to the next, where each names all of it.
"""


@dataclass(frozen=True, slots=True)
class Taker:
    """
    Who takes what comes.

    @ivar apply: Serves it all, and gives what is wrong with it.
    @ivar begin: The proxy may be there now; with L{True} it has waited for long enough.
    """

    apply: Callable[[DynamicResources], list[str]]
    begin: Callable[[bool], None]


class Discovery:
    """
    Asks the control plane, if there is one, and looks at the files that configuration comes from.
    """

    log = Logger()

    def __init__(
        self, settings: DiscoverySettings, context: ProxyContext, taker: Taker, node: Any, folder: str | None
    ) -> None:
        """
        @param node: The C{core.v3.Node} of this proxy.
        @param folder: Where a copy of what the control plane says is kept; L{None} for none.
        """
        self._settings = settings
        self._context = context
        self._taker = taker
        self._stream: DiscoveryStream | None = None
        self._copy: LocalCopy | None = None
        self._firstFetch: IDelayedCall | None = None
        self._demandCall: IDelayedCall | None = None
        self._demandedUntil = 0.0
        client = None if settings.stream is None else settings.stream.client(node)
        assignments, secrets = context.clusters.assignments, context.secrets
        now = context.clock.seconds
        dynamic = self._dynamic = DynamicConfiguration(client, assignments, secrets, context.store, now, taker.apply)
        self._files = FileSources(settings.files, secrets.files, context.store, now, dynamic.receive)
        dynamic.demanded, dynamic.demandedHosts = context.clusters.onDemand, context.hosts
        dynamic.demandedRoutes = context.scopeRoutes
        dynamic.wantRoutes, dynamic.wantScopes = self._files.wantRoutes, self._files.wantScopes
        dynamic.wantFilterConfigs = self._files.wantFilterConfigs
        if settings.stream is not None and client is not None:
            self._copy = None if folder is None else self._makeCopy(folder, client)
            self._stream = self._makeStream(settings.stream, client)
            assignments.changed = self._wantMore
            context.clusters.onDemand.changed = self._demandMore
            if context.scopeRoutes is not None:
                context.scopeRoutes.changed = self._wantMore
            if context.hosts is not None:
                context.hosts.changed, context.hosts.asked = self._demandMore, dynamic.hostAsked

    def start(self) -> None:
        """
        Begin to ask and to look.
        """
        settings = self._settings
        if settings.stream is not None and settings.stream.timeout:
            timeout = settings.stream.timeout
            self._firstFetch = self._context.clock.callLater(timeout, self._firstFetchTimedOut)
        self._dynamic.wantAll()
        self._files.start()
        # What a file says, or does not, is known now: there is no more to wait for.
        self._dynamic.taken.update(settings.files)
        if self._stream is not None:
            self._stream.start()

    @property
    def isComplete(self) -> bool:
        """
        Whether there is a first word of everybody.
        """
        return self._dynamic.taken.issuperset(self._settings.types)

    @property
    def resources(self) -> DynamicResources:
        """
        What was taken last.
        """
        return self._dynamic.resources

    def late(self, key: AwaitedKey) -> None:
        """
        Something that is waited for did not come in time.
        """
        self._dynamic.late(key)

    def follow(self, bootstrap: Section) -> None:
        """
        Ask for what listeners of this bootstrap name.
        """
        listeners = bootstrap.childOrEmpty("static_resources").children("listeners")
        self._dynamic.staticListeners = [section.message.SerializeToString() for section in listeners]

    def wantAll(self) -> None:
        """
        Ask for what the configuration that is served names.
        """
        self._dynamic.wantAll()

    def _makeStream(self, settings: StreamSettings, client: Client) -> DiscoveryStream:
        context = self._context
        return DiscoveryStream(
            client,
            channelTo(settings.source, context.clusters, context.clock),
            settings.path,
            self._receive,
            context.clock,
            context.store.scope(),
            {
                typeURL: SubscriptionStats(context.store.scope(prefix), context.clock.seconds)
                for typeURL, prefix in SCOPES.items()
                if typeURL in settings.types
            },
            context.random,
            settings.source.metadata,
            self._dynamic.counted,
        )

    def _makeCopy(self, folder: str, client: Client) -> LocalCopy:
        context = self._context
        reactor: Any = context.clock
        threads = inReactorsThreads(reactor)
        return LocalCopy(folder, context.nodeId, reactor, context.store, threads, client.asksFor)

    def _receive(self, update: Update) -> list[str]:
        errors = self._dynamic.receive(update)
        # Virtual hosts that came apart are asked for again.
        if self._copy is not None and not errors and update.typeURL != VIRTUAL_HOST:
            self._copy.take(self._dynamic.withoutDemanded(update))
        self._taker.begin(False)
        return errors

    def _wantMore(self) -> None:
        self._dynamic.wantAll()
        if self._stream is not None:
            self._stream.flush()

    def _demandMore(self) -> None:
        """
        Somebody needs something else. Where the state of the world is spoken, each request names all that is asked for,
        and clients may have something asked for as often as they like: some of these wait for each other.
        """
        if self._demandCall is not None:
            return
        stream, now = self._settings.stream, self._context.clock.seconds()
        if stream is None or stream.source.isDelta or now >= self._demandedUntil:
            self._demand()
        else:
            self._demandCall = self._context.clock.callLater(self._demandedUntil - now, self._demand)

    def _demand(self) -> None:
        self._demandCall = None
        self._demandedUntil = self._context.clock.seconds() + _DEMAND_PAUSE
        self._dynamic.wantDemanded()
        if self._stream is not None:
            self._stream.flush()

    # The first words

    def stopWaiting(self) -> None:
        """
        The proxy is there; no more is waited for.
        """
        if self._firstFetch is not None and self._firstFetch.active():
            self._firstFetch.cancel()

    def _firstFetchTimedOut(self) -> None:
        """
        The control plane did not say everything in time.
        """
        stream, settings = self._stream, self._settings.stream
        assert stream is not None and settings is not None
        stream.timedOut(self._dynamic.taken)
        if self._copy is None or not self._serveCopy(self._copy, stream):
            self._taker.begin(True)
            return
        # Its clusters may have to look for their endpoints: that may take as long again.
        self._firstFetch = self._context.clock.callLater(settings.timeout, self._taker.begin, True)
        self._taker.begin(False)

    def _serveCopy(self, copy: LocalCopy, stream: DiscoveryStream) -> bool:
        """
        Serve what the control plane said some other time.

        @return: Whether there is anything.
        """
        taken = self._dynamic.taken
        missing = self._settings.types.difference(taken)
        updates = copy.load(frozenset(taken)) if missing else []
        for update in updates:
            errors = self._dynamic.receive(update)
            if errors:
                told = {"type": shortName(update.typeURL), "why": "\n".join(errors)}
                self.log.error("{type} of the local copy cannot be served:\n{why}", **told)
        if updates:
            taken.update(missing)
            stream.hold(copy.versions())
        return bool(updates)

    def stop(self) -> Deferred[None]:
        """
        Ask and look no more.

        @return: Fires when the copy is written.
        """
        if self._stream is not None:
            self._stream.stop()
        self._files.stop()
        self.stopWaiting()
        if self._demandCall is not None:
            self._demandCall.cancel()
            self._demandCall = None
        return succeed(None) if self._copy is None else self._copy.stop()
