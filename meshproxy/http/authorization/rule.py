# -*- test-case-name: tests.http.authorization.test_policies,tests.http.authorization.test_conditions -*-
"""
A rule: something that holds for a request or does not, and can say why; and how rules make other rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshproxy.config import expressions
from meshproxy.headers import RequestHeaders

__all__ = ["ALWAYS", "Rule", "Tell", "Test", "allRules", "anyRule", "condition", "notRule", "telling"]

# C{Any} is the stream: a StreamInfo with the attributes that filters know it by.
Test = Callable[[Any, RequestHeaders], bool]
Tell = Callable[[Any, RequestHeaders], str]
Share = Callable[[Any, RequestHeaders], float]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One condition.

    @ivar test: Whether it holds.
    @ivar why: Why it does not, where it does not: what is there and what is wanted.
    @ivar fact: What is there, where it does.
    @ivar share: How much of it holds, from 0 to 1.
    @ivar always: Whether it holds for everything.
    @ivar asks: The attributes that an expression asks.
    """

    test: Test
    why: Tell
    fact: Tell
    share: Share
    always: bool = False
    asks: tuple[str, ...] = ()


ALWAYS: Final = Rule(
    lambda stream, headers: True,
    lambda stream, headers: "nothing fails",
    lambda stream, headers: "anybody may do anything",
    lambda stream, headers: 1.0,
    always=True,
)


def condition(test: Test, actual: Tell, wanted: str) -> Rule:
    """
    A rule that is made of no others.

    @param actual: What is there: C{'header x-user is "bob"'}.
    @param wanted: What is wanted: C{'exact "alice"'}.
    """
    return Rule(
        test,
        lambda stream, headers: f"{actual(stream, headers)}, not {wanted}",
        actual,
        lambda stream, headers: float(test(stream, headers)),
    )


# How the test of a rule is called.
_ARGUMENTS: Final = "stream, headers"


def _expression(rule: Rule) -> expressions.Expression:
    return expressions.expressionOf(rule.test, _ARGUMENTS)


def telling(test: Test, expression: expressions.Expression) -> Test:
    """
    A test that can stand in a larger function as the expression that it is.
    """
    test.expression = expression  # type: ignore[attr-defined]  # functions take any attribute
    return test


def notRule(rule: Rule) -> Rule:
    """
    The opposite.
    """
    test = rule.test
    return Rule(
        telling(lambda stream, headers: not test(stream, headers), _expression(rule).negated()),
        lambda stream, headers: f"{rule.fact(stream, headers)}, which is excluded",
        rule.why,
        lambda stream, headers: float(not test(stream, headers)),
    )


def allRules(rules: Sequence[Rule]) -> Rule:
    """
    All of them.
    """
    rules = [rule for rule in rules if not rule.always]
    if not rules:
        return ALWAYS
    if len(rules) == 1:
        return rules[0]
    tests = tuple(rule.test for rule in rules)

    def every(stream: Any, headers: RequestHeaders) -> bool:
        for test in tests:
            if not test(stream, headers):
                return False
        return True

    if len(tests) == 2:
        # The usual number; unrolled it costs half.
        first, second = tests
        every = lambda stream, headers: first(stream, headers) and second(stream, headers)  # noqa: E731

    return Rule(
        telling(every, expressions.allOf([_expression(rule) for rule in rules], _ARGUMENTS)),
        lambda stream, headers: next(rule for rule in rules if not rule.test(stream, headers)).why(stream, headers),
        lambda stream, headers: " and ".join(rule.fact(stream, headers) for rule in rules),
        lambda stream, headers: sum(rule.share(stream, headers) for rule in rules) / len(rules),
    )


def anyRule(rules: Sequence[Rule]) -> Rule:
    """
    One of them.
    """
    for rule in rules:
        if rule.always:
            return rule
    if len(rules) == 1:
        return rules[0]
    tests = tuple(rule.test for rule in rules)

    def some(stream: Any, headers: RequestHeaders) -> bool:
        for test in tests:
            if test(stream, headers):
                return True
        return False

    def why(stream: Any, headers: RequestHeaders) -> str:
        nearest = max(rules, key=lambda rule: rule.share(stream, headers))
        return nearest.why(stream, headers)

    if len(tests) == 2:
        first, second = tests
        some = lambda stream, headers: first(stream, headers) or second(stream, headers)  # noqa: E731

    told: Test = some
    if rules:
        told = telling(some, expressions.anyOf([_expression(rule) for rule in rules], _ARGUMENTS))
    return Rule(
        told,
        why,
        lambda stream, headers: next(rule for rule in rules if rule.test(stream, headers)).fact(stream, headers),
        lambda stream, headers: max((rule.share(stream, headers) for rule in rules), default=0.0),
    )
