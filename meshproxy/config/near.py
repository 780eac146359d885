# -*- test-case-name: tests.config.test_near -*-
"""
What a mistyped name probably meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

__all__ = ["HINT", "didYouMean", "nearTypes", "near"]


#: What stands between an error and what was probably meant.
HINT = "; did you mean "


def _fold(name: str) -> str:
    """
    A name without what people mix up: case, and the way words are joined.
    """
    return name.lower().replace("_", "").replace("-", "")


def near(word: str, names: Iterable[str], most: int = 3) -> list[str]:
    """
    The names that a word may have meant, the nearest first.
    """
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(_fold(name), name)
    wanted = _fold(word)
    return [folded[match] for match in get_close_matches(wanted, folded, most, 0.7)]


def nearTypes(url: str, names: Iterable[str], most: int = 3) -> list[str]:
    """
    The message types that a type URL may have meant: those whose last part is near, and of these the ones whose
    package is nearest.
    """
    wanted = url.rpartition("/")[2]
    last = wanted.rpartition(".")[2]
    byLast: dict[str, list[str]] = {}
    for name in names:
        byLast.setdefault(name.rpartition(".")[2], []).append(name)
    if last in byLast:
        candidates = byLast[last]
    else:
        candidates = [name for match in near(last, byLast, most) for name in byLast[match]]
    rated = sorted(((SequenceMatcher(None, wanted, name).ratio(), name) for name in candidates), reverse=True)
    return [name for ratio, name in rated[:most] if ratio > rated[0][0] * 0.85]


def didYouMean(names: Iterable[str]) -> str:
    """
    The end of an error's sentence: empty where no name is near.
    """
    told = list(names)
    if not told:
        return ""
    return HINT + (told[0] if len(told) == 1 else ", ".join(told[:-1]) + " or " + told[-1]) + "?"
