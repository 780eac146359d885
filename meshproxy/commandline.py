# -*- test-case-name: tests.test_tap -*-
"""
What the commands of C{twistd meshproxy} take on the command line.

This module is imported before there is a reactor, and imports nothing that brings one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.python import usage

from meshproxy import __version__

__all__ = ["AgentUsage", "CommandUsage", "ControlUsage", "DemoUsage", "ProxyUsage"]

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


def _clearer(why: str, options: Iterable[str], commands: Iterable[str]) -> str:
    """
    What twistd says of a word that it does not take, in the way this program says such things: with a near name.
    """
    from meshproxy.config.near import didYouMean, near

    unknown = re.fullmatch(r"option --(\S+) not recognized", why)
    if unknown is not None:
        return f"there is no option --{unknown[1]}{didYouMean(f'--{name}' for name in near(unknown[1], options))}"
    unknown = re.fullmatch(r"Unknown command: (\S+)", why)
    if unknown is not None:
        return f"there is no command {unknown[1]!r}{didYouMean(near(unknown[1], commands))}"
    return why.removeprefix("Parameter type enforcement failed: ")


class CommandUsage(usage.Options):
    """
    What the program's commands have in common.
    """

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse what stands on the command line.

        @raise usage.UsageError: If something does not fit.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            commands = [row[0] for row in getattr(self, "subCommands", ())]
            known = [name.removesuffix("=") for name in self.longOpt]
            raise usage.UsageError(_clearer(str(error), known, commands)) from None

    def opt_version(self) -> None:
        """
        Print the version and exit.
        """
        os.write(1, f"meshproxy {__version__}\n".encode("ascii"))
        raise SystemExit(0)


class ProxyUsage(CommandUsage):
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
            ["principal", None, None, "--mode explain: the name in the client's certificate, a SPIFFE ID for example."],
            ["listener", None, None, "--mode explain: the name of the listener, whatever the port."],
            ["format", None, "text", "--mode explain: text or json."],
            ["service-node", None, None, "The name of this node; replaces node.id."],
            ["service-cluster", None, None, "The cluster that this node is of; replaces node.cluster."],
            ["service-zone", None, None, "The zone that this node runs in; replaces node.locality.zone."],
            ["concurrency", None, 1, "How many worker processes; only 1 so far.", int],
            ["drain-time-s", None, 10.0, "How long connections have when it, or their listener, ends.", float],
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

    def opt_wait_ready(self) -> None:
        """
        Comes later, with a command to run beside the proxy.
        """
        raise usage.UsageError("--wait-ready, and running a command beside the proxy, come later")

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
        if not self["drain-time-s"] >= 0:  # which "nan" is not either
            raise usage.UsageError("--drain-time-s is a number of seconds, 0 or more")


class ControlUsage(CommandUsage):
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


class DemoUsage(CommandUsage):
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
            ["access-log", None, None, "A file for the access logs of all sidecars and the gateway."],
            ["patience", None, 1.0, "How many times as long services wait for each other, on a slow machine.", float],
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
        if not 0.1 <= self["patience"] <= 100:
            raise usage.UsageError(f"--patience is 0.1 to 100, not {self['patience']}")
        if self["log-level"] not in _LEVELS:
            raise usage.UsageError(f"--log-level is one of {', '.join(_LEVELS)}, not {self['log-level']!r}")


class AgentUsage(CommandUsage):
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
