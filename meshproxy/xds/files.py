# -*- test-case-name: tests.xds.test_files -*-
"""
Clusters, listeners, scopes and routes that come from files instead of a control plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshproxy.config.sources import DiscoveryFile, Origin
from meshproxy.http.context import RouteKey
from meshproxy.secrets.watch import SecretFiles
from meshproxy.stats.store import Store
from meshproxy.upstream.subscriptions import FileSubscription, SubscriptionStats
from meshproxy.xds.client import Update
from meshproxy.xds.counting import SCOPES, ReloadStats, routesScope
from meshproxy.xds.types import ORDER, ROUTES, SCOPED_ROUTES

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
        for subscription in (*self._whole, *self._scopes.values(), *self._routes.values()):
            subscription.stop()

    def wantRoutes(self, wanted: Mapping[RouteKey, str]) -> None:
        """
        Read the files of these route configurations, and those of others no more.

        @param wanted: With the C{stat_prefix} of a connection manager that wants it.
        """
        for key in [key for key in self._routes if key not in wanted]:
            self._routes.pop(key).stop()
        new = [key for key in wanted if key[0] and key not in self._routes]
        for key in new:
            self._routes[key] = self._makeRoutes(key, wanted[key])
        for key in new:
            # What is in one may change what is wanted.
            subscription = self._routes.get(key)
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
        path, name = key
        scope = routesScope(self._store, statPrefix, name)
        empty, reloads = scope.counter("update_empty"), ReloadStats(scope, self._now)
        take = self._taker(ROUTES, path)

        def receive(file: DiscoveryFile) -> list[str]:
            if not file.resources:
                # As in Envoy: what there was stays.
                empty.value += 1
                return []
            if set(file.resources) != {name}:
                told = ", ".join(map(repr, file.resources))
                return [str(file.whole.error(f"is to hold the routes {name!r} alone; it holds {told}", "resources"))]
            errors = take(file)
            if not errors:
                reloads.changed()
            return errors

        return self._subscription(ROUTES, path, SubscriptionStats(scope, self._now), receive)

    def _subscription(
        self, typeURL: str, path: str, stats: SubscriptionStats, receive: Callable[[DiscoveryFile], list[str]]
    ) -> FileSubscription:
        return FileSubscription(path, typeURL.rpartition("/")[2], self._files, stats, receive)

    def _taker(self, typeURL: str, path: str) -> Callable[[DiscoveryFile], list[str]]:
        def take(file: DiscoveryFile) -> list[str]:
            values = {name: section.message.SerializeToString() for name, section in file.resources.items()}
            origins = {name: Origin(section.path, section.places) for name, section in file.resources.items()}
            isWhole = typeURL != ROUTES
            return self._receive(Update(typeURL, file.version, "", values, isWhole=isWhole, origins=origins, path=path))

        return take
