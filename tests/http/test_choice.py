"""
L{meshproxy.http.choice}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import RequestHeaders
from meshproxy.http.choice import EndpointChoice
from meshproxy.routing.retries import RetryPolicy
from meshproxy.routing.route import RouteAction
from meshproxy.upstream.balancers.priorities import Loads
from tests.filters.http.support import FakeStream
from tests.upstream.balancers.support import endpoint

LOADS = Loads((100, 0), (0, 0), (False, False))
AVAILABLE = [(100, 0), (100, 0)]


class EndpointChoiceTests(SynchronousTestCase):
    """
    The say of a request.
    """

    def make(self, policy: RetryPolicy | None = None, **action: Any) -> EndpointChoice:
        """
        The choice of a request.
        """
        stream: Any = FakeStream()
        stream.dynamicMetadata = {}
        self.stream = stream
        return EndpointChoice(stream, RouteAction("c", **action), stream.requestHeaders, policy)

    def test_hash(self) -> None:
        """
        By the route's policy, whose cookies are kept for the response once.
        """
        self.assertIsNone(self.make().hashKey())

        def policy(headers: RequestHeaders, info: object, cookies: list[bytes]) -> int:
            cookies.append(b"c=1")
            return len(headers.path)

        choice = self.make(hashPolicy=policy)
        self.assertEqual([choice.hashKey(), choice.hashKey()], [1, 1])
        self.assertEqual(choice.cookies, [b"c=1"])

    def test_labels(self) -> None:
        """
        Those of the route, and over them what filters noted.
        """
        choice = self.make(metadataMatch={"a": "1", "b": "2"})
        self.assertEqual(choice.labels(), {"a": "1", "b": "2"})
        self.stream.dynamicMetadata["envoy.lb"] = {"b": "3", "c": "4"}
        self.assertEqual(choice.labels(), {"a": "1", "b": "3", "c": "4"})

    def test_accepts(self) -> None:
        """
        The first try takes any endpoint; a retry avoids what its policy says.
        """
        one, other = endpoint(1), endpoint(2)
        policy = RetryPolicy(hostPredicates=(lambda host, tried: host in tried,))
        choice = self.make(policy)
        self.assertTrue(choice.accepts(one))
        choice.tried.append(one)
        self.assertEqual((choice.accepts(one), choice.accepts(other)), (False, True))
        self.assertTrue(self.make().accepts(one))

    def test_loads(self) -> None:
        """
        Every so many tries, priorities that were tried are left; when none remains it begins anew.
        """
        choice = self.make(RetryPolicy(priorityFrequency=1))
        self.assertIs(choice.loads(LOADS, AVAILABLE), LOADS)
        choice.tried.append(endpoint(1))
        self.assertEqual(choice.loads(LOADS, AVAILABLE).healthy, (0, 100))
        choice.tried.append(endpoint(2, priority=1))
        self.assertEqual(choice.loads(LOADS, AVAILABLE).healthy, (100, 0))
        self.assertEqual(choice.tried, [])

    def test_loadsSeldom(self) -> None:
        """
        In between, it stays as it was; where nothing is available, it is as for others.
        """
        choice = self.make(RetryPolicy(priorityFrequency=2))
        choice.tried.append(endpoint(1))
        self.assertIs(choice.loads(LOADS, AVAILABLE), LOADS)
        choice.tried.append(endpoint(1))
        self.assertEqual(choice.loads(LOADS, AVAILABLE).healthy, (0, 100))
        choice.tried.append(endpoint(2, priority=1))
        self.assertEqual(choice.loads(LOADS, AVAILABLE).healthy, (0, 100))
        self.assertIs(choice.loads(LOADS, [(0, 0), (0, 0)]), LOADS)
