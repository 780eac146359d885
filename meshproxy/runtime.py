# -*- test-case-name: tests.test_runtime -*-
"""
Runtime: values that change while the proxy runs, in layers, the later ones over the earlier ones.

A configuration that names a C{runtime_key} is compiled once, into a function that looks the key up; one that names none
is compiled into L{always} or L{never} where it can be, so that no random number is drawn for a certainty.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.logger import Logger

from meshproxy.config import Report, Section
from meshproxy.config.nodes import plain
from meshproxy.config.structs import structValue
from meshproxy.config.yamltext import parseYAML
from meshproxy.errors import ConfigErrors
from meshproxy.runtimedisk import DiskLayer
from meshproxy.stats.store import Scope

__all__ = ["Layer", "Runtime", "Value", "always", "fractionOf", "never"]

#: FractionalPercent.DenominatorType, by name.
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10000, "MILLION": 1000000}
_UINT32_MAX = (1 << 32) - 1


def always() -> bool:
    """
    The decision of 100%.
    """
    return True


def never() -> bool:
    """
    The decision of 0%.
    """
    return False


def fractionOf(section: Section | None) -> float:
    """
    An C{envoy.type.v3.FractionalPercent} as a number from 0 up, 0 where it is missing.
    """
    if section is None:
        return 0.0
    numerator: int = section.get("numerator")
    return numerator / _DENOMINATORS[section.get("denominator")]


class Value(NamedTuple):
    """
    One runtime value, read in every way that it can be; L{None} for the ways in which it cannot.

    @ivar text: As it was written, for whoever lists the values.
    @ivar number: As a number.
    @ivar integer: As a whole number that is not negative.
    @ivar flag: As a boolean.
    @ivar share: As a part of all, from 0 up.
    """

    text: str
    number: float | None = None
    integer: int | None = None
    flag: bool | None = None
    share: float | None = None


class Layer(NamedTuple):
    """
    One layer.

    @ivar name: Its name.
    @ivar values: What it says.
    @ivar isAdmin: Whether L{Runtime.modify} writes to it.
    """

    name: str
    values: Mapping[str, Value]
    isAdmin: bool = False


class Runtime:
    """
    The values of all layers, and the functions that ask them.

    @ivar layers: The layers, first to last.
    @ivar values: What holds now: of each key, the value of the last layer that has it.
    """

    _log = Logger()

    def __init__(self, random: Callable[[], float] = _random.random, scope: Scope | None = None) -> None:
        """
        @param random: From 0 up to 1.
        @param scope: Takes the metrics of C{runtime.*}; it has no prefix of its own.
        """
        self.layers: tuple[Layer, ...] = ()
        # Compiled functions hold this very dictionary: it is changed in place.
        self.values: dict[str, Value] = {}
        self._random = random
        self._scope = scope
        # The layers in order: those that are known, and names with directories.
        self._plan: list[Layer | tuple[str, DiskLayer]] = []
        if scope is not None:
            for name in ("load_error", "override_dir_exists", "override_dir_not_exists"):
                scope.counter(f"runtime.{name}")

    # Layers

    def update(self, layered: Section | None, serviceCluster: str = "") -> None:
        """
        Take the layers of C{envoy.config.bootstrap.v3.LayeredRuntime}. What C{/runtime_modify} wrote stays.

        Without a configuration there is none, and nothing to write to.

        @param serviceCluster: C{node.cluster}.
        """
        written = next((dict(layer.values) for layer in self.layers if layer.isAdmin), {})
        plan: list[Layer | tuple[str, DiskLayer]] = []
        names: set[str] = set()
        isWritable = False
        for section in layered.children("layers") if layered is not None else ():
            name: str = section.get("name")
            if name in names:
                section.refuse(f"there is another layer named {name!r}", "name")
            names.add(name)
            kind = section.oneof("layer_specifier")
            if kind == "admin_layer":
                if isWritable:
                    section.refuse("there may be one admin_layer only", "admin_layer")
                isWritable = True
                plan.append(Layer(name, written, True))
            elif kind == "static_layer":
                plan.append(Layer(name, _staticValues(section)))
            elif kind == "disk_layer":
                plan.append((name, DiskLayer(section.childOrEmpty("disk_layer"), serviceCluster)))
            else:
                section.refuse("one of static_layer, disk_layer and admin_layer is needed")
        self._plan = plan
        self._apply(self._read())

    def refresh(self) -> None:
        """
        Read the directories again whose link leads elsewhere now.
        """
        disks = [disk for _, disk in (each for each in self._plan if not isinstance(each, Layer))]
        # Each is asked: that notes how it is now.
        changed = [disk.hasChanged() for disk in disks]
        if any(changed):
            self._apply(self._read())

    def _read(self) -> list[Layer]:
        """
        The layers of the plan, as they are now: a directory may not be there.
        """
        admin = next((layer for layer in self.layers if layer.isAdmin), None)
        layers: list[Layer] = []
        for each in self._plan:
            if isinstance(each, Layer):
                layers.append(each._replace(values=admin.values) if each.isAdmin and admin is not None else each)
            else:
                layer = self._readDisk(*each)
                if layer is not None:
                    layers.append(layer)
        return layers

    def _readDisk(self, name: str, disk: DiskLayer) -> Layer | None:
        try:
            texts = disk.texts()
            values = {key: _valueOfText(key, text) if text else Value("") for key, text in (texts or {}).items()}
        except ValueError as error:
            self._log.error("the runtime layer {name} cannot be read: {why}", name=name, why=str(error))
            self._count("load_error")
            return None
        self._count("override_dir_not_exists" if texts is None else "override_dir_exists")
        return None if texts is None else Layer(name, values)

    def _count(self, name: str) -> None:
        if self._scope is not None:
            self._scope.counter(f"runtime.{name}").value += 1

    def modify(self, changes: Mapping[str, str]) -> None:
        """
        Write to the admin layer (C{POST /runtime_modify}).

        @param changes: Key to text, read as YAML; an empty text takes the key out of the layer.

        @raise ValueError: If there is no admin layer, or a text cannot be read. Nothing is changed then.
        """
        if not any(layer.isAdmin for layer in self.layers):
            raise ValueError("No admin layer specified")
        made = {key: _valueOfText(key, text) for key, text in changes.items() if text}

        def changed(values: Mapping[str, Value]) -> dict[str, Value]:
            return {key: value for key, value in values.items() if key not in changes} | made

        self._apply([layer._replace(values=changed(layer.values)) if layer.isAdmin else layer for layer in self.layers])

    def _apply(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self.values.clear()
        for layer in layers:
            self.values.update(layer.values)
        if self._scope is not None:
            self._scope.counter("runtime.load_success").value += 1
            self._scope.gauge("runtime.num_keys").value = len(self.values)
            self._scope.gauge("runtime.num_layers").value = len(layers)
            overrides = sum(len(layer.values) for layer in layers if layer.isAdmin)
            self._scope.gauge("runtime.admin_overrides_active").value = int(overrides > 0)

    def snapshot(self) -> dict[str, Any]:
        """
        What the admin's C{/runtime} shows.
        """
        entries = {}
        for key in sorted(self.values):
            texts = [layer.values[key].text if key in layer.values else "" for layer in self.layers]
            entries[key] = {"final_value": self.values[key].text, "layer_values": texts}
        return {"layers": [layer.name for layer in self.layers], "entries": entries}

    # Functions

    def fraction(self, section: Section | None, default: Callable[[], bool] = never) -> Callable[[], bool]:
        """
        Compile C{envoy.config.core.v3.RuntimeFractionalPercent}.

        @param default: What a missing one means.
        """
        if section is None:
            return default
        return self.share(section.child("default_value"), section.get("runtime_key"))

    def share(self, section: Section | None, key: str = "") -> Callable[[], bool]:
        """
        Compile C{envoy.type.v3.FractionalPercent}, which a runtime key may override.
        """
        share = fractionOf(section)
        fixed = self._decision(share)
        if not key:
            return fixed
        values, random = self.values, self._random

        def decide() -> bool:
            value = values.get(key)
            if value is None or value.share is None:
                return fixed()
            return value.share > 0 and (value.share >= 1 or random() < value.share)

        return decide

    def _decision(self, share: float) -> Callable[[], bool]:
        if share <= 0:
            return never
        if share >= 1:
            return always
        random = self._random
        return lambda: random() < share

    def hits(self, share: float, *keys: str) -> bool:
        """
        Decide for a part that only the request tells; of the keys, the first that has a value overrides it.
        """
        for key in keys:
            value = self.values.get(key)
            if value is not None and value.share is not None:
                share = value.share
                break
        return share > 0 and (share >= 1 or self._random() < share)

    def number(self, key: str, default: int) -> int:
        """
        A whole number by its key.
        """
        value = self.values.get(key)
        return default if value is None or value.integer is None else value.integer

    def integer(self, section: Section) -> Callable[[], int]:
        """
        Compile C{envoy.config.core.v3.RuntimeUInt32}.
        """
        default: int = section.get("default_value")
        key: str = section.get("runtime_key")
        return lambda: self.number(key, default)

    def double(self, section: Section) -> Callable[[], float]:
        """
        Compile C{envoy.config.core.v3.RuntimeDouble}.
        """
        return self._double(section.get("runtime_key"), section.get("default_value"))

    def percent(self, section: Section) -> Callable[[], float]:
        """
        Compile C{envoy.config.core.v3.RuntimePercent}, in percent, never outside 0 to 100.
        """
        held = section.child("default_value")
        double = self._double(section.get("runtime_key"), 0.0 if held is None else held.get("value"))
        return lambda: min(max(double(), 0.0), 100.0)

    def _double(self, key: str, default: float) -> Callable[[], float]:
        values = self.values

        def ask() -> float:
            value = values.get(key)
            return default if value is None or value.number is None else value.number

        return ask

    def featureFlag(self, section: Section | None, default: bool = False) -> Callable[[], bool]:
        """
        Compile C{envoy.config.core.v3.RuntimeFeatureFlag}.

        @param default: What a missing one, or one without C{default_value}, means.
        """
        if section is None:
            return always if default else never
        otherwise = section.wrapped("default_value", default)
        key: str = section.get("runtime_key")
        if not key:
            return always if otherwise else never
        values = self.values

        def ask() -> bool:
            value = values.get(key)
            return otherwise if value is None or value.flag is None else value.flag

        return ask


# Reading values


def _staticValues(section: Section) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for key, content in sorted(structValue(section.childOrEmpty("static_layer")).items()):
        for path, fault in _read(key, content, values):
            section.refuse(fault, f"static_layer.{path}")
    return values


def _valueOfText(key: str, text: str) -> Value:
    try:
        content = plain(parseYAML(text, None, Report().addWarning))
    except ConfigErrors as error:
        raise ValueError(f"{key}: {error}") from error
    values: dict[str, Value] = {}
    for _, fault in _read(key, content, values):
        raise ValueError(f"{key}: {fault}")
    if set(values) != {key}:
        raise ValueError(f"{key}: one value is wanted, or numerator and denominator")
    return values[key]._replace(text=text)


def _read(key: str, content: object, values: dict[str, Value]) -> list[tuple[str, str]]:
    """
    Read one entry of a C{Struct}; nested ones have dots between their keys.

    @return: What cannot be read: keys with reasons.
    """
    if isinstance(content, dict):
        # As in Envoy: one of these names makes it a FractionalPercent rather than a group of keys.
        if "numerator" in content or "denominator" in content:
            share = _shareOf(content)
            if share is None:
                return [(key, "numerator is a whole number, denominator HUNDRED, TEN_THOUSAND or MILLION")]
            values[key] = Value(_shown(content), share=share)
            return []
        return [fault for name, held in content.items() for fault in _read(f"{key}.{name}", held, values)]
    if content is None or isinstance(content, list):
        return [(key, "a runtime value is a number, a boolean, a string, or numerator and denominator")]
    values[key] = _scalar(content)
    return []


def _shareOf(content: Mapping[str, object]) -> float | None:
    numerator = content.get("numerator", 0)
    denominator = _DENOMINATORS.get(str(content.get("denominator", "HUNDRED")).upper())
    if denominator is None or isinstance(numerator, bool) or not isinstance(numerator, (int, float)):
        return None
    if numerator != int(numerator) or not 0 <= numerator <= _UINT32_MAX or set(content) > {"numerator", "denominator"}:
        return None
    return numerator / denominator


def _scalar(content: object) -> Value:
    if isinstance(content, bool):
        return Value(_shown(content), flag=content)
    if isinstance(content, (int, float)):
        return _numeric(_shown(content), float(content))
    text = str(content)
    if text.strip().lower() in ("true", "false"):
        return Value(text, flag=text.strip().lower() == "true")
    try:
        return _numeric(text, float(text))
    except ValueError:
        return Value(text)


def _numeric(text: str, number: float) -> Value:
    if number != number or number in (float("inf"), float("-inf")):
        return Value(text)
    if number < 0 or number != int(number):
        return Value(text, number=number)
    # Envoy: a whole number where a share is asked for is a percentage, and beyond 100 it is all.
    return Value(text, number=number, integer=int(number), share=min(number / 100, 1.0))


def _shown(content: object) -> str:
    if isinstance(content, bool):
        return str(content).lower()
    if isinstance(content, float) and content == int(content):
        return str(int(content))
    if isinstance(content, dict):
        return "{" + ", ".join(f"{name}: {_shown(held)}" for name, held in content.items()) + "}"
    return str(content)
