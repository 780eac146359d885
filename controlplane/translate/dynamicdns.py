# -*- test-case-name: tests.controlplane.translate.test_dynamicdns -*-
"""
C{DYNAMIC_DNS}: services whose endpoints are found by the name that each request asks for, or each connection of TLS.
Filters look the names up, and clusters find what they found in a cache that all of them have in common.
"""

from __future__ import annotations

from meshproxy.controlplane.model.trafficpolicy import ClientTLSSettings
from meshproxy.controlplane.translate.messages import JSON, typed, without

__all__ = ["connectionFilter", "dynamicCluster", "requestFilter", "upstreamOptions"]

#: Of one name there is one cache in an Envoy, and all who name it say the same of it.
_CACHE: JSON = {"dnsCacheConfig": {"name": "dynamic_dns_cache", "dnsLookupFamily": "V4_ONLY"}}


def dynamicCluster(tls: ClientTLSSettings | None) -> JSON:
    """
    How such a cluster is found. Envoy wants to be told where it is not the name that is asked for which the certificate
    is held against.
    """
    config = {**_CACHE, "allowInsecureClusterOptions": True if _isLoose(tls) else None}
    name = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
    return {
        "clusterType": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typedConfig": typed(name, without(config)),
        },
        "lbPolicy": "CLUSTER_PROVIDED",
    }


def _isLoose(tls: ClientTLSSettings | None) -> bool:
    return tls is not None and bool(tls.insecureSkipVerify or tls.sni)


def upstreamOptions(tls: ClientTLSSettings | None) -> JSON:
    """
    By TLS that name is asked for that the request asks for, unless the rule has one; it has to be in the certificate.
    """
    sni, trusting = (tls.sni, bool(tls.insecureSkipVerify)) if tls is not None else ("", False)
    return without({"autoSni": not sni or None, "autoSanValidation": not trusting or None})


def requestFilter() -> JSON:
    """
    Looks up what requests for such a cluster ask for, and lets others pass.
    """
    name = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"
    return {"name": "envoy.filters.http.dynamic_forward_proxy", "typedConfig": typed(name, _CACHE)}


def connectionFilter(port: int) -> JSON:
    """
    Looks up what connections of TLS ask for.
    """
    name = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"
    value = typed(name, {**_CACHE, "portValue": port})
    return {"name": "envoy.filters.network.sni_dynamic_forward_proxy", "typedConfig": value}
