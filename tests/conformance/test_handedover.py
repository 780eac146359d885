"""
Connections that one listener hands over to another: C{use_original_dst}, and listeners that are not bound.
"""

from __future__ import annotations

import socket

from tests.conformance.admincase import AdminCase

_TYPES = "type.googleapis.com/envoy.extensions."
_PROXY = f"{{name: proxy, typed_config: {{'@type': {_TYPES}filters.listener.proxy_protocol.v3.ProxyProtocol}}}}"


def _listener(name: str, address: str, port: str, fields: str) -> str:
    """
    A listener that answers with its name.
    """
    return f"""
  - name: {name}
    address: {{socket_address: {{address: '{address}', port_value: {port}}}}}
    stat_prefix: {name}
    {fields}
    filter_chains:
    - filters:
      - name: answer
        typed_config:
          '@type': {_TYPES}filters.network.direct_response.v3.Config
          response: {{inline_string: {name}}}
"""


_LISTENERS = "".join(
    (
        _listener("front", "127.0.0.1", "FRONT", f"use_original_dst: true\n    listener_filters: [{_PROXY}]"),
        _listener("exact", "192.0.2.1", "80", "bind_to_port: false"),
        _listener("any", "0.0.0.0", "80", "bind_to_port: false"),
        _listener("older", "192.0.2.1", "81", "deprecated_v1: {bind_to_port: false}"),
        _listener("asks", "192.0.2.1", "82", f"bind_to_port: false\n    listener_filters: [{_PROXY}]"),
        _listener("again", "192.0.2.1", "83", "bind_to_port: false\n    use_original_dst: true"),
        _listener("six", "'::'", "84", "bind_to_port: false").replace("''", "'"),
        _listener("both", "'::'", "85", "bind_to_port: false")
        .replace("''", "'")
        .replace("85}", "85, ipv4_compat: true}"),
    )
)
_BOOTSTRAP = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: ADMIN}}}}}}
static_resources:
  listeners:{_LISTENERS}
"""


class HandedOverTests(AdminCase):
    """
    C{use_original_dst} and C{bind_to_port}.
    """

    def answer(self, kind: str, header: str, more: str = "") -> bytes:
        """
        What comes back where the load balancer says where a connection was meant to go.
        """
        with socket.create_connection(("127.0.0.1", self.ports[kind]["FRONT"]), 30) as sock:
            sock.sendall((header + "\r\n" + more).encode("ascii"))
            heard = b""
            while data := sock.recv(4096):
                heard += data
            return heard

    def test_handedOver(self) -> None:
        """
        A connection goes to the listener of the address that it was meant for, bound or not, or to that of every
        address, whose listener filters look at it anew; else it stays. Each counts those that it serves, and all are
        listed.
        """
        self.begin(_BOOTSTRAP)
        conversations = {
            "exact": ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 80", ""),
            "any": ("PROXY TCP4 198.51.100.7 192.0.2.9 40000 80", ""),
            "older": ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 81", ""),
            "again": ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 83", ""),
            "asks": (
                "PROXY TCP4 198.51.100.7 192.0.2.1 40000 82",
                "PROXY TCP4 198.51.100.7 192.0.2.1 40000 80\r\n",
            ),
            "nobody": ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 90", ""),
            "notMeant": ("PROXY UNKNOWN", ""),
            "six": ("PROXY TCP6 2001:db8::7 2001:db8::1 40000 84", ""),
            "sixFour": ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 84", ""),
            "both": ("PROXY TCP4 198.51.100.7 192.0.2.1 40000 85", ""),
        }
        heard = {
            kind: {name: self.answer(kind, *said) for name, said in conversations.items()}
            for kind in ("envoy", "meshproxy")
        }
        self.assertEqual(heard["envoy"], heard["meshproxy"])
        self.assertEqual(heard["envoy"]["exact"], b"exact")
        self.assertSame(
            (
                "GET /listeners",
                "GET /stats?filter=listener.*downstream_(pre_)?cx_(total|active)$",
                "GET /stats?filter=listener_manager.(listener_create_success|total_listeners_active)",
            ),
            (),
        )
