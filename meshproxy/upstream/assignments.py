# -*- test-case-name: tests.upstream.test_assignments -*-
"""
Endpoints that come from elsewhere: C{EDS}. Clusters say which assignments they want; whoever gets them puts them here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime

from meshproxy.config import Section
from meshproxy.config.sources import DiscoveryFile
from meshproxy.config.supported import supported
from meshproxy.secrets.watch import SecretFiles
from meshproxy.stats import Scope
from meshproxy.upstream.subscriptions import FileSubscription, SubscriptionStats

if TYPE_CHECKING:
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["AssignedDiscovery", "Assignments", "FileDiscovery"]

_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"

Compile = Callable[[Section], "list[Endpoint]"]

#: Who is told of an assignment, and where it is counted.
_User = tuple[Callable[[Section], object], SubscriptionStats]


class Assignments:
    """
    The C{ClusterLoadAssignment}s of a proxy, by name.

    @ivar hasSource: Whether there is a control plane for them to come from.
    @ivar changed: Called when other ones are wanted than before.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.hasSource = False
        self.changed: Callable[[], object] = lambda: None
        self._wanted: dict[str, list[_User]] = {}
        self._there: dict[str, Section] = {}

    @property
    def wanted(self) -> frozenset[str]:
        """
        The names that clusters want.
        """
        return frozenset(self._wanted)

    @property
    def stats(self) -> list[SubscriptionStats]:
        """
        What is counted of all that clusters want.
        """
        return [stats for users in self._wanted.values() for _, stats in users]

    def subscribe(self, name: str, found: Callable[[Section], object], stats: SubscriptionStats) -> Callable[[], None]:
        """
        Be told of an assignment: soon, if it is there, and whenever it comes.

        @param stats: Where to count what comes.

        @return: Call it to be told no more.
        """
        isNew = name not in self._wanted
        user = (found, stats)
        self._wanted.setdefault(name, []).append(user)
        stats.begun()
        if name in self._there:
            found(self._there[name])
        if isNew:
            self.changed()

        def unsubscribe() -> None:
            users = self._wanted.get(name, [])
            if user in users:
                users.remove(user)
                if not users:
                    del self._wanted[name]
                    self._there.pop(name, None)
                    self.changed()

        return unsubscribe

    def receive(self, name: str, section: Section, version: str = "") -> None:
        """
        An assignment came, and is good.
        """
        users = self._wanted.get(name)
        if users:
            self._there[name] = section
            for found, stats in list(users):
                stats.received(version)
                found(section)


class AssignedDiscovery:
    """
    C{EDS}: the endpoints are told from elsewhere. A cluster that is told of none for too long begins without any.
    """

    def __init__(self, name: str, timeout: float, assignments: Assignments, scope: Scope, compile: Compile) -> None:
        """
        @param timeout: Seconds to wait for the first ones; 0 to wait for as long as it takes.
        @param scope: C{cluster.NAME.}.
        @param compile: The endpoints of an assignment.
        """
        self._name = name
        self._timeout = timeout
        self._assignments = assignments
        self._compile = compile
        self._stats = SubscriptionStats(scope, assignments.clock.seconds)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._call: Any = None

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start}.
        """
        if self._timeout:
            self._call = self._assignments.clock.callLater(self._timeout, self._late, found)

        def assigned(section: Section) -> None:
            self._settle()
            found(self._compile(section))

        self._unsubscribe = self._assignments.subscribe(self._name, assigned, self._stats)

    def stop(self) -> None:
        """
        See L{Discovery.stop}.
        """
        self._settle()
        self._unsubscribe()

    def _late(self, found: Callable[[list[Endpoint]], object]) -> None:
        self._stats.timedOut()
        found([])

    def _settle(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()


class FileDiscovery:
    """
    C{EDS} from a file, which holds one assignment: the cluster's.
    """

    def __init__(
        self, name: str, path: str, files: SecretFiles, scope: Scope, now: Callable[[], float], compile: Compile
    ) -> None:
        """
        @param scope: C{cluster.NAME.}.
        @param now: Gives the seconds since the epoch.
        @param compile: The endpoints of an assignment.
        """
        self._name = name
        self._compile = compile
        self._empty = scope.counter("update_empty")
        self._subscription = FileSubscription(path, _ASSIGNMENT, files, SubscriptionStats(scope, now), self._receive)
        self._found: Callable[[list[Endpoint]], object] = lambda endpoints: None
        self._isFound = False

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start}.
        """
        self._found = found
        self._subscription.start()
        # As in Envoy, a wrong or an empty file does not keep the rest from beginning.
        if not self._isFound:
            found([])

    def stop(self) -> None:
        """
        See L{Discovery.stop}.
        """
        self._subscription.stop()

    def _receive(self, file: DiscoveryFile) -> list[str]:
        if not file.resources:
            # As in Envoy: no assignment changes nothing; one without endpoints takes them away.
            self._empty.value += 1
            return []
        section = file.resources.get(self._name)
        if section is None or len(file.resources) > 1:
            why = f"is to hold the endpoints of {self._name!r} alone; it holds {', '.join(map(repr, file.resources))}"
            return [str(file.whole.error(why, "resources"))]
        report = section.report
        supported.check(section)
        endpoints = self._compile(section)
        report.raiseIfAny()
        self._isFound = True
        self._found(endpoints)
        return []
