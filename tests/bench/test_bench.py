"""
The arithmetic of the benchmark, and that its configurations are whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

import yaml
from twisted.trial.unittest import SynchronousTestCase

from bench.load import CASES, Load, Sample, _Done, _fromH2load, _fromJSON
from bench.process import Failed, Process
from bench.proxies import KINDS, write
from bench.runner import Outcome, Ports
from bench.soak import Reading, growth


class SampleTests(SynchronousTestCase):
    """
    What a unit of work cost.
    """

    def test_units(self) -> None:
        """
        Microseconds of a request, seconds of a gigabyte.
        """
        done = _Done(requests=1000.0, bytes=2e9, seconds=4.0, errors=0.0)
        self.assertEqual(Load("a", "A", "http1", "us/request")._sample(0.5, done), Sample(500.0, 250.0))
        self.assertEqual(Load("a", "A", "http1", "s/GB", perByte=True)._sample(0.5, done), Sample(0.25, 0.5))

    def test_nothingDone(self) -> None:
        """
        A round in which no request ended, or in which nothing was spent, is told as one.
        """
        none = _Done(requests=0.0, bytes=0.0, seconds=1.0, errors=0.0)
        for load, cpu, done in (
            (Load("a", "A", "http1", "us/request"), 0.5, none),
            (Load("a", "A", "http1", "s/GB", perByte=True), 0.5, none),
            (Load("a", "A", "http1", "us/request"), 0.0, _Done(5.0, 5.0, 1.0, 0.0)),
        ):
            error = self.assertRaises(Failed, load._sample, cpu, done)
            self.assertIn("stood still", str(error))


class OutcomeTests(SynchronousTestCase):
    """
    L{Outcome} compares round for round.
    """

    def _costs(self, **costs: list[float]) -> Outcome:
        samples = {name: [Sample(cost, 1.0) for cost in listed] for name, listed in costs.items()}
        return Outcome(CASES["http1"], samples)

    def test_ratioOfPairs(self) -> None:
        """
        A round in which the machine was slow for both does not move the ratio, though it moves the medians.
        """
        outcome = self._costs(meshproxy=[5.0, 50.0, 60.0], envoy=[10.0, 100.0, 120.0])
        self.assertEqual(outcome.ratio("meshproxy"), 0.5)
        self.assertEqual(outcome.cost("meshproxy"), 50.0)

    def test_noEnvoy(self) -> None:
        """
        Without Envoy there is no ratio, and no error.
        """
        self.assertIsNone(self._costs(meshproxy=[5.0]).ratio("meshproxy"))

    def test_nothingUsed(self) -> None:
        """
        A round in which Envoy's cost came out as nothing is left out.
        """
        self.assertEqual(self._costs(meshproxy=[5.0, 6.0], envoy=[0.0, 12.0]).ratio("meshproxy"), 0.5)


class SummaryTests(SynchronousTestCase):
    """
    What the generators print is read whole.
    """

    def test_h2load(self) -> None:
        """
        Answers other than 2xx are errors; requests in flight at the end are not.
        """
        text = (
            "finished in 2.00s, 9000.50 req/s, 2.10MB/s\n"
            "requests: 18001 total, 18129 started, 18001 done, 18001 succeeded, 0 failed, 0 errored, 0 timeout\n"
            "status codes: 18000 2xx, 0 3xx, 0 4xx, 1 5xx\n"
            "traffic: 4.21MB (4412345) total, 70.32KB (72008) headers (space savings 95.00%), 3.43MB (3600000) data\n"
        )
        self.assertEqual(_fromH2load(text), _Done(requests=18001, bytes=4412345, seconds=2.0, errors=1))

    def test_json(self) -> None:
        """
        The last line that is JSON counts; wrk prints a summary of its own before.
        """
        text = 'Running 1s test\n  2 requests in 1.00s\n{"requests": 2, "bytes": 9, "seconds": 1.0, "errors": 0}\n'
        self.assertEqual(_fromJSON(text), _Done(requests=2, bytes=9, seconds=1.0, errors=0))


class GrowthTests(SynchronousTestCase):
    """
    L{growth} tells a leak from finding one's size.
    """

    def test_warmUp(self) -> None:
        """
        What is taken in the first quarter is no leak.
        """
        readings = [Reading(memory, 10) for memory in (10, 50, 90, 100, 100, 100, 100, 100)]
        self.assertEqual(growth([Reading(5, 1), *readings[2:], readings[-1]]), Reading(0, 0))

    def test_leak(self) -> None:
        """
        What grows all the time is.
        """
        grown = growth([Reading(1000 * n, n) for n in range(16)])
        self.assertEqual(grown, Reading(8000, 8))


class ConfigurationTests(SynchronousTestCase):
    """
    C{bench/configs} fits what the cases name.
    """

    def test_everyCaseHasBootstraps(self) -> None:
        """
        This proxy and Envoy take part in every case, with one and the same file.
        """
        for case in CASES.values():
            mine, its = (KINDS[name].template(case.config) for name in ("meshproxy", "envoy"))
            self.assertEqual(mine, f"{case.config}.yaml")
            self.assertEqual(mine, its)

    def test_filledIn(self) -> None:
        """
        Each template names only what it is given, and the bootstraps are YAML with the listener's port in it.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        values = {"listen": 1234, "backend": 2345, "grpc": 2346, "log": "/dev/null", "body": "x", "transport": ""}
        values["inner"] = 3456
        for path in sorted(Path(write.__code__.co_filename).parent.glob("configs/*.*")):
            if path.suffix == ".lua":
                continue
            filled = write(path.name, folder, path.name, values)
            if path.suffix == ".yaml":
                listeners = yaml.safe_load(filled.read_text())["static_resources"]["listeners"]
                ports = [listener["address"]["socket_address"]["port_value"] for listener in listeners]
                self.assertEqual(ports, [1234, 3456] if path.stem == "mesh-mtls" else [1234], path)
            self.assertEqual(Template(filled.read_text()).get_identifiers(), [])

    def test_ports(self) -> None:
        """
        Backends and proxies have a port each.
        """
        ports = Ports(1000)
        used = [ports.http, ports.echo, ports.grpc, *(ports.proxy(name) for name in KINDS)]
        used += [ports.inner(name) for name in KINDS]
        self.assertEqual(len(set(used)), len(used))
        self.assertTrue(all(1000 <= port < 1020 for port in used))


class ProcessTests(SynchronousTestCase):
    """
    L{Process} counts a whole tree.
    """

    def test_tree(self) -> None:
        """
        This process is found among its parent's, with its memory; one that never was counts nothing.
        """
        process = Process.__new__(Process)
        process._popen = type("Popen", (), {"pid": os.getppid()})()
        self.assertIn(os.getpid(), process._tree())
        self.assertGreater(process.memory(), 1 << 20)
        process._popen = type("Popen", (), {"pid": 2**22 + 1})()
        self.assertEqual((process.cpu(), process.memory(), process.descriptors()), (0.0, 0, 0))
