# -*- test-case-name: tests.test_logs -*-
"""
The process' own log: lines on stderr.
"""

from __future__ import annotations

import os
import time

from twisted.logger import FilteringLogObserver, ILogObserver, LogEvent, LogLevel, LogLevelFilterPredicate, formatEvent
from zope.interface import implementer

__all__ = ["LogLevels", "StderrObserver", "levels", "stderrObserver"]

# Envoy's names for levels.
_LEVELS = {
    "trace": LogLevel.debug,
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warning": LogLevel.warn,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
    "critical": LogLevel.critical,
}


class LogLevels:
    """
    Which events are written: one level for all, and others for some namespaces. C{/logging} changes them.
    """

    def __init__(self) -> None:
        self.default = "info"
        self.byNamespace: dict[str, str] = {}
        self._predicate = LogLevelFilterPredicate(LogLevel.info)

    @property
    def names(self) -> tuple[str, ...]:
        """
        The names of all levels.
        """
        return (*_LEVELS, "off")

    def setDefault(self, name: str) -> None:
        """
        Write events from this level on; C{"off"} writes none but critical ones.

        @raise KeyError: If there is no such level.
        """
        level = LogLevel.critical if name == "off" else _LEVELS[name]
        self.default = name
        self.byNamespace.clear()
        self._predicate.clearLogLevels()
        self._predicate.setLogLevelForNamespace("", level)

    def setFor(self, namespace: str, name: str) -> None:
        """
        Likewise for what one package logs.

        @raise KeyError: If there is no such level.
        """
        level = LogLevel.critical if name == "off" else _LEVELS[name]
        self.byNamespace[namespace] = name
        self._predicate.setLogLevelForNamespace(namespace, level)

    def filtered(self, observer: ILogObserver) -> ILogObserver:
        """
        An observer that sees only these events.
        """
        return FilteringLogObserver(observer, [self._predicate])


levels = LogLevels()
"""
Those of this process.
"""


@implementer(ILogObserver)
class StderrObserver:
    """
    Writes a line for each event: time, level, namespace, text, and the traceback of a failure.
    """

    def __call__(self, event: LogEvent) -> None:
        """
        Write an event.
        """
        when = event.get("log_time", 0.0)
        text = formatEvent(event)
        if "log_failure" in event:
            text += "\n" + event["log_failure"].getTraceback().rstrip()
        level = event.get("log_level")
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) + f".{int(when % 1 * 1000):03d}"
        line = f"[{stamp}][{level.name if level is not None else '-'}][{event.get('log_namespace', '-')}] {text}\n"
        try:
            os.write(2, line.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # nobody reads it: there is no other place to say so


def stderrObserver() -> ILogObserver:
    """
    What twistd calls to make its observer (C{--logger}).
    """
    return levels.filtered(StderrObserver())
