"""
C{python -m bench}: measure, print a table, write JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from bench.load import CASES
from bench.process import Failed, cores
from bench.proxies import KINDS
from bench.runner import Outcome, Ports, backends, runCase

_ROW = "{:<10} {:<10} {:>10} {:<11} {:>9} {:>7} {:>15}"


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="CPU and memory beside Envoy, in one run")
    add = parser.add_argument
    add("--only", type=_names(CASES), default=list(CASES), metavar="CASES", help=f"of {','.join(CASES)}")
    add("--proxies", type=_names(KINDS), default=list(KINDS), metavar="NAMES", help=f"of {','.join(KINDS)}")
    add("--rounds", type=int, default=7, help="rounds of each case (7); the result is their median")
    add("--seconds", type=float, default=2.0, help="how long each proxy works in a round (2)")
    add("--base-port", type=int, default=9400, help="the first of 20 ports that are used (9400)")
    add("--json", type=Path, default=Path("build/bench.json"), help="where the results go (build/bench.json)")
    return parser.parse_args()


def _show(outcome: Outcome) -> None:
    print(f"\n{outcome.case.title}")
    for name, samples in outcome.samples.items():
        costs = [sample.cost for sample in samples]
        rate = sorted(sample.rate for sample in samples)[len(samples) // 2]
        ratio = outcome.ratio(name)
        shown = [f"{number:,.{_digits(outcome)}f}" for number in (outcome.cost(name), min(costs), max(costs))]
        print(
            _ROW.format(
                outcome.case.name,
                name,
                shown[0],
                outcome.case.unit,
                f"{rate:,.0f}" if rate > 100 else f"{rate:.2f}",
                f"{ratio:.2f}" if ratio is not None else "-",
                f"{shown[1]}-{shown[2]}",
            )
        )
    for name, fault in outcome.faults.items():
        print(f"{outcome.case.name:<10} {name:<10} {fault}")


def _digits(outcome: Outcome) -> int:
    return {"bytes": 0, "s/GB": 3}.get(outcome.case.unit, 1)


def _record(outcome: Outcome) -> dict[str, object]:
    proxies = {
        name: {
            "cost": outcome.cost(name),
            "ratio_to_envoy": outcome.ratio(name),
            "costs": [sample.cost for sample in samples],
            "rates": [sample.rate for sample in samples],
        }
        for name, samples in outcome.samples.items()
    }
    case = outcome.case
    return {"title": case.title, "unit": case.unit, "proxies": proxies, "faults": outcome.faults}


def _raiseDescriptorLimit() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def main() -> int:
    """
    Run what the options ask for.

    @return: 0, or 1 where this proxy or Envoy could not be measured.
    """
    options = _options()
    _raiseDescriptorLimit()
    if cores()[0] == cores()[1]:
        print("only one core: the load takes time from the proxies; ratios hold, rates do not")
    versions = {name: KINDS[name].version() for name in options.proxies if KINDS[name].program()}
    for name, version in versions.items():
        print(f"{name}: {version}")
    print(_ROW.format("case", "proxy", "cost", "unit", "rate/s", "x Envoy", "least-most"))
    outcomes = []
    ports = Ports(options.base_port)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, backends(ports, folder := Path(name)):
        for case in options.only:
            outcome = runCase(CASES[case], options.proxies, options.rounds, options.seconds, ports, folder)
            _show(outcome)
            outcomes.append(outcome)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "versions": versions,
        "cases": {outcome.case.name: _record(outcome) for outcome in outcomes},
    }
    options.json.write_text(json.dumps(record, indent=2) + "\n")
    missing = [name for outcome in outcomes for name in outcome.faults if name in ("meshproxy", "envoy")]
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as fault:
        sys.exit(str(fault))
