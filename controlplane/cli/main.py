# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
C{meshctl}: what it can be asked for.
"""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meshproxy import __version__
from meshproxy.controlplane.cli.client import APIClient, CommandFailed
from meshproxy.controlplane.cli.tables import Printer

__all__ = ["main", "makeParser"]

_SERVER = "http://127.0.0.1:15014"

_EPILOG = """\
The control plane is found at --server, else in MESHCTL_SERVER, else at http://127.0.0.1:15014. A token is taken from
MESHCTL_TOKEN or --token-file. Exit status: 0 well, 1 not (or: diff found differences), 2 wrong usage, 79 analyze
found errors."""


#: Which control plane, and who asks it: before the command, or after it.
_WHERE = (
    ("--server", "URL", "the control plane"),
    ("--token-file", "FILE", "a file with a bearer token"),
    ("--ca-file", "FILE", "the roots that a control plane on https is verified by"),
    ("--cert", "FILE", "a client certificate, with its chain"),
    ("--key", "FILE", "its key"),
)


class _Command(ArgumentParser):
    """
    The parser of one command. Options may stand between words, as C{meshctl get vs -o yaml reviews}.
    """

    _isBetween = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """
        See C{ArgumentParser}, which asks this again for the words between options.
        """
        if self._isBetween or self.prog.endswith(" complete"):
            return super().parse_known_args(args, namespace)
        self._isBetween = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._isBetween = False


def makeParser() -> ArgumentParser:
    """
    The commands and their options.
    """
    parser = ArgumentParser(
        "meshctl",
        description="Look at a mesh and change it.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    for name, metavar, told in _WHERE:
        parser.add_argument(name, metavar=metavar, help=told)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Command)

    def add(name: str, told: str, module: str, function: str, *options: str) -> ArgumentParser:
        command: ArgumentParser = commands.add_parser(name, help=told, description=f"{told[:1].upper()}{told[1:]}.")
        command.set_defaults(module=module, function=function)
        for option, metavar, _ in _WHERE:
            # Not told again in the help of each, but taken there as well.
            command.add_argument(option, metavar=metavar, default=SUPPRESS, help=SUPPRESS)
        for option in options:
            _OPTIONS[option](command)
        return command

    add("apply", "create or replace all resources of files, or none", "resources", "apply", "files", "write")
    delete = add("delete", "delete what files name, or single resources", "resources", "delete", "write")
    delete.add_argument("kind", nargs="?", metavar="KIND", help="vs, gateway, services ...")
    delete.add_argument("name", nargs="*", default=[], metavar="NAME")
    delete.add_argument("-f", "--filename", action="append", default=[], metavar="FILE", help="a file, a folder, or -")
    get = add("get", "show resources", "resources", "get", "namespace")
    get.add_argument("kind", metavar="KIND", help="vs, gateway ...; several: vs,dr; every one: all; or KIND/NAME")
    get.add_argument("name", nargs="*", default=[], metavar="NAME")
    get.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    get.add_argument("-l", "--selector", metavar="LABELS", help="app=reviews,version in (v1, v2)")
    get.add_argument("-o", "--output", choices=["table", "wide", "yaml", "json", "name"], default="table")
    get.add_argument("-w", "--watch", action="store_true", help="go on with what happens")
    get.add_argument("--show-managed-fields", action="store_true", help="yaml and json: who manages which fields, too")
    add("diff", "tell what applying files would change", "resources", "diff", "files", "namespace")
    history = add("history", "tell who changed what", "resources", "history", "namespace")
    history.add_argument("kind", nargs="?", metavar="KIND", help="only of one resource")
    history.add_argument("name", nargs="?", metavar="NAME")
    history.add_argument("--revision", metavar="N", help="one commit, with what it changed")
    history.add_argument("-o", "--output", choices=["table", "wide", "json"], default="table")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="how many; 20 if not given")
    rollback = add("rollback", "bring back what was there at a revision", "resources", "rollback", "write")
    rollback.add_argument("revision", type=int, metavar="REVISION", help="see meshctl history")
    rollback.add_argument("--resource", action="append", metavar="KIND/NAME", help="only this one")
    add("validate", "tell every fault of files, without a server", "offline", "validate", "files", "namespace", "json")
    analyze = add("analyze", "tell what does not do what it says", "analyzing", "analyze", "namespace", "json")
    analyze.add_argument(
        "-f", "--filename", action="append", metavar="FILE", help="files alone, without a server; else the mesh"
    )
    analyze.add_argument("--applied", action="store_true", help="the mesh as it would be with the files applied")
    told = "tell why a request gets the response it gets, and which resource set that"
    explain = add("explain", told, "explaining", "explain", "namespace")
    explain.add_argument("proxy", metavar="PROXY", help="who sends it, or gets it: its id, NAME.NAMESPACE, or NAME")
    explain.add_argument("url", metavar="URL", help="http://HOST:PORT/PATH as the caller has it, or tcp://HOST:PORT")
    explain.add_argument("-X", "--method", default="GET", help="GET if not given")
    explain.add_argument(
        "-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header; there may be several"
    )
    explain.add_argument("--inbound", action="store_true", help="it comes to the workload, instead of from it")
    explain.add_argument("--principal", metavar="ID", help="who sends it to the workload: spiffe://...")
    explain.add_argument("--source", metavar="ADDRESS", help="the address that it comes from")
    explain.add_argument("-f", "--filename", action="append", metavar="FILE", help="files alone, without a server")
    explain.add_argument("--applied", action="store_true", help="as it would be with the files applied to the mesh")
    explain.add_argument(
        "--labels", metavar="NAME=VALUE,...", help="with files: those of a workload that they do not tell of"
    )
    explain.add_argument("--gateway", action="store_true", help="with files: PROXY is a gateway, with these labels")
    explain.add_argument("--admin", metavar="HOST:PORT", help="the proxy's own admin: what it makes of it by now")
    explain.add_argument("-o", "--output", choices=["text", "json"], default="text")
    add("proxy-status", "tell which proxies have what they are to have", "proxies", "proxyStatus", "json")
    config = add("proxy-config", "show what a proxy was sent, or what it holds", "proxies", "proxyConfig")
    config.add_argument("what", choices=["clusters", "listeners", "routes", "endpoints", "secrets"])
    config.add_argument("proxy", nargs="?", metavar="PROXY", help="its id, NAME.NAMESPACE, or NAME")
    config.add_argument("--admin", metavar="HOST:PORT", help="the proxy's own admin: what it holds")
    config.add_argument("--name", metavar="NAME", help="only this resource")
    config.add_argument("-o", "--output", choices=["table", "yaml", "json"], default="table")
    add("certs", "tell of certificates and when they end", "proxies", "certs", "json")
    token = add("token", "make a token by which a workload proves who it is, once", "proxies", "token", "namespace")
    token.add_argument("service_account", metavar="SERVICE_ACCOUNT")
    token.add_argument("--ttl", type=float, metavar="SECONDS", help="how long it is good for; 900 if not given")
    shell = add("completion", "print what makes a shell complete the words of meshctl", "completion", "completion")
    shell.add_argument("shell", choices=["bash", "zsh", "fish"])
    complete = commands.add_parser("complete")
    complete.set_defaults(module="main", function="complete")
    complete.add_argument("words", nargs="*")
    version = add("version", "tell the versions of meshctl and of the control plane", "main", "version")
    version.add_argument("--client", action="store_true", help="that of meshctl alone; nobody is asked")
    return parser


def _files(command: ArgumentParser) -> None:
    command.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE",
        help="a file, a folder, or - for standard input; several are one transaction",
    )


def _namespace(command: ArgumentParser) -> None:
    command.add_argument("-n", "--namespace", default="default", help="for what names none; default if not given")


def _write(command: ArgumentParser) -> None:
    _namespace(command)
    command.add_argument("--dry-run", action="store_true", help="tell what would happen, and do nothing")
    command.add_argument("-m", "--message", default="", help="why, for the history")
    command.add_argument("--wait", action="store_true", help="until every proxy has what follows from it")
    command.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="how long; 30 if not given")


def _json(command: ArgumentParser) -> None:
    command.add_argument("-o", "--output", choices=["table", "json"], default="table")


_OPTIONS: dict[str, Callable[[ArgumentParser], None]] = {
    "files": _files,
    "namespace": _namespace,
    "write": _write,
    "json": _json,
}


def _client(arguments: Namespace, patience: float = 30.0) -> APIClient:
    token = os.environ.get("MESHCTL_TOKEN", "")
    if arguments.token_file:
        try:
            token = Path(arguments.token_file).read_text("utf-8").strip()
        except OSError as error:
            raise CommandFailed(f"{arguments.token_file}: {error.strerror}", 2) from error
    context = None
    if arguments.ca_file or arguments.cert:
        import ssl

        try:
            context = ssl.create_default_context(cafile=arguments.ca_file)
            if arguments.cert:
                context.load_cert_chain(arguments.cert, arguments.key)
        except (OSError, ssl.SSLError) as error:
            raise CommandFailed(f"--ca-file, --cert, --key: {error}", 2) from error
    server = arguments.server or os.environ.get("MESHCTL_SERVER") or _SERVER
    return APIClient(server, token, context, patience)


def main(words: Sequence[str] | None = None) -> int:
    """
    Do what a command line says.

    @return: The exit status.
    """
    arguments = makeParser().parse_args(words)
    printer = Printer(sys.stdout)
    try:
        return _run(arguments, printer)
    except CommandFailed as error:
        Printer(sys.stderr).line(f"meshctl: {str(error).splitlines()[0]}")
        for line in str(error).splitlines()[1:]:
            Printer(sys.stderr).line(line)
        return error.code
    except BrokenPipeError:
        # Whoever read has enough. What Python still has to write goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130


def _version(arguments: Namespace, printer: Printer) -> int:
    """
    That of this program, and that of the control plane if there is one.
    """
    printer.line(f"meshctl {__version__}")
    if arguments.client:
        return 0
    try:
        told = _client(arguments, 2.0).ask("GET", "/version")
    except CommandFailed as error:
        if error.code == 2 or arguments.server:
            raise
    else:
        _, _, theirs = str(told.get("gitVersion", "")).partition("+meshproxy-")
        printer.line(f"control plane {theirs or 'of another kind'}")
    return 0


def _complete(arguments: Namespace, printer: Printer) -> int:
    """
    Tell what the last of some words may become, one a line: what a shell asks.
    """
    from meshproxy.controlplane.cli.completion import candidates, namesFrom

    def client(said: Namespace) -> APIClient:
        options = {name: getattr(said, name, None) for name in ("server", "token_file", "ca_file", "cert", "key")}
        # Somebody waits with a finger on the key.
        return _client(Namespace(**options), 2.0)

    for word in candidates(makeParser(), arguments.words, namesFrom(client)):
        printer.line(word)
    return 0


def _run(arguments: Namespace, printer: Printer) -> int:
    if arguments.function == "version":
        return _version(arguments, printer)
    if arguments.function == "complete":
        return _complete(arguments, printer)
    from importlib import import_module

    # Loaded when it is asked for: most commands need little, and a command line is to be quick.
    module: Any = import_module(f"meshproxy.controlplane.cli.{arguments.module}")
    function = getattr(module, arguments.function)
    if arguments.module in ("offline", "completion"):
        code: int = function(printer, arguments)
    else:
        code = function(_client(arguments), printer, arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
