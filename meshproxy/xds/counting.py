# -*- test-case-name: tests.xds.test_counting -*-
"""
What is counted of configuration that comes from elsewhere, where Envoy counts it.

Types that are asked for as a whole have one scope each. Of those that are asked for by name each name has its own: a
response counts for the names that are in it, and what is wrong with one, and a stream that ends, for all of the type.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Generic, TypeVar

from meshproxy.stats.store import Scope, Store, statName
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.named import factsOf
from meshproxy.xds.types import CLUSTER, LISTENER

__all__ = [
    "SCOPES",
    "ExtensionStats",
    "HostStats",
    "hostsScope",
    "NamedStats",
    "ReloadStats",
    "RouteStats",
    "ScopedRoutesStats",
    "extensionScope",
    "routesScope",
    "secretScope",
]

#: Where Envoy counts what comes of the types that are asked for without a name.
SCOPES = {CLUSTER: "cluster_manager.cds.", LISTENER: "listener_manager.lds."}


def routesScope(store: Store, statPrefix: str, name: str) -> Scope:
    """
    The scope of a route configuration.

    @param statPrefix: That of the connection manager that wants it.
    """
    return store.scope(f"http.{statName(statPrefix)}.rds.{statName(name)}.")


def hostsScope(store: Store, statPrefix: str, name: str) -> Scope:
    """
    The scope of the virtual hosts of a route configuration.

    @param statPrefix: As of L{routesScope}.
    """
    return store.scope(f"http.{statName(statPrefix)}.rds.vhds.{statName(name)}.")


def secretScope(store: Store, name: str) -> Scope:
    """
    The scope of a secret.
    """
    return store.scope(f"sds.{name}.")


def extensionScope(store: Store, kind: str, name: str) -> Scope:
    """
    The scope of the configuration of a filter.

    @param kind: C{http_filter}, C{network_filter} or C{tcp_listener_filter}.
    """
    return store.scope(f"extension_config_discovery.{kind}.{name}.")


class ReloadStats:
    """
    How often something changed that came, and when.
    """

    def __init__(self, scope: Scope, now: Callable[[], float]) -> None:
        """
        @param now: Gives the seconds since the epoch.
        """
        self._now = now
        self._reloads = scope.counter("config_reload")
        self._time = scope.gauge("config_reload_time_ms")

    def changed(self) -> None:
        """
        Something else is served.
        """
        self._reloads.value += 1
        self._time.value = int(self._now() * 1000)


class ScopedRoutesStats:
    """
    What is counted of scopes that come from elsewhere: C{http.STAT_PREFIX.scoped_rds.NAME.}.

    @ivar subscription: What is counted of all that comes.
    """

    def __init__(self, store: Store, statPrefix: str, name: str, now: Callable[[], float]) -> None:
        """
        @param statPrefix: That of the connection manager that wants them.
        @param name: Of its C{scoped_routes}.
        @param now: Gives the seconds since the epoch.
        """
        self._scope = scope = store.scope(f"http.{statName(statPrefix)}.scoped_rds.{statName(name)}.")
        self.subscription = SubscriptionStats(scope, now)
        self._reloads = ReloadStats(scope, now)
        # Envoy has it, and counts nothing there.
        scope.counter("update_empty")
        self._all = scope.gauge("all_scopes")
        self._active = scope.gauge("active_scopes")
        self._onDemand = scope.gauge("on_demand_scopes")

    def changed(self) -> None:
        """
        A response is served. As in Envoy, it counts for a change whatever is in it.
        """
        self._reloads.changed()

    def show(self, scopes: Iterable[bytes], demanded: Container[str] = ()) -> None:
        """
        Show how many there are, how many of them ask for their routes, and how many do so when somebody needs them.

        @param demanded: The routes of these that somebody needs.
        """
        facts = list(map(factsOf, scopes))
        self._all.value = len(facts)
        self._active.value = sum(1 for routes, isOnDemand in facts if routes and (not isOnDemand or routes in demanded))
        self._onDemand.value = sum(1 for _, isOnDemand in facts if isOnDemand)

    def close(self) -> None:
        """
        They are not asked for any more.
        """
        self._scope.close()


class RouteStats(SubscriptionStats):
    """
    What is counted of a route configuration.
    """

    def __init__(self, scope: Scope, now: Callable[[], float]) -> None:
        super().__init__(scope, now)
        # As in Envoy it is there, and counts only what a file does not say.
        self.empty = scope.counter("update_empty")
        self._reloads = ReloadStats(scope, now)

    def changed(self) -> None:
        """
        See L{SubscriptionStats.changed}.
        """
        self._reloads.changed()


class HostStats(SubscriptionStats):
    """
    What is counted of the virtual hosts of a route configuration.
    """

    def __init__(self, scope: Scope, now: Callable[[], float]) -> None:
        super().__init__(scope, now)
        self._reloads = scope.counter("config_reload")
        # As in Envoy it is there, and never counts.
        scope.counter("update_empty")

    def changed(self) -> None:
        """
        See L{SubscriptionStats.changed}.
        """
        self._reloads.value += 1


class ExtensionStats(SubscriptionStats):
    """
    What is counted of the configuration of a filter.
    """

    def __init__(self, scope: Scope, now: Callable[[], float]) -> None:
        super().__init__(scope, now)
        self._reloads = scope.counter("config_reload")
        self._fails = scope.counter("config_fail")
        self._conflicts = scope.counter("config_conflict")

    def changed(self) -> None:
        """
        See L{SubscriptionStats.changed}.
        """
        self._reloads.value += 1

    def refused(self) -> None:
        """
        See L{SubscriptionStats.refused}.
        """
        super().refused()
        self._fails.value += 1

    def failed(self) -> None:
        """
        See L{SubscriptionStats.failed}.
        """
        super().failed()
        self._fails.value += 1

    def timedOut(self) -> None:
        """
        See L{SubscriptionStats.timedOut}.
        """
        super().timedOut()
        self._fails.value += 1

    def conflicted(self) -> None:
        """
        A listener came that does not take what is there.
        """
        self._conflicts.value += 1


_Stats = TypeVar("_Stats", bound=SubscriptionStats)


class NamedStats(Generic[_Stats]):
    """
    Of one type, each name that is asked for.
    """

    def __init__(self, kind: Callable[[Scope, Callable[[], float]], _Stats], now: Callable[[], float]) -> None:
        """
        @param kind: Makes what is counted of a name.
        @param now: Gives the seconds since the epoch.
        """
        self._kind = kind
        self._now = now
        self._names: dict[str, tuple[Scope, _Stats]] = {}

    def want(self, wanted: Mapping[str, Callable[[], Scope]]) -> None:
        """
        These names are asked for, and no others any more.

        @param wanted: With what makes the scope of each.
        """
        for name in [name for name in self._names if name not in wanted]:
            self._names.pop(name)[0].close()
        for name, make in wanted.items():
            if name not in self._names:
                scope = make()
                stats = self._kind(scope, self._now)
                self._names[name] = (scope, stats)
                stats.begun()

    def get(self, name: str) -> _Stats | None:
        """
        That of a name, if it is asked for.
        """
        found = self._names.get(name)
        return None if found is None else found[1]

    def taken(self, names: Iterable[str], version: str, changed: Iterable[str] = ()) -> None:
        """
        A response is served.

        @param names: What is in it.
        @param changed: Those of them that are others than before.
        """
        for stats in filter(None, map(self.get, names)):
            stats.received(version)
        for stats in filter(None, map(self.get, changed)):
            stats.changed()

    def timedOut(self, name: str) -> None:
        """
        One did not come in time.
        """
        stats = self.get(name)
        if stats is not None:
            stats.timedOut()

    @property
    def all(self) -> list[_Stats]:
        """
        Those of all names.
        """
        return [stats for _, stats in self._names.values()]
