"""
The filter rbac: its permissions, principals and matchers, and what it notes.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get, request
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/envoy."
_NAME = "envoy.filters.http.rbac"

Tree = dict[str, Any]

_ANY: Tree = {"any": True}
_NOTED = (
    "shadow_engine_result",
    "shadow_effective_policy_id",
    "enforced_engine_result",
    "enforced_effective_policy_id",
)


def _typed(message: str, **fields: object) -> Tree:
    return {"name": "x", "typed_config": {"@type": _TYPES + message, **fields}}


def _manager(prefix: str = "", **fields: object) -> Manager:
    """
    The filter behind one that notes something, and a route that tells the upstream what is noted.
    """
    told = [f"{_NAME}:{prefix}{name}" for name in _NOTED] + ["envoy.common:access_log_hint"]
    headers = [
        {"header": {"key": f"x-{number}", "value": f"%DYNAMIC_METADATA({name})%"}} for number, name in enumerate(told)
    ]
    noted = {"metadata_namespace": "n", "value": {"text": "abc", "number": 7, "list": ["a", "b"], "flag": True}}
    return Manager(
        settings="{normalize_path: true}",
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/"},
                    "route": {"cluster": "backend"},
                    "metadata": {"filter_metadata": {"n": {"text": "route"}}},
                    "request_headers_to_add": headers,
                    # Envoy notes what was enforced when it has replied.
                    "response_headers_to_add": [*headers[:2], headers[4]],
                }
            ]
        ),
        filters=json.dumps(
            [
                _typed("extensions.filters.http.set_metadata.v3.Config", metadata=[noted]),
                {**_typed("extensions.filters.http.rbac.v3.RBAC", **fields), "name": _NAME},
            ]
        ),
    )


def _rules(permission: Tree = _ANY, principal: Tree = _ANY, action: str = "ALLOW") -> Tree:
    return {"action": action, "policies": {"p": {"permissions": [permission], "principals": [principal]}}}


def _template(text: str) -> Tree:
    return {"uri_template": _typed("extensions.path.match.uri_template.v3.UriTemplateMatchConfig", path_template=text)}


def _metadata(path: str, **value: object) -> Tree:
    return {"filter": "n", "path": [{"key": path}], "value": value}


def _header(name: str, **match: object) -> Tree:
    return {"header": {"name": name, "string_match": match}}


_UPSTREAM: Tree = _typed(
    "extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher", upstream_port_range={"start": 1, "end": 65535}
)

_PERMISSIONS: dict[str, Tree] = {
    "template": _template("/api/{version}/*/items"),
    "templateAll": _template("/files/**"),
    "templateNamed": _template("/users/{id=*}/files/{rest=**}"),
    "pathRegex": {"url_path": {"path": {"safe_regex": {"google_re2": {}, "regex": "/a[0-9]+"}}}},
    "pathContains": {"url_path": {"path": {"contains": "items", "ignore_case": True}}},
    "headerPresent": {"header": {"name": "x-a", "present_match": True}},
    "headerInvert": {"header": {"name": "x-a", "string_match": {"exact": "1"}, "invert_match": True}},
    "headerMissing": {"header": {"name": "x-a", "string_match": {"exact": ""}, "treat_missing_header_as_empty": True}},
    "headerRange": {"header": {"name": "x-a", "range_match": {"start": 1, "end": 10}}},
    "method": _header(":method", exact="GET"),
    "authority": _header(":authority", suffix=".com"),
    "host": _header("host", exact="example.com"),
    "portRange": {"destination_port_range": {"start": 1, "end": 65535}},
    "portOther": {"destination_port": 1},
    "destination": {"destination_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}},
    "metadataText": {"metadata": _metadata("text", string_match={"prefix": "ab"})},
    "metadataNumber": {"metadata": _metadata("number", double_match={"range": {"start": 7, "end": 8}})},
    "metadataList": {"metadata": _metadata("list", list_match={"one_of": {"string_match": {"exact": "b"}}})},
    "metadataFlag": {"metadata": _metadata("flag", bool_match=True)},
    "metadataMissing": {"metadata": _metadata("none", present_match=True)},
    "metadataInvert": {"metadata": {**_metadata("none", present_match=True), "invert": True}},
    "metadataRoute": {
        "sourced_metadata": {
            "metadata_matcher": _metadata("text", string_match={"exact": "route"}),
            "metadata_source": "ROUTE",
        }
    },
    "serverName": {"requested_server_name": {"exact": ""}},
    "upstreamUnknown": {"matcher": _UPSTREAM},
    "upstreamNot": {"not_rule": {"matcher": _UPSTREAM}},
    "not": {"not_rule": _header(":method", exact="GET")},
    "and": {
        "and_rules": {"rules": [_header(":method", exact="GET"), {"header": {"name": "x-a", "present_match": True}}]}
    },
    "or": {
        "or_rules": {"rules": [_header(":method", exact="POST"), {"header": {"name": "x-a", "present_match": True}}]}
    },
}

_PRINCIPALS: dict[str, Tree] = {
    "sourceIP": {"source_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}},
    "remoteIP": {"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}},
    "directIP": {"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}},
    "authenticated": {"authenticated": {}},
    "notAuthenticated": {"not_id": {"authenticated": {"principal_name": {"exact": "a"}}}},
    "headerId": _header("x-a", exact="1"),
    "pathId": {"url_path": {"path": {"exact": "/x"}}},
    "metadataId": {"metadata": _metadata("text", string_match={"exact": "abc"})},
    "filterState": {"filter_state": {"key": "none", "string_match": {"exact": "a"}}},
    "orIds": {"or_ids": {"ids": [_header("x-a", exact="1"), {"url_path": {"path": {"exact": "/x"}}}]}},
}


def _act(name: str, action: str) -> Tree:
    return {"action": _typed("config.rbac.v3.Action", name=name, action=action)}


def _by(message: str, **fields: object) -> Tree:
    return _typed(f"type.matcher.v3.Http{message}MatchInput", **fields)


def _single(read: Tree, **match: object) -> Tree:
    return {"single_predicate": {"input": read, "value_match": match}}


_MATCHER: Tree = {
    "matcher_list": {
        "matchers": [
            {
                "predicate": _single(_by("RequestHeader", header_name="x-a"), exact="1"),
                "on_match": _act("first", "ALLOW"),
            },
            {
                "predicate": _single(_by("RequestHeader", header_name=":path"), prefix="/admin"),
                "on_match": _act("second", "DENY"),
            },
            {
                "predicate": _single(_by("RequestHeader", header_name="x-log"), exact="1"),
                "on_match": _act("third", "LOG"),
            },
        ]
    },
}


def _value(path: list[str], value: Tree, **more: object) -> Tree:
    """
    Whether what is noted matches.
    """
    where = {"filter": "n", "path": [{"key": key} for key in path]}
    matches = _typed("extensions.matching.input_matchers.metadata.v3.Metadata", value=value, **more)
    read = _typed("extensions.matching.common_inputs.network.v3.DynamicMetadataInput", **where)
    return {"single_predicate": {"input": read, "custom_match": matches}}


def _listed(*branches: tuple[Tree, Tree]) -> Tree:
    return {"matcher_list": {"matchers": [{"predicate": one, "on_match": then} for one, then in branches]}}


_NOTES = {
    "text": _value(["text"], {"string_match": {"exact": "abc"}}),
    "other": _value(["text"], {"string_match": {"exact": "b"}}),
    "number": _value(["number"], {"double_match": {"exact": 7}}),
    "inList": _value(["list"], {"list_match": {"one_of": {"string_match": {"exact": "b"}}}}),
    "missing": _value(["none"], {"present_match": True}),
    "inverted": _value(["none"], {"present_match": True}, invert=True),
    "whole": _value(["flag", "deeper"], {"bool_match": True}),
}

LISTENERS = {
    **{f"noted_{name}": _manager(matcher=_listed((test, _act("noted", "ALLOW")))) for name, test in _NOTES.items()},
    **{f"permission_{name}": _manager(rules=_rules(permission)) for name, permission in _PERMISSIONS.items()},
    **{f"principal_{name}": _manager(rules=_rules(principal=principal)) for name, principal in _PRINCIPALS.items()},
    "matcher": _manager(matcher=_MATCHER),
    "matcherElse": _manager(matcher={**_MATCHER, "on_no_match": _act("else", "ALLOW")}),
    "matcherShadow": _manager(shadow_matcher=_MATCHER),
    "log": _manager(rules=_rules(_header("x-a", exact="1"), action="LOG")),
    "deny": _manager(rules=_rules(_header("x-a", exact="1"), action="DENY")),
    "shadow": _manager(shadow_rules=_rules(_header("x-a", exact="1")), rules=_rules()),
    "shadowDeny": _manager(shadow_rules=_rules(_header("x-a", exact="1"), action="DENY")),
    "prefixed": _manager(
        "my_",
        rules=_rules(),
        rules_stat_prefix="my_",
        shadow_rules=_rules(_header("x-a", exact="1")),
        shadow_rules_stat_prefix="my_",
    ),
    "named": _manager(
        rules={
            "action": "DENY",
            "policies": {
                "a b\tc": {"permissions": [_header("x-a", exact="1")], "principals": [_ANY]},
                "Z": {"permissions": [_header("x-a", exact="2")], "principals": [_ANY]},
                "ä": {"permissions": [_header("x-b", exact="1")], "principals": [_ANY]},
            },
        }
    ),
}

_REQUESTS = {
    "plain": get("/x"),
    "a1": get("/x", "x-a: 1"),
    "a2": get("/x", "x-a: 2", "x-forwarded-for: 10.1.1.1"),
    "post": request("POST /x", "content-length: 0"),
}
_PATHS = (
    "/api/v1/a/items",
    "/api/v1/items",
    "/api/v1/a/items/?q",
    "/files/",
    "/files/a/b",
    "/users/7/files/a/b",
    "/a12",
    "/ITEMS",
    "/x/../files/a",
    "/api/v1/*/items",
    "/users//files/a",
)

CASES = [
    *[
        Case(f"{listener}_{name}", f"{name} through {listener}.", data, listener=listener)
        for listener in LISTENERS
        if "emplate" not in listener and "path" not in listener
        for name, data in _REQUESTS.items()
        if name in ("plain", "a1") or listener.startswith(("principal", "permission_header"))
    ],
    *[
        Case(f"{listener}_{number}", f"{path} through {listener}.", get(path), listener=listener)
        for listener in LISTENERS
        if "emplate" in listener or "path" in listener
        for number, path in enumerate(_PATHS)
    ],
    *[
        Case(f"{listener}_{name}", f"A matcher: {name}.", data, listener=listener)
        for listener in ("matcher", "matcherElse", "matcherShadow")
        for name, data in (("admin", get("/admin")), ("log", get("/x", "x-log: 1")), ("both", get("/admin", "x-a: 1")))
    ],
    Case("named_a2", "Another policy.", get("/x", "x-a: 2"), listener="named"),
    Case("named_b", "One with a name that is no ASCII.", get("/x", "x-b: 1"), listener="named"),
    Case("log_post", "POST.", _REQUESTS["post"], listener="log"),
]


@compared(Comparison(LISTENERS, CASES))
class RBACTests(SynchronousTestCase):
    """
    Who may do what.
    """
