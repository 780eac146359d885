# -*- test-case-name: tests.upstream.test_settings -*-
"""
What a cluster's configuration says about its connections.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from meshproxy.codec.http1 import Http1Options
from meshproxy.codec.http2 import Http2Options
from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.net.address import Address
from meshproxy.net.dial import Bind, SocketOptions
from meshproxy.net.listenoptions import compileListenOptions
from meshproxy.upstream.http2options import KeepaliveSettings, compileHttp2Options, compileKeepalive

__all__ = ["ClusterSettings", "UpstreamProtocol", "compileSettings", "httpOptions", "withKeyFormat"]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class UpstreamProtocol(Enum):
    """
    What is spoken to the endpoints of a cluster.
    """

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    DOWNSTREAM = "what the downstream speaks"
    AUTO = "what ALPN agrees upon"


_CHOSEN = {
    "use_downstream_protocol_config": UpstreamProtocol.DOWNSTREAM,
    "auto_config": UpstreamProtocol.AUTO,
}


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """
    Seconds, bytes and counts.

    @ivar idleTimeout: Of pooled connections; 0 for never.
    @ivar maxConnectionDuration: After which a connection takes no further request; 0 for never.
    @ivar maxStreamDuration: How long one try of a request may take; 0 for any time.
    @ivar maxRequestsPerConnection: 0 for any number.
    @ivar keepalive: C{connection_keepalive} of HTTP/2, or L{None}.
    """

    connectTimeout: float = 5.0
    bufferLimit: int = 1 << 20
    idleTimeout: float = 3600.0
    maxConnectionDuration: float = 0.0
    maxStreamDuration: float = 0.0
    maxRequestsPerConnection: int = 0
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    http2: Http2Options = field(default_factory=lambda: Http2Options(maxHeadBytes=60 * 1024))
    keepalive: KeepaliveSettings | None = None
    socketOptions: SocketOptions = field(default_factory=SocketOptions)
    http1: Http1Options = field(default_factory=lambda: Http1Options(maxHeadBytes=80 * 1024))


def httpOptions(section: Section) -> Section | None:
    """
    The C{HttpProtocolOptions} of a C{Cluster} message.
    """
    options: Section | None = section.entries("typed_extension_protocol_options").get(_HTTP_OPTIONS)
    return None if options is None else options.unpack()


def compileSettings(section: Section) -> ClusterSettings:
    """
    Read them from a C{Cluster} message.
    """
    common = section.child("common_http_protocol_options")
    http1 = section.childOrEmpty("http_protocol_options")
    # The cluster's own fields are the older way to say it.
    protocol = UpstreamProtocol.HTTP2 if section.has("http2_protocol_options") else UpstreamProtocol.HTTP1
    http2 = section.childOrEmpty("http2_protocol_options")
    if section.get("protocol_selection") == "USE_DOWNSTREAM_PROTOCOL":
        protocol = UpstreamProtocol.DOWNSTREAM
    options = httpOptions(section)
    if options is not None:
        common = options.child("common_http_protocol_options") or common
        explicit = options.child("explicit_http_config")
        if explicit is not None:
            http1 = explicit.child("http_protocol_options") or http1
            if explicit.has("http2_protocol_options"):
                protocol, http2 = UpstreamProtocol.HTTP2, explicit.childOrEmpty("http2_protocol_options")
        for name, kind in _CHOSEN.items():
            chosen = options.child(name)
            if chosen is not None:
                protocol = kind
                http1 = chosen.child("http_protocol_options") or http1
                http2 = chosen.childOrEmpty("http2_protocol_options")
    perConnection = section.wrapped("max_requests_per_connection", 0)
    idle: float | None = 3600.0
    duration: float | None = 0.0
    streamDuration: float | None = 0.0
    headers = 100
    headKb = 80  # Envoy's default for HTTP/1 upstreams
    http2HeadKb = 60
    if common is not None:
        idle = common.seconds("idle_timeout", 3600.0)
        duration = common.seconds("max_connection_duration", 0.0)
        if common.has("max_connection_duration_jitter"):
            # Envoy takes it and does nothing: it is for the clients of a listener.
            common.warn("without effect upstream, as in Envoy", "max_connection_duration_jitter")
        streamDuration = common.seconds("max_stream_duration", 0.0)
        perConnection = common.wrapped("max_requests_per_connection", perConnection)
        headers = common.wrapped("max_headers_count", 100)
        headKb = common.wrapped("max_response_headers_kb", 80)
        http2HeadKb = common.wrapped("max_response_headers_kb", 60)
    return ClusterSettings(
        connectTimeout=section.seconds("connect_timeout", 5.0) or 5.0,
        bufferLimit=section.wrapped("per_connection_buffer_limit_bytes", 1 << 20) or 1 << 20,
        idleTimeout=idle or 0.0,
        maxConnectionDuration=duration or 0.0,
        maxStreamDuration=streamDuration or 0.0,
        maxRequestsPerConnection=perConnection,
        protocol=protocol,
        http2=compileHttp2Options(
            http2, (http2HeadKb or 60) * 1024, headers, section.wrapped("per_connection_buffer_limit_bytes", 1 << 20)
        ),
        keepalive=compileKeepalive(http2),
        socketOptions=SocketOptions(None, _keepalive(section), _binds(section)),
        http1=withKeyFormat(
            Http1Options(
                maxHeaderCount=headers,
                maxHeadBytes=headKb * 1024,
                enableTrailers=http1.get("enable_trailers"),
                allowChunkedLength=http1.get("allow_chunked_length"),
                sendFullyQualifiedURL=http1.get("send_fully_qualified_url"),
            ),
            http1,
        ),
    )


_PRESERVE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"


def withKeyFormat(made: Http1Options, options: Section) -> Http1Options:
    """
    Options of a codec with what C{header_key_format} of C{Http1ProtocolOptions} says besides.
    """
    section = options.childOrEmpty("header_key_format")
    extension = section.child("stateful_formatter")
    if extension is None:
        return replace(made, properCase=True) if section.has("proper_case_words") else made
    config = extension.any("typed_config")
    if config is None or config.typeName != _PRESERVE:
        if config is not None:
            extension.refuse(f"{config.typeName} writes no names here", "typed_config", (_PRESERVE,))
        return made
    return replace(
        made,
        preservesCase=True,
        forwardsReason=config.get("forward_reason_phrase"),
        properCase=config.get("formatter_type_on_envoy_headers") == "PROPER_CASE",
    )


def _binds(section: Section) -> list[Bind]:
    """
    C{upstream_bind_config}: where connections come from.
    """
    config = section.child("upstream_bind_config")
    if config is None:
        return []
    common = config.children("socket_options")
    freebind: bool = config.wrapped("freebind", False)
    source = config.child("source_address")
    binds = [Bind(_sourceAddress(source), compileListenOptions(common, freebind))]
    for extra in config.children("extra_source_addresses"):
        own = extra.child("socket_options")
        options = common if own is None else own.children("socket_options")
        binds.append(Bind(_sourceAddress(extra.child("address")), compileListenOptions(options, freebind)))
    older = config.children("additional_source_addresses")
    if older and len(binds) > 1:
        config.refuse("can't specify both extra_source_addresses and additional_source_addresses")
    binds += [Bind(_sourceAddress(each), compileListenOptions(common, freebind)) for each in older]
    if len(binds) > 2:
        config.refuse("there may be one more source address, for the other version of IP")
    elif len(binds) == 2:
        first, second = (bind.address for bind in binds)
        if first is None:
            config.refuse("there is no source_address that the other one would add to", "source_address")
        elif second is not None and first.family == second.family:
            config.refuse("the other source address must be of the other version of IP")
    return binds


def _sourceAddress(source: Section | None) -> Address | None:
    if source is None:
        return None
    host: str = source.get("address")
    if packAddress(host) is None:
        source.refuse(f"{host!r} is not an IP address", "address")
        return None
    return Address(host, source.get("port_value"))


def _keepalive(section: Section) -> tuple[int, int, int] | None:
    options = section.child("upstream_connection_options")
    keepalive = None if options is None else options.child("tcp_keepalive")
    if keepalive is None:
        return None
    names = ("keepalive_probes", "keepalive_time", "keepalive_interval")
    probes, idle, interval = (keepalive.wrapped(name, 0) for name in names)
    return (probes, idle, interval)
