"""
Tests for L{meshproxy.admin.profiler}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.commands import AdminRequest, AdminResponse
from meshproxy.admin.profiler import CPUProfiler


class _Profile:
    """
    A profiler that notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self.fails = False

    def enable(self) -> None:
        """
        Note it.
        """
        if self.fails:
            raise ValueError("Another profiling tool is already active")
        self.told.append("enable")

    def disable(self) -> None:
        """
        Note it.
        """
        self.told.append("disable")

    def dump_stats(self, path: str) -> None:
        """
        Note it.
        """
        self.told.append(path)


class CPUProfilerTests(SynchronousTestCase):
    """
    L{CPUProfiler}.
    """

    def setUp(self) -> None:
        """
        A profiler.
        """
        self.profile = _Profile()
        self.path = self.mktemp()
        self.profiler = CPUProfiler(self.path, cast(Any, lambda: self.profile))

    def ask(self, **parameters: str) -> AdminResponse:
        """
        Ask it.
        """
        return self.profiler.answer(cast(Any, None), AdminRequest("/cpuprofiler", parameters, "POST"))

    def test_run(self) -> None:
        """
        It runs between two requests, and writes where it is told to; asking twice changes nothing.
        """
        for enable in ("n", "y", "y", "n", "n"):
            self.assertEqual((self.ask(enable=enable).status, self.ask(enable="x").status), (200, 400))
        self.assertEqual(self.profile.told, ["enable", "disable", self.path])
        self.assertTrue(Path(self.path).exists())

    def test_usage(self) -> None:
        """
        Anything else is answered with what may be asked.
        """
        self.assertEqual((self.ask().status, self.ask().body), (400, "?enable=<y|n>\n"))

    def test_failures(self) -> None:
        """
        A place that cannot be written, or another profiler at work, is a 500, and leaves nothing running.
        """
        self.profiler = CPUProfiler("/nowhere/at/all", cast(Any, lambda: self.profile))
        self.assertEqual(self.ask(enable="y").status, 500)
        self.profiler = CPUProfiler(self.path, cast(Any, lambda: self.profile))
        self.profile.fails = True
        self.assertEqual(self.ask(enable="y").status, 500)
        self.assertEqual(self.ask(enable="n").status, 200)
        self.assertEqual(self.profile.told, [])
