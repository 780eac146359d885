"""
C{python -m bench.soak}: a proxy under varying load for a long time. Does its memory stay, do its descriptors?

Each turn ends with its clients leaving in the middle of their requests.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.load import CASES
from bench.process import Failed, cores
from bench.proxies import KINDS
from bench.runner import Ports, backends, started

__all__ = ["Reading", "growth", "main"]

#: A pool holds as many idle connections as the load had at once, more or less by chance; a leak soon holds more.
_MOST_DESCRIPTORS = 100


@dataclass(frozen=True)
class Reading:
    """
    What a proxy held, at rest, after a turn.
    """

    memory: int
    descriptors: int


def growth(readings: list[Reading]) -> Reading:
    """
    How much more was held at the end than when the proxy had found its size: the median of the last quarter of the
    readings less that of the second.

    @param readings: At least four, in order.
    """
    quarter = len(readings) // 4
    early, late = readings[quarter : 2 * quarter], readings[-quarter:]
    return Reading(
        round(median(one.memory for one in late) - median(one.memory for one in early)),
        round(median(one.descriptors for one in late) - median(one.descriptors for one in early)),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="memory and descriptors over hours")
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="how long (60)")
    add("--turn", type=float, default=10.0, help="seconds of load between two readings (10)")
    add("--case", choices=[name for name, case in CASES.items() if not case.fresh], default="full")
    add("--proxy", choices=list(KINDS), default="meshproxy")
    add("--base-port", type=int, default=9400, help="the first of 20 ports that are used (9400)")
    add("--most-memory", type=float, default=2.0, help="megabytes it may grow (2)")
    return parser.parse_args()


def main() -> int:
    """
    Load, read, judge.

    @return: 0, or 1 where the proxy grew.
    """
    options = _options()
    case, ports = CASES[options.case], Ports(options.base_port)
    readings: list[Reading] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        stack.enter_context(backends(ports, folder))
        proxy = stack.enter_context(started(options.proxy, case, ports, folder))
        end = time.monotonic() + options.minutes * 60
        while time.monotonic() < end or len(readings) < 4:
            sample = case.measure(proxy, ports.proxy(options.proxy), cores()[1], options.turn)
            # Long enough that connections whose clients left are gone.
            time.sleep(1)
            readings.append(Reading(proxy.memory(), proxy.descriptors()))
            # The access log is no part of the question, and hours of it would fill the disk.
            with contextlib.suppress(FileNotFoundError), (folder / f"{options.proxy}.access.log").open("r+b") as log:
                log.truncate()
            print(
                f"{len(readings):5}  {readings[-1].memory / 1e6:8.1f} MB  {readings[-1].descriptors:5} descriptors"
                f"  {sample.cost:8.1f} {case.unit}",
                flush=True,
            )
    grown = growth(readings)
    print(f"grown by {grown.memory / 1e6:.2f} MB and {grown.descriptors} descriptors")
    return 1 if grown.memory > options.most_memory * 1e6 or grown.descriptors > _MOST_DESCRIPTORS else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as fault:
        sys.exit(str(fault))
