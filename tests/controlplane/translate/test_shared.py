"""
Tests for L{meshproxy.controlplane.translate.shared}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate import clusters
from meshproxy.controlplane.translate.proxy import DataPlane, Interception, Proxy, Role
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.shared import Shared
from meshproxy.controlplane.translate.translation import translate
from tests.controlplane.given import resourcesOf
from tests.controlplane.translate.golden import Case, caseNames, caseOf


def _callers(case: Case) -> list[Proxy]:
    """
    Proxies that get different things, each of them twice over.
    """
    one = case.proxy
    found = [
        one,
        evolve(one, namespace="elsewhere"),
        evolve(one, labels={"app": "other"}),
        evolve(one, locality="region/zone/sub"),
        evolve(one, sdsCluster="agent"),
        evolve(one, role=Role.ROUTER if one.isSidecar else Role.SIDECAR),
    ]
    found += [evolve(each, dataPlane=kind) for each in found for kind in DataPlane if kind is not each.dataPlane]
    found += [
        evolve(each, interception=way)
        for each in found[:6]
        for way in (Interception.NONE, Interception.REDIRECT)
        if way is not each.interception
    ]
    return [*found, *(evolve(each, id="again", addresses=()) for each in found)]


class SharedTests(SynchronousTestCase):
    """
    What is shared is what each would have got alone.
    """

    def test_same(self) -> None:
        """
        Whoever asked before, a proxy gets what it gets alone: configuration, problems and dependencies.
        """
        for name in caseNames():
            case = caseOf(name)
            resources = resourcesOf(case.resources)
            given = case.mesh, ResourceSet(resources), indexOf(resources)
            callers = _callers(case)
            alone = [translate(proxy, *given) for proxy in callers]
            for order in (callers, callers[::-1]):
                shared = Shared()
                together = {id(proxy): translate(proxy, *given, shared) for proxy in order}
                for proxy, expected in zip(callers, alone, strict=True):
                    found = together[id(proxy)]
                    self.assertEqual(set(found.problems), set(expected.problems), f"{name}: {proxy}")
                    found.problems = expected.problems  # in another order, perhaps
                    self.assertEqual(found, expected, f"{name}: {proxy}")

    def test_once(self) -> None:
        """
        What two proxies have in common is made once, and is the same object for both.
        """
        case = caseOf("bookinfo-sidecar")
        resources = resourcesOf(case.resources)
        given = case.mesh, ResourceSet(resources), indexOf(resources)
        made: list[str] = []
        make = clusters._outbound

        def noted(*told: object) -> None:
            made.append(str(told))
            make(*told)  # type: ignore[arg-type]  # whatever it is given

        self.patch(clusters, "_outbound", noted)
        shared = Shared()
        first = translate(case.proxy, *given, shared)
        count = len(made)
        self.assertGreater(count, 2)
        second = translate(evolve(case.proxy, id="other", labels={"app": "other"}), *given, shared)
        self.assertEqual(len(made), count)
        common = first.endpoints.keys() & second.endpoints.keys()
        self.assertTrue(common)
        for name in common:
            self.assertIs(first.endpoints[name], second.endpoints[name])
            self.assertIs(first.clusters[name], second.clusters[name])
        self.assertIs(next(iter(first.routes.values())), next(iter(second.routes.values())))
        translate(evolve(case.proxy, locality="region/zone"), *given, shared)
        self.assertEqual(len(made), 2 * count)

    def test_labels(self) -> None:
        """
        Labels of callers count where a resource asks for them, and only there.
        """
        text = caseOf("bookinfo-sidecar").resources
        selecting = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec:
  hosts: [productpage]
  http:
    - match: [{sourceLabels: {app: other}}]
      route: [{destination: {host: productpage}}]
      timeout: 7s
"""
        case = caseOf("bookinfo-sidecar")
        for more, differs in (("", False), (selecting, True)):
            resources = resourcesOf(text + more)
            given = case.mesh, ResourceSet(resources), indexOf(resources)
            shared = Shared()
            one = translate(evolve(case.proxy, labels={"app": "productpage"}), *given, shared)
            other = translate(evolve(case.proxy, labels={"app": "other"}), *given, shared)
            self.assertEqual(one.routes != other.routes, differs)

    def test_before(self) -> None:
        """
        Clusters outlive a change of routes, and routes do not.
        """
        case = caseOf("bookinfo-sidecar")
        resources = resourcesOf(case.resources)
        rest = [one for one in resources if one.kind != "VirtualService"]
        services = indexOf(resources)
        shared = Shared()
        before = translate(case.proxy, case.mesh, ResourceSet(resources), services, shared)
        after = translate(case.proxy, case.mesh, ResourceSet(rest), services, Shared(shared))
        self.assertNotEqual(before.routes, after.routes)
        self.assertEqual(after, translate(case.proxy, case.mesh, ResourceSet(rest), services))
        for name, one in after.endpoints.items():
            self.assertIs(one, before.endpoints[name])
