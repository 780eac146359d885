# -*- test-case-name: tests.upstream.test_subscriptions -*-
"""
Configuration that comes from a file: read at once, and again whenever the content of the file is another one. What is
wrong with it is told in the log with its place, counted in Envoy's words, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from meshproxy.config import Report
from meshproxy.config.sources import DiscoveryFile, readNodes, readResources
from meshproxy.errors import ConfigErrors
from meshproxy.routing.xxhash64 import xxhash64
from meshproxy.secrets.watch import INTERVAL, SecretFiles
from meshproxy.stats import Scope

__all__ = ["FileSubscription", "SubscriptionStats"]

_SETTLED = 1.5 * INTERVAL
"""
Seconds without a further change after which a file that is written in place is whole.
"""


class SubscriptionStats:
    """
    What is counted of a type that comes from elsewhere, in Envoy's words.
    """

    def __init__(self, scope: Scope, now: Callable[[], float]) -> None:
        """
        @param now: Gives the seconds since the epoch.
        """
        self._now = now
        self.attempt = scope.counter("update_attempt")
        self.success = scope.counter("update_success")
        self.failure = scope.counter("update_failure")
        self.rejected = scope.counter("update_rejected")
        self.initFetchTimeout = scope.counter("init_fetch_timeout")
        self._time = scope.gauge("update_time")
        self._version = scope.gauge("version")
        self._versionText = scope.textReadout("version_text")

    def begun(self) -> None:
        """
        It is asked for: as in Envoy, that counts as an attempt.
        """
        self.attempt.value += 1

    def received(self, version: str) -> None:
        """
        A response came, and is served.
        """
        self.attempt.value += 1
        self.taken(version)

    def changed(self) -> None:
        """
        What is served is other than before. Most types do not count that.
        """

    def refused(self) -> None:
        """
        A response came, and is not served.
        """
        self.attempt.value += 1
        self.rejected.value += 1

    def failed(self) -> None:
        """
        Whoever is asked cannot be reached, or went away.
        """
        self.attempt.value += 1
        self.failure.value += 1

    def timedOut(self) -> None:
        """
        Nothing came in time.
        """
        self.attempt.value += 1
        self.initFetchTimeout.value += 1

    def taken(self, version: str) -> None:
        """
        What came is served.
        """
        self.success.value += 1
        self._time.value = round(self._now() * 1000)
        self._version.value = xxhash64(version.encode("utf-8"))
        self._versionText.value = version


class FileSubscription:
    """
    One file, and who wants what is in it.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        typeName: str,
        files: SecretFiles,
        stats: SubscriptionStats,
        receive: Callable[[DiscoveryFile], list[str]],
    ) -> None:
        """
        @param typeName: The full name of the messages that the file is to hold.
        @param receive: Takes what is in it, and gives what is wrong with it.
        """
        self.path = path
        self._typeName = typeName
        self._files = files
        self._stats = stats
        self._receive = receive
        self._watch = files.watch(self._changed)
        self._file: tuple[int, int] | None = None
        self._later: Any = None

    def start(self) -> bool:
        """
        Read the file now, and whenever it changes.

        @return: Whether it was taken.
        """
        self._watch.look([self.path])
        return self.read()

    def stop(self) -> None:
        """
        Look at it no more.
        """
        self._watch.stop()
        self._forget()

    def _forget(self) -> None:
        if self._later is not None and self._later.active():
            self._later.cancel()
        self._later = None

    def _changed(self) -> None:
        """
        The content is another one. Another file in its place is whole; one that is written in place may be half of
        what it is to be, and is waited for: half a list of listeners is a list, too.
        """
        self._forget()
        if _fileAt(self.path) == self._file:
            self._later = self._files.clock.callLater(_SETTLED, self.read)
        else:
            self.read()

    def read(self) -> bool:
        """
        Read the file.
        """
        self._file = _fileAt(self.path)
        self._stats.attempt.value += 1
        report = Report()
        try:
            node = readNodes(self.path, report)
        except ConfigErrors as error:
            self._stats.failure.value += 1
            self._refused(str(error))
            return False
        try:
            file = readResources(self.path, node, self._typeName, report)
            errors = self._receive(file)
        except ConfigErrors as error:
            errors = list(map(str, error.errors))
        if errors:
            self._stats.rejected.value += 1
            self._refused("\n".join(errors))
            return False
        for warning in report.warnings:
            self._log.warn("{told}", told=str(warning))
        self._stats.taken(file.version)
        self._log.info("{path} is taken, version {version!r}", path=self.path, version=file.version)
        return True

    def _refused(self, why: str) -> None:
        self._log.error("{path} is refused, what was there before stays:\n{why}", path=self.path, why=why)


def _fileAt(path: str) -> tuple[int, int] | None:
    """
    Which file a path leads to: its device and its number there. A new file may have the number of one that is gone;
    then it is waited for without need.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
