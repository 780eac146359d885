"""
Tests for L{meshproxy.controlplane.api.transactions}.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.controlplane.store.values import Change, Key
from tests.controlplane.api.client import READER, SERVICE, VIRTUAL_SERVICE, Answer, APITestCase

TEXT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}]
"""


class TransactionTestCase(APITestCase):
    """
    What the tests say it with.
    """

    def text(self, path: str, text: str = TEXT, **fields: str) -> Answer:
        """
        Send YAML.
        """
        return self.ask("POST", path, text, content_type="application/yaml", **fields)

    def actions(self, answer: Answer, key: str = "results") -> dict[str, str]:
        """
        What became of each resource.
        """
        self.assertEqual(answer.code, 200, answer.body)
        return {result["resource"]: result["action"] for result in answer.json[key]}

    def there(self) -> dict[str, Any]:
        """
        The names of what is there, and the specs.
        """
        entries = self.successResultOf(self.store.listing()).entries
        return {
            f"{entry.key.collection.partition('/')[2]}/{entry.key.name}": entry.document["spec"] for entry in entries
        }


class ApplyTests(TransactionTestCase):
    """
    Several resources as one.
    """

    def test_apply(self) -> None:
        """
        All of a text is one commit, with its reason; the same again changes nothing.
        """
        answer = self.text("/v1/apply?message=why")
        self.assertEqual(
            self.actions(answer),
            {"VirtualService default/reviews": "created", "DestinationRule default/reviews": "created"},
        )
        (commit,) = self.successResultOf(self.store.history())
        self.assertEqual((commit.message, commit.author, answer.json["revision"]), ("why", "local", 1))
        again = self.text("/v1/apply")
        self.assertEqual(set(self.actions(again).values()), {"unchanged"})
        self.assertEqual((again.json["revision"], self.store.revision), (1, 1))
        changed = self.text("/v1/apply", TEXT.replace("version: v1", "version: v2"))
        self.assertEqual(list(self.actions(changed).values()), ["unchanged", "configured"])

    def test_allOrNothing(self) -> None:
        """
        One wrong resource among good ones, and nothing is applied; every fault has its line.
        """
        wrong = "host: reviews\n  trafficPolicy: {tls: {mode: X}}\n"
        text = TEXT.replace("hosts:", "hots:").replace("host: reviews\n", wrong)
        answer = self.text("/v1/apply?filename=mesh.yaml", text)
        self.assertEqual((answer.code, self.store.revision), (422, 0))
        places = {(e.get("path"), e["file"], e["line"]) for e in answer.json["errors"]}
        self.assertIn(("spec.hots", "mesh.yaml", 5), places)
        self.assertIn(("spec.trafficPolicy.tls.mode", "mesh.yaml", 13), places)

    def test_namespace(self) -> None:
        """
        What names no namespace gets the one that is asked for.
        """
        self.assertIn("VirtualService other/reviews", self.actions(self.text("/v1/apply?namespace=other")))

    def test_json(self) -> None:
        """
        JSON, also a List.
        """
        listed = {"apiVersion": "v1", "kind": "List", "items": [VIRTUAL_SERVICE, SERVICE]}
        self.assertEqual(len(self.actions(self.ask("POST", "/v1/apply", listed))), 2)
        self.assertEqual(self.ask("POST", "/v1/apply", "{").code, 422)

    def test_nothing(self) -> None:
        """
        An empty text is a mistake, and so is a resource twice.
        """
        self.assertEqual(self.text("/v1/apply", "---\n").code, 400)
        self.assertEqual(self.text("/v1/apply", TEXT + "---\n" + TEXT).code, 422)

    def test_dryRun(self) -> None:
        """
        A dry run only tells.
        """
        self.assertEqual(set(self.actions(self.text("/v1/apply?dryRun=true")).values()), {"created"})
        self.assertEqual(self.store.revision, 0)

    def test_expected(self) -> None:
        """
        A resource that names the revision it was read at loses to who was quicker, and takes the others with it.
        """
        self.text("/v1/apply")
        stale = TEXT.replace("{name: reviews}", "{name: reviews, resourceVersion: '1'}").replace("v1}}", "v2}}")
        self.text("/v1/apply", TEXT.replace("version: v1", "version: v3"))
        answer = self.text("/v1/apply", stale)
        self.assertEqual((answer.code, self.store.revision), (409, 2))
        self.assertIn("destinationrules/default/reviews is at revision 2, not at 1", answer.json["detail"])

    def test_delete(self) -> None:
        """
        What a text names is deleted as one; what is not there is told.
        """
        self.put(VIRTUAL_SERVICE)
        answer = self.text("/v1/delete")
        self.assertEqual(
            self.actions(answer),
            {"VirtualService default/reviews": "deleted", "DestinationRule default/reviews": "not found"},
        )
        self.assertEqual(self.there(), {})

    def test_warnings(self) -> None:
        """
        What is valid and hardly meant is told with the answer.
        """
        text = TEXT.replace("http: [{", "http: [{fault: {delay: {percent: 5, fixedDelay: 5s}}, ")
        warnings = self.text("/v1/apply", text).json["warnings"]
        self.assertIn("spec.http[0].fault.delay.percent", [warning["path"] for warning in warnings])


