# -*- test-case-name: tests.listener.test_listener -*-
"""
Where a listener listens: the addresses of its configuration, and each of them once it is bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from zope.interface import implementer

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.interfaces import IAcceptedSocket, IListening
from meshproxy.net.address import Address
from meshproxy.net.listenoptions import ListenOptions, compileListenOptions

if TYPE_CHECKING:
    from meshproxy.listener.listener import Listener

__all__ = ["BoundPort", "addressMessages", "addressOf", "addressesOf"]

_connectionIds = count(1)

# How many connections may wait to be accepted. As in Envoy it is for the system to say, by net.core.somaxconn, to which
# listen(2) cuts what is more. Where there are too few, a burst of clients has to knock again, a second later.
_BACKLOG = 65535


_ANY_IPV6 = bytes(16)


def addressOf(section: Section) -> tuple[Address, int] | None:
    """
    Where a C{core.v3.Address} message says to listen.

    @return: The address, and the permissions of a unix socket (0 for the umask's); L{None} where it is none, which
        is told.
    """
    pipe = section.child("pipe")
    if pipe is not None:
        return Address(pipe.get("path")), pipe.get("mode")
    sock = section.child("socket_address")
    if sock is None:
        section.refuse("a listener needs a socket_address or a pipe")
        return None
    if sock.get("protocol") != "TCP":
        sock.refuse("only TCP is listened on", "protocol")
    address = Address(sock.get("address"), sock.get("port_value"))
    packed = packAddress(address.host)
    # One of IPv6 that stands for one of IPv4 is packed as that.
    isMapped = packed is not None and len(packed) == 4 and ":" in sock.get("address")
    if sock.get("ipv4_compat") and packed is not None and packed != _ANY_IPV6 and not isMapped:
        why = f"only '::' and addresses such as '::ffff:192.0.2.1' hold IPv4; {address.host!r} does not"
        sock.refuse(why, "ipv4_compat")
    if packed is None:
        sock.refuse(
            f"{sock.get('address')!r} is not an IP address; a listener is bound to one, such as 0.0.0.0", "address"
        )
        return None
    return address, 0


def addressMessages(section: Section) -> list[Section]:
    """
    The C{core.v3.Address} messages of a C{Listener}.
    """
    listed = [section, *section.children("additional_addresses")]
    return [child for child in (each.child("address") for each in listed) if child is not None]


def addressesOf(section: Section) -> list[tuple[tuple[Address, int], ListenOptions]]:
    """
    Where a C{Listener} message says to listen, with the socket options of each address.
    """
    freebind: bool = section.wrapped("freebind", False)
    common, alive = section.children("socket_options"), section.child("tcp_keepalive")
    fastOpen = section.wrapped("tcp_fast_open_queue_length", 0) if section.has("tcp_fast_open_queue_length") else None
    wanted: list[tuple[Section, Sequence[Section], Section | None]] = []
    first = section.child("address")
    if first is None:
        section.refuse("a listener needs an address", "address")
    else:
        wanted.append((first, common, alive))
    for additional in section.children("additional_addresses"):
        child = additional.child("address")
        own = additional.child("socket_options")
        if child is not None:
            options = common if own is None else own.children("socket_options")
            wanted.append((child, options, additional.child("tcp_keepalive") or alive))
    found = [
        (addressOf(child), compileListenOptions(options, freebind, kept, fastOpen)) for child, options, kept in wanted
    ]
    return [(address, options) for address, options in found if address is not None]


@implementer(IListening)
class BoundPort:
    """
    A bound address, and who gets its connections.

    @ivar listener: A reload puts another one here.
    @ivar options: The socket options that it was opened with.
    @ivar wanted: The address as it was configured, where the port may be 0, and the permissions of a unix socket.
    """

    __slots__ = ("_listening", "listener", "options", "wanted")

    def __init__(self, listener: Listener, wanted: tuple[Address, int]) -> None:
        """
        @raise twisted.internet.error.CannotListenError: If it cannot be bound.
        """
        self.listener = listener
        self.wanted = wanted
        self.options = listener.optionsOf[wanted]
        address, mode = wanted
        backlog = listener.section.wrapped("tcp_backlog_size", _BACKLOG)
        self._listening = listener.proxy.network.accept(address, self.accepted, backlog, mode, self.options)

    @property
    def address(self) -> Address:
        """
        See L{IListening}.
        """
        address: Address = self._listening.address
        return address

    def stopListening(self) -> None:
        """
        See L{IListening.stopListening}.
        """
        self._listening.stopListening()

    def accepted(self, sock: IAcceptedSocket) -> None:
        """
        A connection came in.
        """
        listener = self.listener
        # A runtime without values, the usual one, limits nothing.
        if listener.proxy.runtime.values and listener.isFull():
            sock.close()
            return
        info = ConnectionInfo()
        info.id = next(_connectionIds)
        info.accepted = sock
        info.localAddress = info.directLocalAddress = local = sock.localAddress
        # As in Envoy, who comes by a unix socket and has no name is told by that of the socket.
        info.remoteAddress = info.directRemoteAddress = sock.peerAddress if sock.peerAddress.text else local
        listener.receive(sock, info, self)
