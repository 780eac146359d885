# -*- test-case-name: tests.filters.http.test_ext_authz -*-
"""
C{envoy.filters.http.ext_authz}: asks an authorization service over HTTP whether a request may pass.

Whatever goes wrong on the way is no permission, unless C{failure_mode_allow} says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from meshproxy.config import Section
from meshproxy.config.matchers import BytesTest, compileListStringMatcher
from meshproxy.config.supported import accept, declare
from meshproxy.config.valuematchers import MetadataTest, compileMetadataMatcher
from meshproxy.errors import MeshProxyError
from meshproxy.flags import ResponseFlag
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.calls import CallResponse
from meshproxy.http.filter import FilterContext, Foreseen, HTTPFilter
from meshproxy.http.metadata import noteMetadata
from meshproxy.interfaces import Stop
from meshproxy.routing.values import Value, compileValue
from meshproxy.runtime import always
from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope

__all__ = ["AuthorizationPlan", "BodyPlan", "Counters", "ExtAuthz", "RouteSays"]

_PACKAGE = "envoy.extensions.filters.http.ext_authz.v3."
_MESSAGE = _PACKAGE + "ExtAuthz"

declare(_MESSAGE, "http_service", "failure_mode_allow", "failure_mode_allow_header_add", "with_request_body")
declare(_MESSAGE, "clear_route_cache", "status_on_error", "filter_enabled", "filter_enabled_metadata")
declare(_MESSAGE, "deny_at_disable", "stat_prefix", "allowed_headers", "disallowed_headers")
declare(_MESSAGE, "max_denied_response_body_bytes")
accept(_MESSAGE, "transport_api_version", "over HTTP there is one version")
accept(_MESSAGE, "validate_mutations", "the codec takes no response whose fields are not valid")
declare(_PACKAGE + "HttpService", "server_uri", "path_prefix", "authorization_request", "authorization_response")
declare(_PACKAGE + "AuthorizationRequest", "allowed_headers", "headers_to_add")
declare(_PACKAGE + "AuthorizationResponse", "allowed_upstream_headers", "allowed_upstream_headers_to_append")
declare(_PACKAGE + "AuthorizationResponse", "allowed_client_headers", "allowed_client_headers_on_success")
declare(_PACKAGE + "AuthorizationResponse", "dynamic_metadata_from_headers")
declare(_PACKAGE + "BufferSettings", "max_request_bytes", "allow_partial_message")
accept(_PACKAGE + "BufferSettings", "pack_as_bytes", "over HTTP a body is bytes")
declare(_PACKAGE + "ExtAuthzPerRoute", "disabled", "check_settings")
declare(_PACKAGE + "CheckSettings", "disable_request_body_buffering", "with_request_body")
accept(_PACKAGE + "CheckSettings", "context_extensions", "over HTTP there is no place for them, in Envoy neither")
declare("envoy.config.core.v3.HttpUri", "uri", "cluster", "timeout")
declare("envoy.type.v3.HttpStatus", "code")

# As in Envoy, whatever the filter is called in its chain.
_NAMESPACE = "envoy.filters.http.ext_authz"
_PARTIAL = b"x-envoy-auth-partial-body"
_REMOVES = b"x-envoy-auth-headers-to-remove"
# What is sent to the service whatever is configured, besides method, path and host.
_ALWAYS_SENT = frozenset((b"authorization",))
# What a denied client is told besides the fields that are configured.
_ALWAYS_TOLD = frozenset((b"content-length", b"www-authenticate", b"location"))
# RFC 9110, 7.6.1: what is between two hops is not told to a third.
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"))
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


_OK, _DENIED, _ERROR, _FAILURE_ALLOWED = map(attrgetter, ("ok", "denied", "error", "failureModeAllowed"))


@dataclass(frozen=True, slots=True)
class AuthorizationPlan:
    """
    A compiled C{ExtAuthz}.

    @ivar sends: Whether a field of the request is sent to the service.
    @ivar added: More fields for it.
    @ivar sets: Which fields of its answer are set in the request; C{appends} likewise are added.
    @ivar told: Which fields a denied client is told, and C{toldOnSuccess} one that passes.
    @ivar noted: Which fields are noted in the dynamic metadata.
    """

    cluster: str
    timeout: float
    prefix: bytes
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


@dataclass(frozen=True, slots=True)
class RouteSays:
    """
    A compiled C{ExtAuthzPerRoute}.

    @ivar body: What of the body is sent, in place of what the filter says; L{None} to leave that.
    @ivar sendsNoBody: Whether none is.
    """

    isDisabled: bool = False
    body: BodyPlan | None = None
    sendsNoBody: bool = False


class ExtAuthz(HTTPFilter):
    """
    One instance serves all streams; it remembers those whose response is to have more fields.
    """

    shared = True
    configType = _MESSAGE
    routeConfigType = _PACKAGE + "ExtAuthzPerRoute"

    def __init__(self, config: AuthorizationPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        self._told: dict[Any, list[tuple[bytes, bytes]]] = {}
        self._ofClusters: WeakKeyDictionary[Any, Counters] = WeakKeyDictionary()

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> AuthorizationPlan:
        return _compile(section, context)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> RouteSays:
        if section.oneof("override") == "disabled":
            return RouteSays(isDisabled=section.get("disabled"))
        held = section.childOrEmpty("check_settings")
        return RouteSays(
            body=_body(held.child("with_request_body")), sendsNoBody=held.get("disable_request_body_buffering")
        )

    @classmethod
    def foresee(cls, config: AuthorizationPlan | RouteSays, stream: Any, headers: RequestHeaders) -> Foreseen:
        if isinstance(config, RouteSays):
            return Foreseen("nobody is asked on this route" if config.isDisabled else "not judged: somebody is asked")
        if config.isWanted is not None and not config.isWanted(stream.dynamicMetadata):
            return Foreseen("nobody is asked: the metadata that earlier filters note do not want it")
        failing = "it goes on" if config.allowsFailures else f"{config.statusOnError}"
        return Foreseen(f"not judged: {config.cluster} is asked; where that does not answer, {failing}")

    def requestHeaders(
        self, stream: Any, headers: RequestHeaders, endStream: bool
    ) -> Coroutine[Any, Any, Stop | None] | Stop | None:
        plan: AuthorizationPlan = self.config
        said: RouteSays | None = stream.routeConfig(self.context.name)
        if said is not None and said.isDisabled:
            return None
        if not plan.isEnabled() or (plan.isWanted is not None and not plan.isWanted(stream.dynamicMetadata)):
            plan.counters.disabled.value += 1
            return self._reply(stream, plan.statusOnError, "ext_authz_error") if plan.deniesDisabled() else None
        body = plan.body
        if said is not None:
            body = None if said.sendsNoBody else said.body or body
        return self._check(stream, headers, None if endStream or stream.upgrade else body)

    async def _check(self, stream: Any, headers: RequestHeaders, body: BodyPlan | None) -> Stop | None:
        plan: AuthorizationPlan = self.config
        content, isPartial = b"", False
        if body is not None:
            content = await stream.requestBody(body.limit, body.partial)
            isPartial, content = len(content) > body.limit, content[: body.limit]
        try:
            question = self._question(stream, headers)
            if body is not None:
                question.set(_PARTIAL, b"true" if isPartial else b"false")
            answer: CallResponse = await self.context.calls.call(plan.cluster, question, content, plan.timeout)
        except UnicodeDecodeError:
            # CVE-2023-27488: a value that each reads otherwise is no question; no failure mode lets it pass.
            self._count(stream, _ERROR)
            return self._reply(stream, plan.statusOnError, "ext_authz_error")
        except MeshProxyError as error:
            self.context.log.debug("{name} has no answer: {error}", name=self.context.name, error=error)
            return self._failed(stream, headers)
        status = answer.headers.status
        if status >= 500:
            return self._failed(stream, headers)
        removed = answer.headers.values(_REMOVES)
        answer.headers.remove(_REMOVES)
        self._note(stream, answer.headers)
        if status != 200:
            return self._denied(stream, answer)
        self._allowed(stream, headers, answer.headers, removed)
        return None

    # The question

    def _question(self, stream: Any, headers: RequestHeaders) -> RequestHeaders:
        """
        What the service is asked.

        @raise UnicodeDecodeError: If a field is no UTF-8.
        """
        plan: AuthorizationPlan = self.config
        question = RequestHeaders(headers.method, plan.prefix + headers.path, headers.authority)
        question.scheme = headers.scheme
        for name, value in headers.fields():
            if name not in _HOP_BY_HOP and name != b"content-length" and plan.sends(name):
                # All values of a name (CVE-2021-32777).
                question.add(name, value)
        for name, made in plan.added:
            value = made if isinstance(made, bytes) else made(stream)
            if value:
                question.set(name, value)
        for _, value in question.allFields():
            value.decode("utf-8")
        question.set(b"content-length", b"0")
        return question

    # The answer

    def _note(self, stream: Any, headers: ResponseHeaders) -> None:
        noted = {
            name.decode("ascii"): value.decode("utf-8", "surrogateescape")
            for name, value in headers.fields()
            if self.config.noted(name)
        }
        if noted:
            noteMetadata(stream, _NAMESPACE, noted)

    def _allowed(self, stream: Any, headers: RequestHeaders, answered: ResponseHeaders, removed: list[bytes]) -> None:
        plan: AuthorizationPlan = self.config
        self._count(stream, _OK)
        isChanged = False
        for name, value in answered.fields():
            if plan.sets(name):
                headers.set(name, value)
                isChanged = True
        for name, value in answered.fields():
            if plan.appends(name):
                headers.add(name, value)
                isChanged = True
        for name in b",".join(removed).lower().split(b","):
            name = name.strip(b" \t")
            # A head needs its pseudo-header fields and its host.
            if name and name[:1] != b":" and name != b"host":
                headers.remove(name)
                isChanged = True
        told = [(name, value) for name, value in answered.fields() if plan.toldOnSuccess(name)]
        if told:
            self._told[stream] = told
        if isChanged and plan.clearsRoute:
            stream.clearRouteCache()

    def _denied(self, stream: Any, answer: CallResponse) -> Stop:
        plan: AuthorizationPlan = self.config
        self._count(stream, _DENIED)
        body = answer.body[: plan.mostDenied] if plan.mostDenied else answer.body
        told = [
            (name, value)
            for name, value in answer.headers.fields()
            if plan.told(name) and name not in _HOP_BY_HOP and name != b"content-length"
        ]
        return self._reply(stream, answer.headers.status, "ext_authz_denied", body, told)

    def _failed(self, stream: Any, headers: RequestHeaders) -> Stop | None:
        plan: AuthorizationPlan = self.config
        self._count(stream, _ERROR)
        if not plan.allowsFailures:
            return self._reply(stream, plan.statusOnError, "ext_authz_error")
        self._count(stream, _FAILURE_ALLOWED)
        if plan.marksFailures:
            headers.set(b"x-envoy-auth-failure-mode-allowed", b"true")
        return None

    def _reply(
        self,
        stream: Any,
        status: int,
        details: str,
        body: bytes = b"",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> Stop:
        stop: Stop = stream.reply(status, body, headers or (), details, ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE)
        return stop

    def _count(self, stream: Any, of: Callable[[Counters], Counter]) -> None:
        of(self.config.counters).value += 1
        action = None if stream.route is None else stream.route.action
        name = "" if action is None else action.selectCluster(stream.requestHeaders, stream)
        # Only of clusters that exist: a client that names them must not fill the memory.
        cluster = self.context.clusters.byName.get(name)
        if cluster is not None:
            counters = self._ofClusters.get(cluster)
            if counters is None:
                counters = self._ofClusters[cluster] = Counters(cluster.scope.scope("ext_authz."))
            of(counters).value += 1

    # Responses

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> None:
        if self._told:
            for name, value in self._told.get(stream, ()):
                headers.add(name, value)

    def streamEnded(self, stream: Any) -> None:
        if self._told:
            self._told.pop(stream, None)


# Compiling


def _never(name: bytes) -> bool:
    return False


def _matcher(section: Section | None) -> BytesTest:
    return _never if section is None else compileListStringMatcher(section)


def _body(section: Section | None) -> BodyPlan | None:
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


def _compile(section: Section, context: FilterContext) -> AuthorizationPlan:
    if section.child("http_service") is None:
        # To leave it out would let everybody in.
        section.refuse("an http_service is needed; a grpc_service is not implemented by meshproxy")
    service = section.childOrEmpty("http_service")
    uri = service.childOrEmpty("server_uri")
    request, response = service.childOrEmpty("authorization_request"), service.childOrEmpty("authorization_response")
    prefix: str = service.get("path_prefix")
    if prefix and not prefix.startswith("/"):
        service.refuse("a path begins with a slash", "path_prefix")
    statPrefix: str = section.get("stat_prefix")
    scope = context.scope.scope(f"ext_authz.{statPrefix}." if statPrefix else "ext_authz.")
    wanted = section.child("filter_enabled_metadata")
    status = section.child("status_on_error")
    return AuthorizationPlan(
        cluster=uri.get("cluster"),
        timeout=uri.seconds("timeout", 0.0) or _LONGEST_WAIT,
        prefix=prefix.encode("utf-8"),
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
        body=_body(section.child("with_request_body")),
        isEnabled=context.runtime.fraction(section.child("filter_enabled"), always),
        isWanted=None if wanted is None else compileMetadataMatcher(wanted),
        deniesDisabled=context.runtime.featureFlag(section.child("deny_at_disable")),
        allowsFailures=section.get("failure_mode_allow"),
        marksFailures=section.get("failure_mode_allow_header_add"),
        statusOnError=403 if status is None else status.message.code or 403,
        clearsRoute=section.get("clear_route_cache"),
        mostDenied=section.get("max_denied_response_body_bytes"),
        counters=Counters(scope),
    )
