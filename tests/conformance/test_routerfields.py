"""
What the router is told by fields that few configurations have: strict headers, time-outs of the proxy before, retries
at another cluster, weights in the runtime, formats of direct responses, and redirects the older way.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import AdminCase, Asked
from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Pause, Script, get, request
from tests.conformance.comparison import Comparison, compared

_STRICT = (
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
)


def _response(status: int, *fields: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} X", "content-length: 2", *fields, "", "no")).encode("ascii")


def _again(first: str, second: str, retries: int = 1) -> Manager:
    """
    Weighted clusters of which the second one is nearly always tried first, and then the other one.
    """
    entries = ", ".join(
        f"{{name: {name}, weight: {weight}, response_headers_to_add: [{{header: {{key: x-w, value: {name}}}}}],"
        f" request_headers_to_add: [{{header: {{key: x-rw, value: {name}}}}}]}}"
        for name, weight in ((first, 1), (second, 1000000000))
    )
    return Manager(
        host="{include_request_attempt_count: true, include_attempt_count_in_response: true}",
        table="validate_clusters: false",
        routes=f"[{{match: {{prefix: /}}, route: {{weighted_clusters: {{clusters: [{entries}]}}, retry_policy: {{"
        f"retry_on: 5xx, num_retries: {retries}, retry_back_off: {{base_interval: 0.001s}},"
        " refresh_cluster_on_retry: true}}}]",
        router="suppress_envoy_headers: true",
    )


class _Shared(Manager):
    """
    A manager behind a filter that shares a text.
    """

    def chains(self, name: str) -> list[dict[str, Any]]:
        """
        See L{Manager.chains}.
        """
        chains = super().chains(name)
        shared = {
            "object_key": "k",
            "factory_key": "envoy.hashable_string" if name.startswith("hashed") else "envoy.string",
            "format_string": {"text_format_source": {"inline_string": name}},
        }
        config = {"@type": f"{_TYPES}filters.network.set_filter_state.v3.Config", "on_new_connection": [shared]}
        chains[0]["filters"].insert(0, {"name": "shares", "typed_config": config})
        return chains


_TYPES = "type.googleapis.com/envoy.extensions."
_TEXT = "text_format_source: {inline_string: '%s'}"
_TYPE = "response_headers_to_add: [{header: {key: content-type, value: q/w}, append_action: %s}]"
_FORMATS = {
    "text": (200, "x", _TEXT % "%LOCAL_REPLY_BODY%-%REQ(:path)%-%PROTOCOL%-%ROUTE_NAME%", ""),
    "json": (404, "", "json_format: {a: '%PROTOCOL%', b: '%LOCAL_REPLY_BODY%'}", ""),
    "type": (201, "y", "content_type: text/html, text_format: '<%LOCAL_REPLY_BODY%>'", ""),
    "empty": (200, "y", _TEXT % "", ""),
    "omits": (200, "y", _TEXT % "%REQ(x-none)%" + ", omit_empty_values: true", ""),
    "flags": (503, "", _TEXT % "%RESPONSE_FLAGS%", _TYPE % "OVERWRITE_IF_EXISTS_OR_ADD"),
    "absent": (200, "y", _TEXT % "%LOCAL_REPLY_BODY%", _TYPE % "ADD_IF_ABSENT"),
    "plain": (200, "y", "", _TYPE % "OVERWRITE_IF_EXISTS_OR_ADD"),
}
_DIRECT = "[%s]" % ", ".join(
    f"{{match: {{path: /{name}}}, name: {name}, direct_response: {{status: {status}, body: {{inline_string: '{body}'}}"
    f"{f', body_format: {{{made}}}' if made else ''}}}{f', {more}' if more else ''}}}"
    for name, (status, body, made, more) in _FORMATS.items()
)
_REDIRECTS = {
    "handled": "internal_redirect_action: HANDLE_INTERNAL_REDIRECT",
    "handledTwice": "internal_redirect_action: HANDLE_INTERNAL_REDIRECT, max_internal_redirects: 2",
    "onlyMost": "max_internal_redirects: 2",
    "passed": "internal_redirect_action: PASS_THROUGH_INTERNAL_REDIRECT",
}

LISTENERS = {
    "strict": Manager(
        routes="[{match: {path: /empty}, route: {cluster: empty}}, {match: {path: /header}, route: {cluster_header: x}}"
        ", {match: {path: /direct}, direct_response: {status: 200}}, {match: {prefix: /}, route: {cluster: backend}}]",
        router=f"strict_check_headers: [{', '.join(_STRICT)}]",
    ),
    "heeds": Manager(
        routes="[{match: {prefix: /retried}, route: {cluster: backend, timeout: 1s, retry_policy: {retry_on: 5xx}}},"
        " {match: {prefix: /}, route: {cluster: backend, timeout: 1s}}]",
        router="respect_expected_rq_timeout: true",
    ),
    "zero": Manager(
        routes="[{match: {prefix: /}, route: {weighted_clusters: {runtime_key_prefix: pre, clusters: ["
        "{name: backend, weight: 0}, {name: closed, weight: 100}]}}}]"
    ),
    "numbered": Manager(
        routes="[{match: {prefix: /}, route: {weighted_clusters: {runtime_key_prefix: pre, header_name: x-n, clusters: "
        "[{name: backend, weight: 50}, {name: closed, weight: 50}]}}}]"
    ),
    "other": _again("backend", "closed"),
    "neither": _again("empty", "closed"),
    "missing": _again("nowhere", "closed"),
    "several": _again("backend", "second", 3),
    "formats": Manager(routes=_DIRECT),
    "formatsText": Manager(
        "local_reply_config: {body_format: {text_format_source: {inline_string: '[%LOCAL_REPLY_BODY%]'}}}", _DIRECT
    ),
    "formatsJSON": Manager("local_reply_config: {body_format: {json_format: {m: '%LOCAL_REPLY_BODY%'}}}", _DIRECT),
    "redirects": Manager(
        routes="[%s]"
        % ", ".join(
            f"{{match: {{path: /{name}}}, route: {{cluster: backend, {more}}}}}" for name, more in _REDIRECTS.items()
        )
    ),
}
_HASHED = ("hashed1", "hashed2", "hashed3", "hashed4", "unhashed")
LISTENERS |= {
    name: _Shared(
        routes="[{match: {prefix: /}, route: {hash_policy: [{filter_state: {key: k}}, {header: {header_name: x-h}}],"
        " weighted_clusters: {use_hash_policy: true, clusters: [{name: backend, weight: 50}, {name: second, weight: 50}"
        "]}}}]"
    )
    for name in _HASHED
}
CLUSTERS = {"second": "alt_stat_name: secondName"}

_VALUES = ("abc", "-1", "", "1", "0", "5x", "99999999999999999999", "5xx", "5xx,junk", "unavailable", "unavailable,5xx")
_EXPECTED = {
    "short": ("x-envoy-expected-rq-timeout-ms: 200",),
    "malformed": ("x-envoy-expected-rq-timeout-ms: abc",),
    "both": ("x-envoy-expected-rq-timeout-ms: 200", "x-envoy-upstream-rq-timeout-ms: 300"),
    "other": ("x-envoy-upstream-rq-timeout-ms: 200",),
    "perTry": ("x-envoy-expected-rq-timeout-ms: 200", "x-envoy-upstream-rq-per-try-timeout-ms: 100"),
}


def _cases() -> list[Case]:
    cases = []
    for name in _STRICT:
        for value in _VALUES:
            cases.append(
                Case(
                    f"strict_{name[8:]}_{value or 'empty'}",
                    "A value that cannot be followed is refused.",
                    get("/", f"{name}: {value}"),
                    listener="strict",
                )
            )
    for path in ("/empty", "/header", "/direct"):
        cases.append(
            Case(
                f"strictAt_{path[1:]}",
                "What comes before is answered before.",
                get(path, "x-envoy-max-retries: a"),
                listener="strict",
            )
        )
    grpc = request("POST /", "content-type: application/grpc", "content-length: 0", "x-envoy-max-retries: a")
    cases.append(Case("strictAt_grpc", "A gRPC client is told its way.", grpc, listener="strict"))
    late: Script = (Pause(0.6), OK)
    for name, fields in _EXPECTED.items():
        for path in ("/", "/retried"):
            intent = "What the proxy before has left counts as the time-out."
            cases.append(Case(f"heeds_{name}_{path[1:]}", intent, get(path, *fields), [late, OK], "heeds"))
    cases.append(Case("zeroWeight", "A weight of 0 stands until the runtime says otherwise.", get(), listener="zero"))
    for number in ("0", "49", "50", "99"):
        cases.append(
            Case(
                f"numbered_{number}",
                "The number of a request decides.",
                get("/", f"x-n: {number}"),
                listener="numbered",
            )
        )
    for name in ("other", "neither", "missing"):
        cases.append(Case(f"again_{name}", "A retry goes to another cluster.", get(), listener=name))
        body = request("POST /", "content-length: 3", body="abc")
        cases.append(Case(f"again_{name}Body", "So does a body.", body, listener=name))
    for name in _HASHED:
        intent = "What a filter of the connection shared says the cluster, if it has a hash."
        cases.append(Case(name, intent, get("/", "x-h: 1"), listener=name))
    no = _response(503)
    for count in (1, 3, 4):
        replies = [*[no] * count, OK]
        cases.append(Case(f"again_{count}", "When all were tried, it is any of them.", get(), replies, "several"))
    for listener in ("formats", "formatsText", "formatsJSON"):
        for name in _FORMATS:
            for kind, send in (
                ("", get(f"/{name}")),
                ("Head", request(f"HEAD /{name}")),
                ("GRPC", request(f"POST /{name}", "content-type: application/grpc", "content-length: 0")),
            ):
                cases.append(
                    Case(f"{listener}_{name}{kind}", "A direct response is formatted.", send, listener=listener)
                )
    for name in _REDIRECTS:
        found = _response(302, f"location: /{name}")
        for count in (1, 2, 3):
            cases.append(
                Case(
                    f"redirects_{name}_{count}",
                    "Redirects are followed as the older fields say.",
                    get(f"/{name}"),
                    [*[found] * count, OK],
                    "redirects",
                )
            )
    cases.append(
        Case(
            "streamDuration",
            "An order that Envoy does not follow ends here.",
            get("/", "x-envoy-upstream-stream-duration-ms: 5"),
            listener="heeds",
        )
    )
    return cases


@compared(Comparison(LISTENERS, _cases(), CLUSTERS))
class RouterFieldTests(SynchronousTestCase):
    """
    Beside Envoy.
    """


_BOOTSTRAP = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: ADMIN}}}}}}
layered_runtime:
  layers:
  - name: static
    static_layer: {{weights.one: 0, weights.two: 5}}
  - name: admin
    admin_layer: {{}}
static_resources:
  clusters: [{{name: one}}, {{name: two, alt_stat_name: other}}]
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: FRONT}}}}
    filter_chains:
    - filters:
      - name: manager
        typed_config:
          '@type': {_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            validate_clusters: false
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - {{match: {{path: /direct}}, direct_response: {{status: 200}}}}
              - {{match: {{path: /redirect}}, redirect: {{path_redirect: /}}}}
              - {{match: {{path: /missing}}, route: {{cluster: missing}}}}
              - {{match: {{path: /nowhere}}, non_forwarding_action: {{}}}}
              - {{match: {{path: /empty}}, route: {{cluster: one}}}}
              - match: {{path: /weighted}}
                route:
                  weighted_clusters:
                    runtime_key_prefix: weights
                    clusters: [{{name: one, weight: 100}}, {{name: two, weight: 0}}]
          http_filters:
          - name: router
            typed_config: {{'@type': {_TYPES}filters.http.router.v3.Router}}
"""


class RouterStatTests(AdminCase):
    """
    What the router counts, and what the runtime tells it.
    """

    def test_counted(self) -> None:
        """
        Each request that comes to the router counts, whatever its route does; and the weights are those of the runtime,
        as it is changed.
        """
        self.begin(_BOOTSTRAP)
        questions = (
            "GET /stats?filter=^http.front.(rq_total|rq_direct|rq_redirect|no_)",
            "GET /stats?filter=^cluster.*none_healthy",
        )
        for change in ("", "weights.one=3&weights.two=0", "weights.one=0&weights.two=0"):
            for kind in ("envoy", "meshproxy"):
                if change:
                    Asked(self.ports[kind]["ADMIN"], f"POST /runtime_modify?{change}")
                for path in ("direct", "redirect", "missing", "nowhere", "empty", "none", "weighted"):
                    Asked(self.ports[kind]["FRONT"], f"GET /{path}")
            self.assertSame(questions, ())
