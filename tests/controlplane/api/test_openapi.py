"""
Tests for L{meshproxy.controlplane.api.openapi}.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from meshproxy.controlplane.model.kinds import KINDS
from tests.controlplane.api.client import SERVICE, VIRTUAL_SERVICE, APITestCase


class DescriptionTests(APITestCase):
    """
    The API describes itself.
    """

    def setUp(self) -> None:
        super().setUp()
        self.told: dict[str, Any] = self.ask("GET", "/openapi.json").json

    def test_complete(self) -> None:
        """
        What users ask for is in it: each kind in each version, and the paths of this API alone.
        """
        paths = self.told["paths"]
        for kind in KINDS:
            for version in kind.apiVersions:
                base = f"/apis/{version}" if kind.group else f"/api/{version}"
                one = paths[f"{base}/namespaces/{{namespace}}/{kind.plural}/{{name}}"]
                self.assertEqual(set(one), {"get", "put", "patch", "delete"})
        for path in ("/v1/apply", "/v1/diff", "/v1/history", "/v1/rollback", "/v1/events", "/openapi.json"):
            self.assertIn(path, paths)

    def test_sound(self) -> None:
        """
        Each place in a path is a parameter, each reference leads somewhere, no two operations have one name.
        """
        names = []
        for path, operations in self.told["paths"].items():
            places = {part[1:-1] for part in path.split("/") if part.startswith("{")}
            for operation in operations.values():
                names.append(operation["operationId"])
                found = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
                self.assertEqual(found, places, path)
                self.assertTrue(operation["summary"], path)
                # Nothing is left to a default: what is not listed is not answered.
                self.assertTrue({"400", "401", "403"} < set(operation["responses"]), path)
                self.assertEqual("404" in operation["responses"], bool(places), path)
                for code, answer in operation["responses"].items():
                    self.assertEqual("content" not in answer, code == "304", f"{path} {code}")
        self.assertEqual(len(names), len(set(names)))
        for reference in _references(self.told):
            place: Any = self.told
            for step in reference.removeprefix("#/").split("/"):
                place = place[step]

    def test_true(self) -> None:
        """
        What is answered is as the description says: resources, refusals and statuses.
        """
        schemas = self.told["components"]["schemas"]
        for name in schemas:
            Draft202012Validator.check_schema(schemas[name])

        def check(name: str, value: Any) -> None:
            Draft202012Validator({**self.told, "$ref": f"#/components/schemas/{name}"}).validate(value)

        path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
        reply = self.ask("POST", path, VIRTUAL_SERVICE)
        self.assertEqual(reply.code, 201)
        check("VirtualService", reply.json)
        services = "/api/v1/namespaces/default/services"
        check("Service", self.ask("POST", services, SERVICE).json)
        check("Status", self.ask("GET", f"{path}/nobody", accept="application/json").json)
        check("Problem", self.ask("GET", "/v1/history/99").json)
        for method, place, body in (
            ("post", path, {**VIRTUAL_SERVICE, "metadata": {"name": "second"}}),
            ("put", f"{path}/third", {**VIRTUAL_SERVICE, "metadata": {"name": "third"}}),
            ("put", f"{path}/third", {**VIRTUAL_SERVICE, "metadata": {"name": "third"}}),
            ("delete", f"{path}/third", None),
        ):
            code = self.ask(method.upper(), place, body).code
            pattern = place.replace("default", "{namespace}").replace("third", "{name}")
            self.assertIn(str(code), self.told["paths"][pattern][method]["responses"], f"{method} {place}")


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [one for each in value.values() for one in _references(each)]
    return [one for each in value for one in _references(each)] if isinstance(value, list) else []
