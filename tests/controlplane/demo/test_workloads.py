"""
L{meshproxy.controlplane.demo.workloads}, and the resources that come with it.
"""

from __future__ import annotations

from importlib import resources

from treq.testing import RequestTraversalAgent
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from meshproxy.controlplane.demo.workloads import WORKLOADS, bookinfo, makeApp
from meshproxy.controlplane.model.documents import parseDocuments


class WorkloadTests(SynchronousTestCase):
    """
    Who is in the mesh.
    """

    def test_resources(self) -> None:
        """
        The resources have no problem, and name each workload with its address and labels.
        """
        found, problems = parseDocuments(bookinfo("127.9", 8000))
        self.assertEqual(problems, [])
        entries = {one.name: one.spec for one in found if one.kind == "WorkloadEntry"}
        self.assertEqual(
            {name: (spec.address, spec.labels, spec.serviceAccount) for name, spec in entries.items()},
            {
                one.name: (one.inbound("127.9"), {"app": one.app, "version": one.version}, one.account)
                for one in WORKLOADS
            },
        )
        (gateway,) = [one for one in found if one.kind == "Gateway"]
        self.assertEqual(gateway.spec.servers[0].port.number, 8000)

    def test_samples(self) -> None:
        """
        What there is to apply has no problem.
        """
        folder = resources.files("meshproxy.controlplane.demo") / "samples"
        names = sorted(file.name for file in folder.iterdir())
        self.assertEqual(len(names), 10)
        for name in names:
            found, problems = parseDocuments((folder / name).read_text(), name)
            self.assertEqual(problems, [])
            self.assertTrue(found)

    def test_addresses(self) -> None:
        """
        No two are the same.
        """
        all_ = [where for one in WORKLOADS for where in (one.inbound("127.0"), one.outbound("127.0"))]
        self.assertEqual(len(set(all_)), 12)
        self.assertEqual(all_[:2], ["127.0.1.1", "127.0.2.1"])

    def test_apps(self) -> None:
        """
        Each workload has its program.
        """
        apps = [makeApp(one, RequestTraversalAgent(Resource()), Clock(), "127.0") for one in WORKLOADS]
        names = [type(app._answer.__self__).__name__ for app in apps]  # type: ignore[attr-defined]
        self.assertEqual(names, ["ProductPage", "Details", "Reviews", "Reviews", "Reviews", "Ratings"])
