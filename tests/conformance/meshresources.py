"""
The resources of the small mesh that both proxies run. Words in capitals are ports.
"""

from __future__ import annotations

__all__ = ["EDGE", "RESOURCES", "SEALED", "TOKENS"]

RESOURCES = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: CALLED}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 127.0.0.1, ports: {http: V1}, labels: {app: reviews, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v2}
spec: {address: 127.0.0.1, ports: {http: V2}, labels: {app: reviews, version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {retryBudget: {percent: 25, minRetryConcurrency: 2, budgetInterval: 10s}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 1s, minimumPercent: 20, aggression: 2}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /old/}, withoutHeaders: {x-keep: {}}}]
    rewrite: {uri: /new/, authority: other.example.com}
    headers: {request: {set: {x-set: s}, remove: [x-gone]}, response: {add: {x-added: a}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /direct}}]
    directResponse: {status: 418, body: {string: short}}
  - match: [{uri: {exact: /elsewhere}}]
    redirect: {uri: /there, authority: e.example.com, redirectCode: 307}
  - match: [{uri: {exact: /flaky}}]
    retries: {attempts: 2, retryOn: '503'}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /broken}}]
    retries: {attempts: 0}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /slow}}]
    timeout: 150ms
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /fault}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /nowhere}}]
    route: [{destination: {host: reviews, subset: v9}}]
  - route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: v1
kind: Service
metadata: {name: guarded}
spec: {selector: {app: guarded}, ports: [{name: http, port: INBOUND}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: guarded}
spec: {address: 127.0.0.5, labels: {app: guarded}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: guarded}}
  rules:
  - to: [{operation: {methods: [GET], paths: [/open*, /ask]}}]
  - from: [{source: {requestPrincipals: [issuer/anna]}}]
    when: [{key: 'request.auth.claims[groups]', values: [staff]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody}
spec:
  selector: {matchLabels: {app: guarded}}
  action: DENY
  rules: [{when: [{key: 'request.headers[x-bad]', values: ['*']}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked}
spec:
  selector: {matchLabels: {app: guarded}}
  action: CUSTOM
  provider: {name: judge}
  rules: [{to: [{operation: {paths: [/ask]}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: judge}
spec:
  hosts: [judge.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: JUDGE, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.9}]
"""

#: A workload that takes mutual TLS alone, and of it the calls of one service account.
SEALED = """
---
apiVersion: v1
kind: Service
metadata: {name: sealed}
spec: {selector: {app: sealed}, ports: [{name: http, port: SEALED, targetPort: INSIDE}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: sealed}
spec: {address: 127.0.0.7, labels: {app: sealed}, serviceAccount: both}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {selector: {matchLabels: {app: sealed}}, mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers}
spec:
  selector: {matchLabels: {app: sealed}}
  rules:
  - {from: [{source: {principals: [cluster.local/ns/shop/sa/both]}}], to: [{operation: {paths: [/both]}}]}
  - {from: [{source: {serviceAccounts: [somebody]}}], to: [{operation: {paths: [/somebody]}}]}
"""

#: An edge of the mesh.
EDGE = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingress}
  servers:
  - bind: 127.0.0.10
    port: {number: CLEAR, name: http, protocol: HTTP}
    hosts: [shop.example.com]
    tls: {httpsRedirect: true}
  - bind: 127.0.0.10
    port: {number: SECURE, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
  - bind: 127.0.0.10
    port: {number: SECURE, name: https-known, protocol: HTTPS}
    hosts: [known.example.com]
    tls: {mode: MUTUAL, credentialName: known, subjectAltNames: [client.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [shop.example.com, known.example.com]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /v2}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {exact: /v1}}]
    route: [{destination: {host: reviews, subset: v1}}]
"""

#: Whose tokens the guarded workload takes.
TOKENS = """
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: guarded}}
  jwtRules: [{issuer: issuer, jwks: 'KEYS', outputClaimToHeaders: [{header: x-set, claim: sub}]}]
"""
