"""
The filter cors, with policies in the fields that routes and virtual hosts have had for them since long.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get, request
from tests.conformance.comparison import Comparison, compared

_PACKAGE = "type.googleapis.com/envoy.extensions.filters.http.cors.v3."
_FILTER = f"[{{name: envoy.filters.http.cors, typed_config: {{'@type': {_PACKAGE}Cors}}}}]"
_TYPED = (
    f"typed_per_filter_config: {{envoy.filters.http.cors: {{'@type': {_PACKAGE}CorsPolicy,"
    " allow_origin_string_match: [{exact: 'http://a'}], allow_methods: TYPED}}"
)


def _policy(name: str) -> str:
    return (
        f"{{allow_origin_string_match: [{{exact: 'http://a'}}], allow_methods: 'GET, {name}', allow_headers: x-{name},"
        f" expose_headers: e-{name}, max_age: '9', allow_credentials: true}}"
    )


_HOST = f"{{cors: {_policy('host')}}}"
_OFF = (
    "{cors: {filter_enabled: {default_value: {numerator: 0}}, shadow_enabled: {default_value: {numerator: 100}},"
    " allow_origin_string_match: [{prefix: http}]}}"
)


def _routes(route: str, more: str = "") -> str:
    first = f"{{match: {{prefix: /r}}, {more + ', ' if more else ''}route: {{cluster: backend{route}}}}}"
    return f"[{first}, {{match: {{prefix: /}}, route: {{cluster: backend}}}}]"


_ROUTE = f", cors: {_policy('route')}"
LISTENERS = {
    "host": Manager(filters=_FILTER, host=_HOST),
    "route": Manager(filters=_FILTER, routes=_routes(_ROUTE)),
    "both": Manager(filters=_FILTER, host=_HOST, routes=_routes(", cors: {allow_methods: PUT}")),
    "typedHost": Manager(filters=_FILTER, host=f"{_HOST[:-1]}, {_TYPED}}}", routes=_routes(_ROUTE)),
    "typedRoute": Manager(filters=_FILTER, host=_HOST, routes=_routes(_ROUTE, _TYPED)),
    "noFilter": Manager(host=_HOST),
    "otherName": Manager(filters=_FILTER.replace("name: envoy.filters.http.cors", "name: mine"), host=_HOST),
    "off": Manager(filters=_FILTER, host=_OFF),
    "redirect": Manager(filters=_FILTER, host=_HOST, routes="[{match: {prefix: /}, redirect: {path_redirect: /x}}]"),
    "weighted": Manager(
        filters=_FILTER,
        routes="[{match: {prefix: /}, route: {cors: %s, weighted_clusters: {clusters: [{name: backend, weight: 1}]}}}]"
        % _policy("weighted"),
    ),
}
CASES = [
    Case(f"{listener}_{path[1:]}{origin[-1]}{kind}", "What the browser may read, and do.", send, listener=listener)
    for listener in LISTENERS
    for path in ("/", "/r")
    for origin in ("http://a", "http://b")
    for kind, send in (
        ("", get(path, f"origin: {origin}")),
        ("Preflight", request(f"OPTIONS {path}", f"origin: {origin}", "access-control-request-method: GET")),
    )
]


@compared(Comparison(LISTENERS, CASES))
class OlderCORSTests(SynchronousTestCase):
    """
    Beside Envoy.
    """
