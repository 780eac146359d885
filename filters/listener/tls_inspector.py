# -*- test-case-name: tests.filters.listener.test_tls_inspector -*-
"""
C{envoy.filters.listener.tls_inspector}: finds out whether a client speaks TLS, to whom, and in which protocols.
"""

from __future__ import annotations

from meshproxy.codec.clienthello import ClientHello, ClientHelloParser, ja3, ja4
from meshproxy.config import Section
from meshproxy.config.supported import accept, declare
from meshproxy.errors import RemoteProtocolError
from meshproxy.interfaces import MORE, IIncomingConnection
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext

__all__ = ["TLSInspector"]

_MESSAGE = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"

declare(_MESSAGE, "max_client_hello_size", "close_connection_on_client_hello_parsing_errors")
declare(_MESSAGE, "enable_ja3_fingerprinting", "enable_ja4_fingerprinting")
accept(_MESSAGE, "initial_read_buffer_size", "a first look takes as much as is there")

# The alert with which a TLS peer ends, without the minor version of its record.
_CLOSE_NOTIFY = b"\x15\3\0\2\1\0"

_TLS_1_0, _TLS_1_3 = 0x0301, 0x0304

_NAMESPACE = "envoy.filters.listener.tls_inspector"

# Also the most that may be configured.
_DEFAULT_SIZE = 16384


class TLSInspector(ListenerFilter):
    """
    The listener filter.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        self.maxBytes: int = section.wrapped("max_client_hello_size", _DEFAULT_SIZE) or _DEFAULT_SIZE
        self._closesOthers: bool = section.get("close_connection_on_client_hello_parsing_errors")
        self._wantsJA3: bool = section.wrapped("enable_ja3_fingerprinting", False)
        self._wantsJA4: bool = section.wrapped("enable_ja4_fingerprinting", False)
        scope = self._scope = context.store.scope("tls_inspector.")
        self._tooLarge = scope.counter("client_hello_too_large")
        self._tls = scope.counter("tls_found"), scope.counter("tls_not_found")
        self._alpn = scope.counter("alpn_found"), scope.counter("alpn_not_found")
        self._sni = scope.counter("sni_found"), scope.counter("sni_not_found")
        self._bytes = scope.histogram("bytes_processed")

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        if data[:2] + data[3:7] == _CLOSE_NOTIFY:
            # Who says goodbye first is not asked what else it is.
            connection.close()
            return None
        parser = connection.state
        if parser is None:
            parser = connection.state = ClientHelloParser()
        try:
            hello = parser.look(data)
        except RemoteProtocolError:
            self._tls[1].value += 1
            self._bytes.record(len(data))
            connection.info.note(_NAMESPACE, "failure_reason", "ClientHelloNotDetected")
            if self._closesOthers:
                connection.close()
            return None
        if hello is not None:
            self._bytes.record(len(data))
            self._found(connection, hello)
            return None
        if len(data) < self.maxBytes:
            return MORE
        self._tooLarge.value += 1
        connection.info.note(_NAMESPACE, "failure_reason", "ClientHelloTooLarge")
        connection.close()
        return None

    def _found(self, connection: IIncomingConnection, hello: ClientHello) -> None:
        facts = connection.facts
        self._sni[not hello.serverName].value += 1
        facts.serverName = hello.serverName
        if self._wantsJA3:
            connection.info.ja3 = ja3(hello)
        if self._wantsJA4:
            connection.info.ja4 = ja4(hello)
        if not _TLS_1_0 <= hello.version <= _TLS_1_3:
            # Envoy speaks no such version, and neither may a chain for whatever is not TLS.
            self._tls[1].value += 1
            connection.info.note(_NAMESPACE, "failure_reason", "ClientHelloInvalidTlsVersion")
            connection.close()
            return
        self._tls[0].value += 1
        facts.transportProtocol = "tls"
        self._alpn[not hello.applicationProtocols].value += 1
        if hello.applicationProtocols:
            facts.applicationProtocols = hello.applicationProtocols

    def stop(self) -> None:
        """
        See L{IListenerFilter.stop}.
        """
        self._scope.close()
