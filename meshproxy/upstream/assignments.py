# -*- test-case-name: tests.upstream.test_assignments -*-
"""
Endpoints that come from elsewhere: C{EDS}. Clusters say which assignments they want; whoever gets them puts them here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime

from meshproxy.config import Section

if TYPE_CHECKING:
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["AssignedDiscovery", "Assignments"]

Compile = Callable[[Section], "list[Endpoint]"]


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
        self._wanted: dict[str, list[Callable[[Section], object]]] = {}
        self._there: dict[str, Section] = {}

    @property
    def wanted(self) -> frozenset[str]:
        """
        The names that clusters want.
        """
        return frozenset(self._wanted)

    def subscribe(self, name: str, found: Callable[[Section], object]) -> Callable[[], None]:
        """
        Be told of an assignment: soon, if it is there, and whenever it comes.

        @return: Call it to be told no more.
        """
        isNew = name not in self._wanted
        self._wanted.setdefault(name, []).append(found)
        if name in self._there:
            found(self._there[name])
        if isNew:
            self.changed()

        def unsubscribe() -> None:
            users = self._wanted.get(name, [])
            if found in users:
                users.remove(found)
                if not users:
                    del self._wanted[name]
                    self._there.pop(name, None)
                    self.changed()

        return unsubscribe

    def receive(self, name: str, section: Section) -> None:
        """
        An assignment came, and is good.
        """
        users = self._wanted.get(name)
        if users:
            self._there[name] = section
            for found in list(users):
                found(section)


class AssignedDiscovery:
    """
    C{EDS}: the endpoints are told from elsewhere. A cluster that is told of none for too long begins without any.
    """

    def __init__(self, name: str, timeout: float, assignments: Assignments, compile: Compile) -> None:
        """
        @param timeout: Seconds to wait for the first ones; 0 to wait for as long as it takes.
        @param compile: The endpoints of an assignment.
        """
        self._name = name
        self._timeout = timeout
        self._assignments = assignments
        self._compile = compile
        self._unsubscribe: Callable[[], None] = lambda: None
        self._call: Any = None

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start}.
        """
        if self._timeout:
            self._call = self._assignments.clock.callLater(self._timeout, found, [])

        def assigned(section: Section) -> None:
            self._settle()
            found(self._compile(section))

        self._unsubscribe = self._assignments.subscribe(self._name, assigned)

    def stop(self) -> None:
        """
        See L{Discovery.stop}.
        """
        self._settle()
        self._unsubscribe()

    def _settle(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
