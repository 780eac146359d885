# -*- test-case-name: tests.filters.network.test_local_ratelimit -*-
"""
C{envoy.filters.network.local_ratelimit}: how many connections a filter chain takes in a time.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.flags import ResponseFlag
from meshproxy.http.tokenbucket import TokenBucket, compileTokenBucket
from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter
from meshproxy.net.filter import ConnectionFilter, NetworkFilterContext, PassingFilter
from meshproxy.stats import Store, statName

__all__ = ["LimitedConnection", "LocalRateLimit", "bucketOf"]

_MESSAGE = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"

declare(_MESSAGE, "stat_prefix", "token_bucket", "runtime_enabled", "share_key")
declare("envoy.type.v3.TokenBucket", "max_tokens", "tokens_per_fill", "fill_interval")

_Shared = WeakValueDictionary[tuple[str, tuple[int, float]], TokenBucket]

# The buckets that filters share: by proxy (its store of metrics), then by key and settings.
_shared: WeakKeyDictionary[Store, _Shared] = WeakKeyDictionary()


def bucketOf(section: Section | None, store: Store, key: str = "") -> TokenBucket:
    """
    The bucket of a C{TokenBucket} message.

    @param key: Filters with the same key and equal settings share one bucket.
    """
    if section is None:
        return TokenBucket(1, 1.0)
    arguments = compileTokenBucket(section)
    if not key:
        return TokenBucket(*arguments)
    buckets = _shared.setdefault(store, WeakValueDictionary())
    found = buckets.get((key, arguments))
    if found is None:
        found = buckets[key, arguments] = TokenBucket(*arguments)
    return found


class LocalRateLimit(PassingFilter):
    """
    The limit of one filter chain, or of all that share its key, in this process.

    @ivar bucket: A token for each connection.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        self.bucket = bucketOf(section.child("token_bucket"), context.store, section.get("share_key"))
        self.clock = context.clock
        self._isEnabled = context.runtime.featureFlag(section.child("runtime_enabled"), True)
        self._scope = context.store.scope(f"local_rate_limit.{statName(section.get('stat_prefix'))}.")
        self.limited = self._scope.counter("rate_limited")

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        See L{PassingFilter.buildFilter}.
        """
        return LimitedConnection(self) if self._isEnabled() else None

    def stop(self) -> None:
        """
        See L{PassingFilter.stop}.
        """
        self._scope.close()


class LimitedConnection(ConnectionFilter):
    """
    One connection.
    """

    def __init__(self, limit: LocalRateLimit) -> None:
        self._limit = limit

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        limit = self._limit
        if limit.bucket.take(limit.clock.seconds()):
            return None
        limit.limited.value += 1
        connection.close("local_ratelimit_close_over_limit", flags=ResponseFlag.CONNECT_ATTEMPTS_EXCEEDED)
        return STOP
