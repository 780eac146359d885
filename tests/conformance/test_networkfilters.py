"""
Network filters before and instead of tcp_proxy.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.hellos import hello
from tests.codec.test_proxyprotocol import V1
from tests.conformance.bootstrap import Listener
from tests.conformance.case import Case, Do, Pause, Script, Step, Until
from tests.conformance.comparison import Comparison, compared
from tests.conformance.test_listenerfilters import listenerFilter, loggingTo

_NETWORK = "type.googleapis.com/envoy.extensions.filters.network."
_LOG = loggingTo(
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% "
    "%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %ACCESS_LOG_TYPE%"
)


def _filter(name: str, message: str, fields: str = "") -> str:
    return "{name: %s, typed_config: {'@type': %s%s.v3.%s, %s}}" % (name, _NETWORK, name, message, fields)


_TCP = _filter("tcp_proxy", "TcpProxy", f"stat_prefix: tcp, cluster: backend, access_log: {_LOG}")


def _chain(*filters: str, before: str = "") -> Listener:
    return Listener(
        "[{filters: [%s]}]" % ", ".join(filters), "{access_log: %s, listener_filters: [%s]}" % (_LOG, before)
    )


def _rbac(fields: str) -> Listener:
    return _chain(_filter("rbac", "RBAC", "stat_prefix: p., " + fields), _TCP)


def _policy(permission: str, principal: str) -> str:
    return "{permissions: [%s], principals: [%s]}" % (permission, principal)


_EARLY = _filter(
    "tcp_proxy",
    "TcpProxy",
    f"stat_prefix: tcp, cluster: backend, access_log: {_LOG}, idle_timeout: 0.25s,"
    " upstream_connect_mode: ON_DOWNSTREAM_DATA, max_early_data_bytes: 10",
)
_ANY = "{any: true}"
_ALL = _policy(_ANY, _ANY)
_MINE = "{direct_remote_ip: {address_prefix: 127.1.0.0, prefix_len: 16}}"
_OTHERS = "{direct_remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}"
_BUCKET = "token_bucket: {max_tokens: 1, fill_interval: 1000s}"
_RATELIMIT = "stat_prefix: r, " + _BUCKET

_RULES = {
    "mine": (_ANY, _MINE),
    "others": (_ANY, _OTHERS),
    "notOthers": (_ANY, "{not_id: %s}" % _OTHERS),
    "both": (_ANY, "{and_ids: {ids: [%s, %s]}}" % (_MINE, _OTHERS)),
    "either": (_ANY, "{or_ids: {ids: [%s, %s]}}" % (_MINE, _OTHERS)),
    "source": (_ANY, "{source_ip: {address_prefix: 127.1.0.0, prefix_len: 16}}"),
    "remote": (_ANY, "{remote_ip: {address_prefix: 127.1.0.0, prefix_len: 16}}"),
    "identity": (_ANY, "{authenticated: {}}"),
    "port": ("{destination_port_range: {start: 1024, end: 65536}}", _ANY),
    "otherPort": ("{destination_port: 80}", _ANY),
    "destination": ("{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}", _ANY),
    "name": ("{requested_server_name: {exact: ''}}", _ANY),
    "notName": ("{not_rule: {requested_server_name: {exact: ''}}}", _ANY),
}

LISTENERS = {
    "echo": _chain(_filter("echo", "Echo")),
    "direct": _chain(_filter("direct_response", "Config", "response: {inline_string: 'hello there'}")),
    "directEmpty": _chain(_filter("direct_response", "Config")),
    "limit": _chain(_filter("connection_limit", "ConnectionLimit", "stat_prefix: c, max_connections: 9"), _TCP),
    "early": _chain(_EARLY),
    "earlyDenied": _chain(_filter("rbac", "RBAC", "stat_prefix: p., rules: {}"), _EARLY),
    "limitOff": _chain(
        _filter(
            "connection_limit",
            "ConnectionLimit",
            "stat_prefix: c, max_connections: 9, runtime_enabled: {default_value: false, runtime_key: k}",
        ),
        _TCP,
    ),
    "rate": _chain(_filter("local_ratelimit", "LocalRateLimit", _RATELIMIT), _TCP),
    "rateOff": _chain(
        _filter(
            "local_ratelimit",
            "LocalRateLimit",
            _RATELIMIT + ", runtime_enabled: {default_value: false, runtime_key: k}",
        ),
        _TCP,
    ),
    "shared1": _chain(_filter("local_ratelimit", "LocalRateLimit", _RATELIMIT + ", share_key: one"), _TCP),
    "shared2": _chain(_filter("local_ratelimit", "LocalRateLimit", _RATELIMIT + ", share_key: one"), _TCP),
    "socketRate": _chain(_TCP, before=listenerFilter("local_ratelimit", "LocalRateLimit", _RATELIMIT)),
    "named": _chain(_filter("sni_cluster", "SniCluster"), _TCP, before=listenerFilter("tls_inspector", "TlsInspector")),
    **{
        f"{action.lower()}_{name}": _rbac("rules: {action: %s, policies: {p: %s}}" % (action, _policy(*rule)))
        for name, rule in _RULES.items()
        for action in ("ALLOW", "DENY")
    },
    "noRules": _rbac(""),
    "noPolicies": _rbac("rules: {}"),
    "shadow": _rbac("shadow_rules: {action: DENY, policies: {'a b': %s}}" % _ALL),
    "both": _rbac("rules: {policies: {p: %s}}, shadow_rules: {policies: {}}" % _ALL),
    "logs": _rbac("rules: {action: LOG, policies: {p: %s}}" % _ALL),
    "blanks": _rbac("rules: {action: DENY, policies: {'a b': %s}}" % _ALL),
    "delayed": _rbac("delay_deny: 0.1s, rules: {action: DENY, policies: {p: %s}}" % _ALL),
    "continuous": _rbac("enforcement_type: CONTINUOUS, rules: {policies: {p: %s}}" % _ALL),
    "told": _chain(
        _filter(
            "rbac",
            "RBAC",
            "stat_prefix: p., rules: {policies: {p: %s}}"
            % _policy(_ANY, "{remote_ip: {address_prefix: 192.0.2.0, prefix_len: 24}}"),
        ),
        _TCP,
        before=listenerFilter("proxy_protocol", "ProxyProtocol", "allow_requests_without_proxy_protocol: true"),
    ),
}

_TREE = "{'@type': type.googleapis.com/envoy."


def _tree(field: str, message: str, match: str, action: str = "ALLOW") -> Listener:
    """
    The filter rbac with a tree of one condition.
    """
    read = f"{{name: i, typed_config: {_TREE}extensions.matching.common_inputs.{message}}}}}"
    then = f"{{name: a, typed_config: {_TREE}config.rbac.v3.Action, name: 'b c', action: {action}}}}}"
    predicate = f"{{single_predicate: {{input: {read}, {match}}}}}"
    return _rbac(f"{field}: {{matcher_list: {{matchers: [{{predicate: {predicate}, on_match: {{action: {then}}}}}]}}}}")


_RANGE = (
    f"custom_match: {{name: m, typed_config: {_TREE}extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: x,"
    " cidr_ranges: [{address_prefix: 127.1.0.0, prefix_len: 16}]}}"
)
_TREES = {
    "range": _tree("matcher", "network.v3.SourceIPInput", _RANGE),
    "rangeDenied": _tree("matcher", "network.v3.DirectSourceIPInput", _RANGE, "DENY"),
    "otherPort": _tree("matcher", "network.v3.DestinationPortInput", "value_match: {exact: '80'}"),
    "noName": _tree("matcher", "network.v3.ServerNameInput", "value_match: {exact: ''}"),
    "noCertificate": _tree("matcher", "ssl.v3.UriSanInput", "value_match: {prefix: 'spiffe://'}"),
    "logged": _tree("matcher", "network.v3.SourceIPInput", _RANGE, "LOG"),
    "tried": _tree("shadow_matcher", "network.v3.SourceIPInput", _RANGE, "DENY"),
}
LISTENERS |= {f"tree_{name}": listener for name, listener in _TREES.items()}

_HELLO = b"HELLO\r\n\r\n"
_HI: Sequence[Script] = ([b"hi", Do.ECHO],)


def _case(name: str, intent: str, on: str, *send: Step, replies: Sequence[Script] = _HI, limit: float = 0.12) -> Case:
    return Case(name, intent, list(send), replies, on, responses=9, limit=limit)


CASES = [
    _case("echo", "All comes back.", "echo", b"abc", Until(b"abc"), b"def", Until(b"abcdef")),
    _case("echoEnds", "The end too.", "echo", b"abc", Until(b"abc"), Do.HALF_CLOSE),
    _case("echoLarge", "500 kB.", "echo", b"x" * 500000, Until(b"x" * 500000)),
    _case("echoResets", "A reset.", "echo", b"abc", Until(b"abc"), Do.RESET),
    _case("direct", "The response and the end.", "direct"),
    _case("directData", "What the client says does not matter.", "direct", b"abc"),
    _case("directEmpty", "Nothing to say.", "directEmpty"),
    _case("limit", "Within the limit.", "limit", _HELLO, Until(b"hi")),
    _case("limitOff", "A limit that is off.", "limitOff", _HELLO, Until(b"hi")),
    _case("earlyData", "The first bytes connect.", "early", Do.REST, _HELLO, Until(b"hi"), b"more", Until(b"more")),
    _case("earlyLarge", "More than may be read before.", "early", _HELLO + b"x" * 100000, Until(b"x" * 100000)),
    _case("earlyIdle", "No bytes for too long.", "early", limit=0.6),
    _case("earlyDenied", "Who is denied reaches no upstream.", "earlyDenied", _HELLO),
    _case("rateFirst", "One token.", "rate", _HELLO, Until(b"hi")),
    _case("rateSecond", "No token.", "rate", Do.REST, _HELLO),
    _case("rateOff1", "A limit that is off.", "rateOff", _HELLO, Until(b"hi")),
    _case("rateOff2", "Off for the second one as well.", "rateOff", _HELLO, Until(b"hi")),
    _case("sharedFirst", "One token for two chains.", "shared1", _HELLO, Until(b"hi")),
    _case("sharedSecond", "It is gone.", "shared2", Do.REST, _HELLO),
    _case("socketRateFirst", "One token.", "socketRate", _HELLO, Until(b"hi")),
    _case("socketRateSecond", "No token.", "socketRate", Do.REST, _HELLO),
    _case("namedCluster", "The server name names the cluster.", "named", hello(b"backend") + b"\r\n\r\n", Until(b"hi")),
    _case("namedNobody", "No cluster of that name.", "named", hello(b"nobody") + b"\r\n\r\n"),
    _case("namedNot", "No server name.", "named", _HELLO, Until(b"hi")),
    *(
        _case(f"rbac_{action}_{name}", "A policy.", f"{action}_{name}", _HELLO, Until(b"hi"))
        for name in _RULES
        for action in ("allow", "deny")
    ),
    *(
        _case(f"rbac_{name}", "Policies that are special.", name, _HELLO, Until(b"hi"), b"more", Until(b"more"))
        for name in ("noRules", "noPolicies", "shadow", "both", "logs", "blanks", "continuous", "delayed")
    ),
    *(_case(f"rbac_tree_{name}", "A tree of conditions.", f"tree_{name}", _HELLO, Until(b"hi")) for name in _TREES),
    _case("rbac_upstreamFirst", "The upstream is connected before a byte came.", "deny_mine", Pause(0.1), _HELLO),
    _case("rbac_silent", "A client that says nothing and ends.", "deny_mine", Do.REST, Do.HALF_CLOSE),
    _case("rbac_silentAllowed", "One that may.", "allow_mine", Do.REST, Do.HALF_CLOSE, replies=([Do.DRAIN],)),
    _case("rbac_told", "The address of the PROXY protocol counts.", "told", V1 + _HELLO, Until(b"hi")),
    _case("rbac_toldNot", "Without it the peer's does.", "told", _HELLO),
]


@compared(Comparison(LISTENERS, CASES))
class NetworkFilterTests(SynchronousTestCase):
    """
    C{echo}, C{direct_response}, C{connection_limit}, C{local_ratelimit}, C{sni_cluster} and C{rbac}.
    """
