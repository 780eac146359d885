"""
The built-in HTTP filters.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Step, get, ok, request
from tests.conformance.comparison import Comparison, compared

_TYPE = "'@type': type.googleapis.com/envoy.extensions.filters.http"
_FAULT = "[{name: envoy.filters.http.fault, typed_config: {%s.fault.v3.HTTPFault, %%s}}]" % _TYPE
_RBAC = "[{name: envoy.filters.http.rbac, typed_config: {%s.rbac.v3.RBAC, %%s}}]" % _TYPE
_LIMIT = (
    "[{name: envoy.filters.http.local_ratelimit, typed_config: {%s.local_ratelimit.v3.LocalRateLimit,"
    " stat_prefix: limit, %%s}}]" % _TYPE
)
_MUTATION = (
    "[{name: envoy.filters.http.header_mutation, typed_config: {%s.header_mutation.v3.HeaderMutation, %%s}}]" % _TYPE
)

_ALWAYS = "percentage: {numerator: 100}"
_ENABLED = (
    "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}},"
    " token_bucket: {max_tokens: %d, tokens_per_fill: 1, fill_interval: 3600s}"
)
_NOBODY = (
    "'@type': type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/no.such.Filter, value: {a: 1}"
)
# What one level says of the filter "fault".
_PER_FILTER = "typed_per_filter_config: {fault: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, %s}}"

# What makes a descriptor of one entry, by the first letter of the path.
_ACTIONS = {
    "a": "{generic_key: {descriptor_value: '%REQ(x-a)%'}}",
    "b": "{generic_key: {descriptor_value: '%REQ(x-a)%', default_value: away}}",
    "c": "{generic_key: {descriptor_value: here, default_value: away}}",
    "d": "{header_value_match: {descriptor_value: '%REQ(x-a)%', default_value: away, headers: [{name: x-b}]}}",
    "e": "{header_value_match: {descriptor_value: '%REQ(x-a)%', headers: [{name: x-b}]}}",
    "f": "{query_parameter_value_match: {descriptor_value: '%REQ(x-a)%', default_value: away,"
    " query_parameters: [{name: q, present_match: true}]}}",
    "g": "{remote_address_match: {descriptor_value: here, address_matcher: {ranges:"
    " [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}",
    "h": "{remote_address_match: {descriptor_value: here, address_matcher: {ranges:"
    " [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}",
    "i": "{remote_address_match: {descriptor_value: here, descriptor_key: k, address_matcher: {invert_match: true,"
    " ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}",
    "j": "{remote_address_match: {descriptor_value: '%REQ(x-a)%', descriptor_key: k, default_value: away,"
    " address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}",
    "k": "{remote_address_match: {descriptor_value: '%REQ(x-a)%', address_matcher: {ranges:"
    " [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}",
    "l": "{remote_address_match: {descriptor_value: here, default_value: away, address_matcher: {ranges:"
    " [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}",
}

LISTENERS = {
    "abort": Manager(filters=_FAULT % f"abort: {{http_status: 418, {_ALWAYS}}}"),
    "abortSaying": Manager(
        filters=_FAULT % f"abort: {{http_status: 418, response_body: 'own: %REQ(:path)%', {_ALWAYS}}}"
    ),
    "abortGrpcSaying": Manager(filters=_FAULT % f"abort: {{grpc_status: 8, response_body: own, {_ALWAYS}}}"),
    "abortNamed": Manager(
        routes="[{match: {prefix: /}, route: {cluster_header: x-to}}]",
        filters=_FAULT % f"abort: {{http_status: 418, {_ALWAYS}}}",
    ),
    "abortMissing": Manager(
        routes="[{match: {prefix: /}, route: {cluster: nobody}}]",
        table="validate_clusters: false",
        filters=_FAULT % f"abort: {{http_status: 418, {_ALWAYS}}}",
    ),
    "abortNever": Manager(filters=_FAULT % "abort: {http_status: 418, percentage: {numerator: 0}}"),
    "abortGrpc": Manager(filters=_FAULT % f"abort: {{grpc_status: 8, {_ALWAYS}}}"),
    "abortByHeader": Manager(filters=_FAULT % f"abort: {{header_abort: {{}}, {_ALWAYS}}}"),
    "abortSome": Manager(
        filters=_FAULT % f"abort: {{http_status: 503, {_ALWAYS}}}, headers: [{{name: x-fault, present_match: true}}]"
    ),
    "delay": Manager(filters=_FAULT % f"delay: {{fixed_delay: 0.15s, {_ALWAYS}}}"),
    "delayAbort": Manager(
        filters=_FAULT % f"delay: {{fixed_delay: 0.15s, {_ALWAYS}}}, abort: {{http_status: 503, {_ALWAYS}}}"
    ),
    "delayByHeader": Manager(filters=_FAULT % f"delay: {{header_delay: {{}}, {_ALWAYS}}}"),
    "allow": Manager(
        filters=_RBAC % "rules: {action: ALLOW, policies: {p: {permissions: [{header: {name: ':method',"
        " string_match: {exact: GET}}}],"
        " principals: [{any: true}]}}}"
    ),
    "deny": Manager(
        filters=_RBAC % "rules: {action: DENY,"
        " policies: {p: {permissions: [{url_path: {path: {prefix: /admin}}}], principals: [{any: true}]}}}"
    ),
    "denyAll": Manager(filters=_RBAC % "rules: {action: ALLOW}"),
    "shadow": Manager(filters=_RBAC % "shadow_rules: {action: ALLOW}"),
    "byAddress": Manager(
        filters=_RBAC % "rules: {action: ALLOW, policies: {p: {permissions: [{any: true}],"
        " principals: [{remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}]}}}"
    ),
    "byDirectAddress": Manager(
        filters=_RBAC % "rules: {action: ALLOW, policies: {p: {permissions: [{any: true}],"
        " principals: [{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}]}}}"
    ),
    "perRouteRBAC": Manager(
        "",
        "[{match: {prefix: /open}, route: {cluster: backend}, typed_per_filter_config:"
        " {envoy.filters.http.rbac: {%s.rbac.v3.RBACPerRoute}}},"
        " {match: {prefix: /}, route: {cluster: backend}}]" % _TYPE,
        filters=_RBAC % "rules: {action: ALLOW}",
    ),
    "limit": Manager(filters=_LIMIT % (_ENABLED % 1)),
    "limitStatus": Manager(
        filters=_LIMIT
        % (
            (_ENABLED % 1)
            + ", status: {code: 503}, response_headers_to_add: [{header: {key: x-limited, value: 'yes'}}],"
            " enable_x_ratelimit_headers: DRAFT_VERSION_03"
        )
    ),
    "limitOff": Manager(filters=_LIMIT % "token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}"),
    "limitConnection": Manager(
        filters=_LIMIT % ((_ENABLED % 1) + ", local_rate_limit_per_downstream_connection: true")
    ),
    **{
        f"limitRoutes{name}": Manager(
            routes="[{match: {prefix: /route}, route: {cluster: backend, rate_limits: ["
            "{actions: [{generic_key: {descriptor_value: r}}]},"
            " {stage: 1, actions: [{generic_key: {descriptor_value: s}}]},"
            " {disable_key: k, actions: [{generic_key: {descriptor_value: d}}]}]}},"
            " {match: {prefix: /include}, route: {cluster: backend, include_vh_rate_limits: true, rate_limits: ["
            "{actions: [{generic_key: {descriptor_value: o}}]}]}},"
            " {match: {prefix: /two}, route: {cluster: backend, rate_limits: ["
            "{hits_addend: {number: 2}, actions: [{generic_key: {descriptor_value: two}}]}]}},"
            " {match: {prefix: /}, route: {cluster: backend}}]",
            host="{rate_limits: [{actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]}]}",
            filters=_LIMIT
            % (
                (_ENABLED % 5)
                + f", enable_x_ratelimit_headers: DRAFT_VERSION_03, always_consume_default_token_bucket: false{more},"
                " descriptors: ["
                + ", ".join(
                    f"{{entries: [{entry}], token_bucket: {{max_tokens: {tokens}, fill_interval: 3600s}}}}"
                    for entry, tokens in (
                        ("{key: generic_key, value: r}", 1),
                        ("{key: generic_key, value: s}", 2),
                        ("{key: generic_key, value: d}", 1),
                        ("{key: generic_key, value: o}", 3),
                        ("{key: generic_key, value: two}", 3),
                        ("{key: user}", 1),
                    )
                )
                + "]"
            ),
        )
        for name, more in (
            ("", ""),
            ("Stage", ", stage: 1"),
            ("Include", ", vh_rate_limits: INCLUDE"),
            ("Ignore", ", vh_rate_limits: IGNORE"),
        )
    },
    "switched": Manager(
        # A filter that is off, and what each level says of it; and one that nobody has.
        filters="[{name: fault, disabled: true, typed_config: {%s.fault.v3.HTTPFault, abort: {http_status: 418, %s}}},"
        " {name: nobody, is_optional: true, typed_config: {%s}}, {name: untyped, is_optional: true}]"
        % (_TYPE, _ALWAYS, _NOBODY),
        hosts="[{name: all, domains: ['*'], %s, routes: [" % (_PER_FILTER % "config: {}")
        + ", ".join(
            f"{{match: {{prefix: /{name}}}, direct_response: {{status: 202}}, {_PER_FILTER % said}}}"
            for name, said in (
                ("disabled", "disabled: true"),
                ("unread", "disabled: true, config: {%s}" % _NOBODY),
                ("empty", "config: {}"),
                ("optional", "is_optional: true, config: {%s}" % _NOBODY),
                ("replaced", "config: {%s.fault.v3.HTTPFault, abort: {http_status: 429, %s}}" % (_TYPE, _ALWAYS)),
            )
        )
        + ", {match: {prefix: /host}, direct_response: {status: 202}},"
        " {match: {prefix: /other}, direct_response: {status: 202}, typed_per_filter_config: {nosuch:"
        " {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, is_optional: true, config: {%s}}}}]},"
        " {name: silent, domains: [silent], routes: [{match: {prefix: /}, direct_response: {status: 202}}]},"
        " {name: optional, domains: [optional], %s, routes: [{match: {prefix: /}, direct_response: {status: 202}}]}]"
        % (_NOBODY, _PER_FILTER % ("is_optional: true, config: {%s}" % _NOBODY)),
    ),
    "limitActions": Manager(
        routes="["
        + ", ".join(
            f"{{match: {{prefix: /{letter}}}, route: {{cluster: backend, rate_limits: [{{actions: [{action}]}}]}}}}"
            for letter, action in _ACTIONS.items()
        )
        + "]",
        filters=_LIMIT
        % (
            (_ENABLED % 5)
            + ", enable_x_ratelimit_headers: DRAFT_VERSION_03, always_consume_default_token_bucket: false,"
            " descriptors: ["
            + ", ".join(
                f"{{entries: [{{key: {key}, value: '{value}'}}],"
                f" token_bucket: {{max_tokens: {100 + number}, fill_interval: 3600s}}}}"
                for number, (key, value) in enumerate(
                    (key, value)
                    for key in ("generic_key", "header_match", "query_match", "remote_address_match", "k")
                    for value in ("here", "away", "other", "%REQ(x-a)%", "-", "127.1.0.9")
                )
            )
            + "]"
        ),
    ),
    "limitHits": Manager(
        filters=_LIMIT
        % (
            (_ENABLED % 5) + ", enable_x_ratelimit_headers: DRAFT_VERSION_03,"
            " rate_limits: [{hits_addend: {number: 2}, actions: [{generic_key: {descriptor_value: two}}]}],"
            " descriptors: [{entries: [{key: generic_key, value: two}],"
            " token_bucket: {max_tokens: 3, fill_interval: 3600s}}]"
        )
    ),
    "limitShadow": Manager(
        filters=_LIMIT
        % (
            (_ENABLED % 3) + ", enable_retry_after_header: true,"
            " request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: '1'}}],"
            " rate_limits: [{actions: [{request_headers: {header_name: x-a, descriptor_key: a}}]},"
            " {actions: [{request_headers: {header_name: x-b, descriptor_key: b}}]}],"
            " descriptors: [{entries: [{key: a}], shadow_mode: true,"
            " token_bucket: {max_tokens: 1, fill_interval: 9000s}},"
            " {entries: [{key: b}], token_bucket: {max_tokens: 1, fill_interval: 8000s}}]"
        )
    ),
    "mutation": Manager(
        filters=_MUTATION % "mutations: {request_mutations: ["
        "{append: {header: {key: x-add, value: '%REQ(:PATH)%'}}},"
        "{append: {header: {key: x-over, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}},"
        "{append: {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}},"
        "{remove: x-gone}],"
        " response_mutations: [{append: {header: {key: x-r, value: '%RESPONSE_CODE%'}}}, {remove: x-r-gone}]}"
    ),
}

_GRPC = ("content-type: application/grpc", "content-length: 0")


def _thrice(request: bytes) -> list[Step]:
    return [request, Do.AWAIT, request, Do.AWAIT, request]


CASES = [
    Case(
        "abortNamed", "An abort, where the request names a cluster.", get("/", "x-to: backend"), listener="abortNamed"
    ),
    Case("abortNamedMissing", "One that is not there.", get("/", "x-to: nobody"), listener="abortNamed"),
    Case("abortMissing", "The route names one that is not there.", get(), listener="abortMissing"),
    *[
        Case(
            f"limitActions_{letter}_{number}",
            f"{_ACTIONS[letter]} with {fields}.",
            get(f"/{letter}?q=1", *fields),
            listener="limitActions",
        )
        for letter in _ACTIONS
        for number, fields in enumerate(((), ("x-a: other", "x-b: 1"), ("x-b: 1",)))
    ],
    *[
        Case(f"{listener}_{name}", f"{name} through {listener}.", data, listener=listener, limit=1.5)
        for listener in (
            "abort",
            "abortSaying",
            "abortGrpcSaying",
            "abortNever",
            "abortGrpc",
            "abortByHeader",
            "abortSome",
            "delay",
            "delayAbort",
            "denyAll",
            "shadow",
            "mutation",
        )
        for name, data in (
            ("get", get("/a?b", "x-over: 1", "x-absent: 1", "x-gone: 1")),
            ("post", request("POST /a", "content-length: 3", body="abc")),
            ("grpc", request("POST /a", *_GRPC)),
        )
    ],
    Case("abortHead", "HEAD.", request("HEAD /"), listener="abort"),
    Case(
        "abortOrder",
        "The client orders the fault.",
        get("/", "x-envoy-fault-abort-request: 429"),
        listener="abortByHeader",
    ),
    Case(
        "abortOrderOdd", "One that is no status.", get("/", "x-envoy-fault-abort-request: 42"), listener="abortByHeader"
    ),
    Case(
        "abortOrderGrpc",
        "One of gRPC.",
        request("POST /", "x-envoy-fault-abort-grpc-request: 5", *_GRPC),
        listener="abortByHeader",
    ),
    Case("abortSomeMatched", "A request that the fault is for.", get("/", "x-fault: 1"), listener="abortSome"),
    Case("abortKeepsOpen", "Two of them.", [get("/1"), Do.AWAIT, get("/2")], listener="abort", responses=2),
    Case(
        "delayOrder",
        "The client orders a delay.",
        get("/", "x-envoy-fault-delay-request: 120"),
        listener="delayByHeader",
    ),
    Case("allowGet", "GET is allowed.", get("/"), listener="allow"),
    Case("allowPost", "POST is not.", request("POST /", "content-length: 3", body="abc"), listener="allow"),
    Case("allowGrpc", "Nor gRPC.", request("POST /", *_GRPC), listener="allow"),
    Case("denyOther", "What is not denied.", get("/"), listener="deny"),
    Case("denyAdmin", "What is.", get("/admin?x"), listener="deny"),
    Case("denyAdminDots", "By another way.", get("/x/../admin"), listener="deny"),
    Case("byAddressNot", "An address that is not allowed.", get("/"), listener="byAddress"),
    Case("byAddressTold", "One that a trusted hop tells.", get("/", "x-forwarded-for: 10.1.1.1"), listener="byAddress"),
    Case("byDirectAddress", "The peer's own.", get("/", "x-forwarded-for: 10.1.1.1"), listener="byDirectAddress"),
    Case("perRouteRBACOpen", "A route without the filter.", get("/open"), listener="perRouteRBAC"),
    Case("perRouteRBACOther", "One with it.", get("/x"), listener="perRouteRBAC"),
    Case("limit", "The second is too much.", [get("/1"), Do.AWAIT, get("/2")], listener="limit", responses=2),
    Case(
        "limitStatus",
        "Another status, more fields.",
        [get("/1"), Do.AWAIT, get("/2")],
        listener="limitStatus",
        responses=2,
    ),
    *[
        Case(
            f"{listener}_{path[1:]}_{user}",
            "Limits of routes and virtual hosts.",
            _thrice(get(path, *([f"x-user: {user}{path[1:]}"] if user else []))),
            listener=listener,
            responses=3,
        )
        for listener in ("limitRoutes", "limitRoutesStage", "limitRoutesInclude", "limitRoutesIgnore")
        for path in ("/route", "/include", "/two", "/other")
        for user in ("", "a")
    ],
    *[
        Case(f"switched_{name}", f"What a level says of a filter: {name}.", get(f"/{name}"), listener="switched")
        for name in ("disabled", "unread", "empty", "optional", "replaced", "host", "other")
    ],
    *[
        Case(f"switchedHost_{name}", f"A virtual host: {name}.", get("/", f"host: {name}"), listener="switched")
        for name in ("silent", "optional")
    ],
    Case(
        "limitHits",
        "A request that counts for two.",
        [get("/1"), Do.AWAIT, get("/2"), Do.AWAIT, get("/3")],
        listener="limitHits",
        responses=3,
    ),
    *[
        Case(
            f"limitShadow_{name}",
            "A limit in shadow mode, and when to come again.",
            _thrice(get("/", *fields)),
            listener="limitShadow",
            responses=3,
        )
        for name, fields in (("shadow", ["x-a: 1"]), ("both", ["x-a: 1", "x-b: 1"]), ("default", []))
    ],
    Case("limitGrpc", "gRPC is limited.", request("POST /", *_GRPC), listener="limit"),
    Case(
        "limitOff",
        "Without filter_enabled it does nothing.",
        [get("/1"), Do.AWAIT, get("/2")],
        listener="limitOff",
        responses=2,
    ),
    Case(
        "limitConnection",
        "Each connection has its own.",
        [get("/1"), Do.AWAIT, get("/2")],
        listener="limitConnection",
        responses=2,
    ),
    Case("limitConnectionNext", "Another connection.", get("/1"), listener="limitConnection"),
    Case(
        "mutationResponse", "A response is changed.", get("/"), (ok("x-r-gone: 1", "x-r: 0"), OK), listener="mutation"
    ),
]


# Some time has passed since a bucket was filled for the last time.
_NEARLY = [
    (re.compile(rf"(?<=x-ratelimit-reset: )({whole}|{begin}\d\d)$"), f"(nearly {whole})")
    for whole, begin in ((3600, 35), (8000, 79), (9000, 89))
]


@compared(Comparison(LISTENERS, CASES, variable=_NEARLY))
class FilterTests(SynchronousTestCase):
    """
    Filters.
    """
