# -*- test-case-name: tests.test_tap -*-
"""
The options of C{twistd meshproxy}, and the services that it starts.

This module is imported before there is a reactor, and imports nothing that brings one.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from meshproxy import __version__

if TYPE_CHECKING:
    from meshproxy.server import ProxyOptions

__all__ = ["AgentUsage", "ControlUsage", "DemoUsage", "Options", "ProxyUsage", "makeService"]

_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")


def _named(rows: list[list[Any]]) -> list[list[Any]]:
    """
    Parameters whose numbers are read so that a wrong one is told with its option: twistd itself tells only the number.
    """

    def reader(name: str, kind: type[int] | type[float]) -> Callable[[str], float]:
        def read(text: str) -> float:
            try:
                return kind(text)
            except ValueError:
                what = "a whole number" if kind is int else "a number"
                raise ValueError(f"--{name} is {what}, not {text!r}") from None

        return read

    return [[*row[:4], *(reader(row[0], kind) for kind in row[4:])] for row in rows]


class _Usage(usage.Options):
    """
    What the program's commands have in common.
    """

    def opt_version(self) -> None:
        """
        Print the version and exit.
        """
        os.write(1, f"meshproxy {__version__}\n".encode("ascii"))
        raise SystemExit(0)


class ProxyUsage(_Usage):
    """
    C{twistd meshproxy proxy}.
    """

    longdesc = "A proxy that takes Envoy's v3 configuration. Example: twistd -n meshproxy proxy -c etc/01-http.yaml"

    optParameters = _named(
        [
            ["config-path", "c", None, "The bootstrap: a file with Envoy's v3 configuration, YAML or JSON."],
            ["config-yaml", None, None, "A bootstrap in text, merged over the file; either is enough alone."],
            ["mode", None, "serve", "serve; validate: tell every error of the configuration, and exit; or explain."],
            ["url", None, None, "--mode explain: the request, http://host:port/path; the port says which listener."],
            ["method", None, "GET", "--mode explain: its method."],
            ["source", None, None, "--mode explain: the client's address."],
            ["listener", None, None, "--mode explain: the name of the listener, whatever the port."],
            ["format", None, "text", "--mode explain: text or json."],
            ["service-node", None, None, "The name of this node; replaces node.id."],
            ["service-cluster", None, None, "The cluster that this node is of; replaces node.cluster."],
            ["service-zone", None, None, "The zone that this node runs in; replaces node.locality.zone."],
            ["concurrency", None, 1, "How many worker processes; only 1 so far.", int],
            ["drain-time-s", None, 10.0, "How long connections have to end when the proxy stops.", float],
            ["log-level", "l", "info", f"One of {', '.join(_LEVELS)}."],
            ["admin-address-path", None, None, "A file to write the admin's address to."],
            ["xds-copy-path", None, None, "A folder for a copy of what the control plane says, to start without it."],
        ]
    )
    optFlags = [
        ["allow-unknown-static-fields", None, "Tell fields that are not implemented as warnings instead of errors."],
        ["watch-filters", None, "Reload a filter whose file is saved."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["header"] = []

    def opt_header(self, field: str) -> None:
        """
        --mode explain: a header of the request, 'name: value'; there may be several.
        """
        self["header"].append(field)

    def getSynopsis(self) -> str:
        """
        How it is called; the usual way would string three of these together.
        """
        return "Usage: twistd [twistd options] meshproxy proxy --config-path FILE [options]"

    def parseArgs(self, *command: str) -> None:
        """
        A command to run beside the proxy is not implemented yet.
        """
        if command:
            raise usage.UsageError(f"running a command beside the proxy comes later: {' '.join(command)}")

    def postOptions(self) -> None:
        """
        Look at what the options say together.
        """
        if self["config-path"] is None and self["config-yaml"] is None:
            raise usage.UsageError("a configuration is needed: --config-path FILE or --config-yaml TEXT")
        if self["mode"] not in ("serve", "validate", "explain"):
            raise usage.UsageError(f"--mode is serve, validate or explain, not {self['mode']!r}")
        if self["mode"] == "explain" and not self["url"]:
            raise usage.UsageError("--mode explain: a request is needed: --url http://host:port/path")
        if self["format"] not in ("text", "json"):
            raise usage.UsageError(f"--format is text or json, not {self['format']!r}")
        if self["concurrency"] != 1:
            raise usage.UsageError("--concurrency: more than 1 worker process comes later")
        if self["log-level"] not in _LEVELS:
            raise usage.UsageError(f"--log-level is one of {', '.join(_LEVELS)}, not {self['log-level']!r}")
        if self["drain-time-s"] < 0:
            raise usage.UsageError("--drain-time-s is a number of seconds, 0 or more")


class ControlUsage(_Usage):
    """
    C{twistd meshproxy control}.
    """

    longdesc = "A control plane that takes Istio's resources. Example: twistd -n meshproxy control"

    optParameters = [
        ["config", "c", None, "Its configuration, YAML; without one the defaults serve this machine."],
        ["data", "d", None, "The folder for what it keeps; by default ~/.local/state/meshproxy."],
        ["log-level", "l", "info", f"One of {', '.join(_LEVELS)}."],
    ]

    def getSynopsis(self) -> str:
        """
        How it is called.
        """
        return "Usage: twistd [twistd options] meshproxy control [--config FILE] [--data DIR]"

    def postOptions(self) -> None:
        """
        Look at what the options say.
        """
        if self["log-level"] not in _LEVELS:
            raise usage.UsageError(f"--log-level is one of {', '.join(_LEVELS)}, not {self['log-level']!r}")


class DemoUsage(_Usage):
    """
    C{twistd meshproxy demo}.
    """

    longdesc = "A mesh in one process: Istio's bookinfo, sidecars, a gateway, the control plane. Ctrl-C ends it all."

    optFlags = [["processes", None, "Everything in a process of its own: control plane, sidecars, services."]]
    optParameters = _named(
        [
            ["port", "p", 9080, "Where the gateway listens on 127.0.0.1; 0 for any port that is free.", int],
            ["rest-port", None, 15014, "Where the API of the control plane listens; 0 likewise.", int],
            ["xds-port", None, 15010, "Where proxies of yours find the control plane, in clear; 0 likewise.", int],
            ["xds-tls-port", None, 15012, "Where sidecars and gateway find it, with mutual TLS; 0 likewise.", int],
            ["network", None, "127.0", "The first two numbers of the workloads' addresses; another for a second demo."],
            ["engine", None, "meshproxy", "What runs sidecars and gateway: meshproxy or envoy."],
            ["lifetime", None, "24h", "How long certificates are valid."],
            ["grace-period-ratio", None, 0.5, "Which part of it is left when one is renewed.", float],
            ["workload", None, None, "Run the program of one workload, and nothing else: reviews-v1."],
            ["log-level", "l", "info", f"One of {', '.join(_LEVELS)}."],
        ]
    )

    def getSynopsis(self) -> str:
        """
        How it is called.
        """
        return "Usage: twistd [twistd options] meshproxy demo [--engine envoy] [--processes] [options]"

    def postOptions(self) -> None:
        """
        Look at what the options say.
        """
        for name in ("port", "rest-port", "xds-port", "xds-tls-port"):
            if not 0 <= self[name] <= 65535:
                raise usage.UsageError(f"--{name} is a port, 0 to 65535, not {self[name]}")
        numbers = self["network"].split(".")
        if len(numbers) != 2 or numbers[0] != "127" or not numbers[1].isdecimal() or int(numbers[1]) > 255:
            raise usage.UsageError(f"--network is 127.0 to 127.255, not {self['network']!r}")
        if self["engine"] not in ("meshproxy", "envoy"):
            raise usage.UsageError(f"--engine is meshproxy or envoy, not {self['engine']!r}")
        if not 0.05 <= self["grace-period-ratio"] <= 0.95:
            raise usage.UsageError(f"--grace-period-ratio is 0.05 to 0.95, not {self['grace-period-ratio']}")
        if self["log-level"] not in _LEVELS:
            raise usage.UsageError(f"--log-level is one of {', '.join(_LEVELS)}, not {self['log-level']!r}")


class AgentUsage(_Usage):
    """
    C{twistd meshproxy agent}.
    """

    longdesc = (
        "The identity of a workload for a real Envoy: makes its key, gets and renews its certificate, and serves both "
        "by SDS on a unix socket, under the names default and ROOTCA. Example: "
        "twistd -n meshproxy agent --roots root-cert.pem --token-file token --folder /var/lib/meshproxy"
    )

    optParameters = _named(
        [
            ["address", "a", "127.0.0.1:15012", "Where the control plane signs certificates, HOST:PORT, over TLS."],
            ["server-name", None, None, "For whom its certificate has to be; by default the host of --address."],
            ["roots", "r", None, "A file with the roots that it is verified by, PEM. Needed."],
            ["token-file", "t", None, "A file with a bootstrap token, for the first one: meshctl token makes it."],
            ["folder", "f", None, "Where key and certificate are kept, so that a new start needs no new token."],
            ["lifetime", None, "24h", "How long certificates are to be valid."],
            ["grace-period-ratio", None, 0.5, "Which part of it is left when a certificate is renewed.", float],
            ["socket", "s", None, "The unix socket; by default var/run/secrets/workload-spiffe-uds/socket."],
            ["socket-mode", None, "600", "Who may use the socket, as chmod takes it."],
            ["log-level", "l", "info", f"One of {', '.join(_LEVELS)}."],
        ]
    )

    def getSynopsis(self) -> str:
        """
        How it is called.
        """
        return "Usage: twistd [twistd options] meshproxy agent --roots FILE [options]"

    def postOptions(self) -> None:
        """
        Look at what the options say.
        """
        if self["roots"] is None:
            raise usage.UsageError("the roots of the control plane are needed: --roots FILE")
        if self["token-file"] is None and self["folder"] is None:
            raise usage.UsageError("a proof of who this is is needed: --token-file FILE, or --folder DIR of before")
        mode = self["socket-mode"]
        if not (0 < len(mode) <= 4 and set(mode) <= set("01234567")):
            raise usage.UsageError(f"--socket-mode is up to four octal digits, such as 660, not {mode!r}")
        if self["log-level"] not in _LEVELS:
            raise usage.UsageError(f"--log-level is one of {', '.join(_LEVELS)}, not {self['log-level']!r}")


class Options(_Usage):
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
    return _Process(control, reactor, None)


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
        return _Process(Agent(agentOptions, reactor, ReactorNetwork(reactor)), reactor, None)
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
        # It tells of each connection; here one looks for the requests.
        levels.setFor("twisted.web.client", "warning")
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
    )
    try:
        if options["workload"] is not None:
            return _Process(mesh.programOf(options["workload"], options["network"], reactor), reactor, None)
        return _Process(mesh.Demo(demoOptions, reactor), reactor, None)
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

    from meshproxy.errors import ConfigErrors
    from meshproxy.net.network import ReactorNetwork
    from meshproxy.reload import FileWatch
    from meshproxy.server import ProxyServer, validate

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
    return _Process(server, reactor, watch)


def _explained(options: ProxyUsage, proxyOptions: ProxyOptions, reactor: Any, network: Any) -> str:
    """
    What would become of the request that the options tell.
    """
    import json

    from meshproxy.admin.explain.question import QuestionError, askedIn
    from meshproxy.admin.explain.text import readable
    from meshproxy.server import explainRequest

    try:
        question = askedIn(
            options["url"], options["method"], options["header"], options["listener"] or "", options["source"] or ""
        )
    except QuestionError as error:
        os.write(2, f"{error}\n".encode())
        raise SystemExit(1) from None
    answer = explainRequest(proxyOptions, reactor, network, question)
    return json.dumps(answer, indent=1) + "\n" if options["format"] == "json" else readable(answer)


class _Process(MultiService):
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
