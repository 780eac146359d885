"""
Tests for L{meshproxy.controlplane.api.schemas}.
"""

from __future__ import annotations

from typing import Any

import yaml
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.schemas import ANSWERS, resourceSchemas
from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.kinds import KINDS

GOOD = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, labels: {x: z}, annotations: null}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /x}, headers: {end-user: {exact: jason}}}]
    fault: {delay: {fixedDelay: 7s, percentage: {value: 100}}}
    timeout: 1.5s
    route: [{destination: {host: reviews, subset: v2, port: {number: 80}}, weight: 100}]
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: a}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 1}}}
  subsets: [{name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1, ports: {http: 8080}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [x]}}], to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80, targetPort: 8080, name: http}], selector: {app: a}}
---
apiVersion: v1
kind: Secret
metadata: {name: a}
type: Opaque
stringData: {x: z}
"""


class SchemaTests(SynchronousTestCase):
    """
    L{resourceSchemas} says of documents what reading them says.
    """

    def setUp(self) -> None:
        self.schemas = {**resourceSchemas(), **ANSWERS}
        self.whole = {"components": {"schemas": self.schemas}}

    def faults(self, document: dict[str, Any]) -> list[str]:
        """
        What the schema of its kind says of a document.
        """
        schema = {**self.whole, "$ref": f"#/components/schemas/{document['kind']}"}
        return [error.message for error in Draft202012Validator(schema).iter_errors(document)]

    def isRead(self, document: dict[str, Any]) -> bool:
        """
        Whether the document is read without an error.
        """
        return not any(problem.isError for problem in parseDocuments(yaml.safe_dump(document))[1])

    def test_complete(self) -> None:
        """
        Each kind has a schema and one for lists of it; none lets through what is not a field.
        """
        for kind in KINDS:
            self.assertIs(self.schemas[kind.kind]["additionalProperties"], False)
            self.assertIn(f"{kind.kind}List", self.schemas)
            Draft202012Validator.check_schema(self.schemas[kind.kind])
        self.assertIn("hosts", self.schemas["VirtualServiceSpec"]["properties"])

    def test_good(self) -> None:
        """
        What is read is also good by its schema.
        """
        for document in yaml.safe_load_all(GOOD):
            self.assertTrue(self.isRead(document), document)
            self.assertEqual(self.faults(document), [])

    def test_bad(self) -> None:
        """
        A field that is not known, and a value of another type, are refused by both, wherever they are.
        """
        count = 0
        for document in yaml.safe_load_all(GOOD):
            for broken in _broken(document):
                count += 1
                self.assertFalse(self.isRead(broken), broken)
                self.assertTrue(self.faults(broken), broken)
        self.assertGreater(count, 50)


def _broken(value: Any) -> Any:
    """
    A document with one thing wrong, once at each place: another field in a mapping that has a class, or a number as a
    list.
    """
    if isinstance(value, dict):
        for key, held in value.items():
            if key in ("labels", "annotations", "selector", "ports", "stringData", "apiVersion", "kind", "status"):
                continue
            for broken in _broken(held):
                yield {**value, key: broken}
        if "end-user" not in value:
            yield {**value, "unheardOf": 1}
    elif isinstance(value, list):
        for index, held in enumerate(value):
            for broken in _broken(held):
                yield [*value[:index], broken, *value[index + 1 :]]
    elif value is not None:
        yield [[value]]
