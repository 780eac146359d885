# -*- test-case-name: tests.controlplane.translate.test_authorization -*-
"""
The filter that asks a provider, for AuthorizationPolicies with the action CUSTOM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus

from meshproxy.controlplane.translate.mesh import (
    ExtAuthzGRPC,
    ExtAuthzHTTP,
    ExtensionProvider,
    IncludeRequestBody,
)
from meshproxy.controlplane.translate.messages import JSON, duration, typed, without

__all__ = ["extAuthzFilter"]

#: Istio's: long, since a provider may ask a person.
_TIMEOUT = 600.0

_HTTP = ("envoy.filters.http.ext_authz", "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz")
_TCP = ("envoy.filters.network.ext_authz", "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz")

#: Statuses by number, in Envoy's spelling (envoy.type.v3.StatusCode).
_STATUSES = {str(status.value): "".join(part.title() for part in status.name.split("_")) for status in HTTPStatus}


def extAuthzFilter(provider: ExtensionProvider, forTCP: bool, lookUp: Callable[[str, int], str | None]) -> JSON | None:
    """
    The filter for a provider whose service is known, or L{None} where it cannot speak of connections.
    """
    if provider.envoyExtAuthzGrpc is not None:
        value = _grpc(provider.envoyExtAuthzGrpc, forTCP, lookUp)
    elif provider.envoyExtAuthzHttp is not None and not forTCP:
        value = _http(provider.envoyExtAuthzHttp, lookUp)
    else:
        return None
    rbac = "envoy.filters.network.rbac" if forTCP else "envoy.filters.http.rbac"
    value["filterEnabledMetadata"] = {
        "filter": rbac,
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"stringMatch": {"prefix": f"istio-ext-authz-{provider.name}"}},
    }
    name, typeName = _TCP if forTCP else _HTTP
    return {"name": name, "typedConfig": typed(typeName, without(value))}


def _status(text: str) -> JSON:
    return {"code": _STATUSES.get(text, "Forbidden")}


def _body(body: IncludeRequestBody | None) -> JSON | None:
    if body is None:
        return None
    return {
        "maxRequestBytes": body.maxRequestBytes,
        "allowPartialMessage": body.allowPartialMessage,
        **({"packAsBytes": True} if body.packAsBytes else {}),
    }


def _patterns(values: Iterable[str]) -> JSON | None:
    """
    Names of headers, with a wildcard at one end perhaps.
    """
    patterns: list[JSON] = []
    for value in values:
        if value == "*":
            patterns.append({"safeRegex": {"regex": ".+"}})
        elif value.startswith("*"):
            patterns.append({"suffix": value[1:], "ignoreCase": True})
        elif value.endswith("*"):
            patterns.append({"prefix": value[:-1], "ignoreCase": True})
        else:
            patterns.append({"exact": value, "ignoreCase": True})
    return {"patterns": patterns} if patterns else None


def _grpc(provider: ExtAuthzGRPC, forTCP: bool, lookUp: Callable[[str, int], str | None]) -> JSON:
    service = {
        "envoyGrpc": {
            "clusterName": lookUp(provider.service, provider.port),
            "authority": provider.service.rpartition("/")[2],
        },
        "timeout": duration(provider.timeout if provider.timeout is not None else _TIMEOUT),
    }
    value: JSON = {
        "grpcService": service,
        "transportApiVersion": "V3",
        "failureModeAllow": provider.failOpen or None,
    }
    if forTCP:
        return {**value, "statPrefix": "tcp."}
    return {
        **value,
        "statusOnError": _status(provider.statusOnError),
        "clearRouteCache": provider.clearRouteCache or None,
        "withRequestBody": _body(provider.includeRequestBodyInCheck),
    }


def _http(provider: ExtAuthzHTTP, lookUp: Callable[[str, int], str | None]) -> JSON:
    host = provider.service.rpartition("/")[2]
    added = [{"key": key, "value": value} for key, value in sorted(provider.includeAdditionalHeadersInCheck.items())]
    included = provider.includeRequestHeadersInCheck or provider.includeHeadersInCheck
    return {
        "httpService": without(
            {
                "serverUri": {
                    "uri": f"http://{host}",
                    "cluster": lookUp(provider.service, provider.port),
                    "timeout": duration(provider.timeout if provider.timeout is not None else _TIMEOUT),
                },
                "pathPrefix": provider.pathPrefix or None,
                "authorizationRequest": without({"headersToAdd": added}),
                "authorizationResponse": without(
                    {
                        "allowedUpstreamHeaders": _patterns(provider.headersToUpstreamOnAllow),
                        "allowedClientHeaders": _patterns(provider.headersToDownstreamOnDeny),
                        "allowedClientHeadersOnSuccess": _patterns(provider.headersToDownstreamOnAllow),
                    }
                ),
            }
        ),
        "allowedHeaders": _patterns(included),
        "transportApiVersion": "V3",
        "failureModeAllow": provider.failOpen or None,
        "statusOnError": _status(provider.statusOnError),
        "clearRouteCache": provider.clearRouteCache or None,
        "withRequestBody": _body(provider.includeRequestBodyInCheck),
    }
