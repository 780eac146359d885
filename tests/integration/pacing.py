"""
What is to happen again and again at a pace, however long each time takes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["Pacing"]


class Pacing:
    """
    Acts begin at a pace; those that take longer than it lasts go on beside each other.

    @ivar done: How many acts came to their end.
    @ivar faults: What became of the others.
    @ivar seconds: How long it went on, without the time when it was halted.
    """

    def __init__(self, act: Callable[[int], None], pause: float, atOnce: int = 4) -> None:
        """
        @param act: What to do; it gets a number that grows.
        @param pause: Seconds from the beginning of one act to that of the next.
        @param atOnce: How many may be under way. Where all of them are, the pace is not kept, which L{done} shows.
        """
        self.done = 0
        self.faults: list[str] = []
        self.seconds = 0.0
        self._act = act
        self._pause = pause
        self._number = 0
        # Odd while it is halted.
        self._halts = 0
        self._next = self._since = 0.0
        self._turns = threading.Lock()
        self._counts = threading.Lock()
        self._over = threading.Event()
        self._workers = [threading.Thread(target=self._work) for _ in range(atOnce)]

    @property
    def pace(self) -> float:
        """
        Seconds from one act to the next, as they were.
        """
        return self.seconds / max(self.done, 1)

    def __enter__(self) -> Pacing:
        self._next = self._since = time.monotonic()
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.seconds += time.monotonic() - self._since
        for worker in self._workers:
            worker.join()

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """
        Begin nothing within this. What is under way then may fail.
        """
        self._halts += 1
        self.seconds += time.monotonic() - self._since
        try:
            yield
        finally:
            self._next = self._since = time.monotonic()
            self._halts += 1

    def _work(self) -> None:
        while (turn := self._turn()) is not None:
            number, halts = turn
            try:
                self._act(number)
            except Exception as error:
                if self._halts == halts:
                    self.faults.append(f"act {number}: {error!r}")
            else:
                with self._counts:
                    self.done += 1

    def _turn(self) -> tuple[int, int] | None:
        """
        Wait until it is time.

        @return: The number of the act, and of the halts until then; L{None} in the end.
        """
        with self._turns:
            while not self._over.is_set():
                halts = self._halts
                late = time.monotonic() - self._next
                if halts % 2 or late < 0:
                    self._over.wait(self._pause if halts % 2 else -late)
                    continue
                # A turn that nobody could take is left out.
                self._next += self._pause * (1 + late // self._pause)
                self._number += 1
                return self._number, halts
        return None
