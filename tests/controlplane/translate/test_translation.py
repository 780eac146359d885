# -*- test-case-name: tests.controlplane.translate.test_translation -*-
"""
Tests for L{meshproxy.controlplane.translate.translation}: the golden files, and what a translation says of itself.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.registry.services import ServiceKey
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.messages import LISTENER
from meshproxy.controlplane.translate.proxy import Interception, Proxy
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import endpointsAgain, servedBy, translate
from tests.controlplane.given import resourcesOf
from tests.controlplane.translate.golden import CASES, caseNames, caseOf, outcome, translated, written

KEY = ServiceKey("reviews.shop.svc.cluster.local", "shop")


class GoldenTests(SynchronousTestCase):
    """
    What comes out is what has come out, and was looked at.
    """

    maxDiff = None

    def test_cases(self) -> None:
        """
        Each case gives what its file says, to the letter.
        """
        names = caseNames()
        self.assertGreater(len(names), 8)
        told = "look at the difference; python -m tests.controlplane.translate.golden writes it"
        for name in names:
            expected = (CASES / f"{name}.out.yaml").read_text("utf-8")
            self.assertTrue(expected == written(outcome(caseOf(name))), f"{name}: {told}")

    def test_order(self) -> None:
        """
        The order in which resources are given does not matter.
        """
        for name in caseNames():
            case = caseOf(name)
            turned = case._replace(resources="\n---\n".join(reversed(case.resources.split("\n---\n"))))
            one, other = outcome(case), outcome(turned)
            # Places of problems are those of the text.
            one.pop("problems", None)
            other.pop("problems", None)
            self.assertEqual(written(one), written(other), name)

    def test_messages(self) -> None:
        """
        All of it is of Envoy's types, under its own names.
        """
        for name in caseNames():
            made = translated(caseOf(name)).messages()
            self.assertEqual([message.name for message in made[LISTENER].values()], list(made[LISTENER]))  # type: ignore[attr-defined]  # a dynamic message

    def test_noFiltersOfIstio(self) -> None:
        """
        Upstream Envoy has none of Istio's own filters.
        """
        for name in caseNames():
            self.assertNotIn("istio.", written(translated(caseOf(name)).listeners).replace("istio.io", ""), name)


class DependencyTests(SynchronousTestCase):
    """
    What a translation was made from.
    """

    def setUp(self) -> None:
        self.case = caseOf("bookinfo-sidecar")

    def test_named(self) -> None:
        """
        The resources and services that something was made from are named.
        """
        made = translated(self.case)
        self.assertEqual({key.kind for key in made.resources}, {"Service", "VirtualService", "DestinationRule"})
        self.assertIn(KEY, made.services)
        self.assertEqual(len(made.services), 3)

    def test_complete(self) -> None:
        """
        Taking away a resource that is not named changes nothing; taking away one that is changes something.
        """
        resources = resourcesOf(self.case.resources)
        before = translated(self.case)
        services = indexOf(resources)
        for resource in resources:
            if resource.kind in ("Service", "WorkloadEntry"):
                continue
            rest = ResourceSet(one for one in resources if one is not resource)
            after = translate(self.case.proxy, self.case.mesh, rest, services)
            same = (after.routes, after.clusters) == (before.routes, before.clusters)
            self.assertEqual(same, resource.key not in before.resources, resource.title)

    def test_endpointsAlone(self) -> None:
        """
        When endpoints change, they alone are made again, and come out as they do in a whole translation.
        """
        text = self.case.resources.replace("127.0.1.3", "127.0.1.9")
        resources = resourcesOf(text)
        given = self.case.proxy, self.case.mesh, ResourceSet(resources), indexOf(resources)
        again = endpointsAgain(*given, [KEY])
        assert again is not None
        whole = translate(*given)
        self.assertEqual(
            set(again), {name for name in whole.endpoints if name.endswith("|reviews.shop.svc.cluster.local")}
        )
        for name, endpoints in again.items():
            self.assertEqual(endpoints, whole.endpoints[name])
        self.assertNotEqual(again, {name: translated(self.case).endpoints[name] for name in again})

    def test_moreThanEndpoints(self) -> None:
        """
        Where more follows than endpoints, a whole translation is asked for.
        """
        resources = resourcesOf(self.case.resources)
        rest = self.case.mesh, ResourceSet(resources), indexOf(resources)
        own = ServiceKey("productpage.shop.svc.cluster.local", "shop")
        self.assertEqual(servedBy(self.case.proxy, rest[-1]), {own})
        outside = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: o}\n"
        outside += "spec: {hosts: [o.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n"
        resources = resourcesOf(f"{self.case.resources}\n---\n{outside}")
        rest = self.case.mesh, ResourceSet(resources), indexOf(resources)
        self.assertIsNone(endpointsAgain(self.case.proxy, *rest, [ServiceKey("o.com", "shop")]))

    def test_nothing(self) -> None:
        """
        A mesh without anything still makes a proxy that starts.
        """
        for interception in Interception:
            proxy = Proxy(id="p", namespace="shop", interception=interception)
            made = translate(proxy, MeshConfig(), ResourceSet(), indexOf([]))
            self.assertIn("BlackHoleCluster", made.clusters)
            self.assertEqual("virtualInbound" in made.listeners, interception is not Interception.NONE)
            made.messages()
