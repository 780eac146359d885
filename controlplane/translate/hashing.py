# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
Consistent hashing: what of a request is hashed stands on its route.
"""

from __future__ import annotations

from meshproxy.controlplane.model.trafficpolicy import ConsistentHashLB, HTTPCookie, TrafficPolicy
from meshproxy.controlplane.translate.messages import JSON, duration, without

__all__ = ["hashPolicies"]


def hashPolicies(policy: TrafficPolicy) -> list[JSON]:
    """
    The hash policies of a route to a cluster with a policy; none where it has no consistent hash.
    """
    consistent = policy.loadBalancer.consistentHash if policy.loadBalancer is not None else None
    if consistent is None:
        return []
    made = _policy(consistent)
    return [made] if made is not None else []


def _policy(consistent: ConsistentHashLB) -> JSON | None:
    if consistent.httpHeaderName:
        return {"header": {"headerName": consistent.httpHeaderName}}
    if consistent.httpCookie is not None:
        return {"cookie": _cookie(consistent.httpCookie)}
    if consistent.useSourceIp:
        return {"connectionProperties": {"sourceIp": True}}
    if consistent.httpQueryParameterName:
        return {"queryParameter": {"name": consistent.httpQueryParameterName}}
    return None


def _cookie(cookie: HTTPCookie) -> JSON:
    return without(
        {
            "name": cookie.name,
            "ttl": duration(cookie.ttl) if cookie.ttl is not None else None,
            "path": cookie.path or None,
            "attributes": [{"name": one.name, "value": one.value} for one in cookie.attributes],
        }
    )
