"""
When a difference between the proxies counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance import stalls
from tests.conformance.case import Case, get
from tests.conformance.comparison import _MEASUREMENTS, Comparison, Outcome, _fault
from tests.conformance.stalls import Stalls


class _Scripted(Comparison):
    """
    A comparison that sees what it is told to.

    @ivar runs: The names of the cases of each run, and those of them that were measured.
    """

    def __init__(self, cases: Sequence[Case], runs: Sequence[dict[str, tuple[str, float]]]) -> None:
        """
        @param runs: For each run what the client of this proxy saw, by case, and how long the machine kept it waiting;
            a client of Envoy always sees C{same}. The last one is for all that follow.
        """
        super().__init__({}, cases)
        self.runs: list[tuple[list[str], list[str]]] = []
        self._told = list(runs)

    def _hold(self, cases: Sequence[Case], measured: frozenset[str]) -> dict[str, dict[str, Outcome]]:
        told = self._told.pop(0) if len(self._told) > 1 else self._told[0]
        self.runs.append(([case.name for case in cases], sorted(measured)))
        envoy: dict[str, Outcome] = {}
        mine: dict[str, Outcome] = {}
        for case in cases:
            seen, lost = told.get(case.name, ("same", 0.0))
            known = lost if case.name in measured else None
            envoy[case.name] = Outcome(["same"], lost=0.0 if case.name in measured else None)
            mine[case.name] = Outcome([seen], lost=known)
        return {"envoy": envoy, "meshproxy": mine}

    def verdict(self, name: str) -> str:
        """
        What is wrong with a case.
        """
        found = self._run()
        case = next(case for case in self.cases if case.name == name)
        return _fault(case, found["envoy"][name], found["meshproxy"][name])


_CASES = [
    Case("one", "The first.", get()),
    Case("two", "The second.", get()),
    Case("other", "Of another listener.", get(), listener="other"),
]


class VerdictTests(SynchronousTestCase):
    """
    L{Comparison} measures what differed.
    """

    def test_same(self) -> None:
        """
        What is the same at once is not run again.
        """
        comparison = _Scripted(_CASES, [{}])
        self.assertEqual(comparison.verdict("one"), "")
        self.assertEqual(len(comparison.runs), 1)

    def test_differs(self) -> None:
        """
        What differs in an undisturbed measurement fails by it, whatever later ones would show.
        """
        comparison = _Scripted(_CASES, [{"two": ("else", 0.0)}, {"two": ("else", 0.001)}, {}])
        self.assertIn("+ else", comparison.verdict("two"))
        self.assertEqual(len(comparison.runs), 2)

    def test_hasty(self) -> None:
        """
        What differed in haste only is the same; its listener's other cases come before it again, and nobody else's.
        """
        comparison = _Scripted(_CASES, [{"two": ("else", 0.0)}, {}])
        self.assertEqual(comparison.verdict("two"), "")
        self.assertEqual(comparison.runs[1:], [(["one", "two"], ["two"])])

    def test_disturbed(self) -> None:
        """
        A measurement that was disturbed is none: another one is made, and that is the verdict.
        """
        disturbed = {"two": ("else", 0.3)}
        for last, said in (({}, False), ({"two": ("else", 0.0)}, True)):
            comparison = _Scripted(_CASES, [disturbed, disturbed, disturbed, last, {}])
            self.assertEqual("+ else" in comparison.verdict("two"), said)
            self.assertEqual(len(comparison.runs), 4)

    def test_alwaysDisturbed(self) -> None:
        """
        What differs each time fails also where no measurement is undisturbed, and says so.
        """
        comparison = _Scripted(_CASES, [{"two": ("else", 0.3)}])
        self.assertIn("the machine kept us waiting for 0.300 s", comparison.verdict("two"))
        self.assertEqual(len(comparison.runs), 1 + _MEASUREMENTS)

    def test_othersStay(self) -> None:
        """
        A case that was the same is not judged by a later run of its listener.
        """
        comparison = _Scripted(_CASES, [{"two": ("else", 0.0)}, {"one": ("else", 0.0)}])
        self.assertEqual(comparison.verdict("one"), "")


class StallsTests(SynchronousTestCase):
    """
    L{Stalls} tells how long somebody had no processor.
    """

    def test_queues(self) -> None:
        """
        The longest of the waits of those who take part, all threads of each together.
        """
        folder = Path(self.mktemp())
        waits = {1: ["5000000", "2000000"], 2: ["1000000"]}

        def write(more: int) -> None:
            for pid, each in waits.items():
                for thread, wait in enumerate(each):
                    task = folder / str(pid) / "task" / str(thread)
                    task.mkdir(parents=True, exist_ok=True)
                    (task / "schedstat").write_text(f"77 {int(wait) + more * pid} 3\n")

        self.patch(stalls, "_PROC", folder)
        write(0)
        self.assertEqual(stalls.queued(1), {"0": 5_000_000, "1": 2_000_000})
        measured = Stalls([1, 2])
        measured.begin()
        write(40_000_000_000)
        # Two threads of the one by 40 s each, one of the other by 80 s.
        self.assertEqual(round(measured.end()), 80)

    def test_gone(self) -> None:
        """
        Who ended meanwhile, or a system that does not count it, disturbs nothing.
        """
        self.patch(stalls, "_PROC", Path(self.mktemp()))
        self.assertEqual(stalls.queued(1), {})
        self.assertEqual(stalls.waited({"1": 5_000_000, "2": 7}, {"2": 7, "3": 1_000_000}), 0.001)

    def test_standsStill(self) -> None:
        """
        A machine that stands still as a whole shows by the harness's own beat.
        """
        self.patch(stalls, "_PROC", Path(self.mktemp()))
        times = iter([0.0, 0.006, 0.5, 0.506])
        measured = Stalls([])
        self.patch(stalls, "_now", lambda: next(times))
        beats = iter([False, False, False, True])
        self.patch(measured._over, "wait", lambda seconds: next(beats))
        measured._beat()
        self.assertAlmostEqual(measured.worst, 0.489)
