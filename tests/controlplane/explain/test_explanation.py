"""
Tests for L{meshproxy.controlplane.explain.explanation}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.explain.explanation import ExplanationFailed, explained
from meshproxy.controlplane.explain.subject import Asked
from meshproxy.controlplane.snapshot.snapshots import Attached
from meshproxy.controlplane.translate.proxy import Interception
from meshproxy.secrets import sources
from tests.controlplane.explain.given import MESH, lineOf, meshOf, subjects

_PAGE = "spiffe://cluster.local/ns/shop/sa/page"


class ExplanationCase(SynchronousTestCase):
    """
    Asks about the mesh.
    """

    interception = Interception.NONE

    def ask(self, name: str, url: str, *fields: str, text: str = MESH, **more: Any) -> Any:
        """
        What becomes of a request at a proxy.
        """
        mesh = meshOf(text)
        found = subjects(mesh, self.interception)
        told = explained(Asked(url=url, fields=fields, **more), found[name], mesh, list(found.values()))
        json.dumps(told)
        return told


class FileTests(ExplanationCase):
    """
    Files of certificates, which are on the machines of the proxies.
    """

    def test_unread(self) -> None:
        """
        None is looked for here: what is asked for tells nothing of this machine, and cannot make it wait.
        """
        opened: list[str] = []
        self.patch(sources, "_readFile", lambda section, path: opened.append(path))
        text = f"""{MESH}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: page}}
