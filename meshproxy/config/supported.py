# -*- test-case-name: tests.config.test_supported -*-
"""
Which fields of which messages this program implements.

A field that is set and not declared is refused with its path: nothing that a configuration asks for is ignored in
silence.  Whoever implements a field declares it, one line per message::

    declare("envoy.config.listener.v3.Listener", "name", "address", "filter_chains")
    only("envoy.config.listener.v3.Listener", "drain_type", "DEFAULT")
    accept("envoy.config.listener.v3.Listener", "tcp_backlog_size", "the kernel decides")
    decline("envoy.config.listener.v3.Listener", "api_listener", "there is no library to be built in")

The first declarations are in L{meshproxy.config.declarations}; a filter makes its own when its module is loaded.
C{docs/reference/config.md} is generated from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from meshproxy.config.pool import findType, messageType, typeName
from meshproxy.config.section import Section
from meshproxy.config.walker import VALUE_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Support",
    "Supported",
    "accept",
    "addResolver",
    "decline",
    "declare",
    "deprecatedFields",
    "only",
    "supported",
]

_ANY: Final = "google.protobuf.Any"

#: Messages of which C{is_optional} says that their extension may be left out where nobody knows it; and C{disabled}, of
#: the second, that nobody looks at it. Whoever compiles them leaves it out, with a warning.
_MAY_BE_UNKNOWN: Final = {
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": ("is_optional",),
    "envoy.config.route.v3.FilterConfig": ("is_optional", "disabled"),
}

#: A list of these is there for its first member that is known; whoever compiles it refuses it where none is.
_ONE_OF_MANY: Final = "envoy.config.cluster.v3.LoadBalancingPolicy.Policy"

#: Its C{is_optional} is about an extension that it holds.
_OPTIONAL_EXTENSION: Final = "envoy.config.route.v3.ClusterSpecifierPlugin"

#: Is told the name of a message that an Any holds and nobody has declared, and may load what declares it.
Resolver: TypeAlias = Callable[[str], None]


class Support(NamedTuple):
    """
    How a field is supported.

    @ivar values: The only values that are implemented; empty for all.
    @ivar reason: Why the field is accepted though it changes nothing here; empty if it is implemented.
    @ivar refusal: Why it is refused, as a field is that nobody declared.
    """

    values: tuple[object, ...] = ()
    reason: str = ""
    refusal: str = ""


_WHOLE: Final = Support()


class Supported:
    """
    A registry of declarations.
    """

    def __init__(self) -> None:
        self._types: dict[str, dict[str, Support]] = {}
        self._resolvers: list[Resolver] = []

    def declare(self, typeName: str, *fields: str) -> None:
        """
        Declare a message, and fields of it that are implemented whatever they hold. Declarations add up.

        @param typeName: The full name of the message.
        @param fields: Names of fields. Without any, the message itself is known: one that has no fields, or a
            configuration that may only be empty.
        """
        self._types.setdefault(typeName, {}).update(dict.fromkeys(fields, _WHOLE))

    def only(self, typeName: str, field: str, *values: object) -> None:
        """
        Declare a field that is implemented for some values.

        @param typeName: The full name of the message.
        @param field: The field: a scalar, an enumeration or a wrapper, or a list of such.
        @param values: What it may hold; values of enumerations by name.
        """
        self._types.setdefault(typeName, {})[field] = Support(values=values)

    def accept(self, typeName: str, field: str, reason: str) -> None:
        """
        Declare a field that has no meaning here, but does no harm either.

        @param typeName: The full name of the message.
        @param field: The field. What is below it is not looked at.
        @param reason: Why, in half a sentence, for the reference.
        """
        self._types.setdefault(typeName, {})[field] = Support(reason=reason)

    def decline(self, typeName: str, field: str, why: str) -> None:
        """
        Declare a field that is refused for a reason which whoever sets it wants to know.

        @param why: Half a sentence, for the refusal and for the reference.
        """
        self._types.setdefault(typeName, {})[field] = Support(refusal=why)

    def addResolver(self, resolver: Resolver) -> None:
        """
        Have somebody asked for messages that nobody has declared yet, such as the keeper of the filters.
        """
        if resolver not in self._resolvers:
            self._resolvers.append(resolver)

    def copy(self) -> Supported:
        """
        The declarations as they are now, without the resolvers.
        """
        twin = Supported()
        twin._types = {typeName: dict(fields) for typeName, fields in self._types.items()}
        return twin

    def types(self) -> Iterator[str]:
        """
        The names of all declared messages, in order.
        """
        return iter(sorted(self._types))

    def fields(self, typeName: str) -> Mapping[str, Support]:
        """
        What is declared of a message; nothing, if it is not.
        """
        return self._types.get(typeName, {})

    def isDeclared(self, typeName: str) -> bool:
        """
        Whether a message is declared, now that the resolvers have had their chance.
        """
        if typeName not in self._types:
            for resolve in self._resolvers:
                resolve(typeName)
        return typeName in self._types

    def check(self, section: Section, allowUnknown: bool = False) -> None:
        """
        Refuse whatever is set at or below a section and not declared; warn of what is deprecated.

        @param section: Where to begin. Faults go to its report.
        @param allowUnknown: Only warn of fields that are not implemented. Values of implemented fields, and types
            of extensions, are refused all the same: there is no going on without them.
        """
        fields = self.fields(section.typeName)
        deprecated = deprecatedFields(section.typeName)
        for name in section.setFields():
            support = fields.get(name)
            if support is None or support.refusal:
                why = "not implemented by meshproxy"
                if support is not None:
                    why += f": {support.refusal}"
                if allowUnknown:
                    section.warn(f"{why}, and ignored", name)
                else:
                    section.refuse(why, name)
                continue
            if name in deprecated:
                section.warn("deprecated in Envoy's API", name)
            if support.values:
                _checkValues(section, name, support.values)
            elif not support.reason:
                self._descend(section, name, allowUnknown)

    def _descend(self, section: Section, name: str, allowUnknown: bool) -> None:
        """
        Check the messages in a field.
        """
        for child in _messages(section, name):
            mayBeUnknown = section.typeName == _ONE_OF_MANY or (
                section.typeName == _OPTIONAL_EXTENSION and section.get("is_optional")
            )
            if mayBeUnknown and not self._isKnown(child.childOrEmpty("typed_config")):
                continue
            if child.typeName != _ANY:
                self.check(child, allowUnknown)
                continue
            if any(map(section.get, _MAY_BE_UNKNOWN.get(section.typeName, ()))) and not self._isKnown(child):
                continue
            # An unknown type was refused when the text was read; over xDS it is refused here.
            inner = child.unpack()
            if inner is None or inner.typeName in VALUE_TYPES:
                continue
            if self.isDeclared(inner.typeName):
                self.check(inner, allowUnknown)
            else:
                child.refuse(f"{inner.typeName} is not implemented by meshproxy")

    def _isKnown(self, held: Section) -> bool:
        """
        Whether what an Any holds is declared.
        """
        name = typeName(held.message.type_url)
        return findType(name) is not None and self.isDeclared(name)


def _messages(section: Section, name: str) -> list[Section]:
    """
    The messages that a field holds, well-known types other than Any left out: nothing below them is declared.
    """
    kind = section.fieldOf(name)
    if not kind.messageName or (kind.messageName in VALUE_TYPES and kind.messageName != _ANY):
        return []
    if kind.isMap:
        return list(section.entries(name).values())
    if kind.repeated:
        return section.children(name)
    child = section.child(name)
    return [] if child is None else [child]


def _checkValues(section: Section, name: str, allowed: tuple[object, ...]) -> None:
    kind = section.fieldOf(name)
    if kind.repeated:
        found: list[Any] = section.scalars(name)
    else:
        found = [section.wrapped(name, None) if kind.messageName else section.get(name)]
    for value in found:
        if value not in allowed:
            known = ", ".join(_shown(each) for each in allowed)
            section.refuse(f"{_shown(value)} is not implemented by meshproxy, only {known}", name)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def deprecatedFields(typeName: str) -> frozenset[str]:
    """
    The fields of a message that Envoy's API calls deprecated.
    """
    descriptor = messageType(typeName) if findType(typeName) is not None else None
    if descriptor is None:
        return frozenset()
    return frozenset(field.name for field in descriptor.fields if field.GetOptions().deprecated)


#: What this program implements.
supported: Final = Supported()

declare = supported.declare
only = supported.only
accept = supported.accept
decline = supported.decline
addResolver = supported.addResolver
