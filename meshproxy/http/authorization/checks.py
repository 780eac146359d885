# -*- test-case-name: tests.http.authorization.test_checks -*-
"""
What an authorization service is asked over gRPC (C{envoy.service.auth.v3.Authorization/Check}), and what it answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from meshproxy.config import Section
from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.grpc.deadline import formatTimeout
from meshproxy.grpc.framing import MessageReader, encodeFrame
from meshproxy.grpc.status import GRPCError, Status, ofTrailers
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.mutationrules import ANY_MUTATION, MutationRules
from meshproxy.http.calls import CallResponse
from meshproxy.net.address import Address
from meshproxy.routing.values import Value, compileValue

__all__ = ["ABSENT", "ADD", "OVERWRITE", "SET", "Checked", "CheckPlan", "GRPCRequest", "InvalidAnswer", "compileCheck"]

_REQUEST, _RESPONSE = "envoy.service.auth.v3.CheckRequest", "envoy.service.auth.v3.CheckResponse"
_PATH = b"/envoy.service.auth.v3.Authorization/Check"
_CLUSTER = b"x-envoy-downstream-service-cluster"

_isName = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_isValue = re.compile(rb"[^\x00\r\n]*").fullmatch
# How a message ends, and what is between two hops, is not for a third to say.
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"upgrade"))
_PSEUDO = frozenset((b":method", b":path", b":authority", b":scheme"))

# Envoy's, where the configuration has none.
_TIMEOUT = 0.2

#: What becomes of a field of a response: AppendAction, in the order of its numbers.
ADD, ABSENT, SET, OVERWRITE = range(4)


class InvalidAnswer(ValueError):
    """
    An answer that changes the request to one that is none; as with Envoy's C{validate_mutations} nobody passes.
    """


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """
    How a service is asked.

    @ivar metadata: More fields of the question.
    @ivar sends: Whether a field of the request is told; L{None} for all.
    @ivar isRaw: Whether they are told one by one, as bytes, instead of by name.
    @ivar packsBytes: Whether a body is told as bytes.
    @ivar tellsCertificate: Whether the client's certificate is.
    @ivar tellsSession: Whether the server name that the client asked for is.
    @ivar namespaces: Of the dynamic metadata those that are.
    @ivar routeNamespaces: Likewise of the route's metadata.
    """

    authority: bytes
    timeout: float
    metadata: tuple[tuple[bytes, Value], ...]
    sends: Callable[[bytes], bool]
    isRaw: bool
    packsBytes: bool
    tellsCertificate: bool
    tellsSession: bool
    namespaces: tuple[str, ...]
    routeNamespaces: tuple[str, ...]

    def question(self, stream: Any) -> RequestHeaders:
        """
        The head of the call.
        """
        head = RequestHeaders(b"POST", _PATH, self.authority)
        head.add(b"te", b"trailers")
        if self.timeout:
            head.add(b"grpc-timeout", formatTimeout(self.timeout))
        head.add(b"content-type", b"application/grpc")
        for name, made in self.metadata:
            value = made if isinstance(made, bytes) else made(stream)
            if value:
                head.add(name, value)
        return head


def compileCheck(section: Section, service: Section, sends: Callable[[bytes], bool]) -> tuple[str, CheckPlan]:
    """
    @param section: The C{ExtAuthz}.
    @param service: Its C{grpc_service}.
    @param sends: Whether a field of the request is told.

    @return: The name of the cluster that is asked, and how.
    """
    envoy = service.child("envoy_grpc")
    if envoy is None:
        service.refuse("an envoy_grpc is needed")
    held = service.childOrEmpty("envoy_grpc")
    cluster: str = held.get("cluster_name")
    timeout = service.seconds("timeout", None)
    return cluster, CheckPlan(
        authority=(held.get("authority") or cluster).encode("utf-8"),
        timeout=_TIMEOUT if timeout is None else timeout,
        metadata=tuple(
            (one.get("key").lower().encode("utf-8"), compileValue(one, "value", omitEmpty=True))
            for one in service.children("initial_metadata")
        ),
        sends=sends,
        isRaw=section.get("encode_raw_headers"),
        packsBytes=section.childOrEmpty("with_request_body").get("pack_as_bytes"),
        tellsCertificate=section.get("include_peer_certificate"),
        tellsSession=section.get("include_tls_session"),
        namespaces=tuple(section.scalars("metadata_context_namespaces")),
        routeNamespaces=tuple(section.scalars("route_metadata_context_namespaces")),
    )


# The question


@dataclass(frozen=True, slots=True)
class GRPCRequest:
    """
    A request that a service is asked about.

    @ivar body: What is told of its body; L{None} where none is. C{isPartial}: whether there is more.
    @ivar extensions: What the route tells.
    """

    plan: CheckPlan
    stream: Any
    headers: RequestHeaders
    body: bytes | None = None
    isPartial: bool = False
    extensions: Mapping[str, str] = field(default_factory=dict)

    def frame(self) -> bytes:
        """
        The message, framed.
        """
        stream, headers = self.stream, self.headers
        connection, tls = stream.connection, stream.connection.tls
        message: Any = newMessage(_REQUEST)
        told = message.attributes
        _tellAddress(told.source.address, stream.remoteAddress or connection.remoteAddress)
        _tellAddress(told.destination.address, connection.localAddress)
        told.source.service = _text(headers.first.get(_CLUSTER, b""))
        if tls is not None:
            told.source.principal = _principal(tls, "PEER")
            told.destination.principal = _principal(tls, "LOCAL")
            if self.plan.tellsCertificate:
                told.source.certificate = tls.get("PEER_CERT") or ""
        if self.plan.tellsSession:
            # As in Envoy it is there, whatever is in it.
            told.tls_session.SetInParent()
            told.tls_session.sni = "" if tls is None else connection.requestedServerName
        told.request.time.FromNanoseconds(round(stream.startTime * 1e9))
        self._tellRequest(told.request.http)
        told.context_extensions.update(self.extensions)
        # As in Envoy both are there, whatever is in them.
        told.metadata_context.SetInParent()
        told.route_metadata_context.SetInParent()
        for name in self.plan.namespaces:
            noted = (stream.dynamicMetadata or {}).get(name)
            if noted is not None:
                told.metadata_context.filter_metadata[name].update(noted)
        ofRoute: Mapping[str, Any] = (None if stream.route is None else stream.route.metadata) or {}
        for name in self.plan.routeNamespaces:
            if name in ofRoute:
                told.route_metadata_context.filter_metadata[name].update(ofRoute[name])
        return encodeFrame(message.SerializeToString())

    def _tellRequest(self, told: Any) -> None:
        headers, body = self.headers, self.body
        told.id = str(self.stream.requestId or "")
        told.method, told.path = _text(headers.method), _text(headers.path)
        told.host, told.scheme = _text(headers.authority), _text(headers.scheme)
        told.protocol = self.stream.protocol
        fields = [one for one in headers.allFields() if self.plan.sends(one[0])]
        if body is not None:
            fields.append((b"x-envoy-auth-partial-body", b"true" if self.isPartial else b"false"))
            told.size = min(int(headers.first.get(b"content-length", b"%d" % len(body))), 2**63 - 1)
            if self.plan.packsBytes:
                told.raw_body = body
            else:
                told.body = _text(body)
        if self.plan.isRaw:
            for name, value in fields:
                told.header_map.headers.add(key=_text(name), raw_value=value)
            return
        joined: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            joined.setdefault(name, []).append(value)
        for name, values in joined.items():
            told.headers[_text(name)] = _text(b",".join(values))


def _text(data: bytes) -> str:
    """
    Bytes as protobuf can tell them: what is no UTF-8 becomes an exclamation mark for each byte, as in Envoy.
    """
    return "".join("!" if "\udc80" <= c <= "\udcff" else c for c in data.decode("utf-8", "surrogateescape"))


def _tellAddress(told: Any, address: Address | None) -> None:
    if address is None:
        return
    if address.port is not None:
        told.socket_address.address = address.host
        told.socket_address.port_value = address.port
    else:
        told.pipe.path = address.text


def _principal(tls: Any, side: str) -> str:
    """
    By which name a certificate is known: its first URI, else its first DNS name, else its subject.
    """
    for fact in (f"{side}_URI_SAN", f"{side}_DNS_SAN"):
        names: str = tls.get(fact) or ""
        if names:
            return names.partition(",")[0]
    subject: str = tls.get(f"{side}_SUBJECT") or ""
    return subject


# The answer


Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What a service answered.

    @ivar isError: Whether the service itself says that it failed.
    @ivar status: Of the answer to who does not pass; 0 where none is told.
    @ivar told: The fields of that answer, and C{body}.
    @ivar sets: Fields that are set in the request; C{appends} are added to those that are there.
    @ivar removes: Fields that are taken out of it.
    @ivar answers: Fields for the response to who passes: name, value, and what is done where it is there already.
    @ivar parameters: Parameters of the query that are set; C{lost} are taken away.
    @ivar noted: For the dynamic metadata; L{None} where nothing is.
    """

    isAllowed: bool
    isError: bool = False
    status: int = 0
    body: bytes = b""
    told: Pairs = ()
    sets: Pairs = ()
    appends: Pairs = ()
    removes: Sequence[bytes] = ()
    answers: Sequence[tuple[bytes, bytes, int]] = ()
    parameters: Pairs = ()
    lost: Sequence[bytes] = ()
    noted: dict[str, Any] | None = None

    @classmethod
    def read(cls, answer: CallResponse) -> Checked:
        """
        @raise GRPCError: If the call failed, or has no C{CheckResponse}.
        @raise InvalidAnswer: If it has fields that are none.
        """
        failed = ofTrailers(answer.headers if answer.trailers is None else answer.trailers)
        if failed is not None:
            raise failed
        messages = MessageReader(encoding=answer.headers.get(b"grpc-encoding") or b"identity").receiveData(answer.body)
        message: Any = newMessage(_RESPONSE)
        try:
            (data,) = messages
            message.ParseFromString(data)
        except (ValueError, DecodeError) as error:
            raise GRPCError(Status.INTERNAL, "no CheckResponse") from error
        noted = None
        if message.HasField("dynamic_metadata"):
            noted = MessageToDict(message.dynamic_metadata, descriptor_pool=descriptorPool())
        if message.status.code == 0:
            return cls._allowed(message.ok_response, noted)
        isError = message.HasField("error_response")
        held = message.error_response if isError else message.denied_response
        told = tuple(_pair(one.header) for one in held.headers if not one.append.value)
        return cls(False, isError, held.status.code, held.body.encode("utf-8"), told, noted=noted)

    @classmethod
    def _allowed(cls, held: Any, noted: dict[str, Any] | None) -> Checked:
        sets: list[tuple[bytes, bytes]] = []
        appends: list[tuple[bytes, bytes]] = []
        for one in held.headers:
            pair = _pair(one.header, _PSEUDO)
            if pair[0] not in _FRAMING:
                (appends if one.append.value else sets).append(pair)
        answers: list[tuple[bytes, bytes, int]] = []
        for one in held.response_headers_to_add:
            action = one.append_action
            if one.HasField("append"):
                action = ADD if one.append.value else SET
            name, value = _pair(one.header)
            if name not in _FRAMING:
                answers.append((name, value, action))
        return cls(
            True,
            sets=tuple(sets),
            appends=tuple(appends),
            removes=tuple(name.lower().encode("utf-8") for name in held.headers_to_remove),
            answers=tuple(answers),
            parameters=tuple((p.key.encode("utf-8"), p.value.encode("utf-8")) for p in held.query_parameters_to_set),
            lost=tuple(name.encode("utf-8") for name in held.query_parameters_to_remove),
            noted=noted,
        )

    def ruled(self, rules: MutationRules) -> Checked:
        """
        What is left of it when rules say what may be changed in a request.

        @raise InvalidAnswer: If something may not be, and the rules do not put up with that.
        """
        if rules is ANY_MUTATION:
            return self
        appends = [one for one in self.appends if rules.appendsToPseudo or one[0][:1] != b":"]
        wanted = [*(name for name, _ in (*self.sets, *appends)), *self.removes]
        if rules.failsOtherwise and (len(appends) < len(self.appends) or not all(map(rules.allows, wanted))):
            raise InvalidAnswer("it would change a field that it may not")
        return replace(
            self,
            sets=[one for one in self.sets if rules.allows(one[0])],
            appends=[one for one in appends if rules.allows(one[0])],
            removes=[name for name in self.removes if rules.allows(name)],
        )

    def changeRequest(self, headers: RequestHeaders) -> bool:
        """
        @return: Whether anything was changed.
        """
        for name, value in self.sets:
            if name in _PSEUDO or name == b"host":
                setattr(headers, "authority" if name == b"host" else name[1:].decode("ascii"), value)
            else:
                headers.set(name, value)
        for name, value in self.appends:
            there = headers.values(name)
            if there:
                headers.set(name, b",".join([*there, value]))
        for name in self.removes:
            # A head needs its pseudo-header fields and its host.
            if name[:1] != b":" and name != b"host" and name not in _FRAMING:
                headers.remove(name)
        if self.parameters or self.lost:
            headers.path = _withParameters(headers.path, self.parameters, self.lost)
        return bool(self.sets or self.appends or self.removes or self.parameters or self.lost)


