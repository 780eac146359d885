"""
Processes: started on one core, watched through C{/proc}, ended with all their children.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

__all__ = ["Failed", "Process", "cores", "waitForPort"]

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """
    A process did not start, or what it did was wrong; the text says which and shows the end of its log.
    """


def cores() -> tuple[int, int]:
    """
    The core for the proxy, and the one for load and backend: the same one where there is no other.
    """
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def waitForPort(port: int, seconds: float = 20.0) -> bool:
    """
    Wait until something listens on a loopback port.

    @return: Whether it came in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


class Process:
    """
    A running command with all its children.
    """

    def __init__(self, name: str, command: list[str], core: int, folder: Path) -> None:
        """
        @param name: What to call it; its output goes to a log of that name.
        @param command: The program and its arguments.
        @param core: The core that it, and its children, run on.
        @param folder: Where its log goes, and its working directory.
        """
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )

    def ready(self, port: int) -> None:
        """
        Wait until it listens.

        @raise Failed: If it does not, or ends.
        """
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self._popen.poll() is not None:
                raise Failed(f"{self.name} ended with status {self._popen.returncode}:\n{self.logTail()}")
            if waitForPort(port, 0.2):
                return
        raise Failed(f"{self.name} does not listen on port {port}:\n{self.logTail()}")

    def logTail(self) -> str:
        """
        The last lines of its output.
        """
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def cpu(self) -> float:
        """
        Seconds of CPU, user and system, that it and its children have used.
        """
        ticks = 0
        for pid in self._tree():
            fields = _stat(pid)
            # proc(5): utime and stime are fields 14 and 15; the list begins with field 3.
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks / _TICK

    def memory(self) -> int:
        """
        Bytes of resident memory of it and its children.
        """
        total = 0
        for pid in self._tree():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            except OSError:
                continue
        return total

    def descriptors(self) -> int:
        """
        How many descriptors it and its children hold.
        """
        total = 0
        for pid in self._tree():
            try:
                total += len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue
        return total

    def stop(self, patience: float = 3.0) -> bool:
        """
        End it and its children: as a user would, and by force if it does not end.

        @param patience: Seconds that it has to end by itself.

        @return: Whether it did.
        """
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 3.0)):
            try:
                os.killpg(self._popen.pid, number)
            except ProcessLookupError:
                break
            try:
                self._popen.wait(seconds)
                return number == signal.SIGTERM
            except subprocess.TimeoutExpired:
                continue
        return self._popen.poll() is not None

    def _tree(self) -> list[int]:
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))):
                parents[int(entry)] = int(fields[1])
        tree = [self._popen.pid]
        for pid in tree:
            tree.extend(child for child, parent in parents.items() if parent == pid)
        return tree


def _stat(pid: int) -> list[str]:
    """
    The fields of C{/proc/PID/stat} from the third on: the second, the name, may hold spaces.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
