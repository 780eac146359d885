"""
The network filters and listener filters that come with this program.
"""

from meshproxy.plugins.descriptor import FilterPlugin

_LISTENER = "envoy.extensions.filters.listener."
_NETWORK = "envoy.extensions.filters.network."

tlsInspector = FilterPlugin(
    "envoy.filters.listener.tls_inspector",
    "listener",
    "meshproxy.filters.listener.tls_inspector:TLSInspector",
    (_LISTENER + "tls_inspector.v3.TlsInspector",),
)

proxyProtocol = FilterPlugin(
    "envoy.filters.listener.proxy_protocol",
    "listener",
    "meshproxy.filters.listener.proxy_protocol:ProxyProtocol",
    (_LISTENER + "proxy_protocol.v3.ProxyProtocol",),
)

listenerLocalRateLimit = FilterPlugin(
    "envoy.filters.listener.local_ratelimit",
    "listener",
    "meshproxy.filters.listener.local_ratelimit:LocalRateLimit",
    (_LISTENER + "local_ratelimit.v3.LocalRateLimit",),
)

httpInspector = FilterPlugin(
    "envoy.filters.listener.http_inspector",
    "listener",
    "meshproxy.filters.listener.http_inspector:HTTPInspector",
    (_LISTENER + "http_inspector.v3.HttpInspector",),
)

echo = FilterPlugin(
    "envoy.filters.network.echo", "network", "meshproxy.filters.network.echo:Echo", (_NETWORK + "echo.v3.Echo",)
)

directResponse = FilterPlugin(
    "envoy.filters.network.direct_response",
    "network",
    "meshproxy.filters.network.direct_response:DirectResponse",
    (_NETWORK + "direct_response.v3.Config",),
)

connectionLimit = FilterPlugin(
    "envoy.filters.network.connection_limit",
    "network",
    "meshproxy.filters.network.connection_limit:ConnectionLimit",
    (_NETWORK + "connection_limit.v3.ConnectionLimit",),
)

networkLocalRateLimit = FilterPlugin(
    "envoy.filters.network.local_ratelimit",
    "network",
    "meshproxy.filters.network.local_ratelimit:LocalRateLimit",
    (_NETWORK + "local_ratelimit.v3.LocalRateLimit",),
)

networkRBAC = FilterPlugin(
    "envoy.filters.network.rbac", "network", "meshproxy.filters.network.rbac:RBAC", (_NETWORK + "rbac.v3.RBAC",)
)

sniCluster = FilterPlugin(
    "envoy.filters.network.sni_cluster",
    "network",
    "meshproxy.filters.network.sni_cluster:SNICluster",
    (_NETWORK + "sni_cluster.v3.SniCluster",),
)

tcpProxy = FilterPlugin(
    "envoy.filters.network.tcp_proxy",
    "network",
    "meshproxy.filters.network.tcp_proxy:TCPProxyFilter",
    (_NETWORK + "tcp_proxy.v3.TcpProxy",),
)

httpConnectionManager = FilterPlugin(
    "envoy.filters.network.http_connection_manager",
    "network",
    "meshproxy.filters.network.http_connection_manager:HTTPConnectionManager",
    (_NETWORK + "http_connection_manager.v3.HttpConnectionManager",),
)
