# -*- test-case-name: tests.config.test_constraints -*-
"""
What Envoy's protos declare about their messages, checked: an interpreter for protoc-gen-validate's options.

The checks of a message type are compiled on first use.  They descend into messages, lists, maps and into every
C{google.protobuf.Any} whose type the pool holds, where Envoy checks when it creates the extension.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf.message import DecodeError

from meshproxy.config.pool import descriptorPool, findType, messageClass, messageType, typeName
from meshproxy.config.rules import Rule, UnknownRule, definedOnly, scalarRules
from meshproxy.config.section import placeAt
from meshproxy.config.walker import VALUE_TYPES, mapPath

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
    from google.protobuf.message import Message

    from meshproxy.config.section import Section

__all__ = ["checkConstraints", "declaredRules", "findFaults"]

# ``Any`` here: messages of the pool and the values of their fields have no static type.
Refuse: TypeAlias = Callable[[str, str], None]
FieldCheck: TypeAlias = Callable[[Any, str, Refuse], None]

_ANY: Final = "google.protobuf.Any"

# Fields whose rules Envoy declares and does not apply: what has trust_bundles needs no trust_domains.
_LIFTED: Final = frozenset({"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.trust_domains"})


def checkConstraints(section: Section) -> None:
    """
    Check a section and everything below it; each fault goes to its report.
    """

    def refuse(path: str, why: str) -> None:
        # What could not be read is missing from the message; to say that it is required as well would mislead.
        if not section.report.isSpoiled(path):
            section.report.refuse(path, why, placeAt(section.places, path))

    findFaults(section.message, section.path, refuse)


def findFaults(message: Message, path: str, refuse: Refuse) -> None:
    """
    Check a message and everything below it.

    @param message: The message.
    @param path: Where it is.
    @param refuse: Is told the path of each fault, and the reason.
    """
    name: str = message.DESCRIPTOR.full_name
    if name == _ANY:
        _descendAny(message, path, refuse)
        return
    for check in _checksOf(name):
        check(message, path, refuse)


def _descendAny(packed: Any, path: str, refuse: Refuse) -> None:
    """
    Check what is packed, if its type is known; if it is not, whoever unpacks it says so.
    """
    name = typeName(packed.type_url)
    if not name or findType(name) is None or name in VALUE_TYPES:
        return
    inner = messageClass(name)()
    try:
        inner.ParseFromString(packed.value)
    except DecodeError:
        return
    findFaults(inner, path, refuse)


@cache
def _checksOf(name: str) -> tuple[FieldCheck, ...]:
    """
    The checks of a message type.
    """
    descriptor = messageType(name)
    # protoc-gen-validate's switches, which no message of Envoy's uses today.
    options = _extended(descriptor, "google.protobuf.MessageOptions")
    if options.Extensions[_extension("disabled")] or options.Extensions[_extension("ignored")]:
        return ()
    checks: list[FieldCheck] = []
    for field in descriptor.fields:
        check = _fieldCheck(field)
        if check is not None:
            checks.append(check)
    for oneof in descriptor.oneofs:
        if _extended(oneof, "google.protobuf.OneofOptions").Extensions[_extension("required")]:
            checks.append(_oneofCheck(oneof))
    return tuple(checks)


def _extended(descriptor: Descriptor | FieldDescriptor | OneofDescriptor, optionsName: str) -> Any:
    """
    The options of a descriptor with their extensions. C{GetOptions} gives a message of protobuf's default pool, which
    knows no extension of ours, so it is parsed again.
    """
    return messageClass(optionsName).FromString(descriptor.GetOptions().SerializeToString())


@cache
def _extension(name: str) -> Any:
    return descriptorPool().FindExtensionByName(f"validate.{name}")


def declaredRules(field: FieldDescriptor) -> Any:
    """
    The C{validate.FieldRules} of a field; empty where it has none.
    """
    if field.full_name in _LIFTED:
        return messageClass("validate.FieldRules")()
    return _extended(field, "google.protobuf.FieldOptions").Extensions[_extension("rules")]


def _kind(rules: Any) -> str:
    """
    Which member of C{FieldRules} is set; C{message} stands beside the others.
    """
    return rules.WhichOneof("type") or ""


def _fieldCheck(field: FieldDescriptor) -> FieldCheck | None:
    """
    The check of one field, or L{None} if nothing can be wrong with it.
    """
    rules = declaredRules(field)
    if field.is_repeated:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return _mapCheck(field, entry, rules)
        return _listCheck(field, rules)
    if field.message_type is not None:
        return _messageCheck(field, rules)
    valueRules = _valueRules(field, rules)
    return _scalarCheck(field, valueRules) if valueRules else None


def _valueRules(field: FieldDescriptor, rules: Any) -> tuple[Rule, ...]:
    """
    The rules of one value of a field: those of a scalar, a wrapper, a duration.
    """
    kind = _kind(rules)
    if field.enum_type is not None and not (kind and rules.enum.defined_only):
        # Nobody can compile a number that has no name, whether Envoy's rules refuse it or leave it to chance.
        return (definedOnly(field.enum_type), *_declared(field, rules, kind))
    return _declared(field, rules, kind)


def _declared(field: FieldDescriptor, rules: Any, kind: str) -> tuple[Rule, ...]:
    if not kind:
        return ()
    member = getattr(rules, kind)
    found = tuple(scalarRules(kind, member, field.enum_type))
    if getattr(member, "ignore_empty", False):
        return tuple(_unlessEmpty(rule) for rule in found)
    return found


def _unlessEmpty(rule: Rule) -> Rule:
    return lambda value: rule(value) if value else None


def _apply(rules: tuple[Rule, ...], value: Any, path: str, refuse: Refuse) -> None:
    for rule in rules:
        why = rule(value)
        if why is not None:
            refuse(path, why)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _scalarCheck(field: FieldDescriptor, rules: tuple[Rule, ...]) -> FieldCheck:
    name = field.name
    hasPresence = field.has_presence

    def check(message: Any, path: str, refuse: Refuse) -> None:
        # A member of a oneof, or an optional field, is checked only when it is set.
        if not hasPresence or message.HasField(name):
            _apply(rules, getattr(message, name), _join(path, name), refuse)

    return check


def _descend(descriptor: Descriptor, rules: Any) -> FieldCheck | None:
    """
    The check of a message that is there.
    """
    name = descriptor.full_name
    if rules.message.skip or (name in VALUE_TYPES and name != _ANY):
        return None
    return findFaults


def _messageCheck(field: FieldDescriptor, rules: Any) -> FieldCheck | None:
    """
    The check of a single message, wrapper, duration or Any.
    """
    name = field.name
    descriptor = field.message_type
    assert descriptor is not None
    kind = _kind(rules)
    oneof = field.containing_oneof
    # Within a oneof "required" only says that a member which is set is not null, and it never is.
    required = oneof is None and (
        rules.message.required or (kind in ("duration", "any") and getattr(rules, kind).required)
    )
    isWrapper = descriptor.full_name in VALUE_TYPES and descriptor.full_name.endswith("Value")
    valueRules = _valueRules(field, rules)
    down = _descend(descriptor, rules)
    if not (required or valueRules or down is not None):
        return None

    def check(message: Any, path: str, refuse: Refuse) -> None:
        if not message.HasField(name):
            if required:
                refuse(_join(path, name), "is required, and not set")
            return
        value = getattr(message, name)
        if valueRules:
            _apply(valueRules, value.value if isWrapper else value, _join(path, name), refuse)
        if down is not None:
            down(value, _join(path, name), refuse)

    return check


def _counted(rules: Any, low: str, high: str, one: str, several: str) -> Rule | None:
    """
    The rule on how many entries a list or a map has.
    """
    least, most = getattr(rules, low), getattr(rules, high)
    if not rules.HasField(low) and not rules.HasField(high):
        return None
    atLeast, atMost = one if least == 1 else several, one if most == 1 else several
    top = most if rules.HasField(high) else float("inf")

    def rule(value: Any) -> str | None:
        count = len(value)
        if count < least:
            return f"needs at least {least} {atLeast}, and has {count}"
        return f"may have at most {most} {atMost}, and has {count}" if count > top else None

    return rule


def _known(rules: Any, kind: str, names: frozenset[str]) -> None:
    for descriptor, _value in rules.ListFields():
        if descriptor.name not in names:
            raise UnknownRule(f"validate.rules.{kind}.{descriptor.name}")


def _listCheck(field: FieldDescriptor, rules: Any) -> FieldCheck | None:
    name = field.name
    repeated = rules.repeated
    _known(repeated, "repeated", frozenset(("min_items", "max_items", "unique", "items", "ignore_empty")))
    counted = _counted(repeated, "min_items", "max_items", "item", "items")
    itemRules = _valueRules(field, repeated.items)
    down = None if field.message_type is None else _descend(field.message_type, repeated.items)
    unique = repeated.unique
    ignoreEmpty = repeated.ignore_empty
    if counted is None and not itemRules and down is None and not unique:
        return None

    def check(message: Any, path: str, refuse: Refuse) -> None:
        values = getattr(message, name)
        here = _join(path, name)
        if counted is not None and (values or not ignoreEmpty):
            _apply((counted,), values, here, refuse)
        seen: dict[object, int] = {}
        for index, value in enumerate(values):
            _apply(itemRules, value, f"{here}[{index}]", refuse)
            if down is not None:
                down(value, f"{here}[{index}]", refuse)
            if unique and seen.setdefault(value, index) != index:
                refuse(f"{here}[{index}]", f"{value!r} stands at [{seen[value]}] already")

    return check


def _mapCheck(field: FieldDescriptor, entry: Descriptor, rules: Any) -> FieldCheck | None:
    name = field.name
    mapped = rules.map
    _known(mapped, "map", frozenset(("min_pairs", "max_pairs", "keys", "values", "ignore_empty")))
    counted = _counted(mapped, "min_pairs", "max_pairs", "entry", "entries")
    keyRules = _valueRules(entry.fields_by_name["key"], mapped.keys)
    value = entry.fields_by_name["value"]
    valueRules = _valueRules(value, getattr(mapped, "values"))  # noqa: B009  # a message may have a method "values"
    down = None if value.message_type is None else _descend(value.message_type, getattr(mapped, "values"))  # noqa: B009
    if counted is None and not keyRules and not valueRules and down is None:
        return None

    def check(message: Any, path: str, refuse: Refuse) -> None:
        held = getattr(message, name)
        here = _join(path, name)
        if counted is not None:
            _apply((counted,), held, here, refuse)
        for key in held:
            _apply(keyRules, key, mapPath(here, key), refuse)
            _apply(valueRules, held[key], mapPath(here, key), refuse)
            if down is not None:
                down(held[key], mapPath(here, key), refuse)

    return check


def _oneofCheck(oneof: OneofDescriptor) -> FieldCheck:
    name = oneof.name
    members = ", ".join(field.name for field in oneof.fields)

    def check(message: Any, path: str, refuse: Refuse) -> None:
        if message.WhichOneof(name) is None:
            refuse(path, f"one of {members} is required")

    return check
