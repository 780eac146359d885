# -*- test-case-name: tests.routing.test_perfilter -*-
"""
C{typed_per_filter_config}: what a route, and everything around it, say to single HTTP filters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from meshproxy.config.section import Section

__all__ = [
    "CompileFilterConfig",
    "CompileOlderConfig",
    "FilterOverrides",
    "KnowsFilterConfig",
    "compilePerFilterConfig",
    "mergeFilterOverrides",
]

#: Compiles the configuration of a filter for a route: by the name of the filter, and the unpacked message. L{None}
#: where it cannot, which it has refused.
CompileFilterConfig: TypeAlias = Callable[[str, Section], object | None]

#: Compiles what a field of former times says to filters, by their names in the chain.
CompileOlderConfig: TypeAlias = Callable[[Section], Mapping[str, object]]

#: Whether there is a filter of a name, and one for the configuration in an Any.
KnowsFilterConfig: TypeAlias = Callable[[str, Section], bool]

_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


@dataclass(frozen=True, slots=True)
class FilterOverrides:
    """
    What one level, or all levels of a route together, say to filters. Names are those in C{http_filters}.

    @ivar configs: The most specific configuration of each filter.
    @ivar levels: All configurations of each filter, the most general first.
    @ivar older: The same where a field of former times says it (C{cors}); a filter heeds it where C{levels} has
        nothing.
    @ivar disabled: Filters that are switched off (L{True}), or on where the connection manager has them off
        (L{False}).
    """

    configs: Mapping[str, object] = field(default_factory=dict)
    levels: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    disabled: Mapping[str, bool] = field(default_factory=dict)
    older: Mapping[str, tuple[object, ...]] = field(default_factory=dict)


def compilePerFilterConfig(
    section: Section, compileConfig: CompileFilterConfig, isKnown: KnowsFilterConfig
) -> FilterOverrides:
    """
    Compile the C{typed_per_filter_config} of one level.

    @param section: The message that has it.
    @param compileConfig: Knows the filters.
    @param isKnown: Tells for which C{is_optional} leaves a configuration out.
    """
    configs: dict[str, object] = {}
    disabled: dict[str, bool] = {}
    for name, entry in section.entries("typed_per_filter_config").items():
        config = entry.unpack()
        if config is not None and config.typeName == _FILTER_CONFIG:
            if config.get("disabled"):
                disabled[name] = True
                continue
            if not config.has("config"):
                config.refuse("a FilterConfig switches a filter off, or has a config", "config")
            config = _wrapped(name, config, isKnown)
        # Envoy: a configuration on a route switches a filter on that is off by default.
        disabled[name] = False
        if config is None:
            continue
        compiled = compileConfig(name, config)
        if compiled is not None:
            configs[name] = compiled
    return FilterOverrides(configs, {name: (config,) for name, config in configs.items()}, disabled)


def _wrapped(name: str, wrapper: Section, isKnown: KnowsFilterConfig) -> Section | None:
    """
    What a C{FilterConfig} is around; L{None} where there is nothing, or nothing that has to be known.
    """
    held = wrapper.child("config")
    if held is None or not held.message.type_url:
        return None
    if wrapper.get("is_optional") and not isKnown(name, held):
        held.warn("no filter here takes this; it is left out, as is_optional says")
        return None
    return held.unpack()


def mergeFilterOverrides(levels: Sequence[FilterOverrides]) -> FilterOverrides:
    """
    Merge levels, the most general first.
    """
    told = [level for level in levels if level.configs or level.disabled or level.older]
    if len(told) == 1:
        return told[0]
    configs: dict[str, object] = {}
    every: dict[str, tuple[object, ...]] = {}
    disabled: dict[str, bool] = {}
    older: dict[str, tuple[object, ...]] = {}
    for level in told:
        configs.update(level.configs)
        disabled.update(level.disabled)
        for gathered, held in ((every, level.levels), (older, level.older)):
            for name, found in held.items():
                gathered[name] = gathered.get(name, ()) + found
    return FilterOverrides(configs, every, disabled, older)
