"""
Tests for L{meshproxy.controlplane.api.openapi3}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.controlplane.model.kinds import KINDS
from tests.controlplane.api.client import APITestCase


class KubernetesDescriptionTests(APITestCase):
    """
    What C{kubectl} finds below C{/openapi/v3}.
    """

    def described(self, path: str) -> dict[str, Any]:
        """
        The description of a version, where the index says that it is.
        """
        url = self.ask("GET", "/openapi/v3").json["paths"][path]["serverRelativeURL"]
        self.assertTrue(url.startswith(f"/openapi/v3/{path}?hash="), url)
        told: dict[str, Any] = self.ask("GET", url).json
        return told

    def test_complete(self) -> None:
        """
        Each version of each group is described, with its kinds; what is no version is not there.
        """
        for kind in KINDS:
            for version in kind.apiVersions:
                told = self.described(f"{'apis' if kind.group else 'api'}/{version}")
                schema = told["components"]["schemas"][kind.kind]
                gvk = {"group": kind.group, "version": version.rpartition("/")[2], "kind": kind.kind}
                self.assertEqual(schema["x-kubernetes-group-version-kind"], [gvk])
                patches = [item["patch"] for item in told["paths"].values() if "patch" in item]
                self.assertIn(gvk, [patch["x-kubernetes-group-version-kind"] for patch in patches])
                for patch in patches:
                    # By this kubectl knows that it need not validate.
                    self.assertIn("fieldValidation", [one["name"] for one in patch["parameters"]])
        self.assertEqual(self.ask("GET", "/openapi/v3/apis/networking.istio.io/v2").code, 404)
        self.assertEqual(self.ask("GET", "/openapi/v3/api/v2").code, 404)

    def test_older(self) -> None:
        """
        It is OpenAPI 3.0: one type each, no C{const}; each reference leads somewhere.
        """
        told = self.described("apis/networking.istio.io/v1")
        schemas = told["components"]["schemas"]

        def walk(value: Any) -> None:
            if isinstance(value, list):
                for one in value:
                    walk(one)
            elif isinstance(value, dict):
                self.assertNotIn("const", value)
                if not isinstance(value.get("type"), dict):
                    self.assertNotIsInstance(value.get("type"), list)
                if isinstance(value.get("$ref"), str):
                    self.assertIn(value["$ref"].rpartition("/")[2], schemas)
                for one in value.values():
                    walk(one)

        walk(told)
        spec = schemas["VirtualServiceSpec"]
        self.assertEqual(spec["properties"]["hosts"], {"type": "array", "items": {"type": "string"}})
        self.assertEqual(schemas["VirtualService"]["properties"]["kind"]["enum"], ["VirtualService"])

    def test_digest(self) -> None:
        """
        The address of a description changes with it alone.
        """
        first, again = (self.ask("GET", "/openapi/v3").json["paths"].values() for _ in range(2))
        self.assertEqual(list(first), list(again))
        urls = [one["serverRelativeURL"] for one in first]
        self.assertEqual(len({url.partition("=")[2] for url in urls}), len(urls))
