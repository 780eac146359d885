# -*- test-case-name: tests.integration.test_demo -*-
"""
The program of a workload as a service: in the demo's process, or alone in its own.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Site

from meshproxy.controlplane.demo.workloads import OWN_PORT, Workload, makeApp

__all__ = ["Program"]


#: Seconds that a connection may be idle: longer than a sidecar keeps one, so that none ends as a request begins.
_IDLE = 7200.0


class Program(Service):
    """
    See the module.

    @ivar exitStatus: What the process ends with, where this is all of it.
    """

    _log = Logger()
    exitStatus = 0

    def __init__(self, workload: Workload, network: str, reactor: Any, patience: float = 1.0) -> None:
        """
        @param patience: See L{makeApp}.
        """
        self._workload = workload
        self._address = workload.inbound(network)
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        app = makeApp(workload, Agent(reactor, pool=self._pool), reactor, network, patience)
        self._site = _Site(app, timeout=_IDLE)
        self._port: Any = None

    def privilegedStartService(self) -> None:
        """
        Bind.

        @raise twisted.internet.error.CannotListenError: If the address is taken.
        """
        self._port = self._reactor.listenTCP(OWN_PORT, self._site, interface=self._address)

    def reloadAll(self) -> None:
        """
        SIGHUP: there is nothing to read again.
        """
        self._log.info("nothing to reload")

    def stopService(self) -> Deferred[None]:
        """
        Listen no more, and call nobody.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._pool.closeCachedConnections()
        if self._port is not None:
            await self._port.stopListening()


class _Site(Site):
    """
    A service's; its own lines in the log say more than C{twisted.web}'s.
    """

    noisy = False

    def log(self, request: Any) -> None:
        """
        Say nothing.
        """
