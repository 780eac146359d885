"""
Filters between two that record what passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.http.filter import HTTPFilter
from tests.http.support import ProxyCase, recorder

__all__ = ["WalkCase"]


class WalkCase(ProxyCase):
    """
    Filters between two that record what passes: C{before} and C{after}.
    """

    def setUp(self) -> None:
        self.log: list[str] = []
        self.streams: list[Any] = []

    def between(self, *filters: type[HTTPFilter], **config: Any) -> None:
        """
        Start, with these filters in the middle.
        """
        config.setdefault("manager", self.trailers())
        cluster = {"http_protocol_options": {"enable_trailers": True}}
        config.setdefault("cluster", cluster)
        self.start(recorder(self.log, "before"), *filters, recorder(self.log, "after"), **config)

    def seen(self, *words: str) -> list[str]:
        """
        What was recorded whose line has all these words.
        """
        return [line for line in self.log if all(word in line for word in words)]

    def keep(self, verdict: object) -> Callable[..., object]:
        """
        A method that answers so, and remembers its stream.
        """

        def method(stream: Any, *args: Any) -> object:
            if stream not in self.streams:
                self.streams.append(stream)
            return verdict

        return method
