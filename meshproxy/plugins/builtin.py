"""
The HTTP filters that come with this program.
"""

from meshproxy.plugins.descriptor import FilterPlugin

_HTTP = "envoy.extensions.filters.http."

headerMutation = FilterPlugin(
    "envoy.filters.http.header_mutation",
    "http",
    "meshproxy.filters.http.header_mutation:HeaderMutation",
    (_HTTP + "header_mutation.v3.HeaderMutation",),
    (_HTTP + "header_mutation.v3.HeaderMutationPerRoute",),
)

basicAuth = FilterPlugin(
    "envoy.filters.http.basic_auth",
    "http",
    "meshproxy.filters.http.basic_auth:BasicAuth",
    (_HTTP + "basic_auth.v3.BasicAuth",),
    (_HTTP + "basic_auth.v3.BasicAuthPerRoute",),
)

buffer = FilterPlugin(
    "envoy.filters.http.buffer",
    "http",
    "meshproxy.filters.http.buffer:Buffer",
    (_HTTP + "buffer.v3.Buffer",),
    (_HTTP + "buffer.v3.BufferPerRoute",),
)

compressor = FilterPlugin(
    "envoy.filters.http.compressor",
    "http",
    "meshproxy.filters.http.compressor:Compressor",
    (_HTTP + "compressor.v3.Compressor",),
    (_HTTP + "compressor.v3.CompressorPerRoute",),
)

cors = FilterPlugin(
    "envoy.filters.http.cors",
    "http",
    "meshproxy.filters.http.cors:CORS",
    (_HTTP + "cors.v3.Cors",),
    (_HTTP + "cors.v3.CorsPolicy",),
)

csrf = FilterPlugin(
    "envoy.filters.http.csrf", "http", "meshproxy.filters.http.csrf:CSRF", (_HTTP + "csrf.v3.CsrfPolicy",)
)

customResponse = FilterPlugin(
    "envoy.filters.http.custom_response",
    "http",
    "meshproxy.filters.http.custom_response:CustomResponse",
    (_HTTP + "custom_response.v3.CustomResponse",),
)

decompressor = FilterPlugin(
    "envoy.filters.http.decompressor",
    "http",
    "meshproxy.filters.http.decompressor:Decompressor",
    (_HTTP + "decompressor.v3.Decompressor",),
)

extAuthz = FilterPlugin(
    "envoy.filters.http.ext_authz",
    "http",
    "meshproxy.filters.http.ext_authz:ExtAuthz",
    (_HTTP + "ext_authz.v3.ExtAuthz",),
    (_HTTP + "ext_authz.v3.ExtAuthzPerRoute",),
)

fault = FilterPlugin(
    "envoy.filters.http.fault", "http", "meshproxy.filters.http.fault:Fault", (_HTTP + "fault.v3.HTTPFault",)
)

grpcStats = FilterPlugin(
    "envoy.filters.http.grpc_stats",
    "http",
    "meshproxy.filters.http.grpc_stats:GRPCStatsFilter",
    (_HTTP + "grpc_stats.v3.FilterConfig",),
)

grpcWeb = FilterPlugin(
    "envoy.filters.http.grpc_web", "http", "meshproxy.filters.http.grpc_web:GRPCWeb", (_HTTP + "grpc_web.v3.GrpcWeb",)
)

headerToMetadata = FilterPlugin(
    "envoy.filters.http.header_to_metadata",
    "http",
    "meshproxy.filters.http.header_to_metadata:HeaderToMetadata",
    (_HTTP + "header_to_metadata.v3.Config",),
)

healthCheck = FilterPlugin(
    "envoy.filters.http.health_check",
    "http",
    "meshproxy.filters.http.health_check:HealthCheck",
    (_HTTP + "health_check.v3.HealthCheck",),
)

rbac = FilterPlugin(
    "envoy.filters.http.rbac",
    "http",
    "meshproxy.filters.http.rbac:RBAC",
    (_HTTP + "rbac.v3.RBAC",),
    (_HTTP + "rbac.v3.RBACPerRoute",),
)

jwtAuthn = FilterPlugin(
    "envoy.filters.http.jwt_authn",
    "http",
    "meshproxy.filters.http.jwt_authn:JWTAuthn",
    (_HTTP + "jwt_authn.v3.JwtAuthentication",),
    (_HTTP + "jwt_authn.v3.PerRouteConfig",),
)

localRateLimit = FilterPlugin(
    "envoy.filters.http.local_ratelimit",
    "http",
    "meshproxy.filters.http.local_ratelimit:LocalRateLimit",
    (_HTTP + "local_ratelimit.v3.LocalRateLimit",),
)

router = FilterPlugin(
    "envoy.filters.http.router", "http", "meshproxy.filters.http.router:Router", (_HTTP + "router.v3.Router",)
)

setMetadata = FilterPlugin(
    "envoy.filters.http.set_metadata",
    "http",
    "meshproxy.filters.http.set_metadata:SetMetadata",
    (_HTTP + "set_metadata.v3.Config",),
)
