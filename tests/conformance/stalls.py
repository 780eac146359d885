"""
Whether the machine kept anybody waiting while something was measured.

What a conversation measures by the clock, a time-out that strikes before an answer or after it, is measured only if all
who take part get a processor when they want one. Where they did not, nothing was measured.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Stalls", "queued", "waited"]

# How often the harness looks whether it is late itself: a machine that stands still as a whole shows in nobody's queue.
_BEAT = 0.005

_PROC = Path("/proc")
_now = time.monotonic


def queued(pid: int) -> dict[str, int]:
    """
    For how many nanoseconds each thread of a process was ready and had no processor: the second figure of Linux's
    C{schedstat}; no threads where the system does not count it.
    """
    found = {}
    for path in (_PROC / str(pid) / "task").glob("*/schedstat"):
        try:
            found[path.parent.name] = int(path.read_text().split()[1])
        except (OSError, IndexError):
            pass  # the thread has ended
    return found


def waited(before: dict[str, int], after: dict[str, int]) -> float:
    """
    For how many seconds the threads of a process had no processor between two such looks; those that ended meanwhile
    are not among them.
    """
    return sum(wait - before.get(thread, 0) for thread, wait in after.items()) / 1e9


class Stalls:
    """
    Measures it from L{begin} on, until L{end}.

    @ivar worst: By how much the harness was late at most.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        """
        @param pids: Who takes part, besides this process.
        """
        self.worst = 0.0
        self._pids = [os.getpid(), *pids]
        self._before: dict[int, dict[str, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        before = _now()
        while not self._over.wait(_BEAT):
            now = _now()
            self.worst = max(self.worst, now - before - _BEAT)
            before = now

    def begin(self) -> None:
        """
        From now on.
        """
        self._before = {pid: queued(pid) for pid in self._pids}
        self._thread.start()

    def end(self) -> float:
        """
        Until now.

        @return: How many seconds were lost at most, to one of them.
        """
        self._over.set()
        self._thread.join()
        return max(self.worst, *(waited(before, queued(pid)) for pid, before in self._before.items()))
