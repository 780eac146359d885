"""
What a case of conformance is made of: what a client sends, and what the upstream does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "OK",
    "Case",
    "Do",
    "Pause",
    "Script",
    "Step",
    "Until",
    "get",
    "ok",
    "request",
]


class Do(Enum):
    """
    What a client, or a backend, may do besides sending bytes.
    """

    AWAIT = "read until one more whole message is there"
    BODY = "read the body of the request"
    CLOSE = "close"
    DRAIN = "read until the peer closes"
    ECHO = "send back all that comes until the peer closes"
    EARLY = "as the first step: do not read the body of the request"
    HALF_CLOSE = "end this side of the connection"
    RESET = "close with a reset"
    REST = "go on when all that was said has been heard"


@dataclass(frozen=True)
class Pause:
    """
    Do nothing for a while.
    """

    seconds: float


@dataclass(frozen=True)
class Until:
    """
    Read until some bytes have come.
    """

    text: bytes


Step = bytes | Do | Pause | Until
"""
Bytes are sent.
"""

Script = Sequence[Step] | bytes
"""
What a backend does when the head of a request is there. It reads the request's body first, unless C{Do.EARLY} begins
it.
"""


def ok(*fields: str, body: str = "ok") -> bytes:
    """
    A response with more fields.
    """
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


OK = ok()


def request(line: str, *fields: str, body: str = "") -> bytes:
    """
    A request: its line without the version where that is 1.1, its fields after C{Host}.
    """
    start = line if " HTTP/" in line else f"{line} HTTP/1.1"
    lines = [
        start,
        *([] if any(name.lower().startswith("host:") for name in fields) else ["Host: example.com"]),
        *fields,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


def get(path: str = "/", *fields: str) -> bytes:
    """
    A GET.
    """
    return request(f"GET {path}", *fields)


@dataclass(frozen=True)
class Case:
    """
    One conversation, held with both proxies.

    @ivar name: What its test is called.
    @ivar intent: What is compared.
    @ivar send: What the client does.
    @ivar replies: What the backend does with each request, in order; the last for all that follow.
    @ivar listener: Which of the bootstrap's listeners is asked.
    @ivar source: The client's address; by default another one for each case.
    @ivar responses: How many final responses the client waits for, before it looks whether the connection stays.
    @ivar limit: How long it waits for them, in seconds.
    @ivar settle: How long to look whether the connections stay; 0 for the usual time.
    @ivar unordered: Whether the upstream sees connections in any order.
    @ivar http2: Whether the client speaks HTTP/2: preface and settings go before what it sends, which is frames.
    """

    name: str
    intent: str
    send: bytes | Sequence[Step]
    replies: Sequence[Script] = (OK,)
    listener: str = "plain"
    source: str = ""
    responses: int = 1
    limit: float = 4.0
    settle: float = 0.0
    unordered: bool = False
    http2: bool = False

    @property
    def steps(self) -> list[Step]:
        """
        What the client does, step by step.
        """
        return [self.send] if isinstance(self.send, bytes) else list(self.send)
