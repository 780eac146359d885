# -*- test-case-name: tests.controlplane.demo.test_bootstraps -*-
"""
What the proxies of the demo are started with: who they are, how they come by their identity, and where the control
plane is. All else comes from there.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from meshproxy.controlplane.demo.workloads import GATEWAY_ACCOUNT, OWN_PORT, PORT, Workload
from meshproxy.identity.credential import CERTIFICATE, ROOTS
from meshproxy.identity.settings import EXTENSION, IdentitySettings

__all__ = ["ADMIN_PORT", "Member", "envoyBootstrap", "gateway", "ownBootstrap", "sidecar"]

_DOMAIN = "default.svc.cluster.local"
_TYPES = "type.googleapis.com/"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_SDS = "sds-grpc"

#: The port of each proxy's admin, as in Istio's sidecars.
ADMIN_PORT = 15000

#: By this name proxies know the control plane; it is in its certificate.
_CONTROL = "localhost"

_OWN = {"ads": {}, "resource_api_version": "V3"}


@frozen
class Member:
    """
    A proxy of the demo.

    @ivar account: The service account of its workload: its identity.
    @ivar node: Its node, as the control plane sees it.
    @ivar admin: The address of its admin, which listens on L{ADMIN_PORT}.
    """

    name: str
    account: str
    node: dict[str, Any]
    admin: str


def sidecar(workload: Workload, network: str) -> Member:
    """
    The sidecar of a workload.
    """
    address = workload.inbound(network)
    metadata = {
        "INSTANCE_IPS": address,
        "LABELS": {"app": workload.app, "version": workload.version},
        "INTERCEPTION_MODE": "NONE",
        "INBOUND_ADDRESS": address,
        "OUTBOUND_ADDRESS": workload.outbound(network),
        "APPLICATION_ADDRESS": address,
        "APPLICATION_PORTS": {str(PORT): OWN_PORT},
    }
    return _member(workload.name, workload.account, f"sidecar~{address}", metadata, address)


def gateway(network: str) -> Member:
    """
    The gateway.

    @param network: The first two numbers of the address of its admin.
    """
    metadata = {"LABELS": {"istio": "ingressgateway"}}
    return _member("ingressgateway", GATEWAY_ACCOUNT, "router~127.0.0.1", metadata, f"{network}.0.1")


def _member(name: str, account: str, begin: str, metadata: dict[str, Any], admin: str) -> Member:
    metadata = {"NAMESPACE": "default", "SERVICE_ACCOUNT": account, **metadata}
    node = {"id": f"{begin}~{name}.default~{_DOMAIN}", "cluster": name, "metadata": metadata}
    return Member(name, account, node, admin)


def ownBootstrap(member: Member, port: int, identity: IdentitySettings) -> str:
    """
    For this project's proxy, which comes by its identity itself.

    @param port: Where xDS is served over TLS.
    """
    value = {
        "address": identity.address,
        "server_name": identity.serverName,
        "roots": identity.roots,
        "token": identity.token,
        "lifetime": f"{identity.lifetime:g}s",
        "grace_period_ratio": identity.gracePeriodRatio,
    }
    struct = {"@type": _TYPES + "xds.type.v3.TypedStruct", "type_url": EXTENSION, "value": value}
    extension = {"name": "identity", "typed_config": struct}
    return json.dumps({**_bootstrap(member, member.node, port, _OWN, []), "bootstrap_extensions": [extension]})


def envoyBootstrap(member: Member, port: int, socket: str) -> str:
    """
    For Envoy, which has its identity from an agent.

    @param socket: The agent's.
    """
    node = {**member.node, "metadata": {**member.node["metadata"], "SDS_CLUSTER": _SDS}}
    service = {"envoy_grpc": {"cluster_name": _SDS}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    agent = _http2Cluster(_SDS, {"pipe": {"path": socket}})
    secrets = {"api_config_source": source, "resource_api_version": "V3"}
    return json.dumps(_bootstrap(member, node, port, secrets, [agent]))


def _bootstrap(
    member: Member, node: dict[str, Any], port: int, secrets: dict[str, Any], clusters: list[dict[str, Any]]
) -> Any:
    """
    @param node: What the member is known by here.
    @param secrets: Where the identity comes from.
    """
    ads = {"ads": {}, "resource_api_version": "V3"}
    names = [{"san_type": "DNS", "matcher": {"exact": _CONTROL}}]
    common = {
        "tls_certificate_sds_secret_configs": [{"name": CERTIFICATE, "sds_config": secrets}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": names},
            "validation_context_sds_secret_config": {"name": ROOTS, "sds_config": secrets},
        },
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
    }
    xds = {
        **_http2Cluster("xds-grpc", {"socket_address": {"address": "127.0.0.1", "port_value": port}}),
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": _TYPES + _TLS, "sni": _CONTROL, "common_tls_context": common},
        },
    }
    return {
        "node": node,
        "admin": {"address": {"socket_address": {"address": member.admin, "port_value": ADMIN_PORT}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [xds, *clusters]},
    }


def _http2Cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    http2 = {"@type": _TYPES + _OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": name,
        "type": "STATIC",
        "typed_extension_protocol_options": {_OPTIONS: http2},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