def _pair(header: Any, more: Iterable[bytes] = ()) -> tuple[bytes, bytes]:
    """
    A field; its C{raw_value} is not looked at, as in Envoy.

    @raise InvalidAnswer: If it is none.
    """
    name, value = header.key.lower().encode("utf-8"), header.value.encode("utf-8")
    if (_isName(name) is None and name not in more) or _isValue(value) is None:
        raise InvalidAnswer(f"{name!r} is no field, or has no value that one can have")
    if name in (b":path", b":method") and (b" " in value or not value):
        raise InvalidAnswer(f"{name!r} cannot be {value!r}")
    return name, value


def _withParameters(path: bytes, parameters: Pairs, lost: Sequence[bytes]) -> bytes:
    """
    A path with other parameters; in the order of their names, as Envoy writes them.
    """
    path, _, query = path.partition(b"?")
    held: dict[bytes, list[bytes]] = {}
    for part in filter(None, query.split(b"&")):
        name, _, value = part.partition(b"=")
        held.setdefault(name, []).append(value)
    for name, value in parameters:
        held[name] = [value]
    for name in lost:
        held.pop(name, None)
    told = b"&".join(name + b"=" + value for name in sorted(held) for value in held[name])
    if _isValue(told) is None or b" " in told:
        raise InvalidAnswer("a parameter of the query has a space, or the end of a line")
    return path + (b"?" + told if told else b"")
