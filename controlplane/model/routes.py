# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
VirtualService: the classes of its fields. How they are checked stands in
L{meshproxy.controlplane.model.virtualservice}.
"""

from __future__ import annotations

from typing import Literal

from attrs import Factory, field, frozen

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.model.common import Destination, Percent, StringMatch

__all__ = [
    "MESH",
    "CorsPolicy",
    "Delegate",
    "FaultAbort",
    "FaultDelay",
    "HTTPBody",
    "HTTPDirectResponse",
    "HTTPFaultInjection",
    "HTTPMatchRequest",
    "HTTPMirrorPolicy",
    "HTTPRedirect",
    "HTTPRetry",
    "HTTPRewrite",
    "HTTPRoute",
    "HTTPRouteDestination",
    "HeaderOperations",
    "Headers",
    "L4MatchAttributes",
    "RegexRewrite",
    "RouteDestination",
    "TCPRoute",
    "TLSMatchAttributes",
    "TLSRoute",
    "VirtualService",
]

#: The gateway that stands for every sidecar of the mesh.
MESH = "mesh"


@frozen(kw_only=True)
class HeaderOperations:
    """
    What is done to the headers of a request or a response.
    """

    set: dict[str, str] = Factory(dict)
    add: dict[str, str] = Factory(dict)
    remove: list[str] = Factory(list)


@frozen(kw_only=True)
class Headers:
    """
    What is done to headers.
    """

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


@frozen(kw_only=True)
class HTTPMatchRequest:
    """
    Which requests a route is for: all that is set has to match.
    """

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = Factory(dict)
    port: int = 0
    sourceLabels: dict[str, str] = Factory(dict)
    gateways: list[str] = Factory(list)
    queryParams: dict[str, StringMatch] = Factory(dict)
    ignoreUriCase: bool = False
    withoutHeaders: dict[str, StringMatch] = Factory(dict)
    sourceNamespace: str = ""
    statPrefix: str = ""


@frozen(kw_only=True)
class HTTPRouteDestination:
    """
    One of the destinations of a route, and its share.
    """

    destination: Destination | None = None
    weight: int = 0
    headers: Headers | None = None


@frozen(kw_only=True)
class HTTPRedirect:
    """
    Where a caller is told to go.
    """

    uri: str = ""
    authority: str = ""
    port: int | None = None
    derivePort: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str = ""
    redirectCode: int = 0
    prefixRewrite: str = ""


@frozen(kw_only=True)
class HTTPBody:
    """
    The body of a direct response.

    @ivar bytes_: In base64.
    """

    string: str | None = None
    bytes_: str | None = field(default=None, metadata={"key": "bytes"})


@frozen(kw_only=True)
class HTTPDirectResponse:
    """
    A response that the proxy gives itself.
    """

    status: int = 0
    body: HTTPBody | None = None


@frozen(kw_only=True)
class Delegate:
    """
    Another VirtualService that goes on with the matching.
    """

    name: str = ""
    namespace: str = ""


@frozen(kw_only=True)
class RegexRewrite:
    """
    A path by substitution.
    """

    match: str = ""
    rewrite: str = ""


@frozen(kw_only=True)
class HTTPRewrite:
    """
    What the destination is shown instead of the path or the host that was asked for.
    """

    uri: str = ""
    authority: str = ""
    uriRegexRewrite: RegexRewrite | None = None


@frozen(kw_only=True)
class HTTPRetry:
    """
    When and how often a request is tried again.
    """

    attempts: int = 0
    perTryTimeout: Seconds | None = None
    retryOn: str = ""
    retryRemoteLocalities: bool | None = None
    retryIgnorePreviousHosts: bool | None = None
    backoff: Seconds | None = None


@frozen(kw_only=True)
class FaultDelay:
    """
    A wait before a request goes on.
    """

    fixedDelay: Seconds | None = None
    exponentialDelay: Seconds | None = None
    percentage: Percent | None = None
    percent: int = 0


@frozen(kw_only=True)
class FaultAbort:
    """
    An error instead of a response.
    """

    httpStatus: int | None = None
    grpcStatus: str | None = None
    http2Error: str | None = None
    percentage: Percent | None = None


@frozen(kw_only=True)
class HTTPFaultInjection:
    """
    Faults, made on purpose.
    """

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


@frozen(kw_only=True)
class HTTPMirrorPolicy:
    """
    A copy of the requests, whose responses nobody sees.
    """

    destination: Destination | None = None
    percentage: Percent | None = None


@frozen(kw_only=True)
class CorsPolicy:
    """
    Which origins may call from a browser.
    """

    allowOrigins: list[StringMatch] = Factory(list)
    allowOrigin: list[str] = Factory(list)
    allowMethods: list[str] = Factory(list)
    allowHeaders: list[str] = Factory(list)
    exposeHeaders: list[str] = Factory(list)
    maxAge: Seconds | None = None
    allowCredentials: bool | None = None
    unmatchedPreflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


@frozen(kw_only=True)
class HTTPRoute:
    """
    Matches, and what becomes of the requests that they take.
    """

    name: str = ""
    match: list[HTTPMatchRequest] = Factory(list)
    route: list[HTTPRouteDestination] = Factory(list)
    redirect: HTTPRedirect | None = None
    directResponse: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Seconds | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: list[HTTPMirrorPolicy] = Factory(list)
    mirrorPercent: int | None = None
    mirrorPercentage: Percent | None = None
    corsPolicy: CorsPolicy | None = None
    headers: Headers | None = None


@frozen(kw_only=True)
class RouteDestination:
    """
    One of the destinations of connections, and its share.
    """

    destination: Destination | None = None
    weight: int = 0


@frozen(kw_only=True)
class TLSMatchAttributes:
    """
    Which TLS connections a route is for.
    """

    sniHosts: list[str] = Factory(list)
    destinationSubnets: list[str] = Factory(list)
    port: int = 0
    sourceLabels: dict[str, str] = Factory(dict)
    gateways: list[str] = Factory(list)
    sourceNamespace: str = ""


@frozen(kw_only=True)
class TLSRoute:
    """
    TLS connections by the name they ask for, passed through as they are.
    """

    match: list[TLSMatchAttributes] = Factory(list)
    route: list[RouteDestination] = Factory(list)


@frozen(kw_only=True)
class L4MatchAttributes:
    """
    Which connections a route is for.
    """

    destinationSubnets: list[str] = Factory(list)
    port: int = 0
    sourceSubnet: str = field(default="", metadata={"notProgrammed": "Istio does not read it either"})
    sourceLabels: dict[str, str] = Factory(dict)
    gateways: list[str] = Factory(list)
    sourceNamespace: str = ""


@frozen(kw_only=True)
class TCPRoute:
    """
    Connections by address and port.
    """

    match: list[L4MatchAttributes] = Factory(list)
    route: list[RouteDestination] = Factory(list)


@frozen(kw_only=True)
class VirtualService:
    """
    How what is sent to some hosts is routed.
    """

    hosts: list[str] = Factory(list)
    gateways: list[str] = Factory(list)
    http: list[HTTPRoute] = Factory(list)
    tls: list[TLSRoute] = Factory(list)
    tcp: list[TCPRoute] = Factory(list)
    exportTo: list[str] = Factory(list)

    @property
    def boundTo(self) -> list[str]:
        """
        The gateways it is for; the mesh where it names none.
        """
        return self.gateways or [MESH]
