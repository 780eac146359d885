# -*- test-case-name: tests.xds.test_client -*-
"""
The proxy's side of xDS, without I/O: what is asked for, what came, what is said to it. The state of the world, and
delta.

A client outlives its stream: after a new one begins (L{Client.begin}) it asks again for all, and says what it has.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.config.sources import Origin
from meshproxy.errors import RemoteProtocolError
from meshproxy.xds.types import FULL_STATE, VIRTUAL_HOST, WILDCARD, nameOf

__all__ = ["Client", "DeltaClient", "Update", "WorldClient"]

_DISCOVERY = "envoy.service.discovery.v3."

_LONGEST_ERROR = 4096
"""
Characters of what is said to a response that is not taken: it is for people, and goes into one message.
"""


@dataclass(frozen=True, slots=True)
class Update:
    """
    A response.

    @ivar resources: Serialized messages, by name.
    @ivar removed: Names that are gone.
    @ivar isWhole: Whether C{resources} are all there are: what is missing is gone.
    @ivar versions: The version of each resource, where the variant has them.
    @ivar origins: Where resources stand in the file that they are from.
    @ivar path: That file; empty where a control plane sent this.
    @ivar aliases: What else was asked for by each resource, for virtual hosts; also of those that there are not.
    """

    typeURL: str
    version: str
    nonce: str
    resources: Mapping[str, bytes]
    removed: frozenset[str] = frozenset()
    isWhole: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    path: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class _Wanted:
    """
    One type.

    @ivar names: What is asked for; L{None} is all.
    @ivar version: Of the last response that was taken.
    @ivar versions: Of each resource that is held.
    @ivar asked: The names that the stream knows of; L{None} before the first request on it.
    """

    names: frozenset[str] | None
    version: str = ""
    nonce: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    asked: frozenset[str] | None = None
    isAsked: bool = False

    def has(self, name: str) -> bool:
        """
        Whether a resource is asked for.
        """
        return self.isWhole or name in (self.names or ())

    @property
    def isWhole(self) -> bool:
        """
        Whether all are asked for.
        """
        return self.names is None or WILDCARD in self.names


class Client:
    """
    What both variants have in common.
    """

    def __init__(self, node: Any) -> None:
        """
        @param node: An C{envoy.config.core.v3.Node}, sent once on each stream.
        """
        self._node = node
        self._wanted: dict[str, _Wanted] = {}
        self._hasSentNode = False
        self._out: list[bytes] = []

    @property
    def types(self) -> frozenset[str]:
        """
        The types that are asked for.
        """
        return frozenset(self._wanted)

    def asksFor(self, typeURL: str, name: str) -> bool:
        """
        Whether a resource is asked for.
        """
        wanted = self._wanted.get(typeURL)
        return wanted is not None and wanted.has(name)

    def hold(self, typeURL: str, versions: Mapping[str, str]) -> None:
        """
        Know what is held without a response, for the next stream: a copy of what was sent before.
        """

    def begin(self) -> None:
        """
        A stream began: ask for everything again.
        """
        self._hasSentNode = False
        self._out.clear()
        for wanted in self._wanted.values():
            wanted.nonce = ""
            wanted.asked = None
            wanted.isAsked = False
        for typeURL, wanted in self._wanted.items():
            # A first request without a name would ask for all.
            if wanted.names is None or wanted.names:
                self._ask(typeURL, wanted)

    def want(self, typeURL: str, names: Iterable[str] | None) -> None:
        """
        Ask for some resources of a type, instead of those before.

        @param names: L{None} for all. None at all ends what was asked for before, and is else no request.
        """
        found = None if names is None else frozenset(names)
        wanted = self._wanted.get(typeURL)
        if wanted is None:
            if found is not None and not found:
                return
            wanted = self._wanted[typeURL] = _Wanted(found)
        elif wanted.names == found:
            return
        wanted.names = found
        self._ask(typeURL, wanted)

    def wantBeside(self, typeURL: str, names: Iterable[str], again: Iterable[str] = ()) -> None:
        """
        Ask for some resources of a type by name, and go on to ask for all where that was done.

        @param again: Names of which an answer is wanted though they are asked for already.
        """
        found = frozenset(names)
        wanted = self._wanted.get(typeURL)
        if wanted is not None and wanted.asked is not None and not wanted.asked.isdisjoint(again):
            wanted.asked = wanted.asked.difference(again)
            if wanted.names is None or wanted.names.issuperset(found):
                self._ask(typeURL, wanted)
        if wanted is not None and wanted.isWhole:
            self.want(typeURL, found | {WILDCARD} if found else None)
        else:
            self.want(typeURL, found)

    def requests(self) -> list[bytes]:
        """
        What is to be sent now.
        """
        out, self._out = self._out, []
        return out

    def receive(self, data: bytes) -> Update:
        """
        A response came. It has to be answered by L{take} or L{refuse}.

        @raise RemoteProtocolError: If it is none.
        """
        try:
            update = self._read(data)
        except DecodeError as error:
            raise RemoteProtocolError("this is no discovery response") from error
        if update.typeURL not in self._wanted:
            raise RemoteProtocolError(f"a response with {update.typeURL[:200]!r}, which nobody asked for")
        self._wanted[update.typeURL].nonce = update.nonce
        return update

    def take(self, update: Update) -> None:
        """
        The response is taken.
        """
        wanted = self._wanted[update.typeURL]
        wanted.version = update.version
        if update.isWhole:
            wanted.versions = {}
        wanted.versions.update((name, update.versions.get(name, update.version)) for name in update.resources)
        for name in update.removed:
            wanted.versions.pop(name, None)
        self._answer(update.typeURL, wanted, "")

    def refuse(self, update: Update, why: str) -> None:
        """
        The response is not taken: what was there before stays.
        """
        self._answer(update.typeURL, self._wanted[update.typeURL], why[:_LONGEST_ERROR])

    def _read(self, data: bytes) -> Update:
        raise NotImplementedError

    def _ask(self, typeURL: str, wanted: _Wanted) -> None:
        raise NotImplementedError

    def _answer(self, typeURL: str, wanted: _Wanted, error: str) -> None:
        raise NotImplementedError

    def _send(self, request: Any) -> None:
        if not self._hasSentNode:
            self._hasSentNode = True
            request.node.CopyFrom(self._node)
        self._out.append(request.SerializeToString())


def _unpack(typeURL: str, packed: Any) -> tuple[str, bytes]:
    """
    The name and the bytes of a resource.
    """
    if packed.type_url != typeURL:
        raise RemoteProtocolError(f"a response of {typeURL} with a {packed.type_url[:200]!r} in it")
    message = messageClass(typeURL.rpartition("/")[2]).FromString(packed.value)
    return nameOf(typeURL, message), packed.value


class WorldClient(Client):
    """
    The state of the world.
    """

    def _read(self, data: bytes) -> Update:
        response: Any = messageClass(_DISCOVERY + "DiscoveryResponse").FromString(data)
        resources = dict(_unpack(response.type_url, packed) for packed in response.resources)
        isWhole = response.type_url in FULL_STATE
        return Update(response.type_url, response.version_info, response.nonce, resources, isWhole=isWhole)

    def _ask(self, typeURL: str, wanted: _Wanted) -> None:
        self._request(typeURL, wanted, "")

    def _answer(self, typeURL: str, wanted: _Wanted, error: str) -> None:
        self._request(typeURL, wanted, error)

    def _request(self, typeURL: str, wanted: _Wanted, error: str) -> None:
        request: Any = newMessage(_DISCOVERY + "DiscoveryRequest")
        request.type_url = typeURL
        request.version_info = wanted.version
        request.response_nonce = wanted.nonce
        request.resource_names.extend(sorted(wanted.names or ()))
        if error:
            request.error_detail.code = 3
            request.error_detail.message = error
        self._send(request)


class DeltaClient(Client):
    """
    Delta.
    """

    def hold(self, typeURL: str, versions: Mapping[str, str]) -> None:
        """
        See L{Client.hold}: the control plane is told of it, and tells what is gone or other by now.
        """
        wanted = self._wanted.get(typeURL)
        if wanted is not None:
            wanted.versions = {**versions, **wanted.versions}

    def _read(self, data: bytes) -> Update:
        response: Any = messageClass(_DISCOVERY + "DeltaDiscoveryResponse").FromString(data)
        resources, versions, aliases = {}, {}, {}
        for one in response.resources:
            if response.type_url == VIRTUAL_HOST:
                aliases[one.name] = tuple(one.aliases)
                if not one.HasField("resource"):
                    continue
            name, value = _unpack(response.type_url, one.resource)
            resources[one.name or name] = value
            versions[one.name or name] = one.version
        removed = frozenset(response.removed_resources)
        return Update(
            response.type_url,
            response.system_version_info,
            response.nonce,
            resources,
            removed,
            versions=versions,
            aliases=aliases,
        )

    def _ask(self, typeURL: str, wanted: _Wanted) -> None:
        request: Any = newMessage(_DISCOVERY + "DeltaDiscoveryRequest")
        request.type_url = typeURL
        names = frozenset((WILDCARD,)) if wanted.names is None else wanted.names
        known = wanted.asked if wanted.asked is not None else frozenset()
        if not wanted.isAsked:
            for name, version in wanted.versions.items():
                if wanted.has(name):
                    request.initial_resource_versions[name] = version
        if typeURL == VIRTUAL_HOST and not wanted.isAsked and WILDCARD in names:
            # As Envoy asks: first without a name, which is for all.
            self._send(request)
            request = newMessage(_DISCOVERY + "DeltaDiscoveryRequest")
            request.type_url = typeURL
            known = frozenset((WILDCARD,))
            wanted.isAsked = True
            if names == known:
                wanted.asked = names
                return
        request.resource_names_subscribe.extend(sorted(names - known))
        request.resource_names_unsubscribe.extend(sorted(known - names))
        for name in known - names:
            wanted.versions.pop(name, None)
        wanted.asked = names
        wanted.isAsked = True
        self._send(request)

    def _answer(self, typeURL: str, wanted: _Wanted, error: str) -> None:
        request: Any = newMessage(_DISCOVERY + "DeltaDiscoveryRequest")
        request.type_url = typeURL
        request.response_nonce = wanted.nonce
        if error:
            request.error_detail.code = 3
            request.error_detail.message = error
        self._send(request)
