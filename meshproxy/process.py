# -*- test-case-name: tests.test_process -*-
"""
The program as a process: its signals, its exit status, its memory.

This module is imported before there is a reactor, and imports nothing that brings one.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
from typing import Any

from twisted.application.service import MultiService

__all__ = ["Process"]


class Process(MultiService):
    """
    The proxy as a process: its signals, its exit status, and the file that it watches.
    """

    def __init__(self, server: Any, reactor: Any, watch: Any) -> None:
        MultiService.__init__(self)
        self._server = server
        self._reactor = reactor
        self._signalled = False
        server.setServiceParent(self)
        if watch is not None:
            watch.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """
        Bind; what cannot be bound is one line.
        """
        from twisted.internet.error import CannotListenError

        # What was loaded until now stays: modules, descriptors, the configuration. The collector need not look at it
        # again and again while requests pass.
        gc.collect()
        gc.freeze()
        # Before the ports are open: who sees one may send a signal at once, and it waits until the reactor runs.
        self._takeSignals()
        try:
            MultiService.privilegedStartService(self)
        except CannotListenError as error:
            where = f"{error.interface}:{error.port}" if error.port else error.interface
            os.write(2, f"cannot listen on {where}: {error.socketError}\n".encode())
            os._exit(1)

    def startService(self) -> None:
        """
        Take the signals again, after the reactor took its own, which know nothing of a second one.
        """
        MultiService.startService(self)
        self._reactor.callWhenRunning(self._takeSignals)
        atexit.register(self._exit)

    def _takeSignals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stopSignalled)
        signal.signal(signal.SIGHUP, self._reloadSignalled)

    def _stopSignalled(self, number: int, frame: object) -> None:
        if self._signalled:
            os._exit(1)
        self._signalled = True
        self._reactor.callFromThread(self._reactor.stop)

    def _reloadSignalled(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._server.reloadAll)

    def _exit(self) -> None:
        if self._server.exitStatus:
            os._exit(self._server.exitStatus)
