# -*- test-case-name: tests.http.test_router -*-
"""
The body of a request, as far as it came, for whom it has to be sent later or again.
"""

from __future__ import annotations

from meshproxy.headers import HeaderMap

__all__ = ["KeptBody"]


class KeptBody:
    """
    What came of a request's body: until there is a connection, and for another try.
    """

    __slots__ = ("ended", "limit", "pieces", "size", "trailers")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pieces: list[bytes] = []
        self.size = 0
        self.ended = False
        self.trailers: HeaderMap | None = None