class LookTests(TransactionTestCase):
    """
    To look before one leaps.
    """

    def test_validate(self) -> None:
        """
        Every problem of a text, with nothing written, and only reading allowed.
        """
        reader = {"authorization": f"Bearer {READER}"}
        good = self.text("/v1/validate", **reader).json
        self.assertEqual((good["valid"], good["resources"], good["problems"]), (True, 2, []))
        bad = self.text("/v1/validate", TEXT.replace("hosts:", "hots:"), **reader).json
        self.assertEqual((bad["valid"], bad["resources"]), (False, 1))
        self.assertEqual(bad["problems"][0]["suggestion"], "hosts")

    def test_diff(self) -> None:
        """
        What would change, in lines.
        """
        self.text("/v1/apply")
        answer = self.text("/v1/diff", TEXT.replace("version: v1", "version: v2"))
        changes = {change["kind"]: change for change in answer.json["changes"]}
        self.assertEqual((changes["VirtualService"]["action"], changes["VirtualService"]["diff"]), ("unchanged", ""))
        diff = changes["DestinationRule"]["diff"]
        self.assertIn("-      version: v1\n+      version: v2\n", diff)
        self.assertIn("--- DestinationRule default/reviews\n", diff)
        self.assertNotIn("uid", diff)
        self.assertEqual(self.store.revision, 1)

    def test_diffOfNew(self) -> None:
        """
        What is new is all plus.
        """
        diff = self.text("/v1/diff").json["changes"][0]["diff"]
        self.assertTrue(diff.startswith("--- /dev/null\n+++ VirtualService default/reviews\n"))


