"""
The network filters and listener filters that come with this program.
"""

from meshproxy.plugins.descriptor import builtIn

tlsInspector = builtIn("listener", "tls_inspector", "TLSInspector", "TlsInspector")
proxyProtocol = builtIn("listener", "proxy_protocol", "ProxyProtocol", "ProxyProtocol")
listenerLocalRateLimit = builtIn("listener", "local_ratelimit", "LocalRateLimit", "LocalRateLimit")
originalDst = builtIn("listener", "original_dst", "OriginalDst", "OriginalDst")
originalSrc = builtIn("listener", "original_src", "OriginalSrc", "OriginalSrc")
httpInspector = builtIn("listener", "http_inspector", "HTTPInspector", "HttpInspector")
echo = builtIn("network", "echo", "Echo", "Echo")
directResponse = builtIn("network", "direct_response", "DirectResponse", "Config")
connectionLimit = builtIn("network", "connection_limit", "ConnectionLimit", "ConnectionLimit")
networkLocalRateLimit = builtIn("network", "local_ratelimit", "LocalRateLimit", "LocalRateLimit")
networkRBAC = builtIn("network", "rbac", "RBAC", "RBAC")
setFilterState = builtIn("network", "set_filter_state", "SetFilterState", "Config")
sniCluster = builtIn("network", "sni_cluster", "SNICluster", "SniCluster")
sniDynamicForwardProxy = builtIn("network", "sni_dynamic_forward_proxy", "SNIDynamicForwardProxy", "FilterConfig")
tcpProxy = builtIn("network", "tcp_proxy", "TCPProxyFilter", "TcpProxy")
httpConnectionManager = builtIn("network", "http_connection_manager", "HTTPConnectionManager", "HttpConnectionManager")
