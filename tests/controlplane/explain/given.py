"""
A small mesh whose requests are explained.
"""

from __future__ import annotations

from meshproxy.controlplane.explain.subject import Mesh, Subject
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Interception, Proxy, Role
from tests.controlplane.given import resourcesOf

__all__ = ["MESH", "lineOf", "meshOf", "subjects"]

MESH = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: page}
spec:
  hosts: [page.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {app: page}, serviceAccount: page}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.2, labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}, serviceAccount: reviews}
  - {address: 10.0.0.3, labels: {app: reviews, version: v2, security.istio.io/tlsMode: istio}, serviceAccount: reviews}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 2s}}}  # connect
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}  # subset v2
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match:
    - headers: {end-user: {exact: jason}}  # jason
    route: [{destination: {host: reviews, subset: v2}}]
    fault: {delay: {fixedDelay: 7s, percentage: {value: 100}}}  # fault
  - timeout: 3s  # timeout
    rewrite: {uri: /all/}
    retries: {attempts: 5, perTryTimeout: 1s}  # retries
    route:
    - {destination: {host: reviews, subset: v1}, weight: 75}
    - {destination: {host: reviews, subset: v2}, weight: 25}  # a quarter
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}  # strict
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pages}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/page]}}]  # pages
    to: [{operation: {notPaths: [/secret]}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {hosts: [shop.example], port: {number: 8080, name: http, protocol: HTTP}}  # server
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [front]
  http: [{route: [{destination: {host: page}}]}]
"""


def lineOf(comment: str, text: str = MESH) -> str:
    """
    The place of the line with a comment, as explanations tell it.
    """
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(f"  # {comment}")]
    assert len(lines) == 1, (comment, lines)
    return f"given.yaml:{lines[0]}"


def meshOf(text: str = MESH) -> Mesh:
    """
    What a text comes to.
    """
    return Mesh.of(MeshConfig(), resourcesOf(text))


def subjects(mesh: Mesh, interception: Interception = Interception.NONE) -> dict[str, Subject]:
    """
    The sidecars of the mesh, and its gateway.
    """

    def sidecar(name: str, number: int, labels: dict[str, str], account: str) -> Proxy:
        return Proxy(
            id=f"sidecar~10.0.0.{number}~{name}.shop~shop.svc.cluster.local",
            namespace="shop",
            labels=labels,
            serviceAccount=account,
            addresses=(f"10.0.0.{number}",),
            interception=interception,
            outboundAddress=f"127.0.2.{number}",
        )

    proxies = {
        "page": sidecar("page", 1, {"app": "page"}, "page"),
        "v1": sidecar("v1", 2, {"app": "reviews", "version": "v1"}, "reviews"),
        "v2": sidecar("v2", 3, {"app": "reviews", "version": "v2"}, "reviews"),
        "gateway": Proxy(
            id="router~10.0.0.9~front.shop~d",
            namespace="shop",
            role=Role.ROUTER,
            labels={"istio": "ingressgateway"},
            serviceAccount="front",
            addresses=("10.0.0.9",),
        ),
    }
    return {name: Subject(proxy, mesh) for name, proxy in proxies.items()}
