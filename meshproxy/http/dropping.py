# -*- test-case-name: tests.http.test_dropping -*-
"""
Requests that are answered in place of a cluster that has too many of them (C{drop_overloads}).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.flags import Failure, LocalReply
from meshproxy.http.routedrequest import RoutedRequest

if TYPE_CHECKING:
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["DroppedRequest", "ShedRequest"]


class DroppedRequest(RoutedRequest):
    """
    One that chance chose.
    """

    reply: ClassVar[LocalReply] = Failure.DROP_OVERLOAD.value

    def _connect(self, endpoint: Endpoint | None = None) -> None:
        # As in Envoy, nothing is said of tries, for there was none.
        self._answer(self.reply)


class ShedRequest(DroppedRequest):
    """
    One of a cluster of which all are dropped.
    """

    reply: ClassVar[LocalReply] = Failure.UNCONDITIONAL_DROP_OVERLOAD.value
