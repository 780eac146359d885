"""
Tests for L{meshproxy.controlplane.api.serverapply}, and for the operation that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.managedfields import APPLY, BEFORE, UPDATE, fieldsOf, ownersOf, told, tracked
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.api.serverapply import APPLY_PATCH, serverApply
from tests.controlplane.api.client import READER, SERVICE, VIRTUAL_SERVICE, Answer, APITestCase

ONE = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews"
SERVICES = "/api/v1/namespaces/default/services/reviews"
SPEC: Any = SERVICE["spec"]
ROUTES: Any = VIRTUAL_SERVICE["spec"]


class _Cluster:
    """
    A resource that several managers apply.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.live: dict[str, Any] | None = None

    def apply(self, manager: str, spec: Any, force: bool = False, **metadata: Any) -> Any:
        """
        @return: The spec that comes of it.
        """
        wanted = {"apiVersion": "v1", "kind": self.kind, "metadata": {"name": "x", **metadata}, "spec": spec}
        document, owners = serverApply(self.kind, self.live, wanted, manager, "now", force)
        document["metadata"]["managedFields"] = told(owners)
        self.live = document
        return document["spec"]

    def edit(self, manager: str, spec: Any) -> Any:
        """
        Write it in another way.
        """
        assert self.live is not None
        owners = ownersOf(self.live["metadata"]["managedFields"]) or []
        after = {**self.live, "spec": spec}
        found = tracked(self.kind, owners, self.live, after, manager, "now")
        self.live = {**after, "metadata": {**self.live["metadata"], "managedFields": told(found)}}
        return spec

    def managers(self) -> dict[str, Any]:
        """
        Which fields of the spec each has.
        """
        assert self.live is not None
        found = {one["manager"]: one["fieldsV1"] for one in self.live["metadata"]["managedFields"]}
        return {name: fields.get("f:spec", {}) for name, fields in found.items()}


