# -*- test-case-name: tests.upstream.test_subscriptions -*-
"""
Configuration that comes from a file: read at once, and again whenever the content of the file is another one. What is
wrong with it is told in the log with its place, counted in Envoy's words, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from meshproxy.config import Report
from meshproxy.config.sources import DiscoveryFile, readNodes, readResources
from meshproxy.errors import ConfigErrors
from meshproxy.routing.xxhash64 import xxhash64
from meshproxy.secrets.watch import SecretFiles
from meshproxy.stats import Scope

__all__ = ["FileSubscription", "SubscriptionStats"]


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

    def taken(self, version: str) -> None:
        """
        A response is served.
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
        self._watch = files.watch(self.read)

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

    def read(self) -> bool:
        """
        Read the file.
        """
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
            self._log.warn("{warning}", warning=str(warning))
        self._stats.taken(file.version)
        self._log.info("{path} is taken, version {version!r}", path=self.path, version=file.version)
        return True

    def _refused(self, why: str) -> None:
        self._log.error("{path} is refused, what was there before stays:\n{why}", path=self.path, why=why)
