# -*- test-case-name: tests.http.test_config -*-
"""
What a connection manager's configuration says, field by field
(C{envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager}).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshproxy.accesslog.filters import RuntimeInteger, configuredInteger
from meshproxy.codec.http1 import Http1Options, UnderscoreAction
from meshproxy.codec.http2 import Http2Options
from meshproxy.config import Section
from meshproxy.config.cidr import cidrSetOf, compileCidrSet, packAddress
from meshproxy.config.matchers import compileStringMatcher
from meshproxy.headers import RequestHeaders
from meshproxy.http.clientcert import compileClientCert
from meshproxy.http.originalip import compileDetection
from meshproxy.http.proxystatus import TellStatus, compileProxyStatus
from meshproxy.http.replymapping import RewriteReply, compileReplyRewriter
from meshproxy.http.requestheaders import ForwardingSettings
from meshproxy.http.requestids import checkRequestIds
from meshproxy.routing.mutations import Mutation, chain, compileHeaderMutations
from meshproxy.routing.path import EscapedSlashes, NormalizedPath, compilePathNormalization
from meshproxy.upstream.http2options import KeepaliveSettings, compileHttp2Options, compileKeepalive
from meshproxy.upstream.settings import withKeyFormat

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo

__all__ = ["ManagerSettings", "compileManagerSettings"]

# As in Envoy, where C{internal_address_config} names no ranges: the addresses of RFC 1918, those of RFC 4193 that may
# be assigned, and the local ones.
_PRIVATE = cidrSetOf("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32", "fd00::/8", "::1/128")


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """
    Times are seconds, 0 for never.

    @ivar keepalive: C{connection_keepalive} of HTTP/2, or L{None}.
    @ivar maxConnectionDurationJitter: By how much of itself C{maxConnectionDuration} may be longer, at random.
    @ivar drainTimeoutJitter: Likewise of C{drainTimeout}.
    @ivar streamFlushTimeout: L{None} for as long as a stream may be idle.
    @ivar safeMaxDuration: C{http1_safe_max_connection_duration}.
    @ivar logTunnels: C{flush_log_on_tunnel_successfully_established}.
    @ivar recordsResolutions: C{record_route_resolution_stats}.
    @ivar showsResolutions: Whether an access log, or something else that is configured here, shows the same.
    @ivar matchesUpstream: C{match_upstream}: whether a request gets the scheme of the cluster's transport.
    @ivar upgrades: Upgrade type in lower case to whether it is allowed.
    @ivar normalizePath: What path normalization does, or L{None} for nothing.
    @ivar stripAuthority: Takes from the authority what C{strip_*} fields say, or L{None}.
    @ivar mutateEarly: The C{early_header_mutation_extensions}, or L{None}.
    @ivar rewriteReply: C{local_reply_config}, or L{None}.
    @ivar proxyStatus: C{proxy_status_config}, or L{None}.
    @ivar flushLogOnNewRequest: C{flush_access_log_on_new_request}.
    @ivar logInterval: C{access_log_flush_interval}.
    """

    statPrefix: str = ""
    serverName: bytes = b"envoy"
    serverHeader: str = "OVERWRITE"
    via: bytes = b""
    codecType: str = "AUTO"
    http1: Http1Options = field(default_factory=Http1Options)
    http2: Http2Options = field(default_factory=Http2Options)
    keepalive: KeepaliveSettings | None = None
    forwarding: ForwardingSettings = field(default_factory=ForwardingSettings)
    bufferLimit: int = 1 << 20
    idleTimeout: float = 3600.0
    maxConnectionDuration: float = 0.0
    maxConnectionDurationJitter: float = 0.0
    safeMaxDuration: bool = False
    maxRequestsPerConnection: int = 0
    maxStreamDuration: float = 0.0
    streamIdleTimeout: float = 300.0
    streamFlushTimeout: float | None = None
    requestTimeout: float = 0.0
    requestHeadersTimeout: float = 0.0
    drainTimeout: float = 5.0
    drainTimeoutJitter: float = 0.0
    delayedCloseTimeout: float = 1.0
    alwaysSetRequestId: bool = False
    proxy100Continue: bool = False
    streamErrorOnInvalid: bool = False
    matchesUpstream: bool = False
    upgrades: Mapping[bytes, bool] = field(default_factory=dict)
    normalizePath: Callable[[bytes], NormalizedPath] | None = None
    stripAuthority: Callable[[RequestHeaders, ConnectionInfo], None] | None = None
    mutateEarly: Mutation | None = None
    rewriteReply: RewriteReply | None = None
    proxyStatus: TellStatus | None = None
    flushLogOnNewRequest: bool = False
    logTunnels: bool = False
    recordsResolutions: bool = False
    showsResolutions: bool = False
    logInterval: float = 0.0


def compileManagerSettings(
    section: Section, bufferLimit: int, nodeId: str, nodeCluster: str, runtime: RuntimeInteger = configuredInteger
) -> ManagerSettings:
    """
    Read them from an C{HttpConnectionManager} message.

    @param bufferLimit: The listener's.
    @param nodeId: C{node.id}, and C{nodeCluster} C{node.cluster}, for C{add_user_agent}.
    @param runtime: For the filters of C{local_reply_config}.
    """
    common = section.childOrEmpty("common_http_protocol_options")
    # The connection manager's own fields are the older way to say the same.
    logEarly = section.get("flush_access_log_on_new_request")
    logInterval = section.seconds("access_log_flush_interval", 0.0)
    via = section.get("via").encode("utf-8")
    requestIds = section.child("request_id_extension")
    if requestIds is not None:
        checkRequestIds(requestIds)
    log = section.childOrEmpty("access_log_options")
    return ManagerSettings(
        statPrefix=section.get("stat_prefix"),
        serverName=(section.get("server_name") or "envoy").encode("utf-8"),
        serverHeader=section.get("server_header_transformation"),
        via=via,
        codecType=section.get("codec_type"),
        http1=_http1Options(section, common),
        http2=_http2Options(section, common, bufferLimit),
        keepalive=compileKeepalive(section.childOrEmpty("http2_protocol_options")),
        forwarding=_forwarding(section, via, nodeId, nodeCluster),
        bufferLimit=bufferLimit,
        idleTimeout=common.seconds("idle_timeout", 3600.0),
        maxConnectionDuration=common.seconds("max_connection_duration", 0.0),
        maxConnectionDurationJitter=common.childOrEmpty("max_connection_duration_jitter").get("value") / 100,
        safeMaxDuration=section.get("http1_safe_max_connection_duration"),
        maxRequestsPerConnection=common.wrapped("max_requests_per_connection", 0),
        maxStreamDuration=common.seconds("max_stream_duration", 0.0),
        streamIdleTimeout=section.seconds("stream_idle_timeout", 300.0),
        streamFlushTimeout=section.seconds("stream_flush_timeout"),
        requestTimeout=section.seconds("request_timeout", 0.0),
        requestHeadersTimeout=section.seconds("request_headers_timeout", 0.0),
        drainTimeout=section.seconds("drain_timeout", 5.0),
        drainTimeoutJitter=section.childOrEmpty("drain_timeout_jitter").get("value") / 100,
        delayedCloseTimeout=section.seconds("delayed_close_timeout", 1.0),
        alwaysSetRequestId=section.get("always_set_request_id_in_response"),
        proxy100Continue=section.get("proxy_100_continue"),
        streamErrorOnInvalid=_streamErrors(section),
        matchesUpstream=_matchesUpstream(section.childOrEmpty("scheme_header_transformation")),
        upgrades=_upgrades(section),
        normalizePath=compilePathNormalization(
            section.wrapped("normalize_path", False),
            section.get("merge_slashes"),
            _escapedSlashes(section.get("path_with_escaped_slashes_action")),
        ),
        stripAuthority=_stripAuthority(section),
        mutateEarly=_earlyMutations(section),
        rewriteReply=compileReplyRewriter(section.child("local_reply_config"), runtime),
        proxyStatus=compileProxyStatus(
            section.child("proxy_status_config"), section.get("server_name") or "envoy", nodeId
        ),
        flushLogOnNewRequest=log.get("flush_access_log_on_new_request") or logEarly,
        logTunnels=log.get("flush_log_on_tunnel_successfully_established"),
        recordsResolutions=section.get("record_route_resolution_stats"),
        showsResolutions=b"ROUTE_RESOLUTION_" in section.message.SerializeToString(),
        logInterval=log.seconds("access_log_flush_interval", logInterval),
    )


def _matchesUpstream(section: Section) -> bool:
    # As in Envoy, the other one wins.
    return bool(section.get("match_upstream") and not section.get("scheme_to_overwrite"))


def _http1Options(section: Section, common: Section) -> Http1Options:
    options = section.childOrEmpty("http_protocol_options")
    underscores = common.get("headers_with_underscores_action")
    made = Http1Options(
        maxHeadBytes=section.wrapped("max_request_headers_kb", 60) * 1024,
        maxHeaderCount=common.wrapped("max_headers_count", 100),
        allowAbsoluteURL=options.wrapped("allow_absolute_url", True),
        acceptHTTP10=options.get("accept_http_10"),
        defaultHost=options.get("default_host_for_http_10").encode("utf-8"),
        enableTrailers=options.get("enable_trailers"),
        allowChunkedLength=options.get("allow_chunked_length"),
        underscores=UnderscoreAction(underscores),
        passesFragments=_streamErrors(section),
        customMethods=options.get("allow_custom_methods"),
        ignoredUpgrades=_ignoredUpgrades(options),
    )
    return withKeyFormat(made, options)


def _http2Options(section: Section, common: Section, bufferLimit: int) -> Http2Options:
    return compileHttp2Options(
        section.childOrEmpty("http2_protocol_options"),
        section.wrapped("max_request_headers_kb", 60) * 1024,
        common.wrapped("max_headers_count", 100),
        bufferLimit,
        UnderscoreAction(common.get("headers_with_underscores_action")),
        section.wrapped("stream_error_on_invalid_http_message", False),
    )


def _ignoredUpgrades(options: Section) -> Callable[[bytes], bool] | None:
    matchers = [compileStringMatcher(child) for child in options.children("ignore_http_11_upgrade")]
    return (lambda offer: any(matches(offer) for matches in matchers)) if matchers else None


def _internalAddresses(section: Section) -> Callable[[str], bool]:
    return compileCidrSet(section.children("cidr_ranges")).containsText if section.has("cidr_ranges") else _isPrivate


def _isPrivate(address: str) -> bool:
    packed = packAddress(address)
    # As in Envoy, an IPv4 address that is mapped into IPv6 is none of them.
    return packed is not None and packed in _PRIVATE and (len(packed) == 16) is (":" in address)


def _forwarding(section: Section, via: bytes, nodeId: str, nodeCluster: str) -> ForwardingSettings:
    internal = section.child("internal_address_config")
    hops = section.get("xff_num_trusted_hops")
    detect = compileDetection(section.children("original_ip_detection_extensions"))
    useRemoteAddress = section.wrapped("use_remote_address", False)
    for name, isSet in (("use_remote_address", useRemoteAddress), ("xff_num_trusted_hops", hops)):
        if detect is not None and isSet:
            section.refuse(f"original_ip_detection_extensions and {name} are not to be set both", name)
    clientCert, setsClientCert = compileClientCert(section)
    return ForwardingSettings(
        useRemoteAddress=useRemoteAddress,
        trustedHops=hops,
        skipXFFAppend=section.get("skip_xff_append"),
        appendXForwardedPort=section.get("append_x_forwarded_port"),
        generateRequestId=section.wrapped("generate_request_id", True),
        preserveExternalRequestId=section.get("preserve_external_request_id"),
        isInternal=None if internal is None else _internalAddresses(internal),
        areUnixSocketsInternal=internal is not None and internal.get("unix_sockets"),
        detect=detect,
        scheme=section.childOrEmpty("scheme_header_transformation").get("scheme_to_overwrite").encode("utf-8"),
        serviceCluster=nodeCluster.encode("utf-8") if section.wrapped("add_user_agent", False) else None,
        serviceNode=nodeId.encode("utf-8"),
        via=via,
        clientCert=clientCert,
        setsClientCert=setsClientCert,
        protoOfPort=_protoOfPort(section.child("forward_proto_config")),
    )


def _protoOfPort(section: Section | None) -> dict[int, bytes]:
    if section is None:
        return {}
    secure = dict.fromkeys(section.scalars("https_destination_ports"), b"https")
    return {**dict.fromkeys(section.scalars("http_destination_ports"), b"http"), **secure}


_EARLY_MUTATION = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"


def _earlyMutations(section: Section) -> Mutation | None:
    mutations: list[Mutation | None] = []
    for extension in section.children("early_header_mutation_extensions"):
        config = extension.any("typed_config")
        if config is not None and config.typeName == _EARLY_MUTATION:
            mutations.append(compileHeaderMutations(config.children("mutations")))
        elif config is not None:
            extension.refuse(f"{config.typeName} mutates no headers here", "typed_config", (_EARLY_MUTATION,))
    return chain(mutations)


def _streamErrors(section: Section) -> bool:
    http1 = section.childOrEmpty("http_protocol_options")
    chosen = http1.wrapped("override_stream_error_on_invalid_http_message", None)
    return section.wrapped("stream_error_on_invalid_http_message", False) if chosen is None else chosen


def _upgrades(section: Section) -> dict[bytes, bool]:
    return {
        upgrade.get("upgrade_type").lower().encode("ascii", "replace"): upgrade.wrapped("enabled", True)
        for upgrade in section.children("upgrade_configs")
    }


def _escapedSlashes(name: str) -> EscapedSlashes:
    if name == "IMPLEMENTATION_SPECIFIC_DEFAULT":
        return EscapedSlashes.KEEP_UNCHANGED
    return EscapedSlashes(name)


# A port at the end of an authority; an IPv6 address stands in brackets.
_PORT = re.compile(rb":([0-9]+)\Z")


def _stripAuthority(section: Section) -> Callable[[RequestHeaders, ConnectionInfo], None] | None:
    """
    C{strip_matching_host_port}, C{strip_any_host_port} and C{strip_trailing_host_dot} as one function.
    """
    anyPort = section.get("strip_any_host_port")
    matchingPort = section.get("strip_matching_host_port")
    trailingDot = section.get("strip_trailing_host_dot")
    if not (anyPort or matchingPort or trailingDot):
        return None

    def strip(headers: RequestHeaders, connection: ConnectionInfo) -> None:
        host = headers.authority
        found = _PORT.search(host)
        port = b"" if found is None else found[0]
        if found is not None:
            host = host[: found.start()]
            local = connection.localAddress
            if anyPort or (matchingPort and local is not None and found[1] == b"%d" % (local.port or 0)):
                port = b""
        if trailingDot and host.endswith(b"."):
            host = host[:-1]
        headers.authority = host + port

    return strip
