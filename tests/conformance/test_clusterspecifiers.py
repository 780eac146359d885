"""
Routes whose clusters a plugin chooses, or a header, and those that only filters answer.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Script, get
from tests.conformance.comparison import Comparison, compared

_TYPES = "type.googleapis.com/envoy."
_SPECIFIER = f"{_TYPES}extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier"
_ACTION = f"{_TYPES}extensions.router.cluster_specifiers.matcher.v3.ClusterAction"
_INPUT = f"{_TYPES}type.matcher.v3.HttpRequestHeaderMatchInput"


def _on(cluster: str) -> str:
    return f"{{action: {{name: a, typed_config: {{'@type': {_ACTION}, cluster: {cluster}}}}}}}"


def _tree(others: str = "") -> str:
    entries = ", ".join(
        f"{{predicate: {{single_predicate: {{input: {{name: i, typed_config: {{'@type': {_INPUT},"
        f" header_name: x-env}}}}, value_match: {{exact: {value}}}}}}}, on_match: {_on(cluster)}}}"
        for value, cluster in (("one", "first"), ("gone", "nobody"))
    )
    more = f", on_no_match: {_on(others)}" if others else ""
    config = f"{{'@type': {_SPECIFIER}, cluster_matcher: {{matcher_list: {{matchers: [{entries}]}}{more}}}}}"
    return f"{{name: NAME, typed_config: {config}}}"


_UNKNOWN = (
    "{name: NAME, typed_config: {'@type': type.googleapis.com/xds.type.v3.TypedStruct,"
    " type_url: type.googleapis.com/nobody.Knows}}"
)
_INLINE = f"inline_cluster_specifier_plugin: {{extension: {_tree()}}}"

_ROUTES = f"""
- match: {{prefix: /inline}}
  name: inline
  route: {{retry_policy: {{retry_on: 5xx, num_retries: 1}}, prefix_rewrite: /new, {_INLINE}}}
- match: {{prefix: /notFound}}
  route: {{cluster_not_found_response_code: NOT_FOUND, {_INLINE}}}
- match: {{prefix: /named}}
  route: {{cluster_specifier_plugin: named}}
- match: {{prefix: /twice}}
  route: {{cluster_specifier_plugin: twice}}
- match: {{prefix: /optional}}
  route: {{cluster_specifier_plugin: optional}}
- match: {{prefix: /alsoOptional}}
  route: {{inline_cluster_specifier_plugin: {{is_optional: true, extension: {_UNKNOWN}}}}}
- match: {{prefix: /header}}
  route: {{cluster_header: x-cluster}}
- match: {{prefix: /weighted}}
  route: {{weighted_clusters: {{clusters: [{{cluster_header: x-cluster, weight: 1}}, {{name: first, weight: 0}}]}}}}
- match: {{prefix: /filter}}
  filter_action: {{action: {{'@type': type.googleapis.com/google.protobuf.Empty}}}}
- match: {{prefix: /nonForwarding}}
  non_forwarding_action: {{}}
- match: {{prefix: /}}
  route: {{cluster: backend}}
"""

_TABLE = f"""
cluster_specifier_plugins:
- extension: {_tree("second").replace("NAME", "named")}
- extension: {_tree("first").replace("NAME", "twice")}
- extension: {_tree("second").replace("NAME", "twice")}
- extension: {_UNKNOWN.replace("NAME", "optional")}
  is_optional: true
"""

# It comes after the choice.
_CHANGED = f"""
- name: change
  typed_config:
    '@type': {_TYPES}extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations:
      request_mutations:
      - append: {{header: {{key: x-env, value: one}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}
      - append: {{header: {{key: x-cluster, value: first}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}
"""

LISTENERS = {
    "plain": Manager("", _ROUTES, table=_TABLE),
    "changed": Manager("", _ROUTES, table=_TABLE, filters=_CHANGED),
}
CLUSTERS = {"first": "", "second": "{alt_stat_name: other}"}
_BAD = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"


def _case(name: str, path: str, *fields: str, listener: str = "plain", replies: tuple[Script, ...] = (OK,)) -> Case:
    return Case(name, f"The cluster of {path} with {fields}.", get(path, *fields), replies, listener)


CASES = [
    _case("match", "/inline/x", "x-env: one"),
    _case("noMatch", "/inline"),
    _case("noCluster", "/inline", "x-env: gone"),
    _case("again", "/inline", "x-env: one", replies=(_BAD, OK)),
    _case("notFound", "/notFound"),
    _case("named", "/named", "x-env: two"),
    _case("namedMatch", "/named", "x-env: one"),
    _case("sameName", "/twice"),
    _case("optional", "/optional"),
    _case("alsoOptional", "/alsoOptional"),
    _case("header", "/header", "x-cluster: second"),
    _case("headerTwice", "/header", "x-cluster: second", "x-cluster: first"),
    _case("noHeader", "/header"),
    _case("weighted", "/weighted", "x-cluster: second"),
    _case("weightedNowhere", "/weighted", "x-cluster: nobody"),
    _case("filterAction", "/filter"),
    _case("nonForwarding", "/nonForwarding"),
    _case("changedAfterwards", "/inline", "x-env: gone", listener="changed"),
    _case("changedHeader", "/header", "x-cluster: nobody", listener="changed"),
    _case("changedToDefault", "/named", listener="changed"),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ClusterSpecifierTests(SynchronousTestCase):
    """
    Beside Envoy.
    """
