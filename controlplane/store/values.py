# -*- test-case-name: tests.controlplane.store.test_values -*-
"""
What goes into a store and comes out of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from meshproxy.errors import MeshProxyError

__all__ = [
    "ANY",
    "Change",
    "Commit",
    "Compacted",
    "Conflict",
    "Document",
    "Entry",
    "Key",
    "Listing",
    "Mismatch",
    "StoreError",
    "Written",
    "decode",
    "encode",
]

Document = dict[str, object]

ANY = -1
"""
As an expected revision: whatever is there, be it nothing.
"""


class Key(NamedTuple):
    """
    What a document is found by.

    @ivar collection: The group and the plural of its kind, C{networking.istio.io/virtualservices}; C{/services} for
        the group without a name.
    @ivar namespace: Empty for what belongs to no namespace.
    @ivar name: Its name.
    """

    collection: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(filter(None, (self.collection.lstrip("/"), self.namespace, self.name)))


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A document as the store holds it.

    @ivar revision: The revision that it was written in.
    @ivar created: The revision that it was created in.
    """

    key: Key
    document: Document
    revision: int
    created: int


@dataclass(frozen=True, slots=True)
class Listing:
    """
    Entries at one moment.
    """

    entries: Sequence[Entry]
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """
    What a commit asks for.

    @ivar document: The new document, or L{None} to delete.
    @ivar expected: The revision of the entry that this replaces; 0 if there must be none, L{ANY} for whatever there is.
        To delete what is not there is a L{Conflict}, except with L{ANY}.
    """

    key: Key
    document: Document | None
    expected: int = ANY


@dataclass(frozen=True, slots=True)
class Written:
    """
    What a commit did to one key.

    @ivar before: What was there, or L{None}.
    @ivar after: What is there now, or L{None}.
    """

    key: Key
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True, slots=True)
class Commit:
    """
    Several changes that happened at once.

    @ivar time: Seconds since 1970.
    """

    revision: int
    time: float
    author: str
    message: str
    changes: Sequence[Written]


class StoreError(MeshProxyError):
    """
    A store could not do what it was asked for.
    """


class Compacted(StoreError):
    """
    The history does not reach back to the revision that was asked for: list again, and go on from there.

    @ivar oldest: The earliest revision that can be asked for.
    """

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(revision, oldest)
        self.revision = revision
        self.oldest = oldest

    def __str__(self) -> str:
        return f"revision {self.revision} is no longer known, the oldest one is {self.oldest}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """
    A change whose expectation failed.

    @ivar found: The revision of what is there; 0 if there is nothing.
    """

    key: Key
    expected: int
    found: int

    def __str__(self) -> str:
        if self.expected == 0:
            return f"{self.key} exists already, at revision {self.found}"
        if self.found == 0:
            return f"{self.key} does not exist"
        return f"{self.key} is at revision {self.found}, not at {self.expected}"


class Conflict(StoreError):
    """
    A commit lost a race, and nothing of it was done.

    @ivar mismatches: Each change that stood in the way.
    """

    def __init__(self, mismatches: Sequence[Mismatch]) -> None:
        super().__init__(mismatches)
        self.mismatches = list(mismatches)

    def __str__(self) -> str:
        return "; ".join(map(str, self.mismatches))


def encode(document: Document) -> str:
    """
    A document as text, the same for the same content.

    @raise ValueError: If JSON cannot say it: NaN, objects, half a character. Keys that are numbers become text.
    """
    if not isinstance(document, dict):
        raise ValueError(f"a document is a dictionary, not {type(document).__name__}")
    try:
        text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        # A lone surrogate passes json and fails in UTF-8.
        text.encode("utf-8")
    except TypeError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("the document nests too deep") from error
    return text


def decode(text: str) -> Document:
    """
    The document of a text that L{encode} made.
    """
    document: Document = json.loads(text)
    return document
