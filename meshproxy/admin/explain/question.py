# -*- test-case-name: tests.admin.explain.test_question -*-
"""
What is asked: a request that nobody sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from meshproxy.headers import RequestHeaders

__all__ = ["Question", "QuestionError", "askedIn"]

_SCHEMES = ("http", "https", "tcp", "tls")
_METHODS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")


class QuestionError(ValueError):
    """
    Something that cannot be asked; its text says what could.
    """


@dataclass(frozen=True, slots=True)
class Question:
    """
    A request, and where it comes in.

    @ivar scheme: C{http} or C{https}; C{tcp} or C{tls} for a connection without requests.

    @ivar port: Where it was sent to; C{host}: to which name or address, as the URL has it.
    @ivar listener: The name of the listener that gets it, whatever the port; empty to look for one.
    @ivar source: The client's address.
    @ivar principal: By which name its certificate authorizes it; empty for a connection without one.
    @ivar protocols: What the connection says by ALPN.
    """

    method: str
    scheme: str
    authority: str
    path: str
    port: int
    fields: tuple[tuple[str, str], ...] = ()
    listener: str = ""
    source: str = "127.0.0.1"
    host: str = ""
    principal: str = ""
    protocols: tuple[str, ...] = ()

    @property
    def isTLS(self) -> bool:
        """
        Whether the connection is one of TLS, as far as its URL says.
        """
        return self.scheme in ("https", "tls")

    def headers(self) -> RequestHeaders:
        """
        The head of the request, as a codec would have read it.
        """
        pairs = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in self.fields]
        path = "" if self.method == "CONNECT" else self.path
        return RequestHeaders(
            self.method.encode("ascii"),
            path.encode("utf-8"),
            self.authority.encode("utf-8"),
            pairs,
            b"https" if self.isTLS else b"http",
        )


def askedIn(
    url: str,
    method: str = "GET",
    fields: Iterable[str] = (),
    listener: str = "",
    source: str = "",
    principal: str = "",
    protocols: Iterable[str] = (),
) -> Question:
    """
    Read a question.

    @param url: C{http://host:port/path?query}; C{/path} alone where there is a C{host} among the fields.
    @param fields: Each C{name: value}.

    @raise QuestionError: If it is none.
    """
    if not method or not _METHODS.issuperset(method):
        raise QuestionError("method is a method such as GET")
    pairs = []
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon or not name.strip() or "\n" in field:
            raise QuestionError("a header is 'name: value'")
        pairs.append((name.strip().lower(), value.strip()))
    hosts = [value for name, value in pairs if name == "host"]
    try:
        split = urlsplit(url if "://" in url else f"http://{'' if url.startswith('/') else '/'}{url}", "http")
        port = split.port or (443 if split.scheme == "https" else 80)
        host = split.hostname or ""
    except ValueError as error:
        raise QuestionError("url is http://host:port/path?query") from error
    if not url or split.scheme not in _SCHEMES:
        raise QuestionError("url is http://host:port/path?query, or tcp://host:port for what is no HTTP")
    authority = hosts[0] if hosts else split.netloc.rpartition("@")[2]
    path = (split.path or "/") + (f"?{split.query}" if split.query else "")
    kept = tuple(pair for pair in pairs if pair[0] != "host")
    try:
        for text in (path, authority, source, principal):
            text.encode("ascii")
    except UnicodeEncodeError as error:
        raise QuestionError("an URL is ASCII; other letters stand in it percent-encoded") from error
    where = (listener, source or "127.0.0.1", host, principal, tuple(protocols))
    return Question(method, split.scheme, authority, path, port, kept, *where)
