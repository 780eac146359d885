# -*- test-case-name: tests.admin.explain.test_answer -*-
"""
A request, and what is known of it where nobody sent it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.admin.explain.question import Question
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.listener.matching import ConnectionFacts
from meshproxy.net.address import Address
from meshproxy.net.certificates import AltNames
from meshproxy.routing.route import Route

if TYPE_CHECKING:
    from meshproxy.http.manager import ConnectionManager

__all__ = ["Asked", "AskedStream", "askedConnection"]


class _AskedTLS:
    """
    A session of TLS that nobody began: no more is known of it than by which name the client's certificate authorizes
    it.
    """

    serverName = ""
    isPresented = isValidated = True
    localAltNames = AltNames()

    def __init__(self, principal: str) -> None:
        self._names = {"PEER_URI_SAN": principal} if "://" in principal else {}
        self.peerAltNames = AltNames(uris=tuple(self._names.values()))

    def get(self, fact: str) -> str | None:
        """
        What the name tells.
        """
        return self._names.get(fact)

    def moment(self, fact: str) -> float | None:
        """
        Never.
        """
        return None


class AskedStream(StreamInfo):
    """
    What is known of a request that nobody sent.

    @ivar route: Its route.
    """

    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request at the connection manager that has it.

    @ivar manager: The configuration of the connection manager.
    @ivar running: What was made of that.
    @ivar headers: The head, as routes and filters see it.
    @ivar stream: What else is known of it.
    """

    manager: Section
    running: ConnectionManager
    headers: RequestHeaders
    stream: StreamInfo


def askedConnection(question: Question, address: Address | None) -> ConnectionFacts:
    """
    The connection that a request would come by, as filter chains look at it.

    @param address: Where its listener is.
    """
    info = ConnectionInfo()
    info.remoteAddress = info.directRemoteAddress = Address(question.source, 50000)
    host = "127.0.0.1" if address is None or address.host in ("0.0.0.0", "::") else address.host
    info.localAddress = info.directLocalAddress = Address(host, question.port)
    isTLS = question.isTLS or bool(question.principal)
    serverName = question.authority.rpartition(":")[0] or question.authority if isTLS else ""
    if question.principal:
        info.tls, info.peerNames = _AskedTLS(question.principal), (question.principal,)
    return ConnectionFacts(info, serverName, "tls" if isTLS else "raw_buffer", question.protocols)
