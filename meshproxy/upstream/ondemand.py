# -*- test-case-name: tests.upstream.test_ondemand -*-
"""
Clusters and virtual hosts that a control plane is asked for when somebody needs them (ODCDS, VHDS).

Source: Envoy's C{envoy.extensions.filters.http.on_demand.v3.OnDemandCds} and C{TcpProxy.OnDemand}.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from enum import Enum
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from meshproxy.config import Section
from meshproxy.config.sources import compileSource
from meshproxy.stats.store import Store
from meshproxy.upstream.subscriptions import SubscriptionStats

__all__ = ["Found", "OnDemandClusters", "OnDemandHosts", "OnDemandNames", "OnDemandRoutes", "compileOnDemand"]

_MOST = 1000
"""
Names that are waited for at a time, and as many that nobody waits for any more and are still not there: clients may
choose them, and each is held here and by the control plane.
"""

_LONGEST_NAME = 1024
"""
Characters of a name that is asked for: those of all that may be held make two megabytes, which may be those of one
request.
"""


class Found(Enum):
    """
    What became of the search for a cluster.
    """

    AVAILABLE = "available"
    MISSING = "missing"
    TIMEOUT = "timeout"


_Waiting: TypeAlias = "Deferred[Found]"


class _Search:
    """
    Who waits for one name, and until when.
    """

    def __init__(self, deadline: IDelayedCall) -> None:
        self.deadline = deadline
        self.waiting: dict[_Waiting, None] = {}

    def wait(self) -> _Waiting:
        """
        Wait, too.
        """
        waiting: _Waiting = Deferred(lambda gone: self.waiting.pop(gone, None))
        self.waiting[waiting] = None
        return waiting


class OnDemandNames:
    """
    What is asked for, and who waits for it.

    As in Envoy, what was asked for once stays asked for: what came may change, and what does not exist, or did not
    come in time, may come still. Who needs it before has it asked for again. Of those that are not there
    the oldest are given up when they are too many.

    @ivar changed: Called when other names are asked for than before.
    @ivar names: What is asked for.
    @ivar again: Those of them that have to be asked for again, whatever was said of them; emptied by who does that.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, known: Container[str], most: int = _MOST) -> None:
        """
        @param known: The names of what serves.
        @param most: How many names may be waited for at a time, and how many may be absent.
        """
        self.changed: Callable[[], object] = lambda: None
        self.names: set[str] = set()
        self.again: set[str] = set()
        self._clock = clock
        self._known = known
        self._most = most
        self._searches: dict[str, _Search] = {}
        # Those that are not there and that nobody waits for, the oldest first.
        self._absent: dict[str, None] = {}
        self._isFull = False

    def ask(self, name: str, timeout: float) -> Deferred[Found]:
        """
        Ask for what is not there. As in Envoy, who asks while somebody else waits for it waits for as long as
        that one.

        @param timeout: Seconds.

        @return: It may be cancelled.
        """
        search = self._searches.get(name)
        if search is None:
            if len(self._searches) >= self._most or len(name) > _LONGEST_NAME:
                if not self._isFull:
                    self._isFull = True
                    self._log.warn("too much is asked for on demand, or by too long a name")
                return succeed(Found.MISSING)
            search = self._searches[name] = _Search(self._clock.callLater(timeout, self._timedOut, name))
            waiting = search.wait()
            # That may end it at once, where nobody takes such a thing any more.
            self._begin(name)
            return waiting
        return search.wait()

    def _begin(self, name: str) -> None:
        if name in self._absent:
            del self._absent[name]
            self.again.add(name)
        self.names.add(name)
        self.changed()

    def served(self) -> None:
        """
        Something else serves than before.
        """
        for name in [name for name in self._searches if name in self._known]:
            self._end(name, Found.AVAILABLE)
        for name in [name for name in self._absent if name in self._known]:
            del self._absent[name]
        held = (self._known, self._searches, self._absent)
        for name in [name for name in self.names if not any(name in each for each in held)]:
            self._lacks(name, Found.MISSING)

    def miss(self, names: Iterable[str]) -> None:
        """
        The control plane says that these do not exist.
        """
        for name in sorted(self.names.intersection(names)):
            self._lacks(name, Found.MISSING)

    def stop(self) -> None:
        """
        Search no more.
        """
        for name in list(self._searches):
            self._end(name, Found.MISSING)

    def _timedOut(self, name: str) -> None:
        self._lacks(name, Found.TIMEOUT)

    def _lacks(self, name: str, found: Found) -> None:
        self._absent.setdefault(name)
        if len(self._absent) > self._most:
            dropped = next(iter(self._absent))
            del self._absent[dropped]
            self.names.discard(dropped)
            self.changed()
        if name in self._searches:
            self._end(name, found)

    def _end(self, name: str, found: Found) -> None:
        search = self._searches.pop(name)
        self._isFull = False
        if search.deadline.active():
            search.deadline.cancel()
        waiting, search.waiting = list(search.waiting), {}
        for each in waiting:
            if not each.called:
                each.callback(found)


