# -*- test-case-name: tests.filters.http.test_ext_authz -*-
"""
C{envoy.filters.http.ext_authz}: asks an authorization service, over HTTP or gRPC, whether a request may pass.

Whatever goes wrong on the way is no permission, unless C{failure_mode_allow} says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from meshproxy.config import Section
from meshproxy.config.supported import accept, declare
from meshproxy.errors import MeshProxyError
from meshproxy.flags import ResponseFlag
from meshproxy.grpc.status import GRPCError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.authorization.asking import (
    DENIED,
    ERROR,
    FAILURE_ALLOWED,
    OK,
    AuthorizationPlan,
    BodyPlan,
    Counters,
    RouteSays,
    compileAuthorization,
    compileBody,
)
from meshproxy.http.authorization.checks import ABSENT, ADD, OVERWRITE, SET, Checked, GRPCRequest, InvalidAnswer
from meshproxy.http.calls import CallResponse
from meshproxy.http.filter import FilterContext, Foreseen, HTTPFilter
from meshproxy.http.metadata import noteMetadata
from meshproxy.interfaces import Stop
from meshproxy.stats.metrics import Counter

__all__ = ["ExtAuthz"]

_PACKAGE = "envoy.extensions.filters.http.ext_authz.v3."
_MESSAGE = _PACKAGE + "ExtAuthz"

declare(_MESSAGE, "http_service", "failure_mode_allow", "failure_mode_allow_header_add", "with_request_body")
declare(_MESSAGE, "clear_route_cache", "status_on_error", "filter_enabled", "filter_enabled_metadata")
declare(_MESSAGE, "deny_at_disable", "stat_prefix", "allowed_headers", "disallowed_headers")
declare(_MESSAGE, "max_denied_response_body_bytes", "grpc_service", "encode_raw_headers", "include_peer_certificate")
declare(_MESSAGE, "metadata_context_namespaces", "route_metadata_context_namespaces", "include_tls_session")
declare(_MESSAGE, "charge_cluster_response_stats", "decoder_header_mutation_rules")
accept(_MESSAGE, "transport_api_version", "there is one version")
accept(_MESSAGE, "validate_mutations", "nobody passes by an answer whose fields are not valid")
declare(_PACKAGE + "HttpService", "server_uri", "path_prefix", "path_override")
declare(_PACKAGE + "HttpService", "authorization_request", "authorization_response")
declare(_PACKAGE + "AuthorizationRequest", "allowed_headers", "headers_to_add")
declare(_PACKAGE + "AuthorizationResponse", "allowed_upstream_headers", "allowed_upstream_headers_to_append")
declare(_PACKAGE + "AuthorizationResponse", "allowed_client_headers", "allowed_client_headers_on_success")
declare(_PACKAGE + "AuthorizationResponse", "dynamic_metadata_from_headers")
declare(_PACKAGE + "BufferSettings", "max_request_bytes", "allow_partial_message", "pack_as_bytes")
declare(_PACKAGE + "ExtAuthzPerRoute", "disabled", "check_settings")
declare(_PACKAGE + "CheckSettings", "disable_request_body_buffering", "with_request_body", "context_extensions")
declare("envoy.config.core.v3.GrpcService", "envoy_grpc", "initial_metadata", "timeout")
declare("envoy.config.core.v3.HttpUri", "uri", "cluster", "timeout")
declare("envoy.type.v3.HttpStatus", "code")

# As in Envoy, whatever the filter is called in its chain.
_NAMESPACE = "envoy.filters.http.ext_authz"
_PARTIAL = b"x-envoy-auth-partial-body"
_REMOVES = b"x-envoy-auth-headers-to-remove"
# RFC 9110, 7.6.1: what is between two hops is not told to a third.
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"))


class ExtAuthz(HTTPFilter):
    """
    One instance serves all streams; it remembers those whose response is to have more fields.
    """

    shared = True
    configType = _MESSAGE
    routeConfigType = _PACKAGE + "ExtAuthzPerRoute"

    def __init__(self, config: AuthorizationPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        self._told: dict[Any, Sequence[tuple[bytes, bytes, int]]] = {}
        self._ofClusters: WeakKeyDictionary[Any, Counters] = WeakKeyDictionary()

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> AuthorizationPlan:
        return compileAuthorization(section, context)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> RouteSays:
        if section.oneof("override") == "disabled":
            return RouteSays(isDisabled=section.get("disabled"))
        held = section.childOrEmpty("check_settings")
        return RouteSays(
            body=compileBody(held.child("with_request_body")),
            sendsNoBody=held.get("disable_request_body_buffering"),
            # Over HTTP there is no place for them, in Envoy neither.
            extensions=dict(held.get("context_extensions")),
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
        body = None if endStream or stream.upgrade else body
        if plan.check is not None:
            return self._call(stream, headers, body, said)
        return self._check(stream, headers, body)

    # Over gRPC

    async def _call(
        self, stream: Any, headers: RequestHeaders, body: BodyPlan | None, said: RouteSays | None
    ) -> Stop | None:
        plan: AuthorizationPlan = self.config
        check = plan.check
        assert check is not None
        content, isPartial = None, False
        if body is not None:
            content = await stream.requestBody(body.limit, body.partial)
            isPartial, content = len(content) > body.limit, content[: body.limit]
        extensions = {} if said is None else said.extensions
        began = self.context.clock.seconds()
        try:
            question = GRPCRequest(check, stream, headers, content, isPartial, extensions)
            head = check.question(stream)
            answer: CallResponse = await self.context.calls.call(plan.cluster, head, question.frame(), plan.timeout)
            checked = Checked.read(answer)
            if checked.isAllowed:
                if checked.noted is not None:
                    lasted = float(int((self.context.clock.seconds() - began) * 1000))
                    noteMetadata(stream, _NAMESPACE, {**checked.noted, "ext_authz_duration": lasted})
                self._passed(stream, headers, checked.ruled(plan.rules))
                return None
        except (InvalidAnswer, UnicodeDecodeError) as error:
            # No failure mode lets it pass.
            self.context.log.debug("{name}: {error}", name=self.context.name, error=error)
            self._count(stream, ERROR)
            return self._reply(stream, 500, "ext_authz_invalid")
        except (MeshProxyError, GRPCError) as error:
            self.context.log.debug("{name} has no answer: {error}", name=self.context.name, error=error)
            return self._failed(stream, headers)
        if checked.isError:
            return self._failed(stream, headers, checked)
        if checked.noted is not None:
            noteMetadata(stream, _NAMESPACE, checked.noted)
        self._count(stream, DENIED)
        self._charge(stream, checked.status or 403)
        content = checked.body[: plan.mostDenied] if plan.mostDenied else checked.body
        return self._reply(stream, checked.status or 403, "ext_authz_denied", content, _tellable(checked.told))

    def _passed(self, stream: Any, headers: RequestHeaders, checked: Checked) -> None:
        isChanged = checked.changeRequest(headers)
        self._count(stream, OK)
        if checked.answers:
            self._told[stream] = checked.answers
        if isChanged and self.config.clearsRoute:
            stream.clearRouteCache()

    # Over HTTP

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
            self._count(stream, ERROR)
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
        try:
            self._allowed(stream, headers, answer.headers, removed)
        except InvalidAnswer as error:
            self.context.log.debug("{name}: {error}", name=self.context.name, error=error)
            self._count(stream, ERROR)
            return self._reply(stream, 500, "ext_authz_invalid")
        return None

    # The question

    def _question(self, stream: Any, headers: RequestHeaders) -> RequestHeaders:
        """
        What the service is asked.

        @raise UnicodeDecodeError: If a field is no UTF-8.
        """
        plan: AuthorizationPlan = self.config
        question = RequestHeaders(headers.method, plan.path or plan.prefix + headers.path, headers.authority)
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
        fields = list(answered.fields())
        names = (name.strip(b" \t") for name in b",".join(removed).lower().split(b","))
        changes = Checked(
            True,
            sets=[one for one in fields if plan.sets(one[0])],
            appends=[one for one in fields if plan.appends(one[0])],
            # A head needs its pseudo-header fields and its host.
            removes=[name for name in names if name and name[:1] != b":" and name != b"host"],
        ).ruled(plan.rules)
        self._count(stream, OK)
        for name, value in changes.sets:
            headers.set(name, value)
        for name, value in changes.appends:
            headers.add(name, value)
        for name in changes.removes:
            headers.remove(name)
        isChanged = bool(changes.sets or changes.appends or changes.removes)
        told = [(name, value, ADD) for name, value in answered.fields() if plan.toldOnSuccess(name)]
        if told:
            self._told[stream] = told
        if isChanged and plan.clearsRoute:
            stream.clearRouteCache()

    def _denied(self, stream: Any, answer: CallResponse) -> Stop:
        plan: AuthorizationPlan = self.config
        self._count(stream, DENIED)
        self._charge(stream, answer.headers.status)
        body = answer.body[: plan.mostDenied] if plan.mostDenied else answer.body
        told = _tellable((name, value) for name, value in answer.headers.fields() if plan.told(name))
        return self._reply(stream, answer.headers.status, "ext_authz_denied", body, told)

    def _failed(self, stream: Any, headers: RequestHeaders, said: Checked | None = None) -> Stop | None:
        """
        @param said: What the service says of its failure.
        """
        plan: AuthorizationPlan = self.config
        self._count(stream, ERROR)
        if not plan.allowsFailures:
            status, body, told = (0, b"", []) if said is None else (said.status, said.body, _tellable(said.told))
            return self._reply(stream, status or plan.statusOnError, "ext_authz_error", body, told)
        self._count(stream, FAILURE_ALLOWED)
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
        cluster = self._clusterOf(stream)
        if cluster is not None:
            counters = self._ofClusters.get(cluster)
            if counters is None:
                counters = self._ofClusters[cluster] = Counters(cluster.scope.scope("ext_authz."))
            of(counters).value += 1

    def _clusterOf(self, stream: Any) -> Any:
        """
        The cluster that a request is for, if it exists: a client that names clusters must not fill the memory.
        """
        action = None if stream.route is None else stream.route.action
        name = "" if action is None else action.selectCluster(stream.requestHeaders, stream)
        return self.context.clusters.byName.get(name)

    def _charge(self, stream: Any, status: int) -> None:
        """
        Count an answer that denies as a response of the cluster's, to a request from within, as Envoy does.
        """
        cluster = self._clusterOf(stream) if self.config.charges else None
        if cluster is not None:
            cluster.stats.internal.responses.add(status)

    # Responses

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> None:
        if self._told:
            for name, value, action in self._told.get(stream, ()):
                isThere = name in headers.first
                if action == SET or (action == OVERWRITE and isThere):
                    headers.set(name, value)
                elif action == ADD or (action == ABSENT and not isThere):
                    headers.add(name, value)

    def streamEnded(self, stream: Any) -> None:
        if self._told:
            self._told.pop(stream, None)


def _tellable(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """
    The fields of an answer that a client may be told, which this proxy does not make itself.
    """
    return [(name, value) for name, value in fields if name not in _HOP_BY_HOP and name != b"content-length"]
