# -*- test-case-name: tests.admin.test_profiler -*-
"""
C{/cpuprofiler}: where the time goes, by the profiler of the standard library.
"""

from __future__ import annotations

import cProfile
from collections.abc import Callable

from twisted.logger import Logger

from meshproxy.admin.commands import OK, AdminRequest, AdminResponse
from meshproxy.admin.served import Served

__all__ = ["CPUProfiler"]

# Where Envoy writes, too.
_PATH = "/var/log/envoy/envoy.prof"

_FAILED = AdminResponse("failure to start the profiler", 500)


class CPUProfiler:
    """
    The profiler of a proxy; it runs between two requests.
    """

    log = Logger()

    def __init__(self, path: str = "", make: Callable[[], cProfile.Profile] = cProfile.Profile) -> None:
        """
        @param path: C{profile_path}: where the figures are written, for C{python -m pstats}.
        """
        self._path = path or _PATH
        self._make = make
        self._running: cProfile.Profile | None = None

    def answer(self, server: Served, request: AdminRequest) -> AdminResponse:
        """
        Answer C{/cpuprofiler}.
        """
        enable = request.parameters.get("enable", "")
        if enable not in ("y", "n"):
            return AdminResponse("?enable=<y|n>\n", 400)
        try:
            if enable == "n":
                self._stop()
            elif self._running is None:
                self._start()
        except (OSError, ValueError) as error:
            self._running = None
            self.log.error("cannot profile to {path}: {why}", path=self._path, why=str(error))
            return _FAILED
        return OK

    def _start(self) -> None:
        # What cannot be written in the end is better known now.
        with open(self._path, "ab"):
            pass
        profile = self._make()
        profile.enable()
        self._running = profile
        self.log.warn("profiling, which costs time, until /cpuprofiler?enable=n")

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.disable()
            running.dump_stats(self._path)
            self.log.info("wrote {path}: look at it with python -m pstats", path=self._path)
