"""
The client, where it speaks HTTP/2: it sends the frames that a case tells it to.
"""

from __future__ import annotations

from tests.codec.http2.client import Exchange, Reading
from tests.codec.http2.frames import PREFACE, settings
from tests.conformance.case import Case
from tests.conformance.client import Conversation
from tests.conformance.rest import Rest

__all__ = ["HTTP2Conversation"]


class HTTP2Conversation(Conversation):
    """
    A case's conversation.

    GOAWAY is not looked at: by which code a connection ends, or whether it is told at all, is each proxy's own.
    """

    def __init__(self, target: tuple[str, int], source: str, case: Case, rest: Rest) -> None:
        super().__init__(target, source, case, rest)
        if not self.heard.ended:
            self._sock.sendall(PREFACE + settings())

    def _exchanges(self) -> dict[int, Exchange]:
        reading = Reading()
        reading.feed(self._data)
        return reading.exchanges

    def _read(self) -> None:
        lines = []
        for streamId, exchange in sorted(self._exchanges().items()):
            lines += [f"stream {streamId}: {line}" for line in _described(exchange)]
        self.heard.lines = lines

    def _finals(self) -> int:
        return sum(exchange.done for exchange in self._exchanges().values())

    def _whole(self) -> int:
        return self._finals()


def _described(exchange: Exchange) -> list[str]:
    lines = []
    for interim in exchange.interim:
        lines += ["interim", *_fields(interim)]
    if exchange.headers is not None:
        lines += ["response", *_fields(exchange.headers), f"body {exchange.body!r}"]
    if exchange.trailers is not None:
        lines += ["trailers", *_fields(exchange.trailers)]
    if exchange.ended:
        lines.append("ended")
    if exchange.resetCode is not None:
        lines.append(f"reset with {exchange.resetCode}")
    return lines


def _fields(fields: list[tuple[bytes, bytes]]) -> list[str]:
    return sorted(f"  {name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in fields)
