"""
Resources and services to the Envoy resources of one proxy: pure functions, the same for the same, in one order.

  - L{meshproxy.controlplane.translate.translation}: C{translate(proxy, mesh, resources, services)} gives a
    C{Translation}: listeners, routes, clusters, endpoints, secrets, the problems found on the way, and what all of it
    was made from.
  - L{meshproxy.controlplane.translate.proxy}: C{Proxy}, one data plane; C{proxyOf} reads it from the node of an xDS
    request.
  - L{meshproxy.controlplane.translate.mesh}: C{MeshConfig}, Istio's, as far as it has an effect here.
  - L{meshproxy.controlplane.translate.resourceset}: C{ResourceSet}, all resources at one moment, found by what they
    apply to. It may be kept for all proxies.

The rest is one module for each part of Envoy's configuration. Inside, messages are dictionaries in protobuf's JSON
form; L{meshproxy.controlplane.translate.messages} makes protobuf messages of the private pool of them at the end.
"""
