"""
A proxy as its users start it: C{twistd} in a process of its own, and what stands before and behind it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from tests.ports import freePorts

__all__ = ["ROOT", "PATIENCE", "Proxy", "fetch", "freePort", "freePorts", "until"]

#: Where the checkout, or the installed package, is importable from.
ROOT = Path(meshproxy.__file__).parent.parent

#: Seconds after which what did not happen never will.
PATIENCE = 60.0

_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"

T = TypeVar("T")


def until(asked: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """
    Ask until the answer is true, and return it.

    @param what: What is waited for.

    @raise AssertionError: If it takes too long.
    """
    deadline = time.monotonic() + patience
    while True:
        answer = asked()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s in vain for {what}")
        time.sleep(0.01)


def freePort(host: str = "127.0.0.1") -> int:
    """
    One such port.
    """
    return freePorts(1, host)[0]


def connectable(address: Any) -> bool:
    """
    Whether somebody listens there.

    @param address: A port of 127.0.0.1, a path, or a pair of host and port.
    """
    family = socket.AF_INET
    if isinstance(address, int):
        address = ("127.0.0.1", address)
    elif isinstance(address, str):
        family = socket.AF_UNIX
    elif ":" in address[0]:
        family = socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(address)
        except OSError:
            return False
    return True


class Proxy:
    """
    A C{twistd meshproxy proxy} that is started now, and is gone when its test ends.

    @ivar folder: Its own folder, where it runs.
    @ivar process: The process.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        *arguments: str,
        twistd: tuple[str, ...] = ("-n",),
        folder: Path | None = None,
        preexec: Callable[[], None] | None = None,
        program: tuple[str, ...] = ("meshproxy", "proxy"),
    ) -> None:
        """
        @param arguments: What follows C{twistd meshproxy proxy}.
        @param twistd: C{twistd}'s own options.
        """
        self.folder = folder or Path(case.mktemp()).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        number = len(list(self.folder.glob("stdout*")))
        self._stdout = self.folder / f"stdout{number}"
        self._stderr = self.folder / f"stderr{number}"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PYTHONPATH"] = str(ROOT)
        with open(self._stdout, "wb") as stdout, open(self._stderr, "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _TWISTD, *twistd, *program, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                preexec_fn=preexec,
            )
        case.addCleanup(self.kill)

    @property
    def output(self) -> str:
        """
        What it wrote to stdout.
        """
        return self._stdout.read_text()

    @property
    def log(self) -> str:
        """
        What it wrote to stderr.
        """
        return self._stderr.read_text()

    def ready(self, *addresses: Any) -> Proxy:
        """
        Wait until it accepts at these.
        """
        for address in addresses:
            until(lambda address=address: connectable(address) or self._gone(), f"a listener at {address}")  # type: ignore[misc]
        return self

    def _gone(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the proxy ended with {self.process.returncode}: {self.log}")
        return False

    def waitLogged(self, text: str, times: int = 1, patience: float = PATIENCE) -> None:
        """
        Wait until the log holds a text so many times.
        """
        until(lambda: self.log.count(text) >= times or self._gone(), f"{text!r} in the log", patience)

    def signal(self, number: int) -> None:
        """
        Send it a signal.
        """
        self.process.send_signal(number)

    def ended(self) -> int:
        """
        Wait until it is gone.

        @return: Its exit status.
        """
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """
        Make an end, if there was none.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE)

    def memory(self) -> int:
        """
        How many bytes of it are resident.
        """
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """
        How many descriptors it has open.
        """
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def fetch(
    port: int | str, path: str = "/", host: str = "127.0.0.1", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """
    One GET on a connection of its own.

    @param port: A port, or the path of a unix socket.

    @return: Status and body.
    """
    from tests.integration.peers import Client

    with Client(port, host) as client:
        response = client.get(path, headers)
        return response.status, response.body
