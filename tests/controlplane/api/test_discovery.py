"""
Tests for L{meshproxy.controlplane.api.discovery}.
"""

from __future__ import annotations

from meshproxy.controlplane.model.kinds import KINDS
from tests.controlplane.api.client import SERVICE, VIRTUAL_SERVICE, APITestCase


class DiscoveryTests(APITestCase):
    """
    A client finds its way from the roots.
    """

    def test_everyKind(self) -> None:
        """
        From the groups over their versions each kind is found in each of its versions, and its path works.
        """
        found = []
        for group in self.ask("GET", "/apis").json["groups"]:
            self.assertEqual(self.ask("GET", f"/apis/{group['name']}").json["versions"], group["versions"])
            found += [f"/apis/{version['groupVersion']}" for version in group["versions"]]
        found += [f"/api/{version}" for version in self.ask("GET", "/api").json["versions"]]
        kinds = set()
        for path in found:
            for resource in self.ask("GET", path).json["resources"]:
                self.assertEqual(self.ask("GET", f"{path}/{resource['name']}").code, 200)
                kinds.add((path.removeprefix("/apis/").removeprefix("/api/"), resource["kind"]))
        wanted = {(version, kind.kind) for kind in KINDS for version in kind.apiVersions} | {("v1", "Namespace")}
        self.assertEqual(kinds, wanted)

    def test_preferred(self) -> None:
        """
        The newest version of a group is the one that clients take.
        """
        groups = {group["name"]: group for group in self.ask("GET", "/apis").json["groups"]}
        self.assertEqual(groups["networking.istio.io"]["preferredVersion"]["version"], "v1")

    def test_namespaces(self) -> None:
        """
        A namespace is there with what is in it.
        """
        self.put(VIRTUAL_SERVICE, namespace="other")
        self.ask("POST", "/v1/ca/tokens", {})
        names = [item["metadata"]["name"] for item in self.ask("GET", "/api/v1/namespaces").json["items"]]
        self.assertEqual(names, ["default", "other"])
        codes = [self.ask("GET", f"/api/v1/namespaces/{name}").code for name in ("default", "other", "none")]
        self.assertEqual(codes, [200, 200, 404])
        self.put(SERVICE)
