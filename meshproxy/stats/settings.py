# -*- test-case-name: tests.stats.test_settings -*-
"""
C{envoy.config.metrics.v3.StatsConfig}: which metrics there are, which labels they have, and which buckets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import re2

from meshproxy.config.matchers import compileListStringMatcher, compileStringMatcher
from meshproxy.config.near import near
from meshproxy.stats.quantiles import DEFAULT_BOUNDARIES
from meshproxy.stats.tags import DEFAULT_RULES, TagExtractor, TagRule

if TYPE_CHECKING:
    from meshproxy.config import Section

__all__ = ["StatsSettings", "compileStatsSettings"]


class StatsSettings:
    """
    A compiled C{stats_config}.

    @ivar accepts: Whether a metric of this name is kept.
    @ivar boundaries: The buckets of the histogram of this name.
    @ivar extractor: Takes labels from names.
    """

    __slots__ = ("accepts", "boundaries", "extractor")

    def __init__(
        self,
        accepts: Callable[[str], bool] = lambda name: True,
        boundaries: Callable[[str], tuple[float, ...]] = lambda name: DEFAULT_BOUNDARIES,
        extractor: TagExtractor | None = None,
    ) -> None:
        self.accepts = accepts
        self.boundaries = boundaries
        self.extractor = TagExtractor() if extractor is None else extractor


def compileStatsSettings(section: Section | None) -> StatsSettings:
    """
    Compile a C{stats_config}; without one, Envoy's defaults.
    """
    if section is None:
        return StatsSettings()
    matcher = section.child("stats_matcher")
    accepts = (lambda name: True) if matcher is None else _accepts(matcher)
    return StatsSettings(accepts, _boundaries(section), _extractor(section))


def _accepts(section: Section) -> Callable[[str], bool]:
    kind = section.oneof("stats_matcher")
    if kind == "reject_all":
        rejected = section.get("reject_all")
        return lambda name: not rejected
    included = kind == "inclusion_list"
    listed = compileListStringMatcher(section.childOrEmpty("inclusion_list" if included else "exclusion_list"))
    return lambda name: listed(name.encode("utf-8")) is included


def _boundaries(section: Section) -> Callable[[str], tuple[float, ...]]:
    rules = [
        (compileStringMatcher(setting.childOrEmpty("match")), _buckets(setting))
        for setting in section.children("histogram_bucket_settings")
    ]

    def boundaries(name: str) -> tuple[float, ...]:
        encoded = name.encode("utf-8")
        for matches, buckets in rules:
            if matches(encoded):
                return buckets
        return DEFAULT_BOUNDARIES

    return boundaries


def _buckets(setting: Section) -> tuple[float, ...]:
    buckets = tuple(sorted(setting.scalars("buckets")))
    if not buckets:
        setting.refuse("there is no bucket", "buckets")
    return buckets


def _extractor(section: Section) -> TagExtractor:
    rules: list[TagRule] = list(DEFAULT_RULES) if section.wrapped("use_all_default_tags", True) else []
    fixed: list[tuple[str, str]] = []
    for tag in section.children("stats_tags"):
        name = tag.get("tag_name")
        kind = tag.oneof("tag_value")
        if kind == "fixed_value":
            fixed.append((name, tag.get("fixed_value")))
        elif kind == "regex" and tag.get("regex"):
            rule = _regexRule(tag, name)
            if rule is not None:
                rules.append(rule)
        else:
            rules.extend(_wellKnown(tag, name, rules))
    return TagExtractor(rules, fixed)


def _wellKnown(tag: Section, name: str, already: list[TagRule]) -> list[TagRule]:
    """
    A tag of Envoy's that is asked for by its name alone, where not all of them are there anyway.
    """
    known = [rule for rule in DEFAULT_RULES if rule.tag == name]
    if not known:
        why = f"{name!r} is none of Envoy's tags, so it needs a regex or a fixed_value"
        tag.refuse(why, "tag_name", near(name, {rule.tag for rule in DEFAULT_RULES}))
    return [rule for rule in known if rule not in already]


def _regexRule(tag: Section, name: str) -> TagRule | None:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(tag.get("regex"), options)
    except re2.error as error:
        why = error.args[0] if error.args else "refused"
        tag.refuse(f"not a regular expression of RE2: {why.decode() if isinstance(why, bytes) else why}", "regex")
        return None
    if compiled.groups < 1:
        tag.refuse("the regular expression has no group: the first one is taken out of the name", "regex")
        return None
    if compiled.groups > 1:
        return TagRule(name, compiled.search, "")
    # With one group only, that is the value as well.
    return TagRule(name, lambda text: _OneGroup.of(compiled.search(text)), "")


class _OneGroup:
    """
    A match whose one group stands for both.
    """

    __slots__ = ("_match",)

    def __init__(self, match: re2._Match[str]) -> None:
        self._match = match

    @classmethod
    def of(cls, match: re2._Match[str] | None) -> _OneGroup | None:
        """
        Wrap a match, if there is one.
        """
        return None if match is None else cls(match)

    def span(self, group: int, /) -> tuple[int, int]:
        """
        Where the group is.
        """
        start, end = self._match.span(1)
        return int(start), int(end)

    def group(self, group: int, /) -> str:
        """
        The group.
        """
        return self._match.group(1) or ""
