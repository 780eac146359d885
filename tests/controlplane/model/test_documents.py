# -*- test-case-name: tests.controlplane.model.test_documents -*-
"""
Tests for L{meshproxy.controlplane.model.documents}, and for problems and places.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.documents import parseDocuments, parseObject
from meshproxy.controlplane.model.problems import Severity, hasErrors
from tests.controlplane.model.given import document, read

REVIEWS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - timeout: 2s
    route:
    - destination: {host: reviews, subset: v1}
"""


class TextTests(SynchronousTestCase):
    """
    Texts to resources.
    """

    def test_resource(self) -> None:
        """
        A resource has its kind, its names, its fields as values, and the place of each of them.
        """
        (resource,), problems = parseDocuments(REVIEWS, "reviews.yaml")
        self.assertEqual(problems, [])
        self.assertEqual(resource.key, ("networking.istio.io", "VirtualService", "default", "reviews"))
        self.assertEqual(resource.spec.http[0].timeout, 2.0)
        self.assertEqual(resource.spec.http[0].route[0].destination.subset, "v1")
        self.assertEqual(resource.place("spec", "http", 0, "timeout"), ("reviews.yaml", 8, 14))
        self.assertEqual(resource.place("spec", "http", 0, "retries", "attempts")[1], 8)
        self.assertEqual(resource.title, "VirtualService default/reviews")

    def test_severalDocuments(self) -> None:
        """
        Documents and lists are taken apart; what is empty is nothing.
        """
        listed = {"apiVersion": "v1", "kind": "List", "items": [json.loads(json.dumps(_plainReviews("two")))]}
        resources, problems = parseDocuments(f"{REVIEWS}---\n---\n{json.dumps(listed)}\n")
        self.assertEqual([one.name for one in resources], ["reviews", "two"])
        self.assertEqual(problems, [])

    def test_whichDocument(self) -> None:
        """
        What is wrong is told with the number of its document, in lists, and of what stands there twice.
        """
        bad = REVIEWS.replace("timeout", "timeot")
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [{"kind": "X"}]})
        _, problems = parseDocuments(f"{REVIEWS}---\n{bad}---\n{listed}\n---\n{REVIEWS}")
        found = [(problem.document, problem.code) for problem in problems]
        self.assertEqual(found, [(2, "unknown-field"), (3, "required"), (4, "duplicate")])
        self.assertEqual(problems[0].asDict()["document"], 2)

    def test_json(self) -> None:
        """
        A file named C{.json} is JSON, with places as well.
        """
        text = json.dumps({**_plainReviews("a"), "spec": {"hosts": "a"}}, indent=1)
        resources, problems = parseDocuments(text, "a.json")
        self.assertEqual(resources, [])
        self.assertIn(("spec.hosts", "type"), [(one.path, one.code) for one in problems])
        self.assertTrue(all(one.line > 1 for one in problems))

    def test_allAtOnce(self) -> None:
        """
        What cannot be read and what cannot be meant is told in one go, in the order of the text; what follows from
        the former is not told.
        """
        text = REVIEWS.replace("[reviews]", "[reviews, 5]").replace("timeout: 2s", "timeuot: 2s\n    timeout: 2 s")
        text = text.replace("subset: v1", "subset: v.1")
        _, problems = parseDocuments(text, "reviews.yaml")
        self.assertEqual(
            [(one.path, one.code, one.line) for one in problems],
            [
                ("spec.hosts[1]", "type", 6),
                ("spec.http[0].timeuot", "unknown-field", 8),
                ("spec.http[0].timeout", "type", 9),
                ("spec.http[0].route[0].destination.subset", "invalid", 11),
            ],
        )
        self.assertEqual([one.suggestion for one in problems], ["", "timeout", "", ""])

    def test_placesOfOthers(self) -> None:
        """
        An item of a list that cannot be read does not move the others.
        """
        text = REVIEWS.replace("  - timeout: 2s", "  - 7\n  - timeout: 0.5ms")
        _, problems = parseDocuments(text)
        self.assertEqual([one.path for one in problems], ["spec.http[0]"])
        text = REVIEWS.replace("  - timeout: 2s", "  - timeout: []\n    redirect: {uri: /}\n  - timeout: 0.5ms")
        _, problems = parseDocuments(text)
        errors = [one.path for one in problems if one.isError]
        self.assertEqual(errors, ["spec.http[0].timeout", "spec.http[1].timeout"])

    def test_syntax(self) -> None:
        """
        What is no YAML is told with its place; a key that stands twice is warned of.
        """
        resources, problems = parseDocuments("kind: [", "x.yaml")
        self.assertEqual((resources, [one.code for one in problems]), ([], ["syntax"]))
        resources, problems = parseDocuments(REVIEWS + "kind: VirtualService\n", "x.yaml")
        self.assertEqual([(one.code, one.severity) for one in problems], [("syntax", Severity.WARNING)])
        self.assertEqual(len(resources), 1)

    def test_kinds(self) -> None:
        """
        A kind that is not known has a near name, a version the right ones; what is Kubernetes' is left to it.
        """
        cases = [
            ("networking.istio.io/v1", "VirtualServices", "kind", "unknown-kind", "VirtualService"),
            ("networking.istio.io/v2", "VirtualService", "apiVersion", "unknown-kind", "networking.istio.io/v1"),
            ("apps/v1", "Gateway", "apiVersion", "unknown-kind", "networking.istio.io/v1"),
            ("apps/v1", "Deployment", "kind", "outside", ""),
        ]
        for version, kind, path, code, suggestion in cases:
            resources, (problem,) = parseDocuments(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
            self.assertEqual((problem.path, problem.code, problem.suggestion), (path, code, suggestion))
            self.assertEqual(problem.isError, code != "outside")
            self.assertEqual(resources, [])
        for text in ("5", "[]", "kind: VirtualService\n", "apiVersion: v1\nkind: []\n"):
            self.assertTrue(hasErrors(parseDocuments(text)[1]), text)
        _, (problem,) = parseDocuments("kind: PeerAuthentication\nmetadata: {name: a}\n")
        self.assertEqual((problem.path, problem.suggestion), ("apiVersion", "security.istio.io/v1"))
        _, (problem,) = parseDocuments("apiVersion: v1\nmetadata: {name: a}\n")
        self.assertEqual((problem.path, problem.suggestion), ("kind", ""))

    def test_meant(self) -> None:
        """
        What was probably meant: seconds, a number without its quotes, a protocol, a legal name.
        """
        text = (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: My_route}\n"
            "spec: {hosts: [a], http: [{timeout: 5, retries: {attempts: '3'}, route: [{destination: {host: a}}]}]}\n"
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n"
            "spec: {hosts: [a.b], resolution: DNS, ports: [{number: 80, name: x, protocol: HTPP}]}\n"
        )
        _, problems = parseDocuments(text)
        meant = {one.path: one.suggestion for one in problems if one.isError}
        self.assertEqual(
            meant,
            {
                "metadata.name": "my-route",
                "spec.http[0].timeout": "5s",
                "spec.http[0].retries.attempts": "3",
                "spec.ports[0].protocol": "HTTP",
            },
        )

    def test_versions(self) -> None:
        """
        All versions of a kind are the same resource.
        """
        for version in ("v1", "v1beta1", "v1alpha3"):
            (resource,), problems = parseDocuments(REVIEWS.replace("/v1", f"/{version}"))
            self.assertEqual((problems, resource.key.group), ([], "networking.istio.io"))

    def test_twice(self) -> None:
        """
        One resource stands in a text once.
        """
        resources, (problem,) = parseDocuments(f"{REVIEWS}---\n{REVIEWS.replace('/v1', '/v1beta1')}", "x.yaml")
        self.assertEqual((problem.code, problem.line, len(resources)), ("duplicate", 15, 2))
        self.assertIn("on line 4", problem.message)

    def test_metadata(self) -> None:
        """
        Names, namespaces and labels are checked, and fields of metadata that nobody knows are refused.
        """
        cases = [
            ("{}", "metadata.name"),
            ("{name: A}", "metadata.name"),
            ("{name: a_b}", "metadata.name"),
            *((f"{{name: a, namespace: {bad}}}", "metadata.namespace") for bad in ("b.c", "B", "b_c", "-b", "b" * 64)),
            ("{name: a, labels: {'x y': z}}", "metadata.labels"),
            ("{name: a, nmespace: z}", "metadata.nmespace"),
        ]
        for metadata, path in cases:
            _, problems = parseDocuments(REVIEWS.replace("\n  name: reviews", f" {metadata}"))
            self.assertEqual([one.path for one in problems], [path], metadata)

    def test_surplus(self) -> None:
        """
        Beside metadata and spec there is only status.
        """
        _, problems = parseDocuments(f"{REVIEWS}spce: {{}}\nstatus: {{}}\n")
        self.assertEqual(
            [(one.path, one.code, one.suggestion) for one in problems], [("spce", "unknown-field", "spec")]
        )

    def test_namespace(self) -> None:
        """
        A resource without a namespace gets the one that is given.
        """
        (resource,), _ = parseDocuments(REVIEWS, namespace="shop")
        self.assertEqual(resource.namespace, "shop")

    def test_deep(self) -> None:
        """
        A text that nests without end is refused, not followed.
        """
        self.assertTrue(hasErrors(parseDocuments("[" * 5000)[1]))


