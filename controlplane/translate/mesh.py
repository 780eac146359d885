# -*- test-case-name: tests.controlplane.translate.test_proxy -*-
"""
MeshConfig: what holds for the whole mesh, in Istio's words.
"""

from __future__ import annotations

from typing import Literal

from attrs import Attribute, Factory, field, frozen

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.model.names import isAddress
from meshproxy.controlplane.model.routes import HTTPRetry
from meshproxy.controlplane.model.trafficpolicy import LocalityLbSetting, ZoneAwareLbSetting

__all__ = [
    "ExtAuthzGRPC",
    "ExtAuthzHTTP",
    "ExtensionProvider",
    "IncludeRequestBody",
    "MeshConfig",
    "Network",
    "NetworkGateway",
    "OutboundTrafficPolicy",
    "PathNormalization",
]


@frozen(kw_only=True)
class OutboundTrafficPolicy:
    """
    What becomes of calls to what the registry does not know.
    """

    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"


@frozen(kw_only=True)
class PathNormalization:
    """
    How paths are made one before they are looked at.
    """

    normalization: Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "DEFAULT"


@frozen(kw_only=True)
class IncludeRequestBody:
    """
    How much of a body a provider is shown.
    """

    maxRequestBytes: int = 0
    allowPartialMessage: bool = False
    packAsBytes: bool = False


@frozen(kw_only=True)
class ExtAuthzHTTP:
    """
    A provider that decides, asked over HTTP.
    """

    service: str
    port: int
    timeout: Seconds | None = None
    pathPrefix: str = ""
    failOpen: bool = False
    statusOnError: str = ""
    clearRouteCache: bool = False
    includeRequestHeadersInCheck: list[str] = Factory(list)
    includeHeadersInCheck: list[str] = Factory(list)
    includeAdditionalHeadersInCheck: dict[str, str] = Factory(dict)
    includeRequestBodyInCheck: IncludeRequestBody | None = None
    headersToUpstreamOnAllow: list[str] = Factory(list)
    headersToDownstreamOnDeny: list[str] = Factory(list)
    headersToDownstreamOnAllow: list[str] = Factory(list)


@frozen(kw_only=True)
class ExtAuthzGRPC:
    """
    A provider that decides, asked over gRPC.
    """

    service: str
    port: int
    timeout: Seconds | None = None
    failOpen: bool = False
    statusOnError: str = ""
    clearRouteCache: bool = False
    includeRequestBodyInCheck: IncludeRequestBody | None = None


@frozen(kw_only=True)
class ExtensionProvider:
    """
    Somebody outside of the mesh that resources name.
    """

    name: str
    envoyExtAuthzHttp: ExtAuthzHTTP | None = None
    envoyExtAuthzGrpc: ExtAuthzGRPC | None = None


def _address(instance: object, attribute: Attribute[str], value: str) -> None:
    if not isAddress(value):
        raise ValueError(f"{value!r} is no IP address, which is what proxies are sent")


def _port(instance: object, attribute: Attribute[int], value: int) -> None:
    if not 0 < value <= 65535:
        raise ValueError(f"{value} is no port: 1 to 65535")


@frozen(kw_only=True, order=True)
class NetworkGateway:
    """
    Where workloads of a network are reached from the others, by a Gateway with C{AUTO_PASSTHROUGH}.
    """

    address: str = field(validator=_address)
    port: int = field(validator=_port)


@frozen(kw_only=True)
class Network:
    """
    Workloads that reach each other directly.
    """

    gateways: list[NetworkGateway] = Factory(list)


@frozen(kw_only=True)
class MeshConfig:
    """
    What holds for the whole mesh.

    @ivar rootNamespace: Resources there apply to all namespaces.
    @ivar domain: The domain of the cluster, the end of the full names of its services.
    @ivar networks: Those whose workloads others do not reach directly; Istio has them apart, as MeshNetworks.
    """

    trustDomain: str = "cluster.local"
    trustDomainAliases: list[str] = Factory(list)
    rootNamespace: str = "istio-system"
    domain: str = "cluster.local"
    outboundTrafficPolicy: OutboundTrafficPolicy = Factory(OutboundTrafficPolicy)
    enableAutoMtls: bool = True
    connectTimeout: Seconds = Seconds(10.0)
    dnsRefreshRate: Seconds = Seconds(60.0)
    accessLogFile: str = ""
    accessLogFormat: str = ""
    accessLogEncoding: Literal["TEXT", "JSON"] = "TEXT"
    defaultHttpRetryPolicy: HTTPRetry | None = None
    defaultInboundHttpRetryPolicy: HTTPRetry | None = None
    defaultVirtualServiceExportTo: list[str] = Factory(list)
    defaultDestinationRuleExportTo: list[str] = Factory(list)
    extensionProviders: list[ExtensionProvider] = Factory(list)
    localityLbSetting: LocalityLbSetting | None = None
    zoneAwareLbSetting: ZoneAwareLbSetting | None = None
    pathNormalization: PathNormalization = Factory(PathNormalization)
    networks: dict[str, Network] = Factory(dict)

    @property
    def trustDomains(self) -> list[str]:
        """
        The trust domain and its other names.
        """
        return [self.trustDomain, *self.trustDomainAliases]

    def provider(self, name: str) -> ExtensionProvider | None:
        """
        The provider of a name.
        """
        return next((provider for provider in self.extensionProviders if provider.name == name), None)
