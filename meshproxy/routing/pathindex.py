# -*- test-case-name: tests.routing.test_pathindex -*-
"""
From the path of a request to the few routes that its path leaves to try, in their order.

Exact paths stand in a dictionary. Prefixes stand in one sorted array: the last one that is not greater than a path is
the longest that may begin it, and where it does not, one of its own prefixes does. Each prefix knows the next shorter
one (its parent) and one further up (its jump), so that even ten thousand prefixes nested in each other are climbed in
some twenty steps. The rules of a prefix and of everything above it are merged when the table is compiled, and cut
behind the first that holds without further conditions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

__all__ = ["PathIndex", "PathRule", "Prefixes"]

E = TypeVar("E")

# Merged tuples together hold at most so many entries (8 bytes each); beyond it they are merged when asked for. Only
# tables with very many conditional rules on short prefixes come there, and those try the rules one by one anyway.
MAX_MERGED = 500_000


class PathRule(NamedTuple, Generic[E]):
    """
    One rule, under one key.

    @ivar order: Its place among the rules: the lowest wins.
    @ivar entry: What is handed out.
    @ivar isFinal: Whether it holds whenever its key does, so that later rules need not be tried.
    """

    order: int
    entry: E
    isFinal: bool


def _merge(rules: Iterable[PathRule[E]]) -> list[PathRule[E]]:
    """
    Rules in order, up to the first final one, none twice.
    """
    merged: list[PathRule[E]] = []
    last = -1
    for rule in sorted(rules, key=lambda rule: rule.order):
        if rule.order != last:
            merged.append(rule)
            last = rule.order
            if rule.isFinal:
                break
    return merged


class Prefixes(NamedTuple, Generic[E]):
    """
    All prefixes of an index. Where a path stands among them tells::

        node = bisect_right(keys, path) - 1
        while not path.startswith(keys[node]):
            jump = jumps[node]
            node = parents[node] if path.startswith(keys[jump]) else jump

    @ivar keys: They, sorted; the first is empty.
    @ivar parents: Of each, where the longest of the others stands that begins it.
    @ivar jumps: Of each, where another one stands that begins it, further up.
    @ivar held: What is to be tried for the paths that each begins.
    """

    keys: list[bytes]
    parents: list[int]
    jumps: list[int]
    held: list[Iterable[E]]


class _Late(Generic[E]):
    """
    Stands for a tuple that would be too large to keep: merged anew each time.
    """

    __slots__ = ("_chain",)

    def __init__(self, chain: Callable[[], Iterable[PathRule[E]]]) -> None:
        self._chain = chain

    def __iter__(self) -> Iterator[E]:
        return iter([rule.entry for rule in _merge(self._chain())])


class PathIndex(Generic[E]):
    """
    Rules by exact path and by prefix, gathered at compile time.
    """

    def __init__(self) -> None:
        self._exact: dict[bytes, list[PathRule[E]]] = {}
        # The empty prefix is always there: it ends every climb, and holds the rules that no key can narrow.
        self._own: dict[bytes, list[PathRule[E]]] = {b"": []}
        self._keys: list[bytes] = []
        self._parents: list[int] = []
        self._jumps: list[int] = []
        self._rules: list[list[PathRule[E]]] = []
        self._merged: list[list[PathRule[E]] | None] = []
        self._spent = 0

    def addExact(self, path: bytes, rule: PathRule[E]) -> None:
        """
        A rule for one path.
        """
        self._exact.setdefault(path, []).append(rule)

    def addPrefix(self, prefix: bytes, rule: PathRule[E]) -> None:
        """
        A rule for all paths that begin so; for all paths at all with the empty prefix.
        """
        self._own.setdefault(prefix, []).append(rule)

    def _link(self) -> None:
        """
        Sort the prefixes and find for each its parent and its jump: a skew-binary jump pointer, twice as far or as
        near as the parent's, whichever keeps the climb logarithmic.
        """
        self._keys = sorted(self._own)
        self._rules = [self._own[key] for key in self._keys]
        depths: list[int] = []
        stack: list[int] = []
        for node, key in enumerate(self._keys):
            while stack and not key.startswith(self._keys[stack[-1]]):
                stack.pop()
            parent = stack[-1] if stack else 0
            depths.append(depths[parent] + 1 if stack else 0)
            self._parents.append(parent)
            if stack:
                jump = self._jumps[parent]
                even = depths[parent] - depths[jump] == depths[jump] - depths[self._jumps[jump]]
                self._jumps.append(self._jumps[jump] if even else parent)
            else:
                self._jumps.append(0)
            stack.append(node)

    def _find(self, path: bytes) -> int:
        """
        The longest prefix of a path.
        """
        keys, parents, jumps = self._keys, self._parents, self._jumps
        node = bisect_right(keys, path) - 1
        while not path.startswith(keys[node]):
            jump = jumps[node]
            node = parents[node] if path.startswith(keys[jump]) else jump
        return node

    def _chain(self, node: int) -> Iterator[PathRule[E]]:
        """
        The rules of a prefix and of all above it.
        """
        while True:
            yield from self._rules[node]
            if node == 0:
                return
            node = self._parents[node]

    def _keep(self, rules: Iterable[PathRule[E]], above: int | None) -> list[PathRule[E]] | None:
        """
        Merge rules with what was merged above them, unless that is too much to keep.
        """
        inherited = [] if above is None else self._merged[above]
        if inherited is None or self._spent > MAX_MERGED:
            return None
        merged = _merge([*rules, *inherited])
        self._spent += len(merged)
        return merged

    def compileLookup(self) -> Callable[[bytes], Iterable[E]]:
        """
        Build the look-up; nothing can be added afterwards.

        @return: A function of a path without its query. What it gives is to be iterated once.
        """
        held = self.compilePrefixes().held
        exact: dict[bytes, Iterable[E]] = {}
        for path, own in self._exact.items():
            above = self._find(path)
            exact[path] = self._held(self._keep(own, above), own, above)
        return self._compiled(exact, held)

    def compilePrefixes(self) -> Prefixes[E]:
        """
        The same where there are only prefixes, for who looks there itself.
        """
        self._link()
        held: list[Iterable[E]] = []
        for node, own in enumerate(self._rules):
            merged = self._keep(own, self._parents[node] if node else None)
            self._merged.append(merged)
            held.append(self._held(merged, [], node))
        return Prefixes(self._keys, self._parents, self._jumps, held)

    def _held(self, merged: list[PathRule[E]] | None, own: list[PathRule[E]], above: int) -> Iterable[E]:
        if merged is None:
            return _Late(lambda: [*own, *self._chain(above)])
        return tuple([rule.entry for rule in merged])

    def _compiled(self, exact: dict[bytes, Iterable[E]], held: list[Iterable[E]]) -> Callable[[bytes], Iterable[E]]:
        keys, parents, jumps = self._keys, self._parents, self._jumps
        exactly = exact.get

        def find(path: bytes) -> Iterable[E]:
            node = bisect_right(keys, path) - 1
            while not path.startswith(keys[node]):
                jump = jumps[node]
                node = parents[node] if path.startswith(keys[jump]) else jump
            return held[node]

        if not exact:
            return find

        def lookup(path: bytes) -> Iterable[E]:
            found = exactly(path)
            return find(path) if found is None else found

        return lookup