class ServerApplyTests(SynchronousTestCase):
    """
    L{serverApply} merges what several managers say.
    """

    def conflicts(self, resource: _Cluster, manager: str, spec: Any) -> list[str]:
        """
        The fields that are refused.
        """
        live = resource.live
        refused = self.assertRaises(Refused, resource.apply, manager, spec)
        self.assertEqual((refused.code, resource.live), (409, live))
        return [error.path for error in refused.errors]

    def test_shared(self) -> None:
        """
        Each has what it said; what two say alike both have, and it goes when neither says it any more. What becomes
        empty goes too.
        """
        made = _Cluster("Sidecar")
        self.assertEqual(made.apply("a", {"x": {"one": 1, "two": 2}, "y": 3}), {"x": {"one": 1, "two": 2}, "y": 3})
        self.assertEqual(
            made.apply("b", {"x": {"two": 2, "three": 3}}), {"x": {"one": 1, "two": 2, "three": 3}, "y": 3}
        )
        self.assertEqual(made.managers()["b"], {"f:x": {"f:two": {}, "f:three": {}}})
        self.assertEqual(made.apply("a", {"y": 3}), {"x": {"two": 2, "three": 3}, "y": 3})
        self.assertEqual(made.apply("b", {"y": 3}), {"y": 3})
        self.assertEqual(made.apply("a", {}), {"y": 3})

    def test_null(self) -> None:
        """
        Of what is null nothing is said.
        """
        made = _Cluster("Sidecar")
        made.apply("a", {"x": 1, "y": 2})
        self.assertEqual(made.apply("b", {"x": None, "z": 3}), {"x": 1, "y": 2, "z": 3})
        self.assertEqual(made.apply("a", {"x": None, "y": 2}), {"y": 2, "z": 3})

    def test_conflicts(self) -> None:
        """
        Another value of another's field is refused, whether it stands there, within or around; force takes it.
        """
        made = _Cluster("Sidecar")
        made.apply("a", {"x": {"one": 1, "two": [1, 2]}, "y": 3})
        self.assertEqual(self.conflicts(made, "b", {"x": {"one": True}, "y": 3}), [".spec.x.one"])
        self.assertEqual(self.conflicts(made, "b", {"x": 1}), [".spec.x.one", ".spec.x.two"])
        self.assertEqual(self.conflicts(made, "b", {"y": {"inner": 1}}), [".spec.y"])
        # That there is something there is no other value.
        self.assertEqual(made.apply("b", {"x": {}}), {"x": {"one": 1, "two": [1, 2]}, "y": 3})
        self.assertEqual(made.apply("b", {"x": 1, "y": {"inner": 1}}, force=True), {"x": 1, "y": {"inner": 1}})
        self.assertEqual(made.managers(), {"b": {"f:x": {}, "f:y": {"f:inner": {}}}})
        self.assertEqual(self.conflicts(made, "a", {"x": 2}), [".spec.x"])

    def test_before(self) -> None:
        """
        What was there before anybody applied belongs to somebody of a name of its own.
        """
        made = _Cluster("Sidecar")
        made.live = {"apiVersion": "v1", "kind": "Sidecar", "metadata": {"name": "x"}, "spec": {"x": 1, "y": 2}}
        self.assertEqual(self.conflicts(made, "a", {"x": 2}), [".spec.x"])
        self.assertEqual(made.apply("a", {"x": 2}, force=True), {"x": 2, "y": 2})
        self.assertEqual(made.managers(), {"a": {"f:x": {}}, BEFORE: {"f:y": {}}})

    def test_keyed(self) -> None:
        """
        Ports of a Service are told apart by number and protocol; each goes with the last who says it.
        """
        made = _Cluster("Service")
        dns = {"port": 53, "protocol": "UDP", "name": "dns"}
        made.apply("a", {"ports": [{"port": 80, "name": "http"}, {"port": 53, "name": "tcp"}]})
        self.assertEqual(
            made.apply("b", {"ports": [dns, {"port": 80, "targetPort": 8080}]})["ports"],
            [{"port": 80, "name": "http", "targetPort": 8080}, {"port": 53, "name": "tcp"}, dns],
        )
        wrong = {"ports": [{"port": 80, "name": "web"}]}
        self.assertEqual(self.conflicts(made, "b", wrong), ['.spec.ports[port=80,protocol="TCP"].name'])
        self.assertEqual(made.apply("a", {})["ports"], [{"port": 80, "targetPort": 8080}, dns])
        self.assertEqual(made.apply("b", {"ports": [dns]})["ports"], [dns])
        self.assertNotIn("ports", made.apply("b", {"type": "ClusterIP"}))

    def test_items(self) -> None:
        """
        An item is found as long as somebody has one of its fields, and goes with the last one; items take the place of
        a list that has no keys.
        """
        made = _Cluster("Service")
        dns = {"port": 53, "protocol": "UDP"}
        made.apply("a", {"ports": [dns, {"port": 81}]})
        made.edit("b", {"ports": [{**dns, "name": "dns"}, {"port": 81}]})
        self.assertEqual(made.apply("a", {"ports": [{"port": 81}]})["ports"], [{**dns, "name": "dns"}, {"port": 81}])
        self.assertEqual(made.edit("b", {"ports": [dns, {"port": 81}]})["ports"], [dns, {"port": 81}])
        self.assertEqual(made.apply("c", {"ports": [{**dns, "name": "d"}]})["ports"][0], {**dns, "name": "d"})
        self.assertEqual(made.apply("c", {})["ports"], [{"port": 81}])
        made.apply("c", {"ports": [{"name": "none"}]}, force=True)
        self.assertEqual(made.apply("a", {"ports": [{"port": 82}]}, force=True)["ports"], [{"port": 82}])

    def test_anything(self) -> None:
        """
        Whatever two managers say, one after the other: what was said last is there, said again it changes nothing, and
        everybody has only what there is.
        """
        chance = Random(7)

        def value(depth: int = 0) -> Any:
            kind = chance.random()
            if kind < 0.4 or depth > 2:
                return chance.choice([1, True, "a", None, 0, [], [1], {}, ""])
            size = range(chance.randint(0, 3))
            if kind < 0.6:
                return [{"port": chance.choice([80, 81]), "name": chance.choice(["n", None])} for _ in size]
            return {chance.choice(("a", "b", "ports")): value(depth + 1) for _ in size}

        for _ in range(300):
            made = _Cluster("Service")
            for _ in range(5):
                wanted = {"kept": 1, "ports": value(3), chance.choice("abc"): value()}
                manager, force = chance.choice("pq"), chance.random() < 0.7
                try:
                    spec = made.apply(manager, wanted, force)
                except Refused:
                    continue
                for name, one in wanted.items():
                    if one is not None and not isinstance(one, dict | list):
                        self.assertEqual(spec[name], one)
                live = made.live
                assert live is not None
                for owner in ownersOf(live["metadata"]["managedFields"]) or ():
                    self.assertLessEqual(owner.paths, fieldsOf("Service", live).keys())
                made.apply(manager, wanted)
                self.assertEqual(made.live, live)

    def test_labels(self) -> None:
        """
        Labels and annotations are managed one by one.
        """
        made = _Cluster("Sidecar")
        made.apply("a", {"x": 1}, labels={"one": "1"}, annotations={"note": "n"})
        made.apply("b", {"x": 1}, labels={"two": "2"})
        made.apply("a", {"x": 1})
        assert made.live is not None
        self.assertEqual(made.live["metadata"]["labels"], {"two": "2"})
        self.assertNotIn("annotations", made.live["metadata"])


