# -*- test-case-name: tests.http.test_shortways -*-
"""
What the short ways have in common: a request of which nothing is left to send when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from meshproxy.http.choice import EndpointChoice
from meshproxy.http.keptbody import KeptBody
from meshproxy.http.retry import RetryState
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.routing.retries import ANY_STATUS

if TYPE_CHECKING:
    from meshproxy.headers import RequestHeaders
    from meshproxy.http.router import Plan
    from meshproxy.routing.retries import RetryPolicy
    from meshproxy.upstream.cluster import Cluster

__all__ = ["RetriedShortRequest", "ShortRequest"]


class ShortRequest(RoutedRequest):
    """
    Whatever happens to it besides a whole response is the business of its base class, further tries among them.
    """

    # In slots CPython finds them at once. Beside a default of the same name on the class, which the base class has for
    # most, CPython 3.12 and later look for an attribute that an instance has among its others.
    __slots__ = (
        "_action",
        "_endpoint",
        "_responsePaused",
        "_route",
        "_router",
        "_stats",
        "_stream",
        "_timeouts",
        "_tryBegan",
        "connection",
        "over",
        "responseStarted",
    )

    _requestEnded = _complete = True


class _MadeForRetry:
    """
    What a request needs only where it is tried again, made when it is asked for: few requests are. Where the route has
    no retry policy, it is L{None}.
    """

    def __init__(self, make: Callable[[Any, RetryPolicy], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: RetriedShortRequest | None, owner: type) -> Any:
        policy = None if request is None else request._plan.retries
        if request is None or policy is None:
            return None
        made = self._make(request, policy)
        setattr(request, self._name, made)
        return made


class RetriedShortRequest(ShortRequest):
    """
    One that may be tried again.

    @ivar _message: Its whole body, or L{None} for a request that is nothing but a head.
    @ivar _refusable: The statuses of answers that may be more than the answer to its only try.
    """

    __slots__ = ("_cluster", "_headers", "_message", "_plan", "_refusable")

    _plan: Plan
    _cluster: Cluster
    _headers: RequestHeaders
    _message: bytes | None
    _refusable: Container[int]

    def _makeRetry(self, policy: RetryPolicy) -> RetryState:
        # From now on, somebody wants to know of each answer.
        self._refusable = ANY_STATUS
        router = self._router
        return RetryState(policy, self._cluster, False, router.random, router.clock, ())

    def _makeBody(self, policy: RetryPolicy) -> KeptBody | None:
        message = self._message
        if message is None:
            return None
        body = KeptBody(self._bodyLimit)
        body.pieces.append(message)
        body.size = len(message)
        body.ended = True
        return body

    def _makeChoice(self, policy: RetryPolicy) -> EndpointChoice | None:
        if not policy.isChoosy:
            return None
        choice = EndpointChoice(self._stream, self._action, self._headers, policy)
        choice.tried.append(self._endpoint)
        return choice

    _retry = _MadeForRetry(_makeRetry)
    _body = _MadeForRetry(_makeBody)
    _choice = _MadeForRetry(_makeChoice)
