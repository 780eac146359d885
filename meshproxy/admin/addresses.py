# -*- test-case-name: tests.admin.test_listing -*-
"""
Addresses as C{envoy.config.core.v3.Address}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.net.address import Address

__all__ = ["addressMessage"]


def addressMessage(message: Any, address: Address) -> None:
    """
    Fill an C{Address} message.
    """
    if address.port is None:
        message.pipe.path = address.host
    else:
        message.socket_address.address = address.host
        message.socket_address.port_value = address.port
