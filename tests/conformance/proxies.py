"""
The two proxies, each a process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

# Never one on PATH: comparisons are with the version that setup.cfg pins.
from meshproxy.controlplane.demo.engines import packagedEnvoy as findEnvoy

__all__ = ["Proxy", "fetch", "findEnvoy"]

_ROOT = Path(__file__).parents[2]

# How long a proxy has to start, and to end.
_START = 60.0
_END = 60.0


def _command(kind: str, config: str) -> list[str]:
    if kind == "envoy":
        envoy = findEnvoy()
        assert envoy is not None
        return [envoy, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    run = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", run, "-n", "meshproxy", "proxy", "-c", config, "--drain-time-s", "0.5"]


class Proxy:
    """
    A running proxy.
    """

    def __init__(self, kind: str, config: str, folder: Path, options: Sequence[str] = ()) -> None:
        """
        @param kind: C{"envoy"} or C{"meshproxy"}.
        @param config: The bootstrap.
        @param folder: Where its files go.
        @param options: More words of its command, which count for more than the usual ones.
        """
        self.kind = kind
        path = folder / f"{kind}.json"
        path.write_text(config)
        self._output = tempfile.TemporaryFile()
        self._errors = tempfile.TemporaryFile()
        self._popen = subprocess.Popen(
            [*_command(kind, str(path.resolve())), *options],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """
        Its process.
        """
        return self._popen.pid

    @property
    def isRunning(self) -> bool:
        """
        Whether it has not ended.
        """
        return self._popen.poll() is None

    def ready(self, address: str, port: int) -> None:
        """
        Wait until it listens.
        """
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if self._popen.poll() is not None:
                raise AssertionError(f"{self.kind} ended with status {self._popen.returncode}:\n{self.errors()}")
            with socket.socket() as probe:
                if probe.connect_ex((address, port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"{self.kind} does not listen:\n{self.errors()}")

    def errors(self) -> str:
        """
        The end of what it wrote to stderr.
        """
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-6000:]

    def stop(self) -> str:
        """
        End it, by force if need be.

        @return: Its access log.
        """
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(_END)
            except subprocess.TimeoutExpired:
                os.killpg(self._popen.pid, signal.SIGKILL)
                self._popen.wait()
        self._output.seek(0)
        return self._output.read().decode("latin-1")


def fetch(address: str, port: int, path: str) -> str:
    """
    What the admin of a proxy says.
    """
    with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=60) as response:
        text: str = response.read().decode()
    return text
