# -*- test-case-name: tests.filters.listener.test_local_ratelimit -*-
"""
C{envoy.filters.listener.local_ratelimit}: how many connections a listener takes in a time, before it looks at them.
"""

from __future__ import annotations

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.http.tokenbucket import TokenBucket, compileTokenBucket
from meshproxy.interfaces import IIncomingConnection
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext
from meshproxy.stats import statName

__all__ = ["LocalRateLimit"]

_MESSAGE = "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit"

declare(_MESSAGE, "stat_prefix", "token_bucket", "runtime_enabled")
declare("envoy.type.v3.TokenBucket", "max_tokens", "tokens_per_fill", "fill_interval")


class LocalRateLimit(ListenerFilter):
    """
    The listener filter.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        bucket = section.child("token_bucket")
        self._bucket = TokenBucket(1, 1.0) if bucket is None else TokenBucket(*compileTokenBucket(bucket))
        self._clock = context.clock
        self._isEnabled = context.runtime.featureFlag(section.child("runtime_enabled"), True)
        self._scope = context.store.scope(f"listener_local_ratelimit.{statName(section.get('stat_prefix'))}.")
        self._limited = self._scope.counter("rate_limited")

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        if self._isEnabled() and not self._bucket.take(self._clock.seconds()):
            self._limited.value += 1
            connection.close()
        return None

    def stop(self) -> None:
        """
        See L{IListenerFilter.stop}.
        """
        self._scope.close()
