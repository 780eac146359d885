# -*- test-case-name: tests.controlplane.demo.test_children -*-
"""
Programs that run as children of the demo, as long as it does.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Child", "twistdWords"]

#: Seconds between two looks for what one needs.
_LOOK = 0.05

#: Seconds that one has to end before it is killed; a proxy takes five for its last requests.
_PATIENCE = 8.0

#: A Ctrl-C goes to children too, perhaps earlier than to us: they may end first by this many seconds.
_GRACE = 1.0

#: Seconds before one that is to go on is started again, for each time in a row; more often it is not tried.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)

#: Seconds after which one runs well: should it end then, that has nothing to do with the times before.
_WELL = 60.0

_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def twistdWords(*arguments: str) -> list[str]:
    """
    The command of a C{twistd meshproxy} by the Python that runs this, wherever its scripts are.
    """
    return [sys.executable, "-c", _TWISTD, "-n", "meshproxy", *arguments]


def _how(reason: Failure) -> str:
    """
    How a process ended, in words.
    """
    number, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
    if number is not None:
        return f"was ended by signal {number} ({signal.strsignal(number)})"
    return f"ended with status {status}" if status else "ended"


class Child(Service, ProcessProtocol):
    """
    One program.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        reactor: Any,
        failed: Callable[[str], None],
        needs: Path | None = None,
        restarts: bool = False,
    ) -> None:
        """
        @param name: How it is called when it ends by itself.
        @param words: The command.
        @param failed: Told why if it ends by itself.
        @param needs: What has to be there before it is started.
        @param restarts: Whether it is started again where it ends by itself, instead, unless it does so again and
            again.
        """
        self._name = name
        self._words = list(words)
        self._reactor = reactor
        self._failed = failed
        self._needs = needs
        self._restarts = restarts
        # How often in a row it ended soon after it was started, and when it was.
        self._failures = 0
        self._began = 0.0
        self._gone: Deferred[None] | None = None
        self._last: IDelayedCall | None = None

    def startService(self) -> None:
        """
        Start it, as soon as it can be.
        """
        Service.startService(self)
        self._look()

    def _look(self) -> None:
        if self._needs is None or self._needs.exists():
            self._spawn()
        else:
            self._last = self._reactor.callLater(_LOOK, self._look)

    def _spawn(self) -> None:
        # What it says goes to stderr, as our log does.
        words = self._words
        # Where util-linux is, the kernel ends it with us even if nobody can ask it to.
        wrapper = shutil.which("setpriv")
        if wrapper is not None:
            words = [wrapper, "--pdeathsig", "TERM", *words]
        self._gone = Deferred()
        self._began = self._reactor.seconds()
        self._reactor.spawnProcess(self, words[0], words, dict(os.environ), childFDs={0: "w", 1: 2, 2: 2})

    def processEnded(self, reason: Failure) -> None:
        """
        It is gone, because we wanted it or not.
        """
        gone, self._gone = self._gone, None
        if self._last is not None and self._last.active():
            self._last.cancel()
        if self.running:
            self._endedByItself(f"{self._name} {_how(reason)}")
        if gone is not None:
            gone.callback(None)

    def _endedByItself(self, why: str) -> None:
        """
        Start it again, or tell.
        """
        if not self._restarts:
            self._last = self._reactor.callLater(_GRACE, self._failed, why)
            return
        if self._reactor.seconds() - self._began >= _WELL:
            self._failures = 0
        self._failures += 1
        if self._failures > len(_PAUSES):
            why += f", {self._failures} times in a row: it is not started again. What it said last tells why"
            self._last = self._reactor.callLater(_GRACE, self._failed, why)
            return
        pause = _PAUSES[self._failures - 1]
        self._last = self._reactor.callLater(pause, self._again, f"{why}; it was started again after {pause:g} s")

    def _again(self, why: str) -> None:
        # Said now, since a Ctrl-C may have been what ended it.
        self.log.warn("{why}", why=why)
        self._spawn()

    def stopService(self) -> Deferred[None]:
        """
        End it, by force in the end.

        @return: Fires when it is gone.
        """
        Service.stopService(self)
        if self._last is not None and self._last.active():
            self._last.cancel()
        if self._gone is None:
            return succeed(None)
        self._signal("TERM")
        self._last = self._reactor.callLater(_PATIENCE, self._signal, "KILL")
        return self._gone

    def _signal(self, name: str) -> None:
        try:
            self.transport.signalProcess(name)  # type: ignore[union-attr]
        except ProcessExitedAlready:
            # It is about to be told.
            pass
