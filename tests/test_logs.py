"""
L{meshproxy.logs}.
"""

from __future__ import annotations

import os
import re

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from meshproxy.logs import LogLevels, StderrObserver, stderrObserver


class LevelTests(SynchronousTestCase):
    """
    Which events are written.
    """

    def setUp(self) -> None:
        self.levels = LogLevels()
        self.seen: list[str] = []

        @implementer(ILogObserver)
        def remember(event: LogEvent) -> None:
            self.seen.append(event["log_format"])

        observer = self.levels.filtered(remember)
        names = ("meshproxy", "meshproxy.http", "other")
        self.logs = {name: Logger(namespace=name, observer=observer) for name in names}

    def emitted(self, namespace: str = "meshproxy") -> list[str]:
        """
        Emit an event of each level.

        @return: Those that came through.
        """
        self.seen.clear()
        for level in LogLevel.iterconstants():
            self.logs[namespace].emit(level, level.name)
        return list(self.seen)

    def test_default(self) -> None:
        """
        From C{info} on.
        """
        self.assertEqual(self.emitted(), ["info", "warn", "error", "critical"])

    def test_names(self) -> None:
        """
        Envoy's names of levels.
        """
        for name, count in (("trace", 5), ("debug", 5), ("warning", 3), ("error", 2), ("critical", 1), ("off", 1)):
            self.levels.setDefault(name)
            self.assertEqual((len(self.emitted()), self.levels.default), (count, name))
        self.assertRaises(KeyError, self.levels.setDefault, "loud")
        self.assertIn("off", self.levels.names)

    def test_namespaces(self) -> None:
        """
        A package may have its own level, which a new default takes back.
        """
        self.levels.setFor("meshproxy.http", "debug")
        self.assertEqual((len(self.emitted("meshproxy.http")), len(self.emitted("other"))), (5, 4))
        self.assertEqual(self.levels.byNamespace, {"meshproxy.http": "debug"})
        self.levels.setDefault("error")
        self.assertEqual(len(self.emitted("meshproxy.http")), 2)
        self.assertEqual(self.levels.byNamespace, {})
        self.assertRaises(KeyError, self.levels.setFor, "meshproxy.http", "loud")


class ObserverTests(SynchronousTestCase):
    """
    Lines on stderr.
    """

    def written(self, **event: object) -> str:
        """
        What is written of an event.
        """
        lines: list[bytes] = []
        self.patch(os, "write", lambda descriptor, data: lines.append(data) if descriptor == 2 else None)
        observed: LogEvent = {"log_time": 0.25, "log_level": LogLevel.warn, "log_namespace": "a.b", **event}
        StderrObserver()(observed)
        return b"".join(lines).decode()

    def test_line(self) -> None:
        """
        Time, level, name space, text.
        """
        line = self.written(log_format="{x} happened", x="it")
        pattern = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.250\]\[warn\]\[a\.b\] it happened\n"
        self.assertTrue(re.fullmatch(pattern, line), line)

    def test_failure(self) -> None:
        """
        A failure comes with its traceback.
        """
        line = self.written(log_format="oh", log_failure=Failure(ZeroDivisionError("none")))
        self.assertIn("oh\n", line)
        self.assertIn("ZeroDivisionError: none", line)
        self.assertTrue(line.endswith("\n") and not line.endswith("\n\n"))

    def test_odd(self) -> None:
        """
        Events without a level, and characters that cannot be written, are written all the same.
        """
        line = self.written(log_format="\udcff", log_level=None)
        self.assertIn("[-]", line)
        self.assertIn("\\udcff", line)

    def test_nobodyReads(self) -> None:
        """
        Where stderr is closed nothing is raised: there is no other place to say it.
        """

        def fail(descriptor: int, data: bytes) -> int:
            raise OSError

        self.patch(os, "write", fail)
        StderrObserver()({"log_format": "x"})

    def test_observer(self) -> None:
        """
        What twistd is told to call gives an observer.
        """
        self.assertTrue(verifyObject(ILogObserver, StderrObserver()))
        self.assertTrue(callable(stderrObserver()))
