# -*- test-case-name: tests.identity.test_sds -*-
"""
The secrets of a workload, served by SDS: C{envoy.service.secret.v3.SecretDiscoveryService}, the state of the world and
delta. Few names, few clients: each change is sent to whoever asked for the name.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.grpc.server import IReceiver, Method, ServerCall
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.stats import Scope
from meshproxy.xds.types import METHODS, SECRET

__all__ = ["SecretService"]

_DISCOVERY = "envoy.service.discovery.v3."

_MOST_NAMES = 100
"""
Names that one stream may ask for: there are two.
"""


class SecretService:
    """
    See the module.

    @ivar secrets: Serialized C{Secret} messages by name, and C{versions} of each.
    """

    def __init__(self, scope: Scope) -> None:
        self.secrets: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}
        self.rejected = scope.counter("update_rejected")
        self._streams: dict[_Stream, None] = {}

    def methods(self) -> dict[str, Method]:
        """
        For a L{meshproxy.grpc.server.GRPCServer}.
        """
        found: dict[str, Method] = {}
        for path, (typeURL, isDelta) in METHODS.items():
            if typeURL == SECRET:
                found[path] = self._delta if isDelta else self._world
        return found

    def _world(self, call: ServerCall) -> _Stream:
        return self._open(_WorldStream(self, call))

    def _delta(self, call: ServerCall) -> _Stream:
        return self._open(_DeltaStream(self, call))

    def _open(self, stream: _Stream) -> _Stream:
        self._streams[stream] = None
        return stream

    def closed(self, stream: _Stream) -> None:
        """
        A stream is gone.
        """
        self._streams.pop(stream, None)

    def publish(self, messages: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        """
        Serve another version of some secrets.

        @param messages: C{Secret} messages.
        """
        self.secrets.update((name, message.SerializeToString()) for name, message in messages.items())
        self.versions.update(versions)
        for stream in list(self._streams):
            stream.push()


@implementer(IReceiver)
class _Stream:
    """
    One client.
    """

    _log = Logger()
    requestType = ""

    def __init__(self, service: SecretService, call: ServerCall) -> None:
        self._service = service
        self._call = call
        self._names: set[str] = set()
        # What was sent of each name, and the nonce of the last response.
        self._sent: dict[str, str] = {}
        self._nonce = 0
        self._isPaused = False

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IReceiver}.
        """
        try:
            request = messageClass(_DISCOVERY + self.requestType).FromString(message)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, f"this is no {self.requestType}") from error
        self._receive(request)
        if len(self._names) > _MOST_NAMES:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a stream asks for at most {_MOST_NAMES} secrets")
        self.push()

    def _receive(self, request: Any) -> None:
        """
        Take what a request says.
        """
        if request.type_url not in ("", SECRET):
            raise GRPCError(Status.INVALID_ARGUMENT, f"this stream is for {SECRET}, not for {request.type_url[:200]}")
        if request.response_nonce == str(self._nonce) and request.HasField("error_detail"):
            self._service.rejected.value += 1
            self._log.error("Envoy refuses a secret: {why}", why=request.error_detail.message[:1000])

    def push(self) -> None:
        """
        Send what it asked for and does not have.
        """
        versions = self._service.versions
        due = sorted(name for name in self._names if name in versions and self._sent.get(name) != versions[name])
        if self._isPaused or not (due or self._missing()):
            return
        self._nonce += 1
        self._sent.update((name, versions[name]) for name in due)
        response = self._response(due)
        response.nonce = str(self._nonce)
        self._call.send(response.SerializeToString())

    def _missing(self) -> set[str]:
        """
        Names that do not exist, where the variant can say so and did not yet.
        """
        return set()

    def _response(self, due: list[str]) -> Any:
        raise NotImplementedError

    def _pack(self, packed: Any, name: str) -> None:
        packed.type_url = SECRET
        packed.value = self._service.secrets[name]

    def halfClosed(self) -> None:
        """
        See L{IReceiver}.
        """
        self._service.closed(self)
        self._call.finish()

    def cancelled(self, error: GRPCError) -> None:
        """
        See L{IReceiver}.
        """
        self._service.closed(self)

    def pauseSending(self) -> None:
        """
        See L{IReceiver}. What is newest is sent when it takes more again.
        """
        self._isPaused = True

    def resumeSending(self) -> None:
        """
        See L{IReceiver}.
        """
        self._isPaused = False
        self.push()


class _WorldStream(_Stream):
    """
    The state of the world: each response holds what changed; of secrets, what is missing is not gone.
    """

    requestType = "DiscoveryRequest"

    def _receive(self, request: Any) -> None:
        super()._receive(request)
        if request.response_nonce and request.response_nonce != str(self._nonce):
            # It had not seen the last response yet, and will say it all again.
            return
        names = set(request.resource_names)
        for name in self._names - names:
            self._sent.pop(name, None)
        self._names = names

    def _response(self, due: list[str]) -> Any:
        response: Any = newMessage(_DISCOVERY + "DiscoveryResponse")
        response.type_url = SECRET
        response.version_info = "/".join(self._sent[name] for name in sorted(self._sent))
        for name in due:
            self._pack(response.resources.add(), name)
        return response


class _DeltaStream(_Stream):
    """
    Delta.
    """

    requestType = "DeltaDiscoveryRequest"

    def __init__(self, service: SecretService, call: ServerCall) -> None:
        super().__init__(service, call)
        self._told: set[str] = set()

    def _receive(self, request: Any) -> None:
        super()._receive(request)
        known = request.initial_resource_versions
        for name in request.resource_names_unsubscribe:
            self._names.discard(name)
            self._told.discard(name)
            self._sent.pop(name, None)
        for name in request.resource_names_subscribe:
            self._names.add(name)
            self._told.discard(name)
            if name in known:
                self._sent[name] = known[name]
            else:
                # Asked for anew: it is to be sent whatever was sent before.
                self._sent.pop(name, None)

    def _missing(self) -> set[str]:
        # Before anything was published, nobody knows what there will be.
        known = self._service.versions
        return {name for name in self._names if name not in known} - self._told if known else set()

    def _response(self, due: list[str]) -> Any:
        response: Any = newMessage(_DISCOVERY + "DeltaDiscoveryResponse")
        response.type_url = SECRET
        versions = self._service.versions
        response.system_version_info = "/".join(versions[name] for name in sorted(versions))
        for name in due:
            resource = response.resources.add()
            resource.name = name
            resource.version = versions[name]
            self._pack(resource.resource, name)
        missing = sorted(self._missing())
        response.removed_resources.extend(missing)
        self._told.update(missing)
        return response
