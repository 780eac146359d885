"""
Tests for L{meshproxy.controlplane.cli.explaining}: of files. What asks a control plane is in
C{tests.integration.test_meshctl}.
"""

from __future__ import annotations

import json

from meshproxy.controlplane.cli.explaining import proxiesIn
from tests.controlplane.cli.test_main import MainCase
from tests.controlplane.explain.given import MESH, lineOf, meshOf


class FileTests(MainCase):
    """
    C{meshctl explain -f}.
    """

    def explain(self, *words: str, text: str = MESH) -> tuple[int, str, str]:
        """
        Ask for the mesh in a file.
        """
        return self.run_("explain", *words, "-n", "shop", "-f", self.file("given.yaml", text))

    def test_text(self) -> None:
        """
        A workload that the files tell of; options stand anywhere.
        """
        code, out, err = self.explain("page", "-H", "end-user: jason", "http://reviews:9080/x")
        self.assertEqual((code, err), (0, ""))
        line = lineOf("jason").rpartition(":")[2]
        place = f"{self.folder / 'given.yaml'}:{line}"
        self.assertIn(f"route: VirtualService shop/reviews spec.http[0].match[0] ({place})\n", out)
        self.assertIn("=> forwarded to outbound|9080|v2|", out)

    def test_json(self) -> None:
        """
        For programs; who comes in, and as whom.
        """
        words = ("reviews-v1.shop", "http://reviews:9080/", "--inbound", "-o", "json")
        told = json.loads(self.explain(*words, "--principal", "spiffe://cluster.local/ns/shop/sa/page")[1])
        self.assertEqual((told["direction"], told["outcome"]), ("inbound", "forwarded to inbound|9080||"))

    def test_madeUp(self) -> None:
        """
        Workloads and gateways that the files do not tell of, by their labels.
        """
        self.assertEqual(self.explain("front", "http://shop.example:8080/", "--gateway")[0], 0)
        self.assertIn("=> forwarded", self.explain("me", "http://reviews:9080/", "--labels", "app=me,version=v1")[1])
        self.assertEqual(self.explain("me", "http://reviews:9080/", "--labels", "app")[0], 2)

    def test_wrong(self) -> None:
        """
        Names that nobody has, faults in the files, options that do not go together.
        """
        code, _, err = self.explain("pge", "http://reviews:9080/")
        self.assertEqual((code, "did you mean page.shop?" in err), (2, True))
        code, out, _ = self.explain("page", "http://reviews:9080/", text=MESH.replace("hosts:", "hots:"))
        self.assertEqual((code, "spec.hots" in out), (1, True))
        self.assertEqual(self.explain("page", "http://[x")[0], 2)
        for words in (("--applied",), ("--gateway",), ("--admin", "127.0.0.1:1", "-f", "x"), ()):
            code = self.run_("explain", "page", "http://reviews:9080/", "--server", "http://127.0.0.1:1", *words)[0]
            self.assertEqual(code, 2 if words else 1, words)


class ProxiesTests(MainCase):
    """
    L{proxiesIn}.
    """

    def test_names(self) -> None:
        """
        A WorkloadEntry by its name; endpoints by service, and by version where there are several; each address once.
        """
        entry = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: legacy, namespace: shop}
spec: {address: 10.0.0.3, labels: {app: reviews}, serviceAccount: old}
"""
        found = proxiesIn(meshOf(MESH + entry))
        self.assertEqual(sorted(found), ["legacy.shop", "page.shop", "reviews-v1.shop"])
        self.assertEqual((found["legacy.shop"].serviceAccount, found["page.shop"].addresses), ("old", ("10.0.0.1",)))
