"""
Listener filters: which chain a connection gets by its first bytes, and which one gets none.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.hellos import COMMON, alpn, extension, hello, message, records, serverName, versions
from tests.conformance.bootstrap import Listener
from tests.conformance.case import Case, Do, Step, Until
from tests.conformance.comparison import Comparison, compared

_EXTENSIONS = "type.googleapis.com/envoy.extensions."
_NETWORK = _EXTENSIONS + "filters.network."
_LISTENER = _EXTENSIONS + "filters.listener."
_TCP = (
    "{name: tcp, typed_config: {'@type': " + _NETWORK + "tcp_proxy.v3.TcpProxy,"
    " stat_prefix: tcp, cluster: backend, access_log: $LOG}}"
)


def loggingTo(form: str) -> str:
    """
    An access log of a listener, whose lines begin with the client.
    """
    text = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% " + form
    return (
        "[{name: log, typed_config: {'@type': " + _EXTENSIONS + "access_loggers.stream.v3.StdoutAccessLog,"
        ' log_format: {text_format_source: {inline_string: "' + text + '\\n"}}}}]'
    )


def chain(name: str, match: str) -> str:
    """
    A filter chain that answers with its name.
    """
    return (
        "{name: %s, filter_chain_match: %s, filters: [{name: direct, typed_config: {'@type': "
        "%sdirect_response.v3.Config, response: {inline_string: 'chain %s'}}}]}"
    ) % (name, match, _NETWORK, name)


def listenerFilter(name: str, message: str, fields: str = "") -> str:
    """
    A listener filter.
    """
    return "{name: %s, typed_config: {'@type': %s%s.v3.%s, %s}}" % (name, _LISTENER, name, message, fields)


def listening(chains: list[str], *filters: str, more: str = "") -> Listener:
    """
    A listener with listener filters.
    """
    fields = "{listener_filters: [%s], %s}" % (", ".join(filters), more)
    return Listener("[%s]" % ", ".join(chains), fields)


_CHAINS = [
    chain("a", "{server_names: [a.example]}"),
    chain("wild", "{server_names: ['*.w.example']}"),
    chain("h2", "{transport_protocol: tls, application_protocols: [h2]}"),
    chain("tls", "{transport_protocol: tls}"),
    chain("raw", "{transport_protocol: raw_buffer}"),
]
_PROTOCOLS = [
    chain("h1", "{application_protocols: [http/1.1]}"),
    chain("h10", "{application_protocols: [http/1.0]}"),
    chain("h2c", "{application_protocols: [h2c]}"),
    chain("other", "{}"),
]
_TLS = listenerFilter(
    "tls_inspector", "TlsInspector", "enable_ja3_fingerprinting: true, enable_ja4_fingerprinting: true"
)
_LOG = loggingTo(
    "%FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %RESPONSE_CODE_DETAILS% %TLS_JA3_FINGERPRINT% "
    "%TLS_JA4_FINGERPRINT% %DYNAMIC_METADATA(envoy.filters.listener.tls_inspector)%"
)

LISTENERS = {
    "tls": listening(_CHAINS, _TLS, more=f"access_log: {_LOG}, listener_filters_timeout: 0.3s"),
    "strict": listening(
        _CHAINS,
        listenerFilter(
            "tls_inspector",
            "TlsInspector",
            "close_connection_on_client_hello_parsing_errors: true, max_client_hello_size: 256",
        ),
        more=f"access_log: {_LOG}",
    ),
    "pass": listening(["{filters: [%s]}" % _TCP], _TLS),
    "bare": listening(_CHAINS),
    "http": listening(
        _PROTOCOLS, listenerFilter("http_inspector", "HttpInspector"), more="listener_filters_timeout: 0.3s"
    ),
    "both": listening(_PROTOCOLS, _TLS, listenerFilter("http_inspector", "HttpInspector")),
    "goesOn": listening(
        _CHAINS, _TLS, more="listener_filters_timeout: 0.2s, continue_on_listener_filters_timeout: true"
    ),
    "off": listening(
        _CHAINS, _TLS[:-1] + ", filter_disabled: {any_match: true}}", more="listener_filters_timeout: 0.3s"
    ),
    "offElsewhere": listening(
        _CHAINS,
        _TLS[:-1] + ", filter_disabled: {not_match: {destination_port_range: {start: 1024, end: 65535}}}}",
        more="listener_filters_timeout: 0.3s",
    ),
}

_A = hello(b"a.example", [b"h2", b"http/1.1"])
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _padded(size: int) -> bytes:
    """
    A C{ClientHello} of a length.
    """
    return hello(
        b"a.example", [], (), extension(21, b"\0" * (size - len(hello(b"a.example", [], (), extension(21, b"")))))
    )


def _case(name: str, intent: str, *send: Step, on: str = "tls", limit: float = 0.6) -> Case:
    return Case(name, intent, list(send), listener=on, responses=9, limit=limit)


_TLS_CASES = [
    _case("serverName", "A chain by server name, whatever its case.", hello(b"A.Example", [b"h2"])),
    _case("wildcard", "A chain by the end of the server name.", hello(b"x.w.example")),
    _case("wildcardItself", "The suffix alone is no match.", hello(b"w.example")),
    _case("alpn", "A chain by protocol.", hello(b"", [b"http/1.1", b"h2"])),
    _case("anyTLS", "A chain for all TLS.", hello(b"other.example")),
    _case("cleartext", "What is not TLS.", b"GET / HTTP/1.1\r\n\r\n"),
    _case("fewBytes", "Five bytes are enough to tell.", b"hello"),
    _case("threeBytes", "Three bytes.", b"abc"),
    _case("partHello", "Half of a hello waits for the time-out.", _A[:50]),
    _case("partHelloEnds", "Half of a hello, and the client ends.", _A[:50], Do.HALF_CLOSE),
    _case("partHelloCloses", "Half of a hello, and the client is gone.", _A[:50], Do.CLOSE),
    _case("silentClient", "Nothing waits for the time-out."),
    _case("splitHello", "In three pieces.", _A[:3], Do.REST, _A[3:60], Do.REST, _A[60:]),
    _case("records", "Over four records.", records(message(serverName(b"a.example"), COMMON), [1, 2, 3])),
    _case("manyRecords", "A record for each byte.", records(message(serverName(b"a.example"), COMMON), [1] * 200)),
    _case("emptyRecords", "Some records are empty.", records(message(serverName(b"a.example"), COMMON), [9, 0, 0, 0])),
    _case("noExtensions", "No extensions at all.", records(message())),
    _case("tls13", "TLS 1.3 only.", hello(b"a.example", [], (), versions(0x0304))),
    _case("unknownVersions", "No version that is known.", hello(b"a.example", [], (), versions(0x0305))),
    _case("ssl3", "SSL 3.0.", records(message(serverName(b"a.example"), COMMON, version=0x300))),
    _case(
        "future", "A legacy version from the future.", records(message(serverName(b"a.example"), COMMON, version=0x305))
    ),
    _case("recordVersion", "The record's minor version does not matter.", b"\x16\3\0" + _A[3:]),
    _case("recordMajor", "Its major version does.", b"\x16\4\1" + _A[3:]),
    _case(
        "twice", "A server name twice.", records(message(serverName(b"a.example"), serverName(b"a.example"), COMMON))
    ),
    _case("nulInName", "NUL in a name.", hello(b"a.example\0.evil")),
    _case("otherKind", "A name that is no host name.", records(message(serverName(b"a.example", 1), COMMON))),
    _case("emptyName", "An empty name.", records(message(serverName(b""), COMMON))),
    _case("longName", "256 bytes of name.", hello(b"a" * 256)),
    _case("strangeName", "Not ASCII.", hello("ä.example".encode())),
    _case("spareALPN", "One protocol is enough.", records(message(alpn(b"h2"), COMMON))),
    _case("trailing", "Bytes behind the extensions.", records(message(COMMON, tail=b"xx"))),
    _case("noCiphers", "No ciphers.", records(message(COMMON, ciphers=b""))),
    _case("oddCiphers", "Half a cipher.", records(message(COMMON, ciphers=b"\x13\x01\x13"))),
    _case("longSession", "33 bytes of session id.", records(message(COMMON, session=b"s" * 33))),
    _case("noCompression", "No compression.", records(message(COMMON, compressions=b""))),
    _case("serverHello", "Another message.", records(b"\2" + message(COMMON)[1:])),
    _case("applicationData", "Another record.", b"\x17" + _A[1:]),
    _case("closeNotify", "An alert that ends.", b"\x15\3\1\0\2\1\0"),
    _case("otherAlert", "Another alert.", b"\x15\3\1\0\2\2\x28"),
    _case("bigHello", "15 kB of hello.", _padded(15000)),
    _case("tooBigHello", "Too long for the usual limit.", _padded(16384), hello()),
    _case(
        "grease",
        "What is random is ignored.",
        records(
            message(
                extension(0x0A0A, b""),
                serverName(b"a.example"),
                COMMON,
                versions(0x1A1A, 0x304),
                ciphers=bytes.fromhex("0a0a13011302"),
            )
        ),
    ),
    _case("strictOthers", "Not TLS closes.", b"GET / HTTP/1.1\r\n\r\n", on="strict"),
    _case("strictFits", "256 bytes of hello.", _padded(256), on="strict"),
    _case("strictTooLong", "257 bytes of hello.", _padded(257), on="strict"),
    _case("uninspected", "Without tls_inspector TLS is cleartext.", _A, on="bare"),
    _case("goesOn", "After the time-out it goes on.", _A[:50], on="goesOn"),
    _case("disabled", "A filter that is disabled.", _A, on="off"),
    _case("disabledElsewhere", "A filter that is disabled for other ports.", _A, on="offElsewhere"),
    Case(
        "passed",
        "The upstream gets the hello as it came.",
        [hello(b"a.example") + b"\r\n\r\n", Until(b"hi")],
        ([b"hi", Do.DRAIN],),
        listener="pass",
        responses=9,
        limit=0.3,
    ),
]

_HTTP_LINES = {
    "http11": b"GET / HTTP/1.1\r\n",
    "http10": b"GET / HTTP/1.0\r\n",
    "http09": b"GET /\r\n",
    "http20": b"GET / HTTP/2.0\r\n",
    "preface": _PREFACE,
    "halfPreface": _PREFACE[:16],
    "otherPreface": b"PRI * HTTP/2.0\r\nfoo",
    "noHTTP": b"hello world\r\n",
    "halfLine": b"GET / HT",
    "onlyLF": b"GET / HTTP/1.1\n",
    "onlyCR": b"GET / HTTP/1.1\r",
    "otherMethod": b"FOO / HTTP/1.1\r\n",
    "smallMethod": b"get / HTTP/1.1\r\n",
    "wrongMethod": b"G@T / HTTP/1.1\r\n",
    "emptyLine": b"\r\nGET / HTTP/1.1\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n",
    "absolute": b"GET http://a/ HTTP/1.1\r\n",
    "authority": b"CONNECT a:1 HTTP/1.1\r\n",
    "noTarget": b"GET world HTTP/1.1\r\n",
    "fourWords": b"GET / HTTP/1.1 x\r\n",
    "smallVersion": b"GET / http/1.1\r\n",
    "longVersion": b"GET / HTTP/11.1\r\n",
    "highBytes": b"GET /\xff HTTP/1.1\r\n",
    "tls": b"\x16\x03\x01",
    "endless": b"GET /" + b"a" * 70000,
}
_HTTP_CASES = [
    *(_case(f"line_{name}", "Which protocol a line speaks.", line, on="http") for name, line in _HTTP_LINES.items()),
    _case("lineInPieces", "A line in three pieces.", b"GE", Do.REST, b"T / HTTP/1.1", Do.REST, b"\r\n", on="http"),
    _case("prefaceInPieces", "The preface in two.", _PREFACE[:9], Do.REST, _PREFACE[9:], on="http"),
    _case("bothTLS", "TLS is not looked into.", hello(b"a", [b"http/1.1"]), on="both"),
    _case("bothClear", "Cleartext is.", b"GET / HTTP/1.0\r\n", on="both"),
]

CASES = [*_TLS_CASES, *_HTTP_CASES]


@compared(Comparison(LISTENERS, CASES))
class ListenerFilterTests(SynchronousTestCase):
    """
    C{tls_inspector} and C{http_inspector}.
    """
