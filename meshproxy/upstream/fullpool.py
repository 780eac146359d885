# -*- test-case-name: tests.upstream.test_fullpool -*-
"""
What stands in for the connection pool that a cluster may not have (C{max_connection_pools}).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshproxy.flags import ResetReason

if TYPE_CHECKING:
    from meshproxy.upstream.http1pool import IPoolRequest

__all__ = ["FULL_POOL", "FullPool"]


class FullPool:
    """
    A pool that has no connection for anybody.
    """

    def request(self, request: IPoolRequest) -> None:
        """
        See L{meshproxy.upstream.http1pool.HTTP1Pool.request}.
        """
        request.connectionFailed(ResetReason.NO_POOL, None, "")

    def cancel(self, request: IPoolRequest) -> None:
        """
        See L{meshproxy.upstream.http1pool.HTTP1Pool.cancel}. Nobody waits here.
        """


FULL_POOL: Final = FullPool()