class OnDemandClusters(OnDemandNames):
    """
    Clusters, and what is counted of them.

    @ivar stats: L{None} where nothing was asked for yet.
    """

    def __init__(self, store: Store, clock: IReactorTime, known: Container[str], most: int = _MOST) -> None:
        """
        @param known: The names of the clusters that serve.
        """
        super().__init__(clock, known, most)
        self.stats: SubscriptionStats | None = None
        self._store = store

    def _begin(self, name: str) -> None:
        if self.stats is None:
            self.stats = SubscriptionStats(self._store.scope("cluster_manager.odcds."), self._clock.seconds)
        self.stats.begun()
        super()._begin(name)

    def received(self, names: Iterable[str], missing: Iterable[str], version: str) -> None:
        """
        The control plane said something. Who waits for what came is told when it serves.

        @param missing: What does not exist.
        """
        missing = self.names.intersection(missing)
        for _ in (*missing, *self.names.intersection(names)):
            if self.stats is not None:
                self.stats.received(version)
        self.miss(missing)

    @property
    def counted(self) -> list[SubscriptionStats]:
        """
        What counts for all that is asked for: as in Envoy, once for each name.
        """
        return [] if self.stats is None else [self.stats] * len(self.names)


class OnDemandHosts(OnDemandNames):
    """
    Virtual hosts (VHDS), by names as C{CONFIGURATION/HOST}.

    @ivar isDelta: Whether there is a control plane that delta is spoken to.
    @ivar asked: Told of each name that is asked for, be it again.
    """

    def __init__(self, clock: IReactorTime, most: int = _MOST) -> None:
        self._present: set[str] = set()
        super().__init__(clock, self._present, most)
        self.isDelta = False
        self.asked: Callable[[str], object] = lambda name: None
        # What was asked for, by the name of the resource that came for it.
        self._through: dict[str, frozenset[str]] = {}

    def _begin(self, name: str) -> None:
        self.asked(name)
        super()._begin(name)

    def isAnswered(self, name: str) -> bool:
        """
        Whether a host is there already: whatever it has no route for, there is no more to ask.
        """
        return name in self._present

    def came(self, aliases: Mapping[str, Iterable[str]], resources: Container[str]) -> list[str]:
        """
        Resources came and are about to serve.

        @param aliases: What else each is asked for by.
        @param resources: Those that there are.

        @return: What that is new for, for L{undo}.
        """
        new = []
        for name, others in aliases.items():
            asked = frozenset(one for one in (name, *others) if one in self.names)
            if asked and name in resources:
                new += [one for one in asked if one not in self._present]
                # Others may have asked for it by other names before.
                self._through[name] = self._through.get(name, frozenset()) | asked
                self._present |= asked
        return new

    def undo(self, new: Iterable[str]) -> None:
        """
        They do not serve: there was something wrong with them.
        """
        self._present.difference_update(new)

    def missing(self, names: Iterable[str]) -> None:
        """
        Resources, or what is asked for, does not exist, or not any more.
        """
        gone = set(names)
        for name in names:
            gone |= self._through.pop(name, frozenset())
        self._present -= gone
        self.miss(gone)

    def only(self, configurations: Container[str]) -> None:
        """
        Forget what is for other route configurations.
        """
        for name in [name for name in self.names if name.rpartition("/")[0] not in configurations]:
            self.names.discard(name)
            self._absent.pop(name, None)
            self._present.discard(name)
            if name in self._searches:
                self._end(name, Found.MISSING)
        for name in [name for name in self._through if name.rpartition("/")[0] not in configurations]:
            del self._through[name]


class OnDemandRoutes(OnDemandNames):
    """
    Route configurations of scopes on demand, by their names.
    """

    def __init__(self, clock: IReactorTime, most: int = _MOST) -> None:
        self._there: set[str] = set()
        super().__init__(clock, self._there, most)

    def serve(self, names: Iterable[str]) -> None:
        """
        These serve now.
        """
        self._there.clear()
        self._there.update(names)
        self.served()


def compileOnDemand(section: Section, field: str, hasStream: bool, timeout: float) -> float:
    """
    Read from where clusters come on demand. Faults go to the report.

    @param section: An C{OnDemandCds}, or the message of another filter with the same fields.
    @param field: That of its source.
    @param hasStream: Whether there is a control plane.
    @param timeout: The seconds to wait where nothing is said.

    @return: The seconds to wait.
    """
    source = compileSource(section.child(field), section, field, hasStream)
    if source.path:
        section.refuse("clusters on demand come by ads: a file cannot be asked", field)
    found = section.seconds("timeout", timeout)
    return timeout if found is None else found
