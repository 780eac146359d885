"""
Listeners with a C{filter_chain_matcher}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.hellos import hello
from tests.conformance.bootstrap import Listener
from tests.conformance.case import Case
from tests.conformance.comparison import Comparison, compared
from tests.conformance.test_listenerfilters import chain, listenerFilter, listening, loggingTo

_NETWORK = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3."
_XDS = "type.googleapis.com/xds.type.matcher.v3."
_LOG = loggingTo("%FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")
_TLS = listenerFilter("tls_inspector", "TlsInspector")
_HTTP = listenerFilter("http_inspector", "HttpInspector")
_PROXY = listenerFilter("proxy_protocol", "ProxyProtocol", "allow_requests_without_proxy_protocol: true")
_NAMES = ("a", "b", "c", "d")


def _to(name: str) -> str:
    value = f"{{'@type': type.googleapis.com/google.protobuf.StringValue, value: {name}}}"
    return f"{{action: {{name: {name}, typed_config: {value}}}}}"


def _input(kind: str) -> str:
    return f"{{name: i, typed_config: {{'@type': {_NETWORK}{kind}Input}}}}"


def _map(kind: str, branches: dict[str, str], which: str = "exact_match_map") -> str:
    entries = ", ".join(f'"{key}": {branch}' for key, branch in branches.items())
    return f"{{matcher_tree: {{input: {_input(kind)}, {which}: {{map: {{{entries}}}}}}}}}"


def _ranges(kind: str, *branches: tuple[str, str, str]) -> str:
    matchers = ", ".join(
        f"{{ranges: [{{address_prefix: {prefix.partition('/')[0]}, prefix_len: {prefix.partition('/')[2]}}}], "
        f"on_match: {branch}{more}}}"
        for prefix, branch, more in branches
    )
    config = f"{{'@type': {_XDS}IPMatcher, range_matchers: [{matchers}]}}"
    return f"{{matcher_tree: {{input: {_input(kind)}, custom_match: {{name: m, typed_config: {config}}}}}}}"


def _list(*branches: tuple[str, str, str]) -> str:
    matchers = ", ".join(
        f"{{predicate: {{single_predicate: {{input: {_input(kind)}, value_match: {{{test}}}}}}}, on_match: {branch}}}"
        for kind, test, branch in branches
    )
    return f"{{matcher_list: {{matchers: [{matchers}]}}}}"


def _nested(matcher: str) -> str:
    return f"{{matcher: {matcher}}}"


def _matched(matcher: str, *filters: str, default: bool = False, otherwise: str = "") -> Listener:
    matcher = matcher[:-1] + (f", on_no_match: {otherwise}" if otherwise else "") + "}"
    more = f"access_log: {_LOG}, listener_filters_timeout: 0.3s, filter_chain_matcher: {matcher}"
    if default:
        more += f", default_filter_chain: {chain('default', '{}')}"
    return listening([chain(name, "{}") for name in _NAMES], *filters, more=more)


LISTENERS = {
    "names": _matched(_map("ServerName", {"a.example": _to("a"), "b.example": _to("b")}), _TLS, default=True),
    "prefixes": _matched(_map("ServerName", {"a": _to("a"), "ab": _to("b")}, "prefix_match_map"), _TLS),
    "protocols": _matched(
        _map("ApplicationProtocol", {"'h2','http/1.1'": _to("a"), "'http/1.1'": _to("b"), "'h2c'": _to("c")}),
        _TLS,
        _HTTP,
        otherwise=_to("d"),
    ),
    "transports": _matched(_map("TransportProtocol", {"tls": _to("a"), "raw_buffer": _to("b")}), _TLS),
    "blind": _matched(_map("TransportProtocol", {"tls": _to("a"), "raw_buffer": _to("b")})),
    "ports": _matched(
        _map("DestinationPort", {"443": _nested(_map("DestinationIP", {"198.51.100.9": _to("a")})), "80": _to("b")}),
        _PROXY,
        otherwise=_to("c"),
    ),
    "sources": _matched(
        _list(
            ("SourceIP", "prefix: '192.0.'", _to("a")),
            ("DirectSourceIP", "prefix: '127.9.'", _to("b")),
            ("SourceType", "exact: local", _to("c")),
        ),
        _PROXY,
        otherwise=_to("d"),
    ),
    "ranges": _matched(
        _ranges(
            "SourceIP",
            ("192.0.2.0/24", _nested(_map("DestinationPort", {"443": _to("a")})), ""),
            ("192.0.0.0/16", _to("b"), ""),
            ("127.0.0.0/8", _to("c"), ""),
        ),
        _PROXY,
        default=True,
    ),
    "exclusive": _matched(
        _ranges(
            "SourceIP",
            ("192.0.2.0/24", _nested(_map("DestinationPort", {"443": _to("a")})), ", exclusive: true"),
            ("192.0.0.0/16", _to("b"), ", exclusive: true"),
            ("192.0.0.0/8", _to("c"), ""),
        ),
        _PROXY,
        default=True,
    ),
    "kinds": listening(
        [chain("local", "{source_type: SAME_IP_OR_LOOPBACK}"), chain("external", "{source_type: EXTERNAL}")],
        _PROXY,
        more=f"access_log: {_LOG}, listener_filters_timeout: 0.3s",
    ),
    "nobody": _matched(_map("TransportProtocol", {"raw_buffer": _to("missing")}), default=True),
    "empty": _matched(_map("ServerName", {"x": _to("a")}), default=True),
    "without": _matched(_map("ServerName", {"x": _to("a")})),
}


def _told(port: int, source: str = "192.0.2.7") -> bytes:
    return f"PROXY TCP4 {source} 198.51.100.9 40000 {port}\r\nhello".encode("ascii")


_HELLOS = {
    "a": hello(b"a.example"),
    "upper": hello(b"A.Example"),
    "b": hello(b"b.example"),
    "other": hello(b"other.example"),
    "ab": hello(b"ab.example"),
    "h2": hello(b"a.example", [b"h2", b"http/1.1"]),
    "h1": hello(b"a.example", [b"http/1.1"]),
    "plain": b"hello",
    "get": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "h2c": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
_ASKED = {
    "names": "a upper b other plain",
    "prefixes": "a ab b plain",
    "protocols": "h2 h1 a get h2c plain",
    "transports": "a plain",
    "blind": "a plain",
    "nobody": "plain",
    "empty": "plain",
    "without": "plain",
}

CASES = [
    *[
        Case(f"{listener}_{name}", f"The chain by {listener} for {name}.", _HELLOS[name], (), listener, limit=0.6)
        for listener, names in _ASKED.items()
        for name in names.split()
    ],
    *[
        Case(f"{listener}_{name}", f"The chain by {listener}: {name}.", send, (), listener, limit=0.6)
        for listener in ("ports", "sources", "ranges", "exclusive", "kinds")
        for name, send in (
            ("443", _told(443)),
            ("80", _told(80)),
            ("far", _told(443, "203.0.113.1")),
            ("same", _told(443, "198.51.100.9")),
            ("loop", _told(443, "127.0.0.1")),
            ("loopOther", _told(443, "127.0.0.2")),
            ("near", b"hello"),
        )
    ],
]


@compared(Comparison(LISTENERS, CASES))
class ChainMatcherTests(SynchronousTestCase):
    """
    C{filter_chain_matcher}.
    """
