"""
L{meshproxy.filters.listener.local_ratelimit}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.network.support import FilterProxy, refusals

LIMIT = {"stat_prefix": "r", "token_bucket": {"max_tokens": 2, "fill_interval": "10s"}}


class LocalRateLimitTests(SynchronousTestCase):
    """
    So many in a time, before anything is looked at.
    """

    def proxy(self, **fields: Any) -> FilterProxy:
        """
        A proxy with a limit.
        """
        return FilterProxy(("echo", {}), before=[("listener_ratelimit", {**LIMIT, **fields})])

    def test_limit(self) -> None:
        """
        Without a token a connection is closed and counted, and never becomes one; the bucket fills.
        """
        proxy = self.proxy()
        self.assertEqual([proxy.talk().closed for _ in range(3)], [False, False, True])
        self.assertEqual(proxy.stat("listener_local_ratelimit.r.rate_limited"), 1)
        self.assertEqual(proxy.stat("listener.127.0.0.1_10000.downstream_cx_total"), 2)
        proxy.proxy.advance(10)
        self.assertEqual([proxy.talk().closed for _ in range(2)], [False, True])

    def test_disabled(self) -> None:
        """
        The runtime may switch it off.
        """
        proxy = self.proxy(runtime_enabled={"default_value": False, "runtime_key": "k"})
        self.assertEqual([proxy.talk().closed for _ in range(3)], [False] * 3)

    def test_interval(self) -> None:
        """
        A bucket fills no faster than every 50 ms.
        """
        fast = {"max_tokens": 1, "fill_interval": "0.01s"}
        before = [("listener_ratelimit", {**LIMIT, "token_bucket": fast})]
        self.assertIn("50ms", refusals(("echo", {}), before=before))
