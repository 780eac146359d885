# -*- test-case-name: tests.xds.test_dynamic -*-
"""
How long listeners wait for routes and scopes that come from elsewhere: C{initial_fetch_timeout} of RDS and SRDS. A
listener whose routes do not come in time begins without any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshproxy.http.context import AwaitedKey

__all__ = ["RouteWaits"]


class RouteWaits:
    """
    One clock for each thing that is waited for, whoever waits.
    """

    def __init__(self, clock: IReactorTime, late: Callable[[AwaitedKey], object]) -> None:
        """
        @param late: Told of each whose time is over.
        """
        self._clock = clock
        self._late = late
        self._calls: dict[AwaitedKey, IDelayedCall] = {}

    def wait(self, wanted: Mapping[AwaitedKey, float]) -> None:
        """
        Begin to wait.

        @param wanted: Seconds for each; 0 to wait for as long as it takes. One that is waited for already goes on.
        """
        for key, timeout in wanted.items():
            if timeout and key not in self._calls:
                self._calls[key] = self._clock.callLater(timeout, self._over, key)

    def _over(self, key: AwaitedKey) -> None:
        del self._calls[key]
        self._late(key)

    def stop(self) -> None:
        """
        Wait no more.
        """
        for call in self._calls.values():
            call.cancel()
        self._calls = {}
