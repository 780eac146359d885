# -*- test-case-name: tests.xds.test_counting -*-
"""
What is counted of configuration that comes from elsewhere, where Envoy counts it.

Types that are asked for as a whole have one scope each. Of those that are asked for by name each name has its own: a
response counts for the names that are in it, and what is wrong with one, and a stream that ends, for all of the type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from meshproxy.stats.store import Scope, Store, statName
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.named import factsOf
from meshproxy.xds.types import CLUSTER, LISTENER

__all__ = ["SCOPES", "NamedStats", "ReloadStats", "ScopedRoutesStats", "routesScope", "secretScope"]

#: Where Envoy counts what comes of the types that are asked for without a name.
SCOPES = {CLUSTER: "cluster_manager.cds.", LISTENER: "listener_manager.lds."}


def routesScope(store: Store, statPrefix: str, name: str) -> Scope:
    """
    The scope of a route configuration.

    @param statPrefix: That of the connection manager that wants it.
    """
    return store.scope(f"http.{statName(statPrefix)}.rds.{statName(name)}.")


def secretScope(store: Store, name: str) -> Scope:
    """
    The scope of a secret.
    """
    return store.scope(f"sds.{name}.")


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

    def show(self, scopes: Iterable[bytes]) -> None:
        """
        Show how many there are, how many of them ask for their routes, and how many wait for somebody to need them.
        """
        facts = list(map(factsOf, scopes))
        self._all.value = len(facts)
        self._active.value = sum(1 for routes, isOnDemand in facts if routes and not isOnDemand)
        self._onDemand.value = sum(1 for _, isOnDemand in facts if isOnDemand)

    def close(self) -> None:
        """
        They are not asked for any more.
        """
        self._scope.close()


class NamedStats:
    """
    Of one type, each name that is asked for.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """
        @param now: Gives the seconds since the epoch.
        """
        self._now = now
        self._names: dict[str, tuple[Scope, SubscriptionStats, ReloadStats | None]] = {}

    def want(self, wanted: Mapping[str, Callable[[], Scope]], reloads: bool = False) -> None:
        """
        These names are asked for, and no others any more.

        @param wanted: With what makes the scope of each.
        @param reloads: Whether it is counted how often they change.
        """
        for name in [name for name in self._names if name not in wanted]:
            self._names.pop(name)[0].close()
        for name, make in wanted.items():
            if name not in self._names:
                scope = make()
                stats = SubscriptionStats(scope, self._now)
                if reloads:
                    # As in Envoy it is there, and counts only what a file does not say.
                    scope.counter("update_empty")
                self._names[name] = (scope, stats, ReloadStats(scope, self._now) if reloads else None)
                stats.begun()

    def taken(self, names: Iterable[str], version: str, changed: Iterable[str] = ()) -> None:
        """
        A response is served.

        @param names: What is in it.
        @param changed: Those of them that are others than before.
        """
        for name in names:
            found = self._names.get(name)
            if found is not None:
                found[1].received(version)
        for name in changed:
            found = self._names.get(name)
            if found is not None and found[2] is not None:
                found[2].changed()

    def timedOut(self, name: str) -> None:
        """
        One did not come in time.
        """
        found = self._names.get(name)
        if found is not None:
            found[1].timedOut()

    @property
    def all(self) -> list[SubscriptionStats]:
        """
        Those of all names.
        """
        return [stats for _, stats, _ in self._names.values()]
