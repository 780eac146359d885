"""
L{meshproxy.filters.network.local_ratelimit}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.network.support import TCP, FilterProxy, accessLog, filterOf, refusals

BUCKET = {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "10s"}
LIMIT = {"stat_prefix": "r", "token_bucket": BUCKET}


class LocalRateLimitTests(SynchronousTestCase):
    """
    So many in a time.
    """

    def test_limit(self) -> None:
        """
        Without a token a connection is closed, counted and logged; the bucket fills.
        """
        proxy = FilterProxy(("local_ratelimit", LIMIT), ("tcp_proxy", {**TCP, "access_log": accessLog()}))
        self.assertEqual([proxy.talk().closed for _ in range(3)], [False, False, True])
        self.assertEqual(proxy.stat("local_rate_limit.r.rate_limited"), 1)
        self.assertEqual(proxy.log, ["URX local_ratelimit_close_over_limit - 0 0"])
        proxy.proxy.advance(10)
        self.assertEqual([proxy.talk().closed for _ in range(2)], [False, True])

    def chains(self, *limits: dict[str, Any]) -> FilterProxy:
        """
        A proxy with a chain for each client network, each with a limit.
        """
        chains = [
            {
                "filter_chain_match": {
                    "source_prefix_ranges": [{"address_prefix": f"10.{number}.0.0", "prefix_len": 16}]
                },
                "filters": [filterOf("local_ratelimit", limit), filterOf("tcp_proxy", TCP)],
            }
            for number, limit in enumerate(limits)
        ]
        return FilterProxy(chains=chains)

    def test_shared(self) -> None:
        """
        Chains with one C{share_key} share a bucket; other keys, and other sizes, have their own.
        """
        shared = {**LIMIT, "share_key": "all"}
        proxy = self.chains(shared, shared, {**LIMIT, "share_key": "own"}, LIMIT)
        closed = {number: [proxy.talk(source=f"10.{number}.0.1").closed for _ in range(2)] for number in (0, 1, 2, 3)}
        self.assertEqual(closed, {0: [False] * 2, 1: [True] * 2, 2: [False] * 2, 3: [False] * 2})

    def test_proxiesApart(self) -> None:
        """
        Two proxies in one process share nothing.
        """
        shared = {**LIMIT, "share_key": "all"}
        for _ in range(2):
            self.assertFalse(self.chains(shared).talk(source="10.0.0.1").closed)

    def test_disabled(self) -> None:
        """
        The runtime may switch it off.
        """
        off = {"default_value": False, "runtime_key": "k"}
        proxy = FilterProxy(("local_ratelimit", {**LIMIT, "runtime_enabled": off}), ("tcp_proxy", TCP))
        self.assertEqual([proxy.talk().closed for _ in range(3)], [False] * 3)

    def test_interval(self) -> None:
        """
        A bucket fills no faster than every 50 ms.
        """
        fast = {"max_tokens": 1, "fill_interval": "0.01s"}
        self.assertIn("50ms", refusals(("local_ratelimit", {**LIMIT, "token_bucket": fast}), ("tcp_proxy", TCP)))