class OperationTests(APITestCase):
    """
    C{PATCH} with C{application/apply-patch+yaml}.
    """

    def apply(
        self, path: str, document: Mapping[str, Any] | str, query: str = "fieldManager=me", **fields: str
    ) -> Answer:
        """
        Apply something.
        """
        return self.ask("PATCH", f"{path}?{query}", document, content_type=APPLY_PATCH, **fields)

    def test_life(self) -> None:
        """
        The first makes it, the second changes nothing, another one changes it; deletion of a field is told by not
        saying it.
        """
        answer = self.apply(ONE, VIRTUAL_SERVICE)
        self.assertEqual(answer.code, 201, answer.body)
        (owner,) = answer.json["metadata"]["managedFields"]
        self.assertEqual((owner["manager"], owner["operation"]), ("me", APPLY))
        self.assertEqual(owner["fieldsV1"]["f:metadata"], {"f:labels": {"f:app": {}}})
        self.assertEqual(self.apply(ONE, VIRTUAL_SERVICE).code, 200)
        self.assertEqual(self.store.revision, 1)
        text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {}\nspec: {exportTo: [.]}\n"
        answer = self.apply(ONE, text, "fieldManager=other")
        self.assertEqual(answer.json["spec"], {**ROUTES, "exportTo": ["."]})
        self.assertEqual(answer.json["metadata"]["generation"], 2)
        answer = self.apply(ONE, {**VIRTUAL_SERVICE, "metadata": {"name": "reviews"}})
        self.assertNotIn("labels", answer.json["metadata"])

    def test_conflict(self) -> None:
        """
        A conflict tells every field, as a problem and as Kubernetes has it; force ends it.
        """
        self.apply(SERVICES, SERVICE)
        other = {**SERVICE, "spec": {**SPEC, "selector": {"app": "other"}}}
        refused = self.apply(SERVICES, other, "fieldManager=you")
        self.assertEqual(refused.code, 409)
        told = {"severity": "error", "code": "conflict", "message": "'me' manages it, with v1"}
        self.assertEqual(refused.json["errors"], [{**told, "path": ".spec.selector.app"}])
        refused = self.apply(SERVICES, other, "fieldManager=you", accept="application/json")
        self.assertEqual(refused.json["reason"], "Conflict")
        cause = {"reason": "FieldManagerConflict", "message": "'me' manages it, with v1", "field": ".spec.selector.app"}
        self.assertEqual(refused.json["details"]["causes"], [cause])
        taken = self.apply(SERVICES, other, "fieldManager=you&force=true")
        self.assertEqual((taken.code, taken.json["spec"]["selector"]), (200, {"app": "other"}))

    def test_tracked(self) -> None:
        """
        Who changes a field in another way has it from then on: by patch, by replacing, in a transaction.
        """
        self.apply(SERVICES, SERVICE)
        patch = {"spec": {"selector": {"app": "patched"}}}
        self.ask("PATCH", SERVICES, patch, content_type="application/merge-patch+json", user_agent="tool/1.0")
        self.assertIn("'tool'", self.apply(SERVICES, SERVICE).json["errors"][0]["message"])
        replaced = {**SERVICE, "spec": {**SPEC, "selector": {"app": "replaced"}}}
        self.ask("PUT", f"{SERVICES}?fieldManager=other", replaced)
        self.assertIn("'other'", self.apply(SERVICES, SERVICE).json["errors"][0]["message"])
        self.ask("POST", "/v1/apply", {**SERVICE, "spec": {**SPEC, **patch["spec"]}}, user_agent="mine")
        paths = [error["path"] for error in self.apply(SERVICES, SERVICE).json["errors"]]
        self.assertEqual(paths, [".spec.selector.app"])
        owners = self.ask("GET", SERVICES).json["metadata"]["managedFields"]
        self.assertEqual([(one["manager"], one["operation"]) for one in owners], [("me", APPLY), ("mine", UPDATE)])

    def test_reset(self) -> None:
        """
        Who says who manages what is believed, as far as it can be understood; an empty list forgets all.
        """
        self.apply(SERVICES, SERVICE)
        found = self.ask("GET", SERVICES).json
        for owners, count in (("what?", 1), (None, 1), ([], 0)):
            metadata = {**found["metadata"], "managedFields": owners, "resourceVersion": ""}
            if owners == "what?":
                metadata["managedFields"] = [{"manager": 1}]
            answer = self.ask("PUT", SERVICES, {**found, "metadata": metadata})
            self.assertEqual(answer.code, 200, answer.body)
            self.assertEqual(len(answer.json["metadata"].get("managedFields", ())), count)

    def test_refused(self) -> None:
        """
        What is missing, or is not for it, is told; nothing is written.
        """
        self.assertEqual(self.apply(ONE, VIRTUAL_SERVICE, "").code, 422)
        self.assertEqual(self.apply(ONE, VIRTUAL_SERVICE, f"fieldManager={'x' * 129}").code, 422)
        self.assertEqual(self.apply(ONE, "[]").code, 400)
        self.assertEqual(self.apply(ONE, {"spec": {}}).code, 400)
        self.assertEqual(self.apply(ONE, "a: [").code, 400)
        self.assertEqual(self.apply(ONE, {**VIRTUAL_SERVICE, "spec": {"hots": []}}).code, 422)
        metadata = {"name": "reviews", "managedFields": [{"manager": "me"}]}
        self.assertEqual(self.apply(ONE, {**VIRTUAL_SERVICE, "metadata": metadata}).code, 400)
        metadata = {"name": "reviews", "resourceVersion": "7"}
        self.assertEqual(self.apply(ONE, {**VIRTUAL_SERVICE, "metadata": metadata}).code, 409)
        self.assertEqual(self.apply(ONE, {**VIRTUAL_SERVICE, "metadata": {"name": "ratings"}}).code, 400)
        self.assertEqual(self.apply(ONE, VIRTUAL_SERVICE, if_match='"7"').code, 412)
        self.assertEqual(self.apply(ONE, VIRTUAL_SERVICE, "fieldManager=me&dryRun=All").code, 201)
        self.assertEqual(self.apply(ONE, VIRTUAL_SERVICE, peer="192.0.2.1", authorization=f"Bearer {READER}").code, 403)
        merge = {"content_type": "application/merge-patch+json"}
        self.assertEqual(self.ask("PATCH", f"{ONE}?force=true", {}, **merge).code, 422)
        self.assertEqual(self.store.revision, 0)

    def test_elsewhere(self) -> None:
        """
        Diffs and rollbacks do not show who manages what.
        """
        self.apply(SERVICES, SERVICE)
        other = {**SERVICE, "spec": {**SPEC, "selector": {"app": "other"}}}
        self.assertNotIn("managedFields", self.ask("POST", "/v1/diff", other).json["changes"][0]["diff"])
        self.put(other)
        self.assertEqual(self.ask("POST", "/v1/rollback", {"revision": 1}).code, 200)
        self.assertEqual(self.ask("GET", SERVICES).json["spec"], SERVICE["spec"])