class HistoryTests(TransactionTestCase):
    """
    What was, and back to it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.text("/v1/apply?message=first")
        self.reactor.advance(10)
        self.text("/v1/apply", TEXT.replace("version: v1", "version: v2"))
        self.put(SERVICE)

    def test_history(self) -> None:
        """
        Newest first, with who, when, why and what.
        """
        commits = self.ask("GET", "/v1/history").json["commits"]
        self.assertEqual([commit["revision"] for commit in commits], [3, 2, 1])
        self.assertEqual((commits[2]["message"], commits[0]["time"] - commits[2]["time"]), ("first", 10))
        self.assertEqual(commits[1]["changes"][0]["action"], "configured")
        page = self.ask("GET", "/v1/history?limit=1&before=3").json["commits"]
        self.assertEqual([commit["revision"] for commit in page], [2])

    def test_ofOne(self) -> None:
        """
        Of one resource, by any name of its kind.
        """
        for kind in ("DestinationRule", "destinationrules", "dr"):
            commits = self.ask("GET", f"/v1/history?kind={kind}&name=reviews").json["commits"]
            self.assertEqual([commit["revision"] for commit in commits], [2, 1], kind)
        self.assertEqual(self.ask("GET", "/v1/history?kind=nothing&name=a").code, 400)
        self.assertEqual(self.ask("GET", "/v1/history?kind=dr").code, 400)

    def test_one(self) -> None:
        """
        One commit, with its diffs.
        """
        commit = self.ask("GET", "/v1/history/2").json
        self.assertIn("+      version: v2", commit["changes"][0]["diff"])
        self.assertEqual(self.ask("GET", "/v1/history/9").code, 404)
        self.assertEqual(self.ask("GET", "/v1/history/x").code, 400)

    def test_onlyResources(self) -> None:
        """
        What is in the store besides resources is nobody's to see.
        """
        hidden = Key("meshproxy.io/bootstraptokens", "", "secret")
        for number in range(5):
            self.successResultOf(self.store.commit([Change(hidden, {"n": number})], "ca"))
        answer = self.ask("GET", "/v1/history?limit=2")
        self.assertEqual([commit["revision"] for commit in answer.json["commits"]], [3, 2])
        self.assertEqual(self.ask("GET", f"/v1/history/{self.store.revision}").code, 404)
        self.assertEqual(self.ask("GET", "/apis/meshproxy.io/v1/bootstraptokens").code, 404)

    def test_rollback(self) -> None:
        """
        All as it was, as one commit that can be rolled back as well; what the resources are stays.
        """
        before = self.there()
        rule = "/apis/networking.istio.io/v1/namespaces/default/destinationrules/reviews"
        uid = self.ask("GET", rule).json["metadata"]["uid"]
        answer = self.ask("POST", "/v1/rollback", {"revision": 1})
        self.assertEqual(
            self.actions(answer),
            {"Service default/reviews": "deleted", "DestinationRule default/reviews": "configured"},
        )
        self.assertEqual(self.store.revision, 4)
        self.assertEqual(self.there()["destinationrules/reviews"]["subsets"][0]["labels"], {"version": "v1"})
        self.assertEqual(self.ask("GET", rule).json["metadata"]["uid"], uid)
        self.ask("POST", "/v1/rollback", {"revision": 3})
        self.assertEqual(self.there(), before)
        self.assertEqual(self.successResultOf(self.store.history())[0].message, "roll back to revision 3")

    def test_rollbackOfSome(self) -> None:
        """
        Or only some resources; or only told.
        """
        some = {"revision": 1, "resources": [{"kind": "dr", "name": "reviews"}], "message": "why"}
        self.assertEqual(len(self.actions(self.ask("POST", "/v1/rollback?dryRun=true", some))), 1)
        self.assertEqual(self.store.revision, 3)
        self.ask("POST", "/v1/rollback", some)
        self.assertIn("services/reviews", self.there())
        self.assertEqual(self.successResultOf(self.store.history())[0].message, "why")

    def test_rollbackToNothing(self) -> None:
        """
        Where nothing differs nothing is written.
        """
        self.assertEqual(self.ask("POST", "/v1/rollback", {"revision": 3}).json["results"], [])
        self.assertEqual(self.store.revision, 3)

    def test_wrongRollback(self) -> None:
        """
        What cannot be gone back to, or is not understood, is refused.
        """
        self.successResultOf(self.store.compact(1))
        for body, code in (
            ({"revision": 0}, 410),
            ({"revision": 9}, 400),
            ({"revision": "1"}, 400),
            ({"revision": True}, 400),
            ({"revision": 1, "resource": []}, 400),
            ({"revision": 1, "resources": "dr"}, 400),
            ({"revision": 1, "resources": ["dr"]}, 400),
            ([], 400),
        ):
            self.assertEqual(self.ask("POST", "/v1/rollback", body).code, code, json.dumps(body))
