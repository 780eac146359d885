# -*- test-case-name: tests.config.test_linear -*-
"""
A proof that a backtracking matcher needs linear time for a pattern, for a part of RE2's language.

The pattern is read into a small tree over sets of bytes. A tree is accepted where it is deterministic
(strongly one-unambiguous, as Brueggemann-Klein and Wood define it): whatever was matched so far, the next character
belongs to at most one place of the pattern, and there is one way to come to it. A matcher then never has two ways to
go on; when it fails, each way that it left open fails at its first character. One exception is allowed: one ambiguous
star with nothing but a few fixed characters behind it (C{.*suffix}), which costs the length of the input times that
tail.

What is accepted is written anew, so that constructs which mean different things to RE2 and to C{re} (C{$}, C{\\s},
C{.}) cannot slip through. Only the question whether the whole of the input matches is answered the same; which
group matched what is not asked. Everything that is not plainly in the subset is left to RE2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["proveLinear"]

# Counted repetitions are unrolled for the proof, which then compares pairs of places.
MAX_PLACES = 300
# The longest tail behind the one ambiguous star.
MAX_TAIL = 64

_ALL = (1 << 256) - 1


def _mask(characters: str) -> int:
    mask = 0
    for character in characters:
        mask |= 1 << ord(character)
    return mask


_DIGITS = _mask("0123456789")
_WORDS = _DIGITS | _mask("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
# RE2's \s leaves the vertical tab out; that of re holds it.
_SPACES = _mask("\t\n\f\r ")
_CLASSES = {
    "d": _DIGITS,
    "D": _ALL & ~_DIGITS,
    "w": _WORDS,
    "W": _ALL & ~_WORDS,
    "s": _SPACES,
    "S": _ALL & ~_SPACES,
}
# RE2: the dot does not match a line feed unless (?s) asks for it.
_DOT = _ALL & ~_mask("\n")
_SPECIAL = "\\^$.[]|()?*+{}"


class _Unsupported(Exception):
    """
    The pattern is outside of the subset.
    """


@dataclass(slots=True)
class _Set:
    """
    One character of a set.
    """

    mask: int


@dataclass(slots=True)
class _Sequence:
    """
    One after the other.
    """

    parts: list[_Node]


@dataclass(slots=True)
class _Choice:
    """
    One of several.
    """

    branches: list[_Node]


@dataclass(slots=True)
class _Repeat:
    """
    C{least} times to C{most} times; L{None} is without end.
    """

    body: _Node
    least: int
    most: int | None


_Node = _Set | _Sequence | _Choice | _Repeat


class _Reader:
    """
    A recursive descent over the subset of RE2's syntax.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.depth = 0

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _take(self, text: str) -> bool:
        if self.pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def readAll(self) -> _Node:
        # The whole input has to match anyway, so anchors at both ends say nothing; inside a choice they would.
        if self._take("^") and "|" in self.pattern:
            raise _Unsupported
        tree = self._choice()
        if self._take("$") and "|" in self.pattern:
            raise _Unsupported
        if self.at != len(self.pattern):
            raise _Unsupported
        return tree

    def _choice(self) -> _Node:
        self.depth += 1
        if self.depth > 20:
            raise _Unsupported
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else _Choice(branches)

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")", "$"):
            parts.append(self._quantified(self._atom()))
        return _Sequence(parts)

    def _atom(self) -> _Node:
        character = self.pattern[self.at]
        self.at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return _Set(self._class())
        if character == ".":
            return _Set(_DOT)
        if character == "\\":
            return _Set(self._escape())
        if character in _SPECIAL or not character.isascii():
            raise _Unsupported
        return _Set(1 << ord(character))

    def _group(self) -> _Node:
        if not self._take("?:") and self._peek() == "?":
            raise _Unsupported
        inner = self._choice()
        if not self._take(")"):
            raise _Unsupported
        return inner

    def _escape(self) -> int:
        character = self._peek()
        self.at += 1
        if character in _CLASSES:
            return _CLASSES[character]
        # Punctuation behind a backslash is itself in every dialect.
        if character == "" or character.isalnum() or not character.isascii() or not character.isprintable():
            raise _Unsupported
        return 1 << ord(character)

    def _class(self) -> int:
        negated = self._take("^")
        mask = 0
        empty = True
        while True:
            character = self._peek()
            if character == "]" and not empty:
                self.at += 1
                return _ALL & ~mask if negated else mask
            if character in ("", "[", "]"):
                raise _Unsupported
            empty = False
            low = self._classMember()
            if self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                mask |= self._range(low, self._classMember())
            else:
                mask |= low

    def _range(self, low: int, high: int) -> int:
        if low.bit_count() != 1 or high.bit_count() != 1 or low > high:
            raise _Unsupported
        return (high << 1) - low

    def _classMember(self) -> int:
        character = self._peek()
        self.at += 1
        if character == "\\":
            return self._escape()
        if character in ("", "[") or not character.isascii():
            raise _Unsupported
        return 1 << ord(character)

    def _quantified(self, body: _Node) -> _Node:
        bounds = self._bounds()
        if bounds is None:
            return body
        # A lazy or possessive form, or a repetition of a repetition.
        if self._peek() in ("?", "*", "+", "{") and self._peek() != "":
            raise _Unsupported
        if _Places(body).nullable:
            raise _Unsupported
        return _Repeat(body, bounds[0], bounds[1])

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if self._peek() != "{":
            return None
        counted = re.compile(r"\{([0-9]{1,3})(?:(,)([0-9]{1,3})?)?\}").match(self.pattern, self.at)
        if counted is None:
            raise _Unsupported
        self.at = counted.end()
        least = int(counted[1])
        most = least if counted[2] is None else None if counted[3] is None else int(counted[3])
        if most is not None and (most < least or most == 0):
            raise _Unsupported
        return least, most


