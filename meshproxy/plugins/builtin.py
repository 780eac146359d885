"""
The HTTP filters that come with this program, and what chooses clusters for routes.
"""

from meshproxy.plugins.descriptor import FilterPlugin, builtIn

headerMutation = builtIn("http", "header_mutation", "HeaderMutation", "HeaderMutation", "HeaderMutationPerRoute")
basicAuth = builtIn("http", "basic_auth", "BasicAuth", "BasicAuth", "BasicAuthPerRoute")
buffer = builtIn("http", "buffer", "Buffer", "Buffer", "BufferPerRoute")
compressor = builtIn("http", "compressor", "Compressor", "Compressor", "CompressorPerRoute")
cors = builtIn("http", "cors", "CORS", "Cors", "CorsPolicy")
csrf = builtIn("http", "csrf", "CSRF", "CsrfPolicy")
customResponse = builtIn("http", "custom_response", "CustomResponse", "CustomResponse")
decompressor = builtIn("http", "decompressor", "Decompressor", "Decompressor")
dynamicForwardProxy = builtIn("http", "dynamic_forward_proxy", "DynamicForwardProxy", "FilterConfig", "PerRouteConfig")
extAuthz = builtIn("http", "ext_authz", "ExtAuthz", "ExtAuthz", "ExtAuthzPerRoute")
fault = builtIn("http", "fault", "Fault", "HTTPFault")
grpcHTTP1Bridge = builtIn("http", "grpc_http1_bridge", "GRPCHTTP1Bridge", "Config")
grpcStats = builtIn("http", "grpc_stats", "GRPCStatsFilter", "FilterConfig")
grpcWeb = builtIn("http", "grpc_web", "GRPCWeb", "GrpcWeb")
headerToMetadata = builtIn("http", "header_to_metadata", "HeaderToMetadata", "Config")
healthCheck = builtIn("http", "health_check", "HealthCheck", "HealthCheck")
onDemand = builtIn("http", "on_demand", "OnDemand", "OnDemand", "PerRouteConfig")
rbac = builtIn("http", "rbac", "RBAC", "RBAC", "RBACPerRoute")
jwtAuthn = builtIn("http", "jwt_authn", "JWTAuthn", "JwtAuthentication", "PerRouteConfig")
localRateLimit = builtIn("http", "local_ratelimit", "LocalRateLimit", "LocalRateLimit")
router = builtIn("http", "router", "Router", "Router")
setMetadata = builtIn("http", "set_metadata", "SetMetadata", "Config")
matcherClusterSpecifier = FilterPlugin(
    "envoy.router.cluster_specifier_plugin.matcher",
    "cluster_specifier",
    "meshproxy.filters.cluster_specifier.matcher:MatcherClusterSpecifier",
    ("envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier",),
)
upstreamCodec = builtIn("http", "upstream_codec", "UpstreamCodec", "UpstreamCodec")