class ObjectTests(SynchronousTestCase):
    """
    Plain data to resources.
    """

    def test_roundTrip(self) -> None:
        """
        What was applied as text comes out as plain data, from which the same resource is made.
        """
        resource, _ = read(REVIEWS)
        assert resource is not None
        again, problems = parseObject(json.loads(json.dumps(resource.document)))
        self.assertEqual(problems, [])
        self.assertEqual(again, resource)

    def test_problems(self) -> None:
        """
        Problems have paths where there are no lines.
        """
        resource, (problem,) = parseObject({**_plainReviews("a"), "spec": {"hosts": ["a"], "http": [{"route": []}]}})
        self.assertIsNone(resource)
        self.assertEqual((problem.path, problem.line), ("spec.http[0]", 0))
        self.assertEqual(parseObject({"kind": object()})[1][0].code, "type")


class ProblemTests(SynchronousTestCase):
    """
    What a problem looks like.
    """

    def test_text(self) -> None:
        """
        A line has the place, the resource, the path, the sentence and the suggestion.
        """
        _, (problem,) = read(document("DestinationRule", "host: a\nsubsetz: []"))
        self.assertEqual(
            str(problem),
            "given.yaml:6:3  error: DestinationRule shop/one, spec.subsetz: 'subsetz' is not known here; "
            "did you mean subsets?",
        )

    def test_data(self) -> None:
        """
        As plain data it has the same, without what is unknown.
        """
        _, (problem,) = parseObject({**_plainReviews("a"), "spec": {"hosts": ["a"], "http": []}})
        self.assertEqual(
            problem.asDict(),
            {
                "severity": "error",
                "code": "required",
                "message": "one of http, tls, tcp is required",
                "path": "spec",
                "resource": "VirtualService a",
            },
        )


def _plainReviews(name: str) -> dict[str, object]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]},
    }
