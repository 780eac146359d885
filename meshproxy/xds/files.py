# -*- test-case-name: tests.xds.test_files -*-
"""
Clusters, listeners, scopes, routes and configurations of filters that come from files instead of a control plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshproxy.config.sources import DiscoveryFile, Origin
from meshproxy.http.context import RouteKey
from meshproxy.secrets.watch import SecretFiles
from meshproxy.stats import Counter
from meshproxy.stats.store import Store
from meshproxy.upstream.subscriptions import FileSubscription, SubscriptionStats
from meshproxy.xds.client import Update
from meshproxy.xds.counting import SCOPES, ExtensionStats, RouteStats, extensionScope, routesScope
from meshproxy.xds.types import EXTENSION, ORDER, ROUTES, SCOPED_ROUTES

__all__ = ["FileSources"]


class FileSources:
    """
    The files of a proxy that hold resources.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        files: SecretFiles,
        store: Store,
        now: Callable[[], float],
        receive: Callable[[Update], list[str]],
    ) -> None:
        """
        @param paths: The files of clusters and of listeners, by the type.
        @param files: Watches files.
        @param now: Gives the seconds since the epoch.
        @param receive: Takes what is in a file, and gives what is wrong with it.
        """
        self._paths = paths
        self._files = files
        self._store = store
        self._now = now
        self._receive = receive
        self._whole: list[FileSubscription] = []
        self._routes: dict[RouteKey, FileSubscription] = {}
        self._filterConfigs: dict[RouteKey, FileSubscription] = {}
        self._scopes: dict[str, FileSubscription] = {}

    def start(self) -> None:
        """
        Read the files of clusters and listeners: clusters first, since listeners name them.
        """
        for typeURL in ORDER:
            path = self._paths.get(typeURL)
            if path is not None:
                stats = SubscriptionStats(self._store.scope(SCOPES[typeURL]), self._now)
                subscription = self._subscription(typeURL, path, stats, self._taker(typeURL, path))
                self._whole.append(subscription)
                subscription.start()

    def stop(self) -> None:
        """
        Look at files no more.
        """
        named = (*self._scopes.values(), *self._filterConfigs.values(), *self._routes.values())
        for subscription in (*self._whole, *named):
            subscription.stop()

    def wantRoutes(self, wanted: Mapping[RouteKey, str]) -> None:
        """
        Read the files of these route configurations, and those of others no more.

        @param wanted: With the C{stat_prefix} of a connection manager that wants it.
        """
        self._want(self._routes, wanted, self._makeRoutes)

    def wantFilterConfigs(self, wanted: Mapping[RouteKey, str]) -> None:
        """
        The same with configurations of filters.

        @param wanted: With the kind of filter, as its stats call it.
        """
        self._want(self._filterConfigs, wanted, self._makeFilterConfig)

    def _want(
        self,
        held: dict[RouteKey, FileSubscription],
        wanted: Mapping[RouteKey, str],
        make: Callable[[RouteKey, str], FileSubscription],
    ) -> None:
        for key in [key for key in held if key not in wanted]:
            held.pop(key).stop()
        new = [key for key in wanted if key[0] and key not in held]
        for key in new:
            held[key] = make(key, wanted[key])
        for key in new:
            # What is in one may change what is wanted.
            subscription = held.get(key)
            if subscription is not None:
                subscription.start()

    def wantScopes(self, wanted: Mapping[str, SubscriptionStats]) -> None:
        """
        Read these files of scopes, and others no more.

        @param wanted: What is counted of each, by its path.
        """
        for path in [path for path in self._scopes if path not in wanted]:
            self._scopes.pop(path).stop()
        for path in [path for path in wanted if path not in self._scopes]:
            take = self._taker(SCOPED_ROUTES, path)
            subscription = self._subscription(SCOPED_ROUTES, path, wanted[path], take)
            self._scopes[path] = subscription
            subscription.start()

    def _makeRoutes(self, key: RouteKey, statPrefix: str) -> FileSubscription:
        stats = RouteStats(routesScope(self._store, statPrefix, key[1]), self._now)
        return self._one(ROUTES, "the routes", key, stats, stats.empty)

    def _makeFilterConfig(self, key: RouteKey, kind: str) -> FileSubscription:
        stats = ExtensionStats(extensionScope(self._store, kind, key[1]), self._now)
        return self._one(EXTENSION, "the configuration", key, stats)

    def _one(
        self, typeURL: str, what: str, key: RouteKey, stats: SubscriptionStats, empty: Counter | None = None
    ) -> FileSubscription:
        """
        A file that is to hold one resource.

        @param what: How faults call it.
        @param empty: Counts the times that it holds none.
        """
        path, name = key
        take = self._taker(typeURL, path)

        def receive(file: DiscoveryFile) -> list[str]:
            if not file.resources and empty is not None:
                # As in Envoy: what there was stays.
                empty.value += 1
                return []
            if set(file.resources) != {name}:
                told = ", ".join(map(repr, file.resources)) or "nothing"
                return [str(file.whole.error(f"is to hold {what} {name!r} alone; it holds {told}", "resources"))]
            errors = take(file)
            if not errors:
                stats.changed()
            return errors

        return self._subscription(typeURL, path, stats, receive)

    def _subscription(
        self, typeURL: str, path: str, stats: SubscriptionStats, receive: Callable[[DiscoveryFile], list[str]]
    ) -> FileSubscription:
        return FileSubscription(path, typeURL.rpartition("/")[2], self._files, stats, receive)

    def _taker(self, typeURL: str, path: str) -> Callable[[DiscoveryFile], list[str]]:
        def take(file: DiscoveryFile) -> list[str]:
            values = {name: section.message.SerializeToString() for name, section in file.resources.items()}
            origins = {name: Origin(section.path, section.places) for name, section in file.resources.items()}
            isWhole = typeURL not in (ROUTES, EXTENSION)
            return self._receive(Update(typeURL, file.version, "", values, isWhole=isWhole, origins=origins, path=path))

        return take
