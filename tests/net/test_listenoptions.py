"""
L{meshproxy.net.listenoptions}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.errors import ConfigErrors
from meshproxy.net.listenoptions import ListenOptions, Option, compileListenOptions

REUSE = {"level": socket.SOL_SOCKET, "name": socket.SO_KEEPALIVE, "int_value": 1}


def compiled(*options: dict[str, Any], freebind: bool = False) -> ListenOptions:
    """
    Compile some options.
    """
    sections = [Section.of("envoy.config.core.v3.SocketOption", each) for each in options]
    made = compileListenOptions(sections, freebind)
    for section in sections:
        section.report.raiseIfAny()
    return made


class ListenOptionsTests(SynchronousTestCase):
    """
    Options, each at its moment.
    """

    def test_states(self) -> None:
        """
        Before binding unless it says otherwise; numbers and bytes.
        """
        made = compiled(
            REUSE, {**REUSE, "state": "STATE_BOUND"}, {"level": 1, "name": 2, "buf_value": "YQ==", "state": 2}
        )
        keepalive = Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.assertEqual(made, ListenOptions((keepalive,), (keepalive,), (Option(1, 2, b"a"),)))

    def test_kept(self) -> None:
        """
        Probes for peers that say nothing, and connections that begin with data.
        """
        section = Section.of("envoy.config.core.v3.TcpKeepalive", {"keepalive_time": 30, "keepalive_probes": 2})
        made = compileListenOptions([], False, section, 5)
        self.assertEqual(
            made.prebind,
            (
                Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                Option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
                Option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
            ),
        )
        self.assertEqual(made.listening, (Option(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5),))
        none = compileListenOptions([], False, Section.of("envoy.config.core.v3.TcpKeepalive", {}))
        self.assertEqual(none.prebind, (Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),))

    def test_types(self) -> None:
        """
        What is for datagram sockets only is left out.
        """
        self.assertEqual(compiled({**REUSE, "type": {"datagram": {}}}), ListenOptions())
        self.assertEqual(len(compiled({**REUSE, "type": {"stream": {}}}).prebind), 1)

    def test_wrong(self) -> None:
        """
        Numbers that no socket takes are told.
        """
        for wrong in ({"level": 1 << 40}, {"name": -(1 << 40)}, {"int_value": 1 << 31}):
            self.assertRaises(ConfigErrors, compiled, {**REUSE, **wrong})

    def test_apply(self) -> None:
        """
        They reach the socket, and a socket that it accepted would inherit them.
        """
        made = compiled(REUSE, {**REUSE, "int_value": 0, "state": "STATE_BOUND"}, {**REUSE, "state": "STATE_LISTENING"})
        with socket.socket() as sock:
            seen = []
            for apply in (made.applyPrebind, made.applyBound, made.applyListening):
                apply(sock)
                seen.append(bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))
            self.assertEqual(seen, [True, False, True])

    def test_freebind(self) -> None:
        """
        An address that nobody has can be bound, of either family.
        """
        for family, level, name in (
            (socket.AF_INET, socket.IPPROTO_IP, 15),
            (socket.AF_INET6, socket.IPPROTO_IPV6, 78),
        ):
            with socket.socket(family) as sock:
                compiled(freebind=True).applyPrebind(sock)
                self.assertTrue(sock.getsockopt(level, name))
        with socket.socket(socket.AF_UNIX) as sock:
            compiled(freebind=True).applyPrebind(sock)
