# -*- test-case-name: tests.net.test_listenoptions -*-
"""
What a listening socket is given besides its address; the sockets that it accepts inherit it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import NamedTuple

from meshproxy.config import Section

__all__ = ["ListenOptions", "Option", "compileListenOptions"]

# linux/in.h and linux/in6.h; Python has no names for them.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78


class Option(NamedTuple):
    """
    One socket option.
    """

    level: int
    name: int
    value: int | bytes


class ListenOptions(NamedTuple):
    """
    Socket options by the moment when they are set.

    @ivar freebind: Whether an address may be bound that no interface has yet.
    """

    prebind: tuple[Option, ...] = ()
    bound: tuple[Option, ...] = ()
    listening: tuple[Option, ...] = ()
    freebind: bool = False

    def applyPrebind(self, sock: socket.socket) -> None:
        """
        Set those for a socket that is not bound.
        """
        if self.freebind and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        elif self.freebind and sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        _set(sock, self.prebind)

    def applyBound(self, sock: socket.socket) -> None:
        """
        Set those for a socket that is bound and does not listen.
        """
        _set(sock, self.bound)

    def applyListening(self, sock: socket.socket) -> None:
        """
        Set those for a socket that listens.
        """
        _set(sock, self.listening)


def _set(sock: socket.socket, options: Sequence[Option]) -> None:
    for option in options:
        sock.setsockopt(option.level, option.name, option.value)


def _keepaliveOptions(section: Section | None) -> list[Option]:
    """
    What C{core.v3.TcpKeepalive} stands for; L{None} stands for nothing.
    """
    if section is None:
        return []
    named = (
        ("keepalive_probes", socket.TCP_KEEPCNT),
        ("keepalive_time", socket.TCP_KEEPIDLE),
        ("keepalive_interval", socket.TCP_KEEPINTVL),
    )
    told = [Option(socket.IPPROTO_TCP, number, section.wrapped(field, 0)) for field, number in named]
    return [Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *[option for option in told if option.value]]


def compileListenOptions(
    sections: Sequence[Section], freebind: bool, keepalive: Section | None = None, fastOpen: int | None = None
) -> ListenOptions:
    """
    Compile the C{SocketOption} messages of a listener.

    @param keepalive: Its C{tcp_keepalive}.
    @param fastOpen: Its C{tcp_fast_open_queue_length}: how many connections may send data with their first packet.
    """
    found: dict[str, list[Option]] = {"STATE_PREBIND": [], "STATE_BOUND": [], "STATE_LISTENING": []}
    found["STATE_PREBIND"] += _keepaliveOptions(keepalive)
    if fastOpen is not None:
        found["STATE_LISTENING"].append(Option(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, fastOpen))
    for section in sections:
        kind = section.child("type")
        if kind is not None and kind.child("datagram") is not None and kind.child("stream") is None:
            # For datagram sockets only, and a listener here has none.
            continue
        value = section.get("int_value") if section.oneof("value") == "int_value" else section.get("buf_value")
        level, name = section.get("level"), section.get("name")
        if any(not -(1 << 31) <= number < 1 << 31 for number in (level, name)):
            section.refuse("level and name of a socket option are 32-bit numbers")
        elif isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
            section.refuse("the value of a socket option is a 32-bit number", "int_value")
        else:
            found[section.get("state")].append(Option(level, name, value))
    prebind, bound, listening = (tuple(each) for each in found.values())
    return ListenOptions(prebind, bound, listening, freebind)
