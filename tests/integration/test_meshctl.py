"""
C{meshctl} with a control plane that runs, and a proxy that is connected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from meshproxy import __version__
from tests.integration.control import ControlTestCase, resources
from tests.integration.process import ROOT, until

_RUN = "import sys; from meshproxy.controlplane.cli.main import main; sys.exit(main())"


class MeshctlTests(ControlTestCase):
    """
    The commands, one after the other.
    """

    def run_(self, *words: str, code: int = 0) -> str:
        """
        Run a command; what it wrote.
        """
        environment = {**os.environ, "MESHCTL_SERVER": f"http://127.0.0.1:{self.rest}", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *words], env=environment, cwd=self.folder, capture_output=True, timeout=60
        )
        out = (done.stdout + done.stderr).decode()
        self.assertEqual(done.returncode, code, out)
        return out

    def manage(self, name: str) -> None:
        """
        Have somebody who manages a label of a resource.
        """
        wanted = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"labels": {"a": "b"}}}
        target = f"/apis/networking.istio.io/v1/namespaces/default/{name}?fieldManager=tester"
        self.ask("PATCH", target, json.dumps(wanted).encode(), "application/apply-patch+yaml")

    def test_resources(self) -> None:
        """
        Apply, get, diff, history, rollback, delete.
        """
        text = resources(self.gateway, self.rest)
        (self.folder / "mesh.yaml").write_text(text)
        self.assertEqual(self.run_("apply", "-f", "mesh.yaml", "-m", "first").splitlines(), [
            "Gateway default/front created",
            "VirtualService default/shop created",
            "ServiceEntry default/shop created",
        ])  # fmt: skip
        self.assertEqual(self.run_("diff", "-f", "mesh.yaml"), "")
        self.assertIn("shop", self.run_("get", "vs"))
        self.assertEqual(self.run_("get", "vs", "-o", "name"), "virtualservices/shop\n")
        self.assertEqual(json.loads(self.run_("get", "se", "shop", "-o", "json"))["spec"]["location"], "MESH_EXTERNAL")
        self.assertIn("NAMESPACE", self.run_("get", "gateways", "-A", "-o", "wide"))
        self.assertIn("\nvirtualservices/shop ", self.run_("get", "gw,vs"))
        names = ["gateways/front", "serviceentries/shop", "virtualservices/shop"]
        self.assertEqual(sorted(self.run_("get", "all", "-o", "name").split()), names)
        self.assertEqual(sorted(self.run_("get", "-o", "name", "vs/shop", "gw/front").split()), names[::2])
        lines = self.run_("get", "vs", "gone", "-o", "name", "shop", code=1).splitlines()
        self.assertEqual(lines, ["virtualservices/shop", "meshctl: VirtualService default/gone not found"])
        self.manage("serviceentries/shop")
        self.assertNotIn("managedFields", self.run_("get", "se", "shop", "-o", "yaml"))
        told = self.run_("get", "se", "shop", "-o", "yaml", "--show-managed-fields")
        self.assertIn("manager: tester\n", told)
        self.assertEqual(self.run_("analyze"), "3 resources, nothing found\n")
        (self.folder / "more.yaml").write_text(resources(self.gateway, self.rest).replace("name: shop", "name: other"))
        told = self.run_("analyze", "-f", "more.yaml", "--applied")
        self.assertIn("other", told)
        self.assertIn("more.yaml:", told)
        self.assertEqual(self.run_("get", "dr"), "no destinationrules in namespace default\n")
        (self.folder / "mesh.yaml").write_text(text.replace("prefix: /shop", "prefix: /basket"))
        self.assertIn("+        prefix: /basket", self.run_("diff", "-f", "mesh.yaml", code=1))
        self.assertIn("configured (dry run)", self.run_("apply", "-f", "mesh.yaml", "--dry-run"))
        self.run_("apply", "-f", "mesh.yaml")
        told = self.run_("history")
        self.assertIn("VirtualService default/shop configured", told)
        self.assertIn("first", told)
        self.assertIn("+", self.run_("history", "--revision", "2"))
        self.assertEqual(self.run_("rollback", "1"), "VirtualService default/shop configured\n")
        self.assertIn("nothing differs", self.run_("rollback", "1"))
        self.assertEqual(self.run_("delete", "vs", "shop"), "VirtualService default/shop deleted\n")
        self.assertIn("not found", self.run_("delete", "vs", "shop", code=1))
        self.assertIn("VirtualService default/shop not found", self.run_("delete", "-f", "mesh.yaml"))
        (self.folder / "mesh.yaml").write_text(text.replace("selector:", "selektor:"))
        told = self.run_("apply", "-f", "mesh.yaml", code=1)
        self.assertIn("mesh.yaml:6:3  Gateway front, spec.selektor", told)
        self.assertIn("did you mean selector?", told)

    def test_proxies(self) -> None:
        """
        proxy-status, proxy-config, certs, token.
        """
        self.apply(resources(self.gateway, self.rest))
        self.assertEqual(self.run_("version"), f"meshctl {__version__}\ncontrol plane {__version__}\n")
        self.assertEqual(self.run_("version", "--server", "http://127.0.0.1:1", code=1).splitlines()[0][:7], "meshctl")
        self.assertEqual(self.run_("proxy-status"), "no proxies are connected\n")
        (self.folder / "mesh.yaml").write_text(resources(self.gateway, self.rest).replace("/shop", "/basket"))
        self.assertIn("no proxies are connected", self.run_("apply", "-f", "mesh.yaml", "--wait"))
        self.apply(resources(self.gateway, self.rest))
        self.dataPlane("GRPC", self.node())
        until(lambda: self.status("/shop") == 404, "the gateway's route")
        until(lambda: set(self.states().values()) == {"SYNCED"}, "all to be taken")
        proxy = self.node()["id"]
        told = self.run_("proxy-status").splitlines()
        self.assertIn("SYNCED   SYNCED", told[1])
        self.assertTrue(told[1].startswith(proxy))
        for what, part in (("clusters", "shop.default.svc.cluster.local"), ("listeners", str(self.gateway))):
            for words in ((proxy,), ("--admin", f"127.0.0.1:{self.admin}")):
                self.assertIn(part, self.run_("proxy-config", what, *words))
        self.assertIn(f"127.0.0.1:{self.rest}", self.run_("proxy-config", "endpoints", proxy))
        routes = json.loads(self.run_("proxy-config", "routes", proxy, "-o", "json"))
        self.assertEqual(len(routes), 1)
        self.assertIn("1 of 1", self.run_("get", "vs"))
        self.assertIn("it was sent none", self.run_("proxy-config", "secrets", proxy))
        self.assertEqual((self.status("/shop"), self.status("/basket")), (404, 404))
        for command in ("apply -f mesh.yaml", "delete vs shop", "rollback 1"):
            self.assertIn("1 proxies have it", self.run_(*command.split(), "--wait"))
            routes = self.run_("proxy-config", "routes", proxy, "-o", "json", "--admin", f"127.0.0.1:{self.admin}")
            self.assertEqual('"/basket"' in routes, command.startswith("apply"))
            self.assertEqual('"/shop"' in routes, command.startswith("rollback"))
        explain = ("explain", proxy, f"http://127.0.0.1:{self.gateway}/shop/x")
        text = self.run_(*explain)
        self.assertIn("=> forwarded to outbound|", text)
        self.assertIn("route: VirtualService default/shop spec.http[0].match[0]\n", text)
        text = self.run_("explain", proxy, f"http://127.0.0.1:{self.gateway}/else", "-o", "json")
        self.assertIn("route_not_found", json.loads(text)["outcome"])
        text = self.run_(*explain, "--admin", f"127.0.0.1:{self.admin}", code=1)
        self.assertIn("knows no /explain, as Envoy does not", text)
        self.assertIn("no proxy 'none' is connected", self.run_("proxy-config", "clusters", "none", code=1))
        self.assertTrue(self.run_("token", "shop").startswith("mpboot-"))
        self.assertIn("CN=meshproxy root CA", self.run_("certs"))