spec:
  host: page
  trafficPolicy: {{tls: {{mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /r}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: files}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - hosts: [shop.example]
    port: {{number: 8443, name: https, protocol: HTTPS}}
    tls: {{mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /r}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: more}}
spec: {{hosts: [shop.example], gateways: [files], http: [{{route: [{{destination: {{host: page}}}}]}}]}}
"""
        for url in ("http://shop.example:8080/", "https://shop.example:8443/"):
            told = self.ask("gateway", url, text=text)
            self.assertEqual(told["outcome"][:22], "forwarded to outbound|")
            self.assertNotIn("not_judged", told)
        self.assertEqual(opened, [])


class OutboundTests(ExplanationCase):
    """
    What a workload sends.
    """

    def test_route(self) -> None:
        """
        The route that takes it, with resource, field and line; its fault, its cluster, the subset.
        """
        told = self.ask("page", "http://reviews:9080/reviews/0", "end-user: jason")
        self.assertEqual(told["listener"]["name"], "127.0.2.1_9080")
        self.assertEqual(told["virtual_host"]["set_by"][0]["resource"], "ServiceEntry shop/reviews")
        (route,) = told["route"]["set_by"]
        self.assertEqual(
            route, {"resource": "VirtualService shop/reviews", "field": "spec.http[0].match[0]", "at": lineOf("jason")}
        )
        fault = told["filters"][0]
        self.assertEqual(fault["verdict"]["told"], "delays all requests by 7s")
        self.assertEqual([one["field"] for one in fault["set_by"]], ["spec.http[0].fault"])
        self.assertEqual(fault["set_by"][0]["at"], lineOf("fault"))
        (cluster,) = told["clusters"]
        self.assertEqual(
            [(one["resource"], one["field"]) for one in cluster["set_by"]],
            [
                ("VirtualService shop/reviews", "spec.http[0].route[0]"),
                ("DestinationRule shop/reviews", "spec.subsets[1]"),
            ],
        )
        self.assertEqual(cluster["set_by"][1]["at"], lineOf("subset v2"))
        (endpoint,) = cluster["endpoints"]
        self.assertEqual(
            (endpoint["address"], endpoint["labels"]["version"], endpoint["mutual_tls"]), ("10.0.0.3:9080", "v2", True)
        )

    def test_missed(self) -> None:
        """
        Why the nearer one lost, what the request waits for, and who set that; what nobody set is a default.
        """
        told = self.ask("page", "http://reviews:9080/reviews/0", "end-user: eve")
        (before,) = told["routes_before"]
        self.assertEqual(before["set_by"][0]["field"], "spec.http[0].match[0]")
        self.assertEqual([miss["actual"] for miss in before["missed"]], ["eve"])
        self.assertEqual(told["route"]["set_by"][0]["field"], "spec.http[1]")
        self.assertEqual(
            [(one["share"], one["set_by"][0]["field"]) for one in told["clusters"]],
            [("0.75", "spec.http[1].route[0]"), ("0.25", "spec.http[1].route[1]")],
        )
        rows = {row["name"]: row for row in told["timeouts"]}
        for name, value, field, comment in (
            ("timeout", "3s", "spec.http[1].timeout", "timeout"),
            ("per_try_timeout", "1s", "spec.http[1].retries.perTryTimeout", "retries"),
            ("connect_timeout", "2s", "spec.trafficPolicy.connectionPool.tcp.connectTimeout", "connect"),
        ):
            self.assertEqual((rows[name]["value"], rows[name]["resource"]["field"]), (value, field))
            self.assertEqual(rows[name]["resource"]["at"], lineOf(comment))
        self.assertNotIn("resource", rows["stream_idle_timeout"])
        self.assertEqual(told["retries"]["set_by"]["field"], "spec.http[1].retries")

    def test_defaults(self) -> None:
        """
        A service that no VirtualService speaks of.
        """
        told = self.ask("v1", "http://page:9080/")
        self.assertEqual((told["route"]["name"], told["route"]["set_by"]), ("default", []))
        self.assertEqual(told["retries"]["set_by"], None)
        self.assertEqual(told["clusters"][0]["set_by"], [])

    def test_nobody(self) -> None:
        """
        A port and a host that nobody has: what there is instead.
        """
        told = self.ask("page", "http://reviews/")
        self.assertEqual(told["outcome"], "nothing listens for port 80: reviews.shop.svc.cluster.local has 9080")
        told = self.ask("page", "http://nowhere:9080/")
        self.assertEqual(told["outcome"], "502, a direct response: no service nowhere:9080 is known here")

    def test_wrong(self) -> None:
        """
        What is no request, and a proxy that has nothing yet.
        """
        for more in ({"url": "http://[x"}, {"url": "http://reviews:9080/", "method": "no method"}):
            with self.assertRaises(ExplanationFailed, msg=more):
                self.ask("page", **more)
        mesh = meshOf()
        attached = Attached(subjects(mesh)["page"].proxy, lambda snapshot: None)
        with self.assertRaises(ExplanationFailed):
            explained(Asked(url="http://reviews:9080/"), attached, mesh)

    def test_problems(self) -> None:
        """
        What the translation told of a resource that has a say here, and of no other.
        """
        text = MESH.replace("subset: v2}}]", "subset: v9}}]")
        told = self.ask("page", "http://reviews:9080/", "end-user: jason", text=text)
        self.assertIn("no subset 'v9'", told["problems"][0]["message"])
        self.assertTrue(told["clusters"][0]["missing"])
        self.assertEqual(self.ask("v1", "http://page:9080/", text=text)["problems"], [])


class NextTests(ExplanationCase):
    """
    What the next proxy makes of it.
    """

    def test_allowed(self) -> None:
        """
        It comes as who sent it, as it was rewritten; the rule that lets it in is named, and the mode of mutual TLS.
        """
        first, second = self.ask("page", "http://reviews:9080/reviews/0")["next"]
        self.assertEqual((first["proxy"], first["direction"]), (subjects(meshOf())["v1"].proxy.id, "inbound"))
        self.assertEqual(second["proxy"], subjects(meshOf())["v2"].proxy.id)
        self.assertEqual((first["request"]["principal"], first["request"]["path"]), (_PAGE, "/all/reviews/0"))
        self.assertEqual(first["mutual_tls"]["mode"], "STRICT")
        self.assertEqual(first["mutual_tls"]["set_by"][0]["at"], lineOf("strict"))
        (rbac,) = [one for one in first["filters"] if one["name"].endswith("rbac")]
        self.assertEqual(
            [(one["resource"], one["field"], one["at"]) for one in rbac["set_by"]],
            [("AuthorizationPolicy shop/pages", "spec.rules[0]", lineOf("pages"))],
        )
        self.assertTrue(rbac["verdict"]["told"].startswith("allowed"))

    def test_denied(self) -> None:
        """
        The end is that of the next proxy, where all of them refuse; the rule that comes nearest is named.
        """
        told = self.ask("v1", "http://reviews:9080/", "end-user: jason")
        self.assertTrue(told["outcome"].endswith("; there: 403 (rbac_access_denied_matched_policy[none]) from "
                                                 "envoy.filters.http.rbac"))  # fmt: skip
        (rbac,) = [one for one in told["next"][0]["filters"] if one["name"].endswith("rbac")]
        self.assertEqual(rbac["set_by"][0]["field"], "spec.rules[0]")

    def test_gateway(self) -> None:
        """
        From the gateway, whose server is named, to the workload; the policy there is not for it.
        """
        told = self.ask("gateway", "http://shop.example:8080/x")
        self.assertEqual(told["direction"], "gateway")
        self.assertEqual(told["listener"]["set_by"][0]["at"], lineOf("server"))
        self.assertEqual(told["route"]["set_by"][0]["resource"], "VirtualService shop/shop")
        self.assertEqual([one["direction"] for one in told["next"]], ["inbound"])


class InboundTests(ExplanationCase):
    """
    What comes to a workload.
    """

    def test_clear(self) -> None:
        """
        In STRICT mode nobody comes in clear; the chain says what it wants.
        """
        told = self.ask("v1", "http://reviews:9080/", inbound=True)
        self.assertEqual(told["outcome"], "no filter chain matches: the connection is closed")
        own = [chain for chain in told["other_filter_chains"] if chain["name"] == "0.0.0.0_9080"]
        missed = [miss for chain in own for miss in chain["missed"]]
        self.assertEqual({miss["wanted"] for miss in missed}, {"tls"})
        permissive = self.ask("v1", "http://reviews:9080/", inbound=True, text=MESH.replace("STRICT", "PERMISSIVE"))
        self.assertTrue(permissive["outcome"].startswith("403"))

    def test_principal(self) -> None:
        """
        Who asks decides, and what for.
        """
        for principal, path, end in (
            (_PAGE, "/x", "forwarded to inbound|9080||"),
            (_PAGE, "/secret", "403"),
            (f"{_PAGE}s", "/x", "403"),
        ):
            told = self.ask("v1", f"http://reviews:9080{path}", inbound=True, principal=principal)
            self.assertTrue(told["outcome"].startswith(end), told["outcome"])


class InterceptedTests(NextTests, InboundTests):
    """
    The same where connections are intercepted.
    """

    interception = Interception.REDIRECT

    def test_listeners(self) -> None:
        """
        One listener takes all that comes, and what no service has goes where it was going.
        """
        told = self.ask("v1", "http://reviews:9080/", inbound=True, principal=_PAGE)
        self.assertEqual(told["listener"]["name"], "virtualInbound")
        told = self.ask("page", "http://192.0.2.1:7070/")
        self.assertEqual(told["listener"]["name"], "virtualOutbound")
        self.assertEqual(self.ask("page", "http://reviews:9080/")["listener"]["name"], "0.0.0.0_9080")


class DelegateTests(ExplanationCase):
    """
    VirtualServices that delegate.
    """

    def test_both(self) -> None:
        """
        Both are named, and what the delegate leaves out is the root's.
        """
        rest = MESH[: MESH.index("apiVersion: networking.istio.io/v1\nkind: VirtualService")]
        text = (
            rest
            + """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [reviews]
  http: [{match: [{uri: {prefix: /a}}], timeout: 4s, delegate: {name: part}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec: {http: [{route: [{destination: {host: reviews, subset: v1}}], retries: {attempts: 1}}]}
"""
        )
        told = self.ask("page", "http://reviews:9080/a", text=text)
        self.assertEqual(
            [(one["resource"], one["field"]) for one in told["route"]["set_by"]],
            [("VirtualService shop/root", "spec.http[0]"), ("VirtualService shop/part", "spec.http[0]")],
        )
        rows = {row["name"]: row.get("resource", {}) for row in told["timeouts"]}
        self.assertEqual(rows["timeout"]["resource"], "VirtualService shop/root")
        self.assertEqual(told["retries"]["set_by"]["resource"], "VirtualService shop/part")
        self.assertEqual(told["clusters"][0]["set_by"][0]["resource"], "VirtualService shop/part")
