# -*- test-case-name: tests.controlplane.demo.test_bootstraps -*-
"""
What the proxies of the demo are started with: who they are, and where the control plane is. All else comes from there.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.controlplane.demo.workloads import Workload

__all__ = ["gatewayBootstrap", "sidecarBootstrap"]

_DOMAIN = "default.svc.cluster.local"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def sidecarBootstrap(workload: Workload, network: str, control: int) -> str:
    """
    The bootstrap of the sidecar of a workload, for either kind of proxy.

    @param control: The port of xDS.
    """
    address = workload.inbound(network)
    metadata = {
        "NAMESPACE": "default",
        "INSTANCE_IPS": address,
        "LABELS": {"app": workload.app, "version": workload.version},
        "INTERCEPTION_MODE": "NONE",
        "INBOUND_ADDRESS": address,
        "OUTBOUND_ADDRESS": workload.outbound(network),
        "APPLICATION_ADDRESS": workload.own(network),
    }
    return _bootstrap(f"sidecar~{address}~{workload.name}.default~{_DOMAIN}", workload.name, metadata, control)


def gatewayBootstrap(control: int) -> str:
    """
    The bootstrap of the gateway.
    """
    metadata = {"NAMESPACE": "default", "LABELS": {"istio": "ingressgateway"}}
    return _bootstrap(f"router~127.0.0.1~ingressgateway.default~{_DOMAIN}", "ingressgateway", metadata, control)


def _bootstrap(identifier: str, cluster: str, metadata: dict[str, Any], control: int) -> str:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": control}}
    ads = {"ads": {}, "resource_api_version": "V3"}
    xds = {
        "name": "xds-grpc",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    return json.dumps(
        {
            "node": {"id": identifier, "cluster": cluster, "metadata": metadata},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
                },
                "cds_config": ads,
                "lds_config": ads,
            },
            "static_resources": {"clusters": [xds]},
        }
    )