class _Places:
    """
    The places of a tree (its characters, repetitions unrolled), which of them may come first and last, and which may
    follow which: Glushkov's construction.
    """

    def __init__(self, tree: _Node) -> None:
        self.masks: list[int] = []
        self.follow: list[set[int]] = []
        self.nullable, self.first, self.last = self._walk(tree)

    def isDeterministic(self) -> bool:
        """
        Whether no two places that may come next share a character.
        """
        return self._apart(self.first) and all(self._apart(places) for places in self.follow)

    def _apart(self, places: set[int]) -> bool:
        seen = 0
        for place in places:
            if seen & self.masks[place]:
                return False
            seen |= self.masks[place]
        return True

    def _walk(self, node: _Node) -> tuple[bool, set[int], set[int]]:
        if isinstance(node, _Set):
            if len(self.masks) >= MAX_PLACES:
                raise _Unsupported
            self.masks.append(node.mask)
            self.follow.append(set())
            place = {len(self.masks) - 1}
            return False, place, place
        if isinstance(node, _Sequence):
            return self._joined(node.parts)
        if isinstance(node, _Choice):
            return self._chosen(node.branches)
        return self._repeated(node)

    def _joined(self, parts: list[_Node]) -> tuple[bool, set[int], set[int]]:
        nullable, first, last = True, set[int](), set[int]()
        for part in parts:
            partNullable, partFirst, partLast = self._walk(part)
            for place in last:
                self.follow[place] |= partFirst
            if nullable:
                first = first | partFirst
            last = last | partLast if partNullable else partLast
            nullable = nullable and partNullable
        return nullable, first, last

    def _chosen(self, branches: list[_Node]) -> tuple[bool, set[int], set[int]]:
        walked = [self._walk(branch) for branch in _sharePrefixes(branches)]
        if [nullable for nullable, _, _ in walked].count(True) > 1:
            raise _Unsupported
        return (
            any(nullable for nullable, _, _ in walked),
            set[int]().union(*(first for _, first, _ in walked)),
            set[int]().union(*(last for _, _, last in walked)),
        )

    def _repeated(self, node: _Repeat) -> tuple[bool, set[int], set[int]]:
        if node.most is None:
            required: list[_Node] = [node.body] * max(node.least - 1, 0)
            nullable, first, last = self._joined(required)
            loopNullable, loopFirst, loopLast = self._walk(node.body)
            for place in loopLast:
                # (a+)+: the same next place by two loops. The sets would hide that, a matcher would try both.
                if self.follow[place] & loopFirst:
                    raise _Unsupported
                self.follow[place] |= loopFirst
            for place in last:
                self.follow[place] |= loopFirst
            if nullable:
                first = first | loopFirst
            return node.least == 0, first, loopLast | last if node.least == 0 else loopLast
        first, last, before = set[int](), set[int](), set[int]()
        for count in range(1, node.most + 1):
            _, bodyFirst, bodyLast = self._walk(node.body)
            if count == 1:
                first = bodyFirst
            for place in before:
                self.follow[place] |= bodyFirst
            before = bodyLast
            if count >= node.least:
                last = last | before
        return node.least == 0, first, last


