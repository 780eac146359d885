# -*- test-case-name: tests.http.test_codings -*-
"""
Which content coding a client gets (RFC 9110, 12.5.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Choice", "chooseCoding"]


class Choice(NamedTuple):
    """
    What a client gets.

    @ivar coding: C{b"identity"} for none.
    @ivar stat: Under which name it is counted: C{header_compressor_used}, C{header_identity}, C{header_wildcard} or
        C{header_not_valid}.
    """

    coding: bytes
    stat: str


_weight = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z").match


def _accepted(value: bytes) -> list[tuple[bytes, float]]:
    """
    The codings of an C{accept-encoding} with their weights; what has none that can be read is left out.
    """
    found = []
    for token in value.split(b","):
        name, semicolon, parameters = token.partition(b";")
        if not token.strip(b" \t"):
            continue
        weight = 1.0
        key, equals, text = parameters.partition(b"=")
        if semicolon and equals and key.strip(b" \t").lower() == b"q":
            text = text.strip(b" \t")
            if _weight(text) is None:
                continue
            weight = float(text)
        found.append((name.strip(b" \t"), weight))
    return found


def chooseCoding(acceptEncoding: bytes, offered: Sequence[tuple[bytes, bool]]) -> Choice:
    """
    Choose a content coding, as Envoy does: the one with the greatest weight that is offered; of equal ones the first
    that the client names, unless a later one is to be chosen first; for an asterisk the first that is offered.

    @param offered: Codings in the order of the chain, each with whether it is C{choose_first}.
    """
    allowed: dict[bytes, bool] = {}
    for coding, isFirst in offered:
        allowed.setdefault(coding, isFirst)
    accepted = _accepted(acceptEncoding)
    for coding, weight in accepted:
        if not weight:
            allowed.pop(coding, None)
    if not accepted or not allowed:
        return Choice(b"identity", "header_not_valid")
    chosen, best = b"identity", 0.0
    for coding, weight in accepted:
        if (coding in allowed or coding in (b"identity", b"*")) and (
            weight > best or (weight == best and allowed.get(coding, False))
        ):
            chosen, best = coding, weight
    if not best:
        return Choice(b"identity", "header_not_valid")
    if chosen == b"identity":
        return Choice(chosen, "header_identity")
    if chosen == b"*":
        return Choice(next(iter(allowed)), "header_wildcard")
    return Choice(chosen, "header_compressor_used")
