# -*- test-case-name: tests.http.test_choice -*-
"""
What a request has to say about its endpoint: whom it is like, what labels are asked for, who was tried already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.upstream.balancers.base import Origin
from meshproxy.upstream.balancers.priorities import Loads, reload

if TYPE_CHECKING:
    from meshproxy.http.stream import Stream
    from meshproxy.routing.retries import RetryPolicy
    from meshproxy.routing.route import RouteAction
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["EndpointChoice"]


class EndpointChoice:
    """
    The say of one request, through all of its tries (L{meshproxy.upstream.balancers.base.IChoice}).

    @ivar attempts: How often to choose until an endpoint is accepted.
    @ivar cookies: The C{set-cookie} values that the response is to have, so that the next request is known again.
    @ivar policy: The retry policy in force.
    @ivar tried: The endpoints that were tried, in order.
    """

    __slots__ = ("_action", "_excluded", "_headers", "_stream", "attempts", "cookies", "policy", "tried")

    def __init__(
        self, stream: Stream, action: RouteAction, headers: RequestHeaders, policy: RetryPolicy | None
    ) -> None:
        """
        @param headers: The head of the request as it came.
        """
        self._stream = stream
        self._action = action
        self._headers = headers
        self.policy = policy
        self._excluded: frozenset[int] = frozenset()
        self.attempts = 0
        self.cookies: list[bytes] = []
        self.tried: list[Endpoint] = []

    def hashKey(self) -> int | None:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.hashKey}.
        """
        policy = self._action.hashPolicy
        if policy is None:
            return None
        self.cookies.clear()
        return policy(self._headers, self._stream, self.cookies)

    def labels(self) -> Mapping[str, object]:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.labels}: those of the route, and what filters noted over them.
        """
        asked = self._action.metadataMatch
        noted = self._stream.dynamicMetadata.get("envoy.lb")
        return {**asked, **noted} if isinstance(noted, Mapping) else asked

    def origin(self) -> Origin:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.origin}.
        """
        return Origin(self._headers, self._stream.dynamicMetadata, self._stream.connection.originalDestination)

    def accepts(self, endpoint: Endpoint) -> bool:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.accepts}: a retry can avoid endpoints.
        """
        if self.policy is None or not self.tried:
            return True
        return not any(avoids(endpoint, self.tried) for avoids in self.policy.hostPredicates)

    def loads(self, loads: Loads, available: Sequence[tuple[int, int]]) -> Loads:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.loads}: a retry can leave priorities that were tried.
        """
        every = 0 if self.policy is None else self.policy.priorityFrequency
        if not every or len(self.tried) < every:
            return loads
        if len(self.tried) % every == 0:
            self._excluded = frozenset(endpoint.priority for endpoint in self.tried)
        found = reload(available, self._excluded)
        if found is None:
            # None is left: begin anew.
            self._excluded = frozenset()
            self.tried.clear()
            found = reload(available, self._excluded)
        return loads if found is None else loads._replace(healthy=found[0], degraded=found[1])
