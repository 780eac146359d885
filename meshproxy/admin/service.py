# -*- test-case-name: tests.admin.test_service -*-
"""
The admin's listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.config import Section

if TYPE_CHECKING:
    from meshproxy.server import ProxyServer

__all__ = ["AdminServer"]


class AdminServer:
    def __init__(self, server, section: Section | None) -> None:
        self._server = server

    def listen(self) -> None:
        pass

    def stop(self) -> None:
        pass
