"""
Small meshes for the tests of the translation.
"""

from __future__ import annotations

from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Interception, Proxy, Role
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import Translation, translate
from tests.controlplane.given import resourcesOf
from tests.controlplane.model.test_core import encoded, pair

__all__ = ["ROUTER", "SIDECAR", "codes", "made", "networking", "secret", "service", "workload"]

SIDECAR = Proxy(id="s", namespace="shop", addresses=("10.1.0.1",), labels={"app": "a"}, interception=Interception.NONE)
ROUTER = Proxy(id="r", namespace="shop", role=Role.ROUTER, labels={"istio": "ingress"})


def service(name: str, ports: str, more: str = "", namespace: str = "shop") -> str:
    """
    A Service.
    """
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{selector: {{app: {name}}}, ports: [{ports}]{more}}}\n"
    )


def workload(name: str, address: str, app: str, more: str = "") -> str:
    """
    A WorkloadEntry.
    """
    return networking("WorkloadEntry", name, f"address: {address}, labels: {{app: {app}}}{more}")


def networking(kind: str, name: str, spec: str, namespace: str = "shop", created: str = "") -> str:
    """
    A resource of the networking group.
    """
    return (
        f"apiVersion: networking.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}\nspec: {{{spec}}}\n"
    )


def made(proxy: Proxy, *texts: str, mesh: MeshConfig | None = None) -> Translation:
    """
    What some resources make of a proxy; all of it is of Envoy's types.
    """
    resources = resourcesOf("---\n".join(texts))
    result = translate(proxy, mesh or MeshConfig(), ResourceSet(resources), indexOf(resources))
    result.messages()
    return result


def codes(translation: Translation) -> list[tuple[str, str]]:
    """
    The resource and the code of each problem.
    """
    return [(problem.resource, problem.code) for problem in translation.problems]


def secret(name: str, namespace: str = "shop", more: str = "") -> str:
    """
    A Secret with a certificate.
    """
    certificate, key = map(encoded, pair())
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\n"
        f"data: {{tls.crt: {certificate}, tls.key: {key}{more}}}\n"
    )
