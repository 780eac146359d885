# -*- test-case-name: tests.test_tap -*-
"""
What C{twistd} loads: the commands of C{twistd meshproxy}, and the services that they start.

This module is imported before there is a reactor, and imports nothing that brings one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.python import usage

from meshproxy.commandline import AgentUsage, CommandUsage, ControlUsage, DemoUsage, ProxyUsage
from meshproxy.process import Process

if TYPE_CHECKING:
    from meshproxy.server import ProxyOptions

__all__ = ["Options", "makeService"]


class Options(CommandUsage):
    """
    C{twistd meshproxy}.
    """

    synopsis = "COMMAND [options]"
    longdesc = "A service mesh in Python: a proxy that takes Envoy's configuration, a control plane that takes Istio's."
    subCommands = [
        ["proxy", None, ProxyUsage, "Run a proxy from an Envoy bootstrap."],
        ["control", None, ControlUsage, "Run the control plane of a mesh."],
        ["agent", None, AgentUsage, "Get the identity of a workload, for a real Envoy."],
        ["demo", None, DemoUsage, "Run a whole mesh in one process, to try things on."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        if "twisted.internet.reactor" not in sys.modules:
            # Nobody chose a reactor (twistd's --reactor would have installed it by now): ours is the fast one.
            from meshproxy.net.reactor import install

            install()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse; what does not fit is one line and 1. Twistd itself would print all options first, to stdout.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            command = f" {self.subCommand}" if self.subCommand else ""
            os.write(2, f"{error} (twistd meshproxy{command} --help lists the options)\n".encode())
            raise SystemExit(1) from None

    def postOptions(self) -> None:
        """
        Adjust what twistd itself is told, where its user did not say.
        """
        if not self.subCommand:
            raise usage.UsageError("a command is needed: proxy, control, agent, demo")
        parent = self.parent
        if parent is None:
            return
        if parent.get("nodaemon") and parent.get("pidfile") == "twistd.pid":
            # Several may run in one folder.
            parent["pidfile"] = ""
        # In the background there is no stderr: twistd's own file has the log, as with any other service.
        isElsewhere = parent.get("logger") or parent.get("logfile") or parent.get("syslog")
        if parent.get("nodaemon") and not isElsewhere:
            from meshproxy.logs import levels

            levels.setDefault(self.subOptions["log-level"])
            parent["logger"] = "meshproxy.logs.stderrObserver"


def makeService(options: Options) -> IService:
    """
    Make the service of a command. Faults of the configuration end the process here, with 1.
    """
    if options.subCommand == "control":
        return _makeControl(options.subOptions)
    if options.subCommand == "agent":
        return _makeAgent(options.subOptions)
    if options.subCommand == "demo":
        return _makeDemo(options.subOptions)
    return _makeProxy(options.subOptions)


def _makeControl(options: ControlUsage) -> IService:
    from pathlib import Path

    from twisted.internet import reactor
    from twisted.python.reflect import namedAny

    from meshproxy.errors import MeshProxyError

    # Named, not imported: the control plane imports what stands right of it, and nothing imports it.
    settings = namedAny("meshproxy.controlplane.settings")
    make = namedAny("meshproxy.controlplane.service.ControlPlane")
    try:
        data = Path(options["data"]) if options["data"] else settings.defaultData()
        control = make(settings.loadSettings(options["config"]), data, reactor)
    except MeshProxyError as error:
        os.write(2, f"{error}\n".encode())
        raise SystemExit(1) from None
    except OSError as error:
        os.write(2, f"{error.filename}: {error.strerror}\n".encode())
        raise SystemExit(1) from None
    return Process(control, reactor, None)


def _makeAgent(options: AgentUsage) -> IService:
    from twisted.internet import reactor

    from meshproxy.config.structure import structureOrRaise
    from meshproxy.errors import MeshProxyError
    from meshproxy.identity.agent import SOCKET, Agent, AgentOptions
    from meshproxy.identity.settings import IdentitySettings
    from meshproxy.net.network import ReactorNetwork

    told = {
        "address": options["address"],
        "server_name": options["server-name"],
        "roots": options["roots"],
        "token": options["token-file"],
        "folder": options["folder"],
        "lifetime": options["lifetime"],
        "grace_period_ratio": options["grace-period-ratio"],
    }
    try:
        settings = structureOrRaise(IdentitySettings, {key: value for key, value in told.items() if value is not None})
        agentOptions = AgentOptions(
            identity=settings, socket=options["socket"] or SOCKET, mode=int(options["socket-mode"], 8)
        )
        return Process(Agent(agentOptions, reactor, ReactorNetwork(reactor)), reactor, None)
    except MeshProxyError as error:
        os.write(2, f"{error}\n".encode())
        raise SystemExit(1) from None


def _makeDemo(options: DemoUsage) -> IService:
    from twisted.internet import reactor
    from twisted.python.reflect import namedAny

    from meshproxy.config.scalars import WrongValue
    from meshproxy.config.structure import goDuration
    from meshproxy.errors import MeshProxyError
    from meshproxy.logs import levels

    if options["log-level"] == "info":
        # The one tells of each connection, the other of the ports of each sidecar; here one looks for the requests.
        levels.setFor("twisted.web.client", "warning")
        levels.setFor("meshproxy.listener.listeners", "warning")
    mesh = namedAny("meshproxy.controlplane.demo.mesh")
    try:
        lifetime = goDuration(options["lifetime"])
        if lifetime < 1:
            raise WrongValue("1s at least")
    except WrongValue as error:
        os.write(2, f"--lifetime {options['lifetime']!r}: {error}\n".encode())
        raise SystemExit(1) from None
    demoOptions = mesh.DemoOptions(
        port=options["port"],
        rest=options["rest-port"],
        xds=options["xds-port"],
        secure=options["xds-tls-port"],
        network=options["network"],
        engine=options["engine"],
        processes=bool(options["processes"]),
        lifetime=lifetime,
        gracePeriodRatio=options["grace-period-ratio"],
        logLevel=options["log-level"],
        patience=options["patience"],
        accessLog=options["access-log"] or "",
    )
    try:
        if options["workload"] is not None:
            program = mesh.programOf(options["workload"], options["network"], reactor, options["patience"])
            return Process(program, reactor, None)
        return Process(mesh.Demo(demoOptions, reactor), reactor, None)
    except MeshProxyError as error:
        os.write(2, f"{error}\n".encode())
        raise SystemExit(1) from None


def _proxyOptions(options: ProxyUsage) -> ProxyOptions:
    from meshproxy.server import ProxyOptions

    return ProxyOptions(
        configPath=options["config-path"],
        configText=options["config-yaml"],
        allowUnknown=bool(options["allow-unknown-static-fields"]),
        serviceNode=options["service-node"] or "",
        serviceCluster=options["service-cluster"] or "",
        serviceZone=options["service-zone"] or "",
        drainTime=options["drain-time-s"],
        adminAddressPath=options["admin-address-path"],
        xdsCopyPath=options["xds-copy-path"],
        watchFilters=bool(options["watch-filters"]),
        flags=dict(options),
    )


def _makeProxy(options: ProxyUsage) -> IService:
    from twisted.internet import reactor

    from meshproxy.dryrun import validate
    from meshproxy.errors import ConfigErrors
    from meshproxy.net.network import ReactorNetwork
    from meshproxy.reload import FileWatch
    from meshproxy.server import ProxyServer

    proxyOptions = _proxyOptions(options)
    network = ReactorNetwork(reactor)
    try:
        if options["mode"] == "validate":
            for warning in validate(proxyOptions, reactor, network):
                os.write(2, f"warning: {warning}\n".encode())
            os.write(1, f"configuration '{options['config-path'] or ''}' OK\n".encode())
            raise SystemExit(0)
        if options["mode"] == "explain":
            os.write(1, _explained(options, proxyOptions, reactor, network).encode("utf-8"))
            raise SystemExit(0)
        # The watch looks at the file before it is read, so that no change is missed.
        path = proxyOptions.configPath
        watch = None if path is None else FileWatch(path, reactor, lambda: server.reload())
        server = ProxyServer(proxyOptions, reactor, network)
        server.tellWarnings()
    except ConfigErrors as errors:
        os.write(2, f"{errors}\n".encode())
        raise SystemExit(1) from None
    return Process(server, reactor, watch)


def _explained(options: ProxyUsage, proxyOptions: ProxyOptions, reactor: Any, network: Any) -> str:
    """
    What would become of the request that the options tell.
    """
    import json

    from meshproxy.admin.explain.question import QuestionError, askedIn
    from meshproxy.admin.explain.text import readable
    from meshproxy.dryrun import explainRequest

    try:
        where = (options[name] or "" for name in ("listener", "source", "principal"))
        question = askedIn(options["url"], options["method"], options["header"], *where)
    except QuestionError as error:
        os.write(2, f"{error}\n".encode())
        raise SystemExit(1) from None
    answer = explainRequest(proxyOptions, reactor, network, question)
    return json.dumps(answer, indent=1) + "\n" if options["format"] == "json" else readable(answer)
