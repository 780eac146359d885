"""
The PROXY protocol, from a load balancer before the proxy.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.hellos import hello
from tests.codec.test_proxyprotocol import ADDRESSES, SIGNATURE, V1, tlv, v2
from tests.conformance.bootstrap import Listener
from tests.conformance.case import Case, Do, Step, Until
from tests.conformance.comparison import Comparison, compared
from tests.conformance.test_listenerfilters import chain, listenerFilter, listening, loggingTo

_LOG = loggingTo(
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %FILTER_CHAIN_NAME% "
    "%RESPONSE_FLAGS% %DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol)%"
)
_CHAINS = [
    chain("told", "{destination_port: 443, source_prefix_ranges: [{address_prefix: 192.0.2.0, prefix_len: 24}]}"),
    chain("told6", "{source_prefix_ranges: [{address_prefix: '2001:db8::', prefix_len: 32}]}"),
    chain("near", "{direct_source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"),
]
_TCP = (
    "{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,"
    " stat_prefix: tcp, cluster: backend, access_log: $LOG}}"
)
_TELLING = (
    "{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,"
    " stat_prefix: tcp, cluster: %s, access_log: $LOG, %s}}"
)
_SOCKETS = "type.googleapis.com/envoy.extensions.transport_sockets."
_TIMEOUT = "listener_filters_timeout: 0.3s"


def _proxied(fields: str = "", chains: list[str] = _CHAINS, *more: str) -> Listener:
    return listening(
        chains,
        listenerFilter("proxy_protocol", "ProxyProtocol", fields),
        *more,
        more=f"access_log: {_LOG}, {_TIMEOUT}",
    )


LISTENERS = {
    "plain": _proxied("rules: [{tlv_type: 1, on_tlv_present: {key: alpn}}]"),
    "optional": _proxied("allow_requests_without_proxy_protocol: true"),
    "only2": _proxied("disallowed_versions: [V1]"),
    "only2optional": _proxied("disallowed_versions: [V1], allow_requests_without_proxy_protocol: true"),
    "thenTLS": _proxied(
        "",
        [chain("a", "{server_names: [a.example]}"), chain("other", "{}")],
        listenerFilter("tls_inspector", "TlsInspector"),
    ),
    "pass": _proxied("", ["{filters: [%s]}" % _TCP]),
    # The field of former times: that of the first chain counts.
    "older": listening(["{use_proxy_proto: true, filters: [%s]}" % _TCP]),
    "olderSecond": listening(
        [
            "{filter_chain_match: {destination_port: 1}, filters: [%s]}" % _TCP,
            "{use_proxy_proto: true, filters: [%s]}" % _TCP,
        ]
    ),
}


def _telling(config: str) -> str:
    """
    The C{transport_socket} of a cluster that is told of the client.
    """
    return (
        "transport_socket: {name: proxy, typed_config: {'@type': %sproxy_protocol.v3.ProxyProtocolUpstreamTransport,"
        " config: {%s}, transport_socket: {name: raw, typed_config: {'@type': %sraw_buffer.v3.RawBuffer}}}}"
    ) % (_SOCKETS, config, _SOCKETS)


_ADDED = "added_tlvs: [{type: 5, value: YWRk}, {type: 1, value: b3Zlcg==}]"

CLUSTERS = {
    "tell1": _telling("version: V1"),
    "tell2": _telling("version: V2"),
    "tellSome": _telling("version: V2, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [1, 3]}"),
    "tellAll": _telling("version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}"),
    "tellMore": _telling("version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}, " + _ADDED),
}

_OWN = (
    "proxy_protocol_tlv_merge_policy: %s, proxy_protocol_tlvs: [{type: 7, format_string: {text_format_source:"
    " {inline_string: 'to %%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%% %%REQUESTED_SERVER_NAME%%'}}},"
    " {type: 6, value: dGNw}, {type: 1, value: b3Zlcg==}]"
)
for _number, _policy in enumerate(("ADD_IF_ABSENT", "OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD")):
    LISTENERS[f"merge{_number}"] = _proxied(
        "allow_requests_without_proxy_protocol: true, pass_through_tlvs: {match_type: INCLUDE_ALL}",
        ["{filters: [%s]}" % (_TELLING % ("tellAll", _OWN % _policy))],
    )

for _name in CLUSTERS:
    LISTENERS[_name] = _proxied(
        "pass_through_tlvs: {match_type: INCLUDE_ALL}",
        ["{filters: [%s]}" % (_TELLING % (_name, "proxy_protocol_tlvs: [{type: 6, value: dGNw}]"))],
    )


def _told(number: int) -> dict[str, bytes]:
    """
    Headers of one client. Each case has its own: Envoy's pools belong to a client, and keep its first TLVs.
    """
    ends = ADDRESSES[:8] + (number + 2000).to_bytes(2, "big") + ADDRESSES[10:]
    return {
        "line": _line(f"TCP4 192.0.2.1 198.51.100.2 {number + 1000} 443"),
        "line6": _line(f"TCP6 2001:db8::1 2001:db8::2 {number + 1000} 443"),
        "binary": v2(ADDRESSES[:8] + (number + 3000).to_bytes(2, "big") + ADDRESSES[10:]),
        "tlvs": v2(ends + tlv(1, b"h2") + tlv(2, b"") + tlv(3, b"three")),
        "large": v2(ends[:8] + (number + 4000).to_bytes(2, "big") + ends[10:] + tlv(1, b"x" * (65535 - 15))),
    }


_TLVS = v2(ADDRESSES + tlv(1, b"h2"))
_V6 = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002") + b"\1\xbb\1\xbb"


def _case(name: str, intent: str, *send: Step, on: str = "plain") -> Case:
    return Case(name, intent, list(send), listener=on, responses=9, limit=0.6)


def _line(words: str) -> bytes:
    return f"PROXY {words}\r\n".encode()


_LINES = {
    "tcp4": "TCP4 192.0.2.1 198.51.100.2 1000 443",
    "tcp6": "TCP6 2001:db8::1 2001:db8::2 1000 443",
    "mapped": "TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1000 443",
    "unknown": "UNKNOWN",
    "unknownMore": "UNKNOWN some more",
    "otherProtocol": "UDP4 192.0.2.1 198.51.100.2 1000 443",
    "tooFew": "TCP4 192.0.2.1 198.51.100.2 1000",
    "tooMany": "TCP4 192.0.2.1 198.51.100.2 1000 443 1",
    "twoBlanks": "TCP4  192.0.2.1 198.51.100.2 1000 443",
    "multicast": "TCP4 224.0.0.1 198.51.100.2 1000 443",
    "anyAddress": "TCP4 0.0.0.0 198.51.100.2 1000 443",
    "broadcast": "TCP4 192.0.2.1 255.255.255.255 1000 443",
    "loopback": "TCP4 127.0.0.9 198.51.100.2 1000 443",
    "portZero": "TCP4 192.0.2.1 198.51.100.2 0 0",
    "portTooBig": "TCP4 192.0.2.1 198.51.100.2 1000 65536",
    "portNegative": "TCP4 192.0.2.1 198.51.100.2 1000 -1",
    "sixInFour": "TCP4 2001:db8::1 2001:db8::2 1000 443",
    "fourInSix": "TCP6 192.0.2.1 198.51.100.2 1000 443",
    "portLeadingZero": "TCP4 192.0.2.1 198.51.100.2 01000 443",
    "portSigned": "TCP4 192.0.2.1 198.51.100.2 +1000 443",
    "blankBehind": "TCP4 192.0.2.1 198.51.100.2 1000 443 ",
    "scope": "TCP6 fe80::1%lo fe80::2 1000 443",
    "name": "TCP4 a.example 198.51.100.2 1000 443",
    "brackets": "TCP6 [2001:db8::1] [2001:db8::2] 1000 443",
}

_BINARIES = {
    "four": v2(),
    "six": v2(_V6, family=0x21),
    "datagram": v2(family=0x12),
    "local": v2(b"", 0x20, 0),
    "localMore": v2(ADDRESSES + tlv(1, b"h2"), 0x20),
    "unspecified": v2(family=0),
    "unspecifiedEmpty": v2(b"", family=0),
    "unix": v2(b"x" * 216, family=0x31),
    "version3": v2(command=0x31),
    "command2": v2(command=0x22),
    "transport0": v2(family=0x10),
    "transport3": v2(family=0x13),
    "tooShort": v2(length=11),
    "tooShort6": v2(family=0x21),
    "multicast": v2(b"\xe0" + ADDRESSES[1:]),
    "anyAddress": v2(b"\0\0\0\0" + ADDRESSES[4:]),
    "tlv": _TLVS,
    "tlvTwice": v2(ADDRESSES + tlv(1, b"a") + tlv(1, b"b")),
    "tlvEmpty": v2(ADDRESSES + tlv(1, b"")),
    "tlvNotText": v2(ADDRESSES + tlv(1, b"\xff\0a")),
    "tlvTooLong": v2(ADDRESSES + tlv(1, b"ab", 3)),
    "tlvMuchTooLong": v2(ADDRESSES + tlv(1, b"ab", 65535)),
    "tlvNoLength": v2(ADDRESSES + b"\1"),
    "tlvHalfLength": v2(ADDRESSES + b"\1\0"),
    "tlvLarge": v2(ADDRESSES + tlv(9, b"x" * 60000)),
    "tlvLargest": v2(ADDRESSES + tlv(9, b"x" * (65535 - 15))),
    "signature": SIGNATURE[:11] + b"\r" + v2()[12:],
}

CASES = [
    *(_case(f"line_{name}", "A line.", _line(words)) for name, words in _LINES.items()),
    *(_case(f"binary_{name}", "A binary header.", wire) for name, wire in _BINARIES.items()),
    *(_case(f"lineCut{cut}", "A line in two pieces.", V1[:cut], Do.REST, V1[cut:]) for cut in range(1, len(V1))),
    *(
        _case(f"binaryCut{cut}", "A binary header in two pieces.", _TLVS[:cut], Do.REST, _TLVS[cut:])
        for cut in range(1, len(_TLVS))
    ),
    *(
        Case(
            f"{name}_{kind}",
            "What the upstream is told.",
            [wire + b"HELLO\r\n\r\n", Until(b"hi")],
            ([b"hi", Do.DRAIN],),
            listener=name,
            responses=9,
            limit=0.12,
        )
        for number, name in enumerate(CLUSTERS)
        for kind, wire in _told(number).items()
    ),
    *(
        Case(
            f"merge{policy}{number}",
            "What becomes of tcp_proxy's own TLVs.",
            [wire + b"HELLO\r\n\r\n", Until(b"hi")],
            ([b"hi", Do.DRAIN],),
            listener=f"merge{policy}",
            responses=9,
            limit=0.12,
        )
        for policy in range(3)
        for number, wire in enumerate((_told(90 + policy)["tlvs"], _told(95 + policy)["line"]))
    ),
    *(
        Case(
            f"{name}_{kind}",
            "Whether a header is taken off.",
            [wire + b"HELLO\r\n\r\n", Until(b"hi")],
            ([b"hi", Do.DRAIN],),
            listener=name,
            responses=9,
            limit=0.12,
        )
        for name in ("older", "olderSecond")
        for kind, wire in (("line", V1), ("binary", v2()))
    ),
    _case("onlyLF", "A line that ends with LF.", _line(_LINES["tcp4"]).replace(b"\r", b"")),
    _case("longest", "108 bytes of line.", _line("UNKNOWN " + "x" * 92)),
    _case("tooLong", "109 bytes.", _line("UNKNOWN " + "x" * 93)),
    _case("smallLetters", "Another signature.", b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
    _case("none", "No header.", b"GET / HTTP/1.1\r\n\r\n"),
    _case("partLine", "Half a line.", V1[:20]),
    _case("partLineEnds", "Half a line, and the client ends.", V1[:20], Do.HALF_CLOSE),
    _case("partBinary", "Half a header.", _TLVS[:20]),
    _case("partTLV", "Half a TLV.", _TLVS[:30]),
    _case("silent", "Nothing."),
    _case("optionalNone", "No header where none is needed.", b"hello", on="optional"),
    _case("optionalLine", "A header where none is needed.", V1, on="optional"),
    _case("optionalPart", "What may become one is waited for.", b"PROX", on="optional"),
    _case("optionalTurn", "What turns out to be none.", b"PROX", Do.REST, b"Y!", on="optional"),
    _case("optionalTurn2", "What turns out to be none, in binary.", b"\r\n\r\n\0\r\nQUIx", on="optional"),
    _case("optionalWrong", "A wrong one is still wrong.", _line("TCP4 x"), on="optional"),
    _case("only2Line", "A version that is not allowed.", V1, on="only2"),
    _case("only2Binary", "The other one.", v2(), on="only2"),
    _case("only2None", "None.", b"GET / HTTP/1.1\r\n\r\n", on="only2"),
    _case("only2optionalLine", "Not allowed and not needed.", V1, on="only2optional"),
    _case("thenTLS", "What follows is for the next filter.", V1 + hello(b"a.example"), on="thenTLS"),
    _case(
        "thenTLSPieces",
        "In pieces.",
        V1[:9],
        Do.REST,
        V1[9:] + hello(b"a.example")[:40],
        Do.REST,
        hello(b"a.example")[40:],
        on="thenTLS",
    ),
    *(
        Case(
            f"passed{number}",
            "The upstream gets what follows, to the byte.",
            [*pieces, Until(b"hi")],
            ([b"hi", Do.DRAIN],),
            listener="pass",
            responses=9,
            limit=0.12,
        )
        for number, pieces in enumerate(
            (
                (V1 + b"HELLO\r\n\r\n",),
                (_TLVS + b"HELLO\r\n\r\n",),
                (V1[:30], Do.REST, V1[30:] + b"HEL", Do.REST, b"LO\r\n\r\n"),
                (v2(b"abc", 0x20) + b"HELLO\r\n\r\n",),
            )
        )
    ),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ProxyProtocolTests(SynchronousTestCase):
    """
    C{proxy_protocol}.
    """
