"""
L{meshproxy.listener}: connections that go to the listener of the address that they were meant for.
"""

from __future__ import annotations

from typing import Any

from meshproxy.listener import inspection
from meshproxy.net.address import Address
from tests.integration.configs import direct, listener
from tests.listener.test_listeners import A, B, ListenersCase


def _unbound(name: str, address: str, port: int, **fields: Any) -> dict[str, Any]:
    made = {**listener(name, port, direct(name)), "bind_to_port": False, **fields}
    made["address"] = {"socket_address": {"address": address, "port_value": port}}
    return made


class HandOverTests(ListenersCase):
    """
    C{use_original_dst} and C{bind_to_port}.
    """

    def front(self, meant: Address | None, **fields: Any) -> dict[str, Any]:
        """
        A listener whose connections were meant for an address.
        """
        self.patch(inspection, "originalDestination", lambda sock: meant)
        return {**listener("front", A, direct("front")), "use_original_dst": True, **fields}

    def test_address(self) -> None:
        """
        The listener of the very address comes before that of every address; it is not bound.
        """
        self.start(
            self.front(Address("192.0.2.1", B)), _unbound("any", "0.0.0.0", B), _unbound("exact", "192.0.2.1", B)
        )
        self.assertEqual(self.body(), b"exact")
        self.assertEqual(self.proxy.network.addresses, [Address("127.0.0.1", A)])

    def test_everyAddress(self) -> None:
        """
        One of every address does for each address of its family, and for the other one where it says so.
        """
        for meant, host in (("192.0.2.1", "0.0.0.0"), ("2001:db8::1", "::")):
            self.start(self.front(Address(meant, B)), _unbound("any", host, B))
            self.assertEqual(self.body(), b"any")
        self.start(self.front(Address("192.0.2.1", B)), six := _unbound("six", "::", B))
        self.assertEqual(self.body(), b"front")
        six["address"]["socket_address"]["ipv4_compat"] = True
        self.change(self.front(Address("192.0.2.1", B)), six)
        self.assertEqual(self.body(), b"six")

    def test_stays(self) -> None:
        """
        A connection stays where nobody has the address, where the kernel knows none, and where the listener does not
        ask.
        """
        for meant, asks in ((Address("192.0.2.1", 1), True), (None, True), (Address("192.0.2.1", B), False)):
            self.start(self.front(meant, use_original_dst=asks), _unbound("exact", "192.0.2.1", B))
            self.assertEqual(self.body(), b"front")

    def test_once(self) -> None:
        """
        Who gets it does not hand it on.
        """
        self.start(
            self.front(Address("192.0.2.1", B)),
            _unbound("first", "192.0.2.1", B, use_original_dst=True),
        )
        self.assertEqual(self.body(), b"first")

    def test_counted(self) -> None:
        """
        The listener that serves a connection counts it.
        """
        self.start(self.front(Address("192.0.2.1", B), stat_prefix="f"), _unbound("x", "192.0.2.1", B, stat_prefix="x"))
        self.body()
        counted = [self.proxy.stat(f"listener.{name}.downstream_cx_total") for name in "fx"]
        self.assertEqual(counted, [0, 1])
        self.assertEqual(self.proxy.stat("listener.f.downstream_pre_cx_active"), 0)

    def test_stopped(self) -> None:
        """
        One that was told to stop gets none any more.
        """
        self.start(self.front(Address("192.0.2.1", B)), _unbound("exact", "192.0.2.1", B))
        self.proxy.server.listeners.byName["exact"].stopAccepting()
        self.assertEqual(self.body(), b"front")

    def test_replaced(self) -> None:
        """
        A new version gets the next one, bound now or not any more.
        """
        front = self.front(Address("127.0.0.1", B))
        self.start(front, _unbound("x", "127.0.0.1", B))
        self.assertFalse(self.listens(B))
        bound = _unbound(
            "x", "127.0.0.1", B, bind_to_port=True, filter_chains=listener("x", B, direct("new"))["filter_chains"]
        )
        self.change(front, bound)
        self.assertTrue(self.listens(B))
        self.assertEqual(self.body(), b"new")
        self.change(front, _unbound("x", "127.0.0.1", B))
        self.assertFalse(self.listens(B))
        self.assertEqual(self.body(), b"x")
