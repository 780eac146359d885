"""
Tests for L{meshproxy.controlplane.api.kubernetes}.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.controlplane.api.access import Access
from meshproxy.controlplane.api.application import makeSite
from meshproxy.controlplane.store.values import Change, Key
from tests.controlplane.api.client import READER, SERVICE, VIRTUAL_SERVICE, Answer, APITestCase

ALL = "/apis/networking.istio.io/v1/virtualservices"
PATH = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
ONE = PATH + "/reviews"
SERVICES = "/api/v1/namespaces/default/services"
SECRETS = "/api/v1/namespaces/default/secrets"
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "gateway", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "c2VjcmV0"}},
    "type": "Opaque",
    "data": {"value": "c2VjcmV0"},
}


def named(name: str, **metadata: Any) -> dict[str, Any]:
    """
    A VirtualService with a name.
    """
    return {**VIRTUAL_SERVICE, "metadata": {"name": name, **metadata}, "spec": {**_spec(), "hosts": [name]}}


def _spec() -> dict[str, Any]:
    return json.loads(json.dumps(VIRTUAL_SERVICE["spec"]))  # type: ignore[no-any-return]  # a mapping


class ResourceTestCase(APITestCase):
    """
    What the tests say it with.
    """

    def names(self, answer: Answer) -> list[str]:
        """
        The names in a list.
        """
        self.assertEqual(answer.code, 200, answer.body)
        return [item["metadata"]["name"] for item in answer.json["items"]]


class ResourceTests(ResourceTestCase):
    """
    Resources are created, read, changed and deleted by Kubernetes' paths.
    """

    def test_create(self) -> None:
        """
        What is created gets its identity, its time and its revision; a second one of its name is a conflict.
        """
        answer = self.ask("POST", PATH, VIRTUAL_SERVICE)
        metadata = answer.json["metadata"]
        self.assertEqual((answer.code, answer.headers["etag"], metadata["resourceVersion"]), (201, '"1"', "1"))
        self.assertEqual((metadata["namespace"], metadata["generation"]), ("default", 1))
        self.assertEqual((metadata["creationTimestamp"], len(metadata["uid"])), ("2027-01-15T08:00:00Z", 36))
        again = self.ask("POST", PATH, VIRTUAL_SERVICE, accept="application/json")
        self.assertEqual((again.code, again.json["reason"]), (409, "AlreadyExists"))
        self.assertEqual(again.json["details"]["name"], "reviews")

    def test_namespaceOfThePath(self) -> None:
        """
        A namespace that is none is refused where it stands in the path alone, too.
        """
        answer = self.ask("POST", PATH.replace("/default/", "/Shop_1/"), VIRTUAL_SERVICE)
        self.assertEqual(answer.code, 422, answer.body)
        (error,) = answer.json["errors"]
        self.assertEqual((error["path"], error["suggestion"]), ("metadata.namespace", "shop-1"))

    def test_generateName(self) -> None:
        """
        A name is made where only its beginning is given.
        """
        document = {**VIRTUAL_SERVICE, "metadata": {"generateName": "reviews-"}}
        names = {self.ask("POST", PATH, document).json["metadata"]["name"] for _ in range(2)}
        self.assertEqual(len(names), 2)
        self.assertTrue(all(name.startswith("reviews-") and len(name) == 13 for name in names))

    def test_notOfThePath(self) -> None:
        """
        Another kind, version, name or namespace than the path's is refused.
        """
        for path, document in (
            (PATH, SERVICE),
            (PATH, {**VIRTUAL_SERVICE, "apiVersion": "networking.istio.io/v2"}),
            (PATH.replace("default", "other"), named("a", namespace="default")),
            (PATH, [1]),
        ):
            self.assertEqual(self.ask("POST", path, document).code, 400, document)
        self.assertEqual(self.ask("PUT", ONE, named("other")).code, 400)

    def test_invalid(self) -> None:
        """
        An invalid resource changes nothing, and each fault is told with its field and what was meant.
        """
        document = {**VIRTUAL_SERVICE, "spec": {"hots": ["a"], "http": [{"timeout": "soon"}]}}
        answer = self.ask("POST", PATH, document)
        self.assertEqual(answer.code, 422)
        told = {error["path"]: error for error in answer.json["errors"]}
        self.assertEqual(told["spec.hots"]["suggestion"], "hosts")
        self.assertIn("spec.http[0].timeout", told)
        status = self.ask("POST", PATH, document, accept="application/json").json
        self.assertIn("spec.hots", [cause["field"] for cause in status["details"]["causes"]])
        self.assertEqual(self.store.revision, 0)

    def test_brokenBody(self) -> None:
        """
        A body that cannot be read is told with its place.
        """
        answer = self.ask("POST", PATH, '{"kind": }')
        self.assertEqual((answer.code, answer.json["errors"][0]["line"]), (400, 1))
        self.assertEqual(self.ask("POST", PATH, "a: [", content_type="application/yaml").code, 400)

    def test_get(self) -> None:
        """
        One is read in each version, and with its tag only if it changed.
        """
        self.put(VIRTUAL_SERVICE)
        self.assertEqual(self.ask("GET", ONE).json["spec"], VIRTUAL_SERVICE["spec"])
        older = self.ask("GET", ONE.replace("/v1/", "/v1alpha3/")).json
        self.assertEqual(older["apiVersion"], "networking.istio.io/v1alpha3")
        self.assertEqual(self.ask("GET", ONE, if_none_match='"1"').code, 304)
        self.assertEqual(self.ask("GET", ONE, if_none_match='"2"').code, 200)
        self.assertEqual(self.ask("GET", PATH + "/none").code, 404)

    def test_yaml(self) -> None:
        """
        YAML is taken where it says so.
        """
        text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n"
        self.assertEqual(self.ask("POST", SERVICES, text, content_type="application/yaml").code, 201)

    def test_replace(self) -> None:
        """
        Replacing changes the generation with the content, and keeps who it is; the same again changes nothing.
        """
        first = self.ask("PUT", ONE, VIRTUAL_SERVICE)
        self.assertEqual(first.code, 201)
        labelled = self.ask("PUT", ONE, named("reviews", labels={"a": "b"}) | {"spec": VIRTUAL_SERVICE["spec"]})
        self.assertEqual((labelled.code, labelled.json["metadata"]["generation"]), (200, 1))
        changed = self.ask("PUT", ONE, named("reviews") | {"spec": {**_spec(), "exportTo": ["."]}})
        self.assertEqual(changed.json["metadata"]["generation"], 2)
        self.assertEqual(changed.json["metadata"]["uid"], first.json["metadata"]["uid"])
        self.assertEqual(self.ask("PUT", ONE, changed.json).json, changed.json)
        self.assertEqual(self.store.revision, 3)

    def test_lostRace(self) -> None:
        """
        Who read an old revision loses: 409 by resourceVersion, 412 by tag, and nothing is changed.
        """
        first = self.ask("PUT", ONE, VIRTUAL_SERVICE).json
        self.ask("PUT", ONE, named("reviews"))
        self.assertEqual(self.ask("PUT", ONE, first).code, 409)
        self.assertEqual(self.ask("PUT", ONE, VIRTUAL_SERVICE, if_match='"1"').code, 412)
        self.assertEqual(self.ask("PUT", ONE, VIRTUAL_SERVICE, if_none_match="*").code, 412)
        self.assertEqual(self.ask("DELETE", ONE, if_match='"1"').code, 412)
        self.assertEqual(self.store.revision, 2)
        self.assertEqual(self.ask("PUT", ONE, VIRTUAL_SERVICE, if_match='"2"').code, 200)
        self.assertEqual(self.ask("PUT", ONE, VIRTUAL_SERVICE, if_match='"wrong"').code, 412)
        # What is no tag at all is no condition that does not hold, but a mistake.
        self.assertEqual(self.ask("PUT", ONE, VIRTUAL_SERVICE, if_match="W/wrong").code, 400)

    def test_dryRun(self) -> None:
        """
        A dry run tells what would be, and does nothing.
        """
        self.assertEqual(self.ask("POST", PATH + "?dryRun=All", VIRTUAL_SERVICE).code, 201)
        self.assertEqual(self.store.revision, 0)
        self.put(VIRTUAL_SERVICE)
        self.assertEqual(self.ask("DELETE", ONE + "?dryRun=All").code, 200)
        self.assertEqual(self.ask("POST", PATH + "?dryRun=some", VIRTUAL_SERVICE).code, 400)
        self.assertEqual(self.store.revision, 1)

    def test_delete(self) -> None:
        """
        What is deleted is gone; preconditions hold it.
        """
        self.put(VIRTUAL_SERVICE)
        uid = self.ask("GET", ONE).json["metadata"]["uid"]
        wrong = {"kind": "DeleteOptions", "preconditions": {"uid": "other"}}
        self.assertEqual(self.ask("DELETE", ONE, wrong).code, 409)
        answer = self.ask("DELETE", ONE, {"kind": "DeleteOptions", "preconditions": {"uid": uid}})
        self.assertEqual((answer.json["status"], answer.json["details"]["uid"]), ("Success", uid))
        self.assertEqual((self.ask("GET", ONE).code, self.ask("DELETE", ONE).code), (404, 404))

    def test_deleteMany(self) -> None:
        """
        Those that are selected are deleted as one transaction.
        """
        for name in "abc":
            self.put(named(name, labels={"keep": "yes" if name == "b" else "no"}))
        self.assertEqual(self.names(self.ask("DELETE", PATH + "?labelSelector=keep%3Dno")), ["a", "c"])
        self.assertEqual((self.names(self.ask("GET", PATH)), self.store.revision), (["b"], 4))

    def test_notUnderstood(self) -> None:
        """
        What cannot be understood is refused before anything is done, also where it would make no difference.
        """
        self.put(VIRTUAL_SERVICE)
        options = {"preconditions": {"uid": 7}}
        for method, path, body in (
            ("DELETE", PATH + "?dryRun=perhaps", None),
            ("DELETE", PATH + "?labelSelector=a%3Db&dryRun=perhaps", None),
            ("DELETE", PATH + "?labelSelector=a%3Db", options),
            ("DELETE", ONE, options),
            ("DELETE", ONE, {"preconditions": []}),
            ("GET", PATH + "?timeoutSeconds=2147483648", None),
            ("GET", PATH + "?allowWatchBookmarks=perhaps", None),
            ("POST", "/v1/rollback", {"revision": -1}),
            ("POST", "/v1/rollback", {"revision": 0, "message": 7}),
            ("POST", "/v1/validate", None),
        ):
            self.assertEqual(self.ask(method, path, body).code, 400, path)
        self.assertEqual(self.store.revision, 1)

    def test_finalizers(self) -> None:
        """
        Nothing waits for finalizers here, so they are refused, not ignored.
        """
        self.assertEqual(self.ask("POST", PATH, named("a", finalizers=["x/y"])).code, 422)

    def test_status(self) -> None:
        """
        A status is the control plane's to give, and none is taken.
        """
        self.ask("PUT", ONE, {**VIRTUAL_SERVICE, "status": {"lie": True}})
        self.assertNotIn("status", self.ask("GET", ONE).json)

    def test_author(self) -> None:
        """
        The history knows who, and by what tool.
        """
        self.ask("POST", PATH + "?fieldManager=kubectl", VIRTUAL_SERVICE)
        self.assertEqual(self.successResultOf(self.store.history())[0].author, "local (kubectl)")


class ListTests(ResourceTestCase):
    """
    Lists, and parts of them.
    """

    def setUp(self) -> None:
        super().setUp()
        for number, name in enumerate("abcde"):
            self.put(named(name, labels={"n": str(number), "odd": str(number % 2)}))
        self.put(named("x", namespace="other"))
        self.put(SERVICE)

    def test_list(self) -> None:
        """
        All, or those of a namespace; the list says its revision.
        """
        self.assertEqual("".join(self.names(self.ask("GET", PATH))), "abcde")
        answer = self.ask("GET", ALL)
        self.assertEqual("".join(self.names(answer)), "abcdex")
        self.assertEqual(answer.json["metadata"]["resourceVersion"], "7")
        self.assertEqual(answer.json["kind"], "VirtualServiceList")
        self.assertEqual(self.names(self.ask("GET", PATH.replace("default", "none"))), [])

    def test_selectors(self) -> None:
        """
        By labels and fields.
        """
        for query, wanted in (
            ("labelSelector=odd%3D1", "bd"),
            ("labelSelector=odd%3D1,n!%3D3", "b"),
            ("labelSelector=n+in+(1,2)", "bc"),
            ("labelSelector=!odd", ""),
            ("fieldSelector=metadata.name%3Dc", "c"),
        ):
            self.assertEqual("".join(self.names(self.ask("GET", f"{PATH}?{query}"))), wanted, query)
        self.assertEqual(self.ask("GET", PATH + "?labelSelector=a+b").code, 400)
        self.assertEqual(self.ask("GET", PATH + "?fieldSelector=spec.a%3Db").code, 400)

    def test_pages(self) -> None:
        """
        Pages are of one moment, whatever happens between them.
        """
        first = self.ask("GET", ALL + "?limit=2")
        self.assertEqual((self.names(first), first.json["metadata"]["remainingItemCount"]), (["a", "b"], 4))
        self.ask("DELETE", PATH + "/c")
        self.put(named("bb"))
        second = self.ask("GET", f"{ALL}?limit=2&continue={first.json['metadata']['continue']}")
        third = self.ask("GET", f"{ALL}?limit=2&continue={second.json['metadata']['continue']}")
        self.assertEqual(self.names(second) + self.names(third), ["c", "d", "e", "x"])
        self.assertNotIn("continue", third.json["metadata"])
        self.successResultOf(self.store.compact(self.store.revision))
        gone = self.ask("GET", f"{ALL}?continue={first.json['metadata']['continue']}", accept="application/json")
        self.assertEqual((gone.code, gone.json["reason"]), (410, "Expired"))

    def test_wrongContinuation(self) -> None:
        """
        What is no continuation is refused.
        """
        for token in ("x", "WzFd", "W10=", "WyJhIiwxLDJd", "Wzk5OTk5LCJhIiwiYiJd", "%ff"):
            self.assertEqual(self.ask("GET", f"{PATH}?continue={token}").code, 400, token)
        self.assertEqual(self.ask("GET", f"{PATH}?limit=-1").code, 400)

    def test_table(self) -> None:
        """
        kubectl's columns: those of the kind, and the age.
        """
        asked = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        answer = self.ask("GET", PATH, accept=asked).json
        names = [column["name"] for column in answer["columnDefinitions"]]
        self.assertEqual(names, ["Name", "Gateways", "Hosts", "Age", "Programmed", "Generation", "Revision"])
        # The rest is for -o wide.
        wide = [column["name"] for column in answer["columnDefinitions"] if column["priority"]]
        self.assertEqual(wide, ["Programmed", "Generation", "Revision"])
        self.assertEqual(answer["rows"][0]["cells"][:5], ["a", "", "a", "0s", ""])
        self.reactor.advance(3 * 86400 + 5)
        services = self.ask("GET", SERVICES + "/reviews", accept=asked).json
        self.assertEqual(services["rows"][0]["cells"], ["reviews", "ClusterIP", "9080/TCP", "3d", "", 1, "7"])
        self.assertEqual(services["rows"][0]["object"]["metadata"]["name"], "reviews")

    def test_watchedTable(self) -> None:
        """
        A watch for kubectl tells rows, the columns with the first alone.
        """
        asked = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        watch = self.open("GET", PATH + "?watch=true", accept=asked)
        self.put(named("a"), labels={"x": "y"})
        self.reactor.advance(1)
        lines = watch.answer.lines
        self.assertEqual({line["object"]["kind"] for line in lines}, {"Table"})
        self.assertEqual(["columnDefinitions" in line["object"] for line in lines].count(True), 1)
        self.assertIn("columnDefinitions", lines[0]["object"])
        self.assertEqual((lines[-1]["type"], lines[-1]["object"]["rows"][0]["cells"][0]), ("MODIFIED", "a"))

    def test_nothingInIt(self) -> None:
        """
        A resource without a spec has a row, too.
        """
        asked = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        told = {"apiVersion": "security.istio.io/v1", "metadata": {"name": "a"}, "spec": None}
        for kind, plural, cell in (
            ("PeerAuthentication", "peerauthentications", ""),
            ("AuthorizationPolicy", "authorizationpolicies", "ALLOW"),
        ):
            path = f"/apis/security.istio.io/v1/namespaces/default/{plural}"
            self.assertEqual(self.ask("POST", path, {**told, "kind": kind}).code, 201)
            self.assertEqual(self.ask("GET", path, accept=asked).json["rows"][0]["cells"][:2], ["a", cell])


class PatchTests(APITestCase):
    """
    Parts of a resource are changed.
    """

    def patch_(self, path: str, patch: Any, kind: str, **fields: str) -> Answer:
        """
        A patch.
        """
        return self.ask("PATCH", path, patch, content_type=f"application/{kind}+json", **fields)

    def test_merge(self) -> None:
        """
        A merge patch replaces what it names, and takes away what it calls null.
        """
        self.put(VIRTUAL_SERVICE)
        answer = self.patch_(ONE, {"metadata": {"labels": {"app": None, "new": "yes"}}}, "merge-patch")
        self.assertEqual((answer.code, answer.json["metadata"]["labels"]), (200, {"new": "yes"}))
        self.assertEqual(self.patch_(ONE, {"spec": {"http": None, "hots": []}}, "merge-patch").code, 422)
        self.assertEqual(self.patch_(PATH + "/none", {}, "merge-patch").code, 404)
        self.assertEqual(self.patch_(ONE, [], "merge-patch").code, 400)

    def test_json(self) -> None:
        """
        A JSON Patch is done whole or not at all.
        """
        self.put(VIRTUAL_SERVICE)
        add = {"op": "add", "path": "/spec/hosts/-", "value": "ratings"}
        self.assertEqual(self.patch_(ONE, [add], "json-patch").json["spec"]["hosts"], ["reviews", "ratings"])
        failing = [add, {"op": "test", "path": "/spec/hosts/0", "value": "other"}]
        answer = self.patch_(ONE, failing, "json-patch")
        self.assertEqual(answer.code, 422)
        self.assertIn("operation 1", answer.json["detail"])
        self.assertEqual(self.store.revision, 2)

    def test_strategic(self) -> None:
        """
        kubectl patches the core group strategically: ports are merged by their number. Other groups refuse that.
        """
        self.put(SERVICE)
        order = [{"port": 9443}, {"port": 9080}]
        patch = {"spec": {"ports": [{"port": 9443, "name": "https"}], "$setElementOrder/ports": order}}
        answer = self.patch_(SERVICES + "/reviews", patch, "strategic-merge-patch")
        self.assertEqual([port["port"] for port in answer.json["spec"]["ports"]], [9443, 9080])
        self.put(VIRTUAL_SERVICE)
        self.assertEqual(self.patch_(ONE, {}, "strategic-merge-patch").code, 415)
        self.assertEqual(self.patch_(ONE, {}, "apply-patch").code, 415)

    def test_revision(self) -> None:
        """
        A patch that names a revision, by tag or in itself, holds only for it.
        """
        self.put(VIRTUAL_SERVICE)
        change = {"metadata": {"labels": {"a": "b"}}}
        self.assertEqual(self.patch_(ONE, change, "merge-patch", if_match='"7"').code, 412)
        named = {"metadata": {**change["metadata"], "resourceVersion": "7"}}
        self.assertEqual(self.patch_(ONE, named, "merge-patch").code, 409)
        self.assertEqual(self.patch_(ONE, change, "merge-patch", if_match='"1"').code, 200)

    def test_race(self) -> None:
        """
        When others write between reading and writing, a patch is done again on what they wrote.
        """
        self.put(VIRTUAL_SERVICE)
        commit = self.store.commit
        key = Key("networking.istio.io/virtualservices", "default", "reviews")
        raced: list[object] = []

        def slower(changes: Any, author: str, message: str = "") -> Any:
            if not raced:
                raced.append(author)
                entry = self.successResultOf(self.store.get(key))
                assert entry is not None
                document: dict[str, Any] = {**entry.document, "spec": {**_spec(), "exportTo": ["."]}}
                self.successResultOf(commit([Change(key, document)], "other"))
            return commit(changes, author, message)

        self.patch(self.store, "commit", slower)
        answer = self.patch_(ONE, {"metadata": {"labels": {"a": "b"}}}, "merge-patch")
        self.assertEqual((answer.code, answer.json["spec"]["exportTo"]), (200, ["."]))
        self.assertEqual(answer.json["metadata"]["labels"], {"app": "reviews", "a": "b"})


class SecretTests(APITestCase):
    """
    Values of secrets are for who may issue.
    """

    def test_redacted(self) -> None:
        """
        Who may read sees the names, by each way there is to see something.
        """
        self.assertEqual(self.ask("POST", SECRETS, SECRET).code, 201)
        reader = {"authorization": f"Bearer {READER}"}
        path = SECRETS + "/gateway"
        self.assertEqual(self.ask("GET", path).json["data"], SECRET["data"])
        shown = self.ask("GET", path, **reader)
        self.assertEqual(shown.json["data"], {"value": ""})
        watch = self.open("GET", SECRETS + "?watch=true", **reader)
        answers = [
            shown,
            self.ask("GET", SECRETS, **reader),
            watch.answer,
            self.ask("GET", "/v1/history/1", **reader),
            self.ask("GET", "/v1/history", **reader),
            self.ask("POST", "/v1/diff", {**SECRET, "data": {"other": "YQ=="}}, **reader),
        ]
        for answer in answers:
            self.assertEqual(answer.code, 200)
            self.assertNotIn(b"c2VjcmV0", answer.body)
        self.assertIn("c2VjcmV0", self.ask("GET", "/v1/history/1").json["changes"][0]["diff"])


class WatchTests(APITestCase):
    """
    A list that goes on.
    """

    def events(self, answer: Answer) -> list[tuple[str, str]]:
        """
        The types of the events, and the names.
        """
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in answer.lines]

    def test_fromNothing(self) -> None:
        """
        Without a revision what there is comes first; then what happens, in its namespace alone.
        """
        self.put(named("a"))
        watch = self.open("GET", PATH + "?watch=true")
        self.put(named("b"))
        self.put(named("x", namespace="other"))
        self.put(SERVICE)
        self.put(named("a", labels={"n": "1"}))
        self.ask("DELETE", PATH + "/b")
        self.reactor.advance(0)
        self.assertEqual(
            self.events(watch.answer), [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        )
        self.assertEqual(watch.answer.lines[-1]["object"]["metadata"]["resourceVersion"], str(self.store.revision))

    def test_fromARevision(self) -> None:
        """
        From a revision only what came after it.
        """
        self.put(named("a"))
        self.put(named("b"))
        watch = self.open("GET", PATH + "?watch=true&resourceVersion=1")
        self.reactor.advance(0)
        self.assertEqual(self.events(watch.answer), [("ADDED", "b")])

    def test_selection(self) -> None:
        """
        What enters the selection is added for the watcher, what leaves it is deleted.
        """
        watch = self.open("GET", PATH + "?watch=true&labelSelector=show%3Dyes")
        for label in ("no", "yes", "yes", "no"):
            self.put(named("a", labels={"show": label, "n": str(self.store.revision)}))
        self.reactor.advance(0)
        self.assertEqual([kind for kind, _ in self.events(watch.answer)], ["ADDED", "MODIFIED", "DELETED"])

    def test_status(self) -> None:
        """
        Who watches one resource is told when proxies have it, which no commit tells; then no more is looked at.
        """
        statuses: dict[str, Any] = {}
        asked: list[str] = []

        def statusOf(kind: Any, document: Any) -> Any:
            asked.append(document["metadata"]["name"])
            return statuses.get(document["metadata"]["name"])

        def told(status: str) -> dict[str, Any]:
            return {"programmed": "1 of 2", "conditions": [{"type": "Programmed", "status": status}]}

        self.site = makeSite(self.store, Access(), self.reactor, statusOf=statusOf)
        self.put(named("a"))
        one = PATH + "?watch=true&resourceVersion=1&fieldSelector=metadata.name%3Da"
        watch = self.open("GET", one)
        rows = self.open("GET", one, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        for statuses["a"] in (told("False"), told("True")):
            self.reactor.advance(0.5)
            self.reactor.advance(0.5)
        self.assertEqual(self.events(watch.answer), [("MODIFIED", "a")] * 2)
        self.assertEqual([event["object"]["status"] for event in watch.answer.lines], [told("False"), told("True")])
        asked.clear()
        self.reactor.advance(0.5)
        self.assertEqual((asked, rows.answer.lines), ([], []))
        # Who saw it just before it was so is told as well, and who came later is not.
        statuses["a"] = told("False")
        self.ask("GET", ONE.replace("reviews", "a"))
        statuses["a"] = told("True")
        late = self.open("GET", one)
        self.reactor.advance(6)
        later = self.open("GET", one)
        self.reactor.advance(6)
        self.assertEqual((self.events(late.answer), later.answer.lines), ([("MODIFIED", "a")], []))
        # Another change of it is waited for again.
        statuses["a"] = told("False")
        self.put(named("a", labels={"n": "1"}))
        self.reactor.advance(0)
        statuses["a"] = told("True")
        self.reactor.advance(0.5)
        self.assertEqual(len(watch.answer.lines), 4)
        self.ask("DELETE", PATH + "/a")
        statuses["a"] = told("False")
        self.reactor.pump([0.5, 0.5])
        self.assertEqual(self.events(watch.answer)[4:], [("DELETED", "a")])

    def test_forgotten(self) -> None:
        """
        A revision that is forgotten is 410; one that is forgotten later ends the watch with an event that says so.
        """
        for name in "abc":
            self.put(named(name))
        self.successResultOf(self.store.compact(2))
        self.assertEqual(self.ask("GET", PATH + "?watch=true&resourceVersion=1").code, 410)
        self.assertEqual(self.ask("GET", PATH + "?watch=true&resourceVersion=9").code, 400)
        watch = self.open("GET", PATH + "?watch=true&resourceVersion=2")
        self.successResultOf(self.store.compact(3))
        self.reactor.advance(0)
        (event,) = watch.answer.lines
        self.assertEqual((event["type"], event["object"]["code"]), ("ERROR", 410))
        self.assertTrue(watch.transport.value().endswith(b"0\r\n\r\n"))

    def test_timeout(self) -> None:
        """
        A watch ends when it was asked to.
        """
        watch = self.open("GET", PATH + "?watch=true&timeoutSeconds=30")
        self.reactor.advance(29)
        self.assertFalse(watch.transport.value().endswith(b"0\r\n\r\n"))
        self.reactor.advance(1)
        self.assertTrue(watch.transport.value().endswith(b"0\r\n\r\n"))

    def test_bookmarks(self) -> None:
        """
        Who asks for bookmarks is told now and then how far it is.
        """
        self.put(named("a"))
        watch = self.open("GET", PATH + "?watch=true&resourceVersion=1&allowWatchBookmarks=true")
        self.reactor.advance(20)
        (event,) = watch.answer.lines
        self.assertEqual((event["type"], event["object"]["metadata"]["resourceVersion"]), ("BOOKMARK", "1"))

    def test_slowReader(self) -> None:
        """
        For a reader that does not read nothing is kept; when it reads again, it misses nothing.
        """
        watch = self.open("GET", PATH + "?watch=true")
        producer = watch.transport.producer
        assert producer is not None
        producer.pauseProducing()
        for name in "abc":
            self.put(named(name))
        self.reactor.advance(0)
        self.assertEqual(watch.answer.lines, [])
        producer.resumeProducing()
        self.reactor.advance(0)
        self.assertEqual(self.events(watch.answer), [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")])

    def test_slowReaderTooLate(self) -> None:
        """
        If what it missed is forgotten meanwhile, it is told so.
        """
        watch = self.open("GET", PATH + "?watch=true")
        producer = watch.transport.producer
        assert producer is not None
        producer.pauseProducing()
        self.put(named("a"))
        self.put(named("b"))
        self.reactor.advance(0)
        self.successResultOf(self.store.compact(1))
        producer.resumeProducing()
        self.assertEqual(self.events(watch.answer), [("ERROR", "")])

    def test_readerLeaves(self) -> None:
        """
        A reader that leaves is forgotten.
        """
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        watch = self.open("GET", PATH + "?watch=true")
        watch.protocol.connectionLost(Failure(ConnectionDone()))
        self.put(named("a"))
        self.reactor.advance(60)
        self.assertEqual(self.site._streams, set())
        self.assertEqual(watch.answer.lines, [])
        self.assertEqual([call for call in self.reactor.getDelayedCalls() if "Watch" in str(call)], [])
