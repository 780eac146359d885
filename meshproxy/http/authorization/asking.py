# -*- test-case-name: tests.filters.http.test_ext_authz -*-
"""
How an authorization service is asked, compiled: what the filter C{ext_authz} makes of its configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

from meshproxy.config import Section
from meshproxy.config.matchers import BytesTest, compileListStringMatcher
from meshproxy.config.valuematchers import MetadataTest, compileMetadataMatcher
from meshproxy.http.authorization.checks import CheckPlan, compileCheck
from meshproxy.http.authorization.mutationrules import MutationRules, compileMutationRules
from meshproxy.http.filter import FilterContext
from meshproxy.routing.values import Value, compileValue
from meshproxy.runtime import always
from meshproxy.stats.store import Scope

__all__ = [
    "DENIED",
    "ERROR",
    "FAILURE_ALLOWED",
    "OK",
    "AuthorizationPlan",
    "BodyPlan",
    "Counters",
    "RouteSays",
    "compileAuthorization",
    "compileBody",
]

# What is sent to the service whatever is configured, besides method, path and host.
_ALWAYS_SENT = frozenset((b"authorization",))
# What a denied client is told besides the fields that are configured.
_ALWAYS_TOLD = frozenset((b"content-length", b"www-authenticate", b"location"))
# Where the configuration sets no limit, this is one: nobody waits for ever.
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """
    A compiled C{BufferSettings}.

    @ivar partial: Whether the beginning of a longer body is enough.
    """

    limit: int
    partial: bool


class Counters:
    """
    What is counted, of the filter and of the cluster that a request was for.
    """

    __slots__ = ("denied", "disabled", "error", "failureModeAllowed", "ok")

    def __init__(self, scope: Scope) -> None:
        self.ok = scope.counter("ok")
        self.denied = scope.counter("denied")
        self.error = scope.counter("error")
        self.disabled = scope.counter("disabled")
        self.failureModeAllowed = scope.counter("failure_mode_allowed")


OK, DENIED, ERROR, FAILURE_ALLOWED = map(attrgetter, ("ok", "denied", "error", "failureModeAllowed"))


@dataclass(frozen=True, slots=True)
class AuthorizationPlan:
    """
    A compiled C{ExtAuthz}.

    @ivar path: What stands for the path of the request, if anything; else C{prefix} stands before that.
    @ivar sends: Whether a field of the request is sent to the service.
    @ivar added: More fields for it.
    @ivar sets: Which fields of its answer are set in the request; C{appends} likewise are added.
    @ivar told: Which fields a denied client is told, and C{toldOnSuccess} one that passes.
    @ivar noted: Which fields are noted in the dynamic metadata.
    @ivar charges: Whether the cluster of a request that is denied counts the answer as a response of its own.
    @ivar rules: What an answer may change in the request.
    @ivar check: How it is asked over gRPC; L{None} over HTTP.
    """

    cluster: str
    timeout: float
    prefix: bytes
    path: bytes
    sends: BytesTest
    added: tuple[tuple[bytes, Value], ...]
    sets: BytesTest
    appends: BytesTest
    told: BytesTest
    toldOnSuccess: BytesTest
    noted: BytesTest
    body: BodyPlan | None
    isEnabled: Callable[[], bool]
    isWanted: MetadataTest | None
    deniesDisabled: Callable[[], bool]
    allowsFailures: bool
    marksFailures: bool
    statusOnError: int
    clearsRoute: bool
    mostDenied: int
    counters: Counters
    charges: bool
    rules: MutationRules
    check: CheckPlan | None = None


@dataclass(frozen=True, slots=True)
class RouteSays:
    """
    A compiled C{ExtAuthzPerRoute}.

    @ivar body: What of the body is sent, in place of what the filter says; L{None} to leave that.
    @ivar sendsNoBody: Whether none is.
    @ivar extensions: What is told besides, over gRPC.
    """

    isDisabled: bool = False
    body: BodyPlan | None = None
    sendsNoBody: bool = False
    extensions: Mapping[str, str] = field(default_factory=dict)


# Compiling


def _never(name: bytes) -> bool:
    return False


def _matcher(section: Section | None) -> BytesTest:
    return _never if section is None else compileListStringMatcher(section)


def compileBody(section: Section | None) -> BodyPlan | None:
    """
    How much of a body is sent.
    """
    if section is None:
        return None
    return BodyPlan(section.get("max_request_bytes"), section.get("allow_partial_message"))


def _sends(section: Section, request: Section) -> BytesTest:
    if section.has("allowed_headers") and request.has("allowed_headers"):
        section.refuse("allowed_headers are to be set here or in authorization_request, not both", "allowed_headers")
    allowed = _matcher(section.child("allowed_headers") or request.child("allowed_headers"))
    disallowed = _matcher(section.child("disallowed_headers"))
    return lambda name: (name in _ALWAYS_SENT or allowed(name)) and not disallowed(name)


def _told(response: Section) -> BytesTest:
    held = response.child("allowed_client_headers")
    if held is None or not held.has("patterns"):
        # As in Envoy: all but the host.
        return lambda name: name != b"host"
    allowed = compileListStringMatcher(held)
    return lambda name: name in _ALWAYS_TOLD or allowed(name)


#: What is for gRPC alone.
_OF_GRPC = (
    "encode_raw_headers",
    "include_peer_certificate",
    "include_tls_session",
    "metadata_context_namespaces",
    "route_metadata_context_namespaces",
)


def _sendsByGRPC(section: Section) -> Callable[[bytes], bool]:
    """
    Which fields a service is told over gRPC: all, unless some are named.
    """
    held = section.child("allowed_headers")
    allowed = None if held is None else compileListStringMatcher(held)
    disallowed = _matcher(section.child("disallowed_headers"))
    return lambda name: (allowed is None or allowed(name)) and not disallowed(name)


def compileAuthorization(section: Section, context: FilterContext) -> AuthorizationPlan:
    """
    What the filter needs to know.
    """
    called = section.child("grpc_service")
    if called is None:
        if section.child("http_service") is None:
            # To leave it out would let everybody in.
            section.refuse("an http_service or a grpc_service is needed")
        for name in _OF_GRPC:
            if section.has(name):
                section.refuse("is for a grpc_service", name)
    plan = _compile(section, context)
    if called is None:
        return plan
    cluster, check = compileCheck(section, called, _sendsByGRPC(section))
    return replace(plan, cluster=cluster, timeout=check.timeout or _LONGEST_WAIT, check=check)


def _compile(section: Section, context: FilterContext) -> AuthorizationPlan:
    service = section.childOrEmpty("http_service")
    uri = service.childOrEmpty("server_uri")
    request, response = service.childOrEmpty("authorization_request"), service.childOrEmpty("authorization_response")
    prefix: str = service.get("path_prefix")
    if prefix and not prefix.startswith("/"):
        service.refuse("a path begins with a slash", "path_prefix")
    override: str = service.get("path_override")
    if override and not override.startswith("/"):
        service.refuse("a path begins with a slash", "path_override")
    if override and prefix:
        service.refuse("only one of path_prefix and path_override may be set", "path_override")
    statPrefix: str = section.get("stat_prefix")
    scope = context.scope.scope(f"ext_authz.{statPrefix}." if statPrefix else "ext_authz.")
    wanted = section.child("filter_enabled_metadata")
    status = section.child("status_on_error")
    return AuthorizationPlan(
        cluster=uri.get("cluster"),
        timeout=uri.seconds("timeout", 0.0) or _LONGEST_WAIT,
        prefix=prefix.encode("utf-8"),
        path=override.encode("utf-8"),
        sends=_sends(section, request),
        added=tuple(
            (held.get("key").lower().encode("utf-8"), compileValue(held, "value", omitEmpty=True))
            for held in request.children("headers_to_add")
        ),
        sets=_matcher(response.child("allowed_upstream_headers")),
        appends=_matcher(response.child("allowed_upstream_headers_to_append")),
        told=_told(response),
        toldOnSuccess=_matcher(response.child("allowed_client_headers_on_success")),
        noted=_matcher(response.child("dynamic_metadata_from_headers")),
        body=compileBody(section.child("with_request_body")),
        isEnabled=context.runtime.fraction(section.child("filter_enabled"), always),
        isWanted=None if wanted is None else compileMetadataMatcher(wanted),
        deniesDisabled=context.runtime.featureFlag(section.child("deny_at_disable")),
        allowsFailures=section.get("failure_mode_allow"),
        marksFailures=section.get("failure_mode_allow_header_add"),
        statusOnError=403 if status is None else status.message.code or 403,
        clearsRoute=section.get("clear_route_cache"),
        mostDenied=section.get("max_denied_response_body_bytes"),
        counters=Counters(scope),
        charges=section.wrapped("charge_cluster_response_stats", True),
        rules=compileMutationRules(section.child("decoder_header_mutation_rules")),
    )
