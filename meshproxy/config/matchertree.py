# -*- test-case-name: tests.config.test_matchertree -*-
"""
C{xds.type.matcher.v3.Matcher}: a tree of conditions with an action at its leaves, compiled to one function.

What there is to look at, and what an action is, depends on where the tree stands: whoever compiles one hands in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from meshproxy.config.cel.program import FindVariable, compileSection
from meshproxy.config.cidr import CidrRange, compileCidrRange, compileCidrSet, packAddress
from meshproxy.config.matchers import compileStringMatcher
from meshproxy.config.section import Section
from meshproxy.config.supported import accept, declare, decline
from meshproxy.config.valuematchers import compileValueMatcher

__all__ = ["Attributes", "CompileAction", "CompileInput", "MatcherTree", "Read", "compileMatcherTree"]

_MATCHER = "xds.type.matcher.v3.Matcher"
_LIST = _MATCHER + ".MatcherList"
_TREE = _MATCHER + ".MatcherTree"
_RANGES = "xds.type.matcher.v3.IPMatcher"
_DOMAINS = "xds.type.matcher.v3.ServerNameMatcher"
_IP = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
_METADATA = "envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
_CEL = "xds.type.matcher.v3.CelMatcher"
_EXPRESSION = "xds.type.v3.CelExpression"

#: The inputs that give a value of metadata, and not bytes: only a matcher of such values can look at them.
_OF_VALUES = frozenset({"envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"})

declare(_MATCHER, "matcher_list", "matcher_tree", "on_no_match")
declare(_MATCHER + ".OnMatch", "matcher", "action")
declare(_LIST, "matchers")
declare(_LIST + ".FieldMatcher", "predicate", "on_match")
declare(_LIST + ".Predicate", "single_predicate", "or_matcher", "and_matcher", "not_matcher")
declare(_LIST + ".Predicate.PredicateList", "predicate")
declare(_LIST + ".Predicate.SinglePredicate", "input", "value_match", "custom_match")
declare(_TREE, "input", "exact_match_map", "prefix_match_map", "custom_match")
declare(_TREE + ".MatchMap", "map")
declare("xds.core.v3.TypedExtensionConfig", "name", "typed_config")
declare("xds.type.matcher.v3.StringMatcher", "exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case")
declare("xds.type.matcher.v3.RegexMatcher", "regex")
accept("xds.type.matcher.v3.RegexMatcher", "google_re2", "every regular expression is RE2's, and linear in time")
declare(_IP, "cidr_ranges")
accept(_IP, "stat_prefix", "it counts texts that are no addresses, and none gets there")
declare(_METADATA, "value", "invert")
declare(_CEL, "expr_match")
accept(_CEL, "description", "it is for readers")
declare(_EXPRESSION, "parsed_expr", "checked_expr", "cel_expr_parsed", "cel_expr_checked")
decline(
    _EXPRESSION, "cel_expr_string", "Envoy takes no text here either; cel_expr_parsed holds what a parser makes of it"
)
declare(_RANGES, "range_matchers")
declare(_RANGES + ".IPRangeMatcher", "ranges", "on_match", "exclusive")
declare(_DOMAINS, "domain_matchers")
declare(_DOMAINS + ".DomainMatcher", "domains", "on_match")

# C{Any}: what a tree looks at is its owner's.

#: Reads an input: some bytes, or L{None} where there is nothing; of metadata a value, or
#: L{MISSING<meshproxy.config.valuematchers.MISSING>}.
Read: TypeAlias = Callable[[Any], Any]
#: Compiles an input.
CompileInput: TypeAlias = Callable[[Section], Read]
#: Compiles an action; L{None} where it was refused.
CompileAction: TypeAlias = Callable[[Section], object | None]
#: Finds the action for what is looked at, or L{None}.
MatcherTree: TypeAlias = Callable[[Any], Any]

_Test: TypeAlias = Callable[[Any], bool]


class Attributes:
    """
    An input for expressions: what a tree looks at, as a whole. Only a C{CelMatcher} can look at it.

    @ivar find: What an expression can ask of it.
    """

    def __init__(self, find: FindVariable) -> None:
        self.find = find

    def __call__(self, section: Section) -> Read:
        """
        See L{CompileInput}.
        """
        return lambda data: data


def _nothing(data: object) -> None:
    return None


def _never(data: object) -> bool:
    return False


def compileMatcherTree(
    section: Section, inputs: Mapping[str, CompileInput], compileAction: CompileAction
) -> MatcherTree:
    """
    Compile C{xds.type.matcher.v3.Matcher}. Faults are told by C{refuse}.

    @param inputs: What there is to look at, by the full names of their messages.
    """
    return _Compiler(inputs, compileAction).compile(section)


class _Compiler:
    """
    Compiles one tree.
    """

    def __init__(self, inputs: Mapping[str, CompileInput], compileAction: CompileAction) -> None:
        self._inputs = inputs
        self._compileAction = compileAction

    def compile(self, section: Section) -> MatcherTree:
        """
        Compile a C{Matcher}.
        """
        kind = section.oneof("matcher_type")
        otherwise = section.child("on_no_match")
        onNoMatch = _nothing if otherwise is None else self._onMatch(otherwise)
        if kind == "matcher_list":
            found = self._list(section.childOrEmpty(kind))
        elif kind == "matcher_tree":
            found = self._tree(section.childOrEmpty(kind))
        else:
            # As in Envoy, a matcher that holds nothing is its on_no_match.
            return onNoMatch
        if otherwise is None:
            return found

        def find(data: Any) -> Any:
            action = found(data)
            return onNoMatch(data) if action is None else action

        return find

    def _onMatch(self, section: Section) -> MatcherTree:
        if section.oneof("on_match") == "matcher":
            return self.compile(section.childOrEmpty("matcher"))
        action = self._compileAction(section.childOrEmpty("action"))
        return lambda data: action

    def _list(self, section: Section) -> MatcherTree:
        branches = tuple(
            (self._predicate(held.childOrEmpty("predicate")), self._onMatch(held.childOrEmpty("on_match")))
            for held in section.children("matchers")
        )

        def find(data: Any) -> Any:
            for test, branch in branches:
                if test(data):
                    # A branch that ends nowhere was none: the next one has its turn.
                    action = branch(data)
                    if action is not None:
                        return action
            return None

        return find

    # Trees

    def _tree(self, section: Section) -> MatcherTree:
        input = section.childOrEmpty("input")
        if self._attributes(input) is not None:
            section.refuse("a tree looks at texts, and expressions look at attributes", "input.typed_config")
        read, isValue = self._input(input)
        if isValue:
            section.refuse("a tree looks at texts, and this input gives a value of metadata", "input.typed_config")
        kind = section.oneof("tree_type")
        if kind == "custom_match":
            return self._customTree(read, section.childOrEmpty(kind))
        if kind is None:
            section.refuse("one of exact_match_map, prefix_match_map and custom_match is needed")
            return _nothing
        branches = {
            key.encode("utf-8"): self._onMatch(held) for key, held in section.childOrEmpty(kind).entries("map").items()
        }
        return _exactTree(read, branches) if kind == "exact_match_map" else _prefixTree(read, branches)

    def _customTree(self, read: Read, section: Section) -> MatcherTree:
        held = section.any("typed_config")
        if held is not None and held.typeName == _RANGES:
            ranges: list[tuple[CidrRange, bool, MatcherTree]] = []
            for each in held.children("range_matchers"):
                branch, isExclusive = self._onMatch(each.childOrEmpty("on_match")), bool(each.get("exclusive"))
                found = map(compileCidrRange, each.children("ranges"))
                ranges += [(known, isExclusive, branch) for known in found if known is not None]
            return _rangesTree(read, ranges)
        if held is not None and held.typeName == _DOMAINS:
            branches: dict[bytes, MatcherTree] = {}
            for number, each in enumerate(held.children("domain_matchers")):
                branch = self._onMatch(each.childOrEmpty("on_match"))
                for domain in each.scalars("domains"):
                    key = domain.lower().encode("utf-8")
                    if key in branches:
                        held.refuse(f"there are two branches for {domain!r}", f"domain_matchers[{number}].domains")
                    branches[key] = branch
            return _domainsTree(read, branches)
        section.refuse(f"not a tree that is implemented here: there are {_RANGES} and {_DOMAINS}", "typed_config")
        return _nothing

    # Predicates

    def _predicate(self, section: Section) -> _Test:
        kind = section.oneof("match_type")
        if kind == "single_predicate":
            return self._single(section.childOrEmpty(kind))
        if kind == "not_matcher":
            test = self._predicate(section.childOrEmpty(kind))
            return lambda data: not test(data)
        if kind is None:
            section.refuse("one of single_predicate, or_matcher, and_matcher, not_matcher is needed")
            return _never
        tests = tuple(self._predicate(held) for held in section.childOrEmpty(kind).children("predicate"))
        if kind == "or_matcher":
            return lambda data: any(test(data) for test in tests)
        return lambda data: all(test(data) for test in tests)

    def _single(self, section: Section) -> _Test:
        attributes = self._attributes(section.childOrEmpty("input"))
        if attributes is not None:
            return _expression(section, attributes)
        read, isValue = self._input(section.childOrEmpty("input"))
        kind = section.oneof("matcher")
        if isValue:
            return self._ofValue(read, section)
        if kind == "value_match":
            test = compileStringMatcher(section.childOrEmpty(kind))
        else:
            test = _custom(section.childOrEmpty("custom_match"))

        def matches(data: Any) -> bool:
            value = read(data)
            return value is not None and test(value)

        return matches

    def _ofValue(self, read: Read, section: Section) -> _Test:
        held = section.childOrEmpty("custom_match").any("typed_config")
        if held is None or held.typeName != _METADATA:
            section.refuse(f"this input gives a value of metadata: it is matched by a custom_match of {_METADATA}")
            return _never
        test = compileValueMatcher(held.childOrEmpty("value"))
        inverted: bool = held.get("invert")
        return lambda data: test(read(data)) is not inverted

    def _attributes(self, section: Section) -> Attributes | None:
        """
        What an expression can ask, if the input is for one.
        """
        held = section.any("typed_config")
        compile = None if held is None else self._inputs.get(held.typeName)
        return compile if isinstance(compile, Attributes) else None

    def _input(self, section: Section) -> tuple[Read, bool]:
        """
        @return: What reads it, and whether it gives a value of metadata.
        """
        held = section.any("typed_config")
        compile = None if held is None else self._inputs.get(held.typeName)
        if held is None or compile is None:
            section.refuse(
                f"not an input that can be looked at here: there are {', '.join(self._inputs)}", "typed_config"
            )
            return _nothing, False
        return compile(held), held.typeName in _OF_VALUES


def _exactTree(read: Read, branches: Mapping[bytes, MatcherTree]) -> MatcherTree:
    def find(data: Any) -> Any:
        value = read(data)
        branch = None if value is None else branches.get(value)
        return None if branch is None else branch(data)

    return find


def _prefixTree(read: Read, branches: Mapping[bytes, MatcherTree]) -> MatcherTree:
    # The longest first; one whose branch ends nowhere makes way for a shorter one.
    lengths = sorted({len(prefix) for prefix in branches}, reverse=True)

    def find(data: Any) -> Any:
        value = read(data)
        if value is None:
            return None
        for length in lengths:
            branch = branches.get(value[:length]) if length <= len(value) else None
            action = None if branch is None else branch(data)
            if action is not None:
                return action
        return None

    return find


def _rangesTree(read: Read, ranges: list[tuple[CidrRange, bool, MatcherTree]]) -> MatcherTree:
    # The longest first; one whose branch ends nowhere makes way for a shorter one that is not exclusive.
    ordered = sorted(ranges, key=lambda each: -each[0].length)

    def find(data: Any) -> Any:
        value = read(data)
        packed = None if value is None else packAddress(value.decode("ascii", "replace"))
        if packed is None:
            return None
        isFirst = True
        for known, isExclusive, branch in ordered:
            if packed in known and (isFirst or not isExclusive):
                action = branch(data)
                if action is not None:
                    return action
                isFirst = False
        return None

    return find


def _domainsTree(read: Read, branches: Mapping[bytes, MatcherTree]) -> MatcherTree:
    # The whole name, its suffixes behind "*." from the longest on, and everything.
    def find(data: Any) -> Any:
        value = read(data)
        if value is None:
            return None
        name = value.lower()
        labels = name.split(b".")
        keys = [name, *(b"*." + b".".join(labels[start:]) for start in range(1, len(labels))), b"*"]
        for key in keys:
            branch = branches.get(key)
            action = None if branch is None else branch(data)
            if action is not None:
                return action
        return None

    return find


def _expression(section: Section, attributes: Attributes) -> _Test:
    held = section.childOrEmpty("custom_match").any("typed_config")
    if held is None or held.typeName != _CEL:
        section.refuse(f"attributes are matched by a custom_match of {_CEL}")
        return _never
    chosen = held.childOrEmpty("expr_match")
    # The two newer ones stand outside of the oneof of the older ones.
    name = chosen.oneof("expr_specifier") or next(filter(chosen.has, ("cel_expr_parsed", "cel_expr_checked")), None)
    if name is None:
        held.refuse("an expression is needed", "expr_match")
        return _never
    program = compileSection(chosen.childOrEmpty(name).childOrEmpty("expr"), attributes.find)
    return _never if program is None else program.holds


def _custom(section: Section) -> Callable[[bytes], bool]:
    held = section.any("typed_config")
    if held is not None and held.typeName == _METADATA:
        section.refuse("matches values of metadata, and the input gives text", "typed_config")
        return _never
    if held is None or held.typeName != _IP:
        section.refuse(f"not a matcher that is implemented here: there are {_IP} and {_METADATA}", "typed_config")
        return _never
    ranges = compileCidrSet(held.children("cidr_ranges"))
    return lambda value: ranges.containsText(value.decode("ascii", "replace"))