def _sharePrefixes(branches: list[_Node]) -> list[_Node]:
    """
    Branches that begin with the same character as one branch with a choice behind it, so that C{user|users} has one
    way to go. A matcher that tries them one by one does so at most once for each branch.
    """
    groups: dict[int, list[_Sequence]] = {}
    for branch in branches:
        if not isinstance(branch, _Sequence) or not all(isinstance(part, _Set) for part in branch.parts):
            return branches
        head = branch.parts[0] if branch.parts else None
        groups.setdefault(head.mask if isinstance(head, _Set) else 0, []).append(branch)
    shared: list[_Node] = []
    for group in groups.values():
        if len(group) == 1 or not group[0].parts:
            shared.extend(group)
        else:
            rest: list[_Node] = [_Sequence(member.parts[1:]) for member in group]
            shared.append(_Sequence([group[0].parts[0], _Choice(rest)]))
    return shared


def _hasFixedTail(tree: _Node) -> bool:
    """
    Whether the tree is deterministic up to one star behind which only a few single characters stand.
    """
    if not isinstance(tree, _Sequence):
        return False
    parts = tree.parts
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if isinstance(part, _Repeat):
            tail = len(parts) - index - 1
            if tail > MAX_TAIL or not isinstance(part.body, _Set):
                return False
            # What stands before the star must not be ambiguous with it either.
            return _Places(_Sequence(parts[: index + 1])).isDeterministic()
        if not isinstance(part, _Set):
            return False
    return True


def _written(node: _Node) -> bytes:
    if isinstance(node, _Set):
        return _writtenSet(node.mask)
    if isinstance(node, _Sequence):
        return b"".join(map(_written, node.parts))
    if isinstance(node, _Choice):
        return b"(?:" + b"|".join(map(_written, node.branches)) + b")"
    body = b"(?:" + _written(node.body) + b")"
    return body + b"{%d,%b}" % (node.least, b"" if node.most is None else b"%d" % node.most)


def _writtenSet(mask: int) -> bytes:
    characters = [code for code in range(256) if mask >> code & 1]
    if len(characters) == 1:
        return re.escape(bytes(characters))
    if not characters:
        raise _Unsupported
    # Ranges, each end as \xNN: nothing in a class has to be escaped then.
    written = b""
    start = previous = characters[0]
    for code in [*characters[1:], 1000]:
        if code != previous + 1:
            written += b"\\x%02x-\\x%02x" % (start, previous)
            start = code
        previous = code
    return b"[" + written + b"]"


def proveLinear(pattern: str) -> bytes | None:
    """
    Prove that a pattern does not backtrack.

    @return: The pattern as C{re} is to compile it, good for C{fullmatch}; L{None} where there is no
        proof.
    """
    try:
        tree = _Reader(pattern).readAll()
        if _Places(tree).isDeterministic() or _hasFixedTail(tree):
            return _written(tree)
    except _Unsupported:
        pass
    return None
