# -*- test-case-name: tests.controlplane.api.test_objects -*-
"""
Resources in the store: what the API writes there, and what it makes of it when it is read.

The store holds what was applied, with what the control plane adds to C{metadata}: C{uid}, C{creationTimestamp},
C{generation}, and C{managedFields} from the first server-side apply on. C{resourceVersion} is the revision of the entry
and is put in on the way out. A C{status} is never taken from a user.
"""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from meshproxy.controlplane.api.managedfields import Owner, ownersOf, told, tracked
from meshproxy.controlplane.api.replies import Refused, conflict, invalid, notFound
from meshproxy.controlplane.model.documents import parseObject
from meshproxy.controlplane.model.kinds import Kind, findPlural
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.store.interfaces import IStore
from meshproxy.controlplane.store.values import ANY, Change, Conflict, Entry, Key, Mismatch

__all__ = ["Objects", "Outcome", "Wish", "collectionOf", "kindOf"]

StatusOf = Callable[[Kind, Mapping[str, Any]], "Mapping[str, Any] | None"]

# How often a write that did not ask for a revision is tried again, when others were quicker.
_TRIES = 8
# Characters of Kubernetes' generated names: no vowels, so that no words come out.
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"

CREATED, CHANGED, UNCHANGED, DELETED = "created", "configured", "unchanged", "deleted"


def collectionOf(kind: Kind) -> str:
    """
    Where the store has the resources of a kind.
    """
    return f"{kind.group}/{kind.plural}"


def kindOf(key: Key) -> Kind | None:
    """
    The kind of what a key of the store names, or L{None} if that is no resource.
    """
    group, _, plural = key.collection.rpartition("/")
    return findPlural(group, plural)


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What somebody wants of one resource.

    @ivar document: What is to be there, or L{None} to delete.
    @ivar expected: The revision that must be there, 0 for none, L{ANY} for whatever there is.
    @ivar problems: Warnings that came with it.
    @ivar index: Its place among the documents that were sent.
    @ivar manager: Who gets the fields that change, where it is kept who manages which; L{None} where C{owners} says it
        already.
    @ivar owners: Who manages the fields; L{None} for those whom the store has.
    """

    kind: Kind
    namespace: str
    name: str
    document: Mapping[str, Any] | None
    expected: int = ANY
    problems: Sequence[Problem] = ()
    index: int = 0
    manager: str | None = "meshproxy"
    owners: Sequence[Owner] | None = None

    @property
    def key(self) -> Key:
        """
        In the store.
        """
        return Key(collectionOf(self.kind), self.namespace, self.name)

    @property
    def target(self) -> dict[str, str]:
        """
        In Kubernetes' C{details}.
        """
        told = {"name": self.name, "group": self.kind.group, "kind": self.kind.plural}
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of a wish.

    @ivar action: C{created}, C{configured}, C{unchanged}, C{deleted}.
    @ivar before: The document that was there, or L{None}.
    @ivar after: The one that is there, or L{None}.
    @ivar revision: Of C{after}, or of the commit that deleted; 0 for a dry run that changes something.
    """

    wish: Wish
    action: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    revision: int


class Objects:
    """
    Reads and writes resources.
    """

    def __init__(self, store: IStore, seconds: Callable[[], float], statusOf: StatusOf | None = None) -> None:
        """
        @param seconds: The time, since 1970.
        @param statusOf: What the control plane knows of a resource: whether it is programmed, and where.
        """
        self.store = store
        self._seconds = seconds
        self._statusOf = statusOf or (lambda kind, document: None)

    # Reading.

    def shown(self, kind: Kind, entry: Entry, apiVersion: str = "") -> dict[str, Any]:
        """
        An entry as a resource: with its C{resourceVersion} and its C{status}.

        @param apiVersion: The version in which it is asked for; by default as it was applied.
        """
        document: dict[str, Any] = dict(entry.document)
        document["metadata"] = {**document["metadata"], "resourceVersion": str(entry.revision)}
        if apiVersion:
            document["apiVersion"] = apiVersion
        status = self._statusOf(kind, document)
        if status is not None:
            document["status"] = dict(status)
        return document

    async def get(self, kind: Kind, namespace: str, name: str) -> Entry:
        """
        @raise Refused: 404.
        """
        wish = Wish(kind, namespace, name, None)
        entry: Entry | None = await self.store.get(wish.key)
        if entry is None:
            raise notFound(f"{kind.kind} {_title(namespace, name)}", wish.target)
        return entry

    # Writing.

    def wish(
        self, kind: Kind, namespace: str, document: Mapping[str, Any], name: str = "", expected: int | None = None
    ) -> Wish:
        """
        A wish to have a document, checked.

        @param namespace: That of the path; the document may name it or none.
        @param name: That of the path; empty to take the document's, or to make one of its C{generateName}.
        @param expected: The revision that must be there; by default the document's C{resourceVersion} if it has one.

        @raise Refused: 400 if the document is not of the path, 422 if it is not valid.
        """
        apiVersion, kindName = document.get("apiVersion"), document.get("kind")
        if apiVersion not in kind.apiVersions or kindName != kind.kind:
            wanted = f"{kind.kind} of {' or '.join(kind.apiVersions)}"
            raise Refused(400, f"this path takes a {wanted}, not a {kindName!r} of {apiVersion!r}")
        document = _named(dict(document), name)
        resource, problems = parseObject(document, namespace)
        if resource is None or any(problem.isError for problem in problems):
            raise invalid(problems, {"name": _nameOf(document), "group": kind.group, "kind": kind.plural})
        if kind.namespaced and resource.metadata.namespace != namespace:
            found = resource.metadata.namespace
            raise Refused(400, f"the document's namespace {found!r} is not the path's, {namespace!r}")
        if name and resource.metadata.name != name:
            raise Refused(400, f"the document's name {resource.metadata.name!r} is not the path's, {name!r}")
        return self.wishOf(kind, resource, document, problems, expected)

    def wishOf(
        self,
        kind: Kind,
        resource: Resource,
        document: Mapping[str, Any],
        problems: Sequence[Problem] = (),
        expected: int | None = None,
        index: int = 0,
    ) -> Wish:
        """
        A wish to have a resource that was parsed.

        @raise Refused: If it cannot be kept as it is.
        """
        namespace = resource.metadata.namespace if kind.namespaced else ""
        if resource.metadata.finalizers:
            raise Refused(422, f"{resource.title}: finalizers are not supported: nothing here waits for them")
        asked = resource.metadata.resourceVersion
        if expected is None and asked:
            if not (asked.isascii() and asked.isdigit() and len(asked) <= 19):
                raise Refused(400, f"{resource.title}: resourceVersion is a number in quotes, not {asked!r}")
            # Kubernetes reads 0 in an update as "whatever there is".
            expected = int(asked) or ANY
        clean = _clean(document, namespace)
        wanted = ANY if expected is None else expected
        # Without it they stay; what cannot be understood is taken as if it were not there, as Kubernetes does.
        owners = ownersOf(document["metadata"].get("managedFields"))
        return Wish(kind, namespace, resource.metadata.name, clean, wanted, problems, index, owners=owners)

    async def write(
        self, wishes: Sequence[Wish], author: str, message: str = "", dryRun: bool = False
    ) -> list[Outcome]:
        """
        Fulfil all wishes, or none.

        @raise Refused: 404 for a resource to delete that is not there, 409 for one that is at another revision than
            expected.
        """
        for attempt in range(_TRIES):
            outcomes, changes = await self._plan(wishes)
            if not changes or dryRun:
                return outcomes
            try:
                commit = await self.store.commit(changes, author, message)
            except Conflict as error:
                # What was read a moment ago is no longer so. Who asked for a revision loses; all else is tried anew.
                if attempt == _TRIES - 1:
                    raise conflict(f"others write at the same time: {error}") from error
                continue
            written = {one.key for one in commit.changes}
            return [
                outcome
                if outcome.wish.key not in written
                else Outcome(outcome.wish, outcome.action, outcome.before, outcome.after, commit.revision)
                for outcome in outcomes
            ]
        raise AssertionError("unreachable")

    async def _plan(self, wishes: Sequence[Wish]) -> tuple[list[Outcome], list[Change]]:
        outcomes: list[Outcome] = []
        changes: list[Change] = []
        for wish in wishes:
            entry: Entry | None = await self.store.get(wish.key)
            self._checkExpected(wish, entry)
            outcome = self._outcome(wish, entry)
            outcomes.append(outcome)
            if outcome.action != UNCHANGED:
                after = None if outcome.after is None else dict(outcome.after)
                changes.append(Change(wish.key, after, 0 if entry is None else entry.revision))
        return outcomes, changes

    def _checkExpected(self, wish: Wish, entry: Entry | None) -> None:
        if entry is None and wish.document is None:
            raise notFound(f"{wish.kind.kind} {_title(wish.namespace, wish.name)}", wish.target)
        found = 0 if entry is None else entry.revision
        if wish.expected not in (ANY, found):
            mismatch = Mismatch(wish.key, wish.expected, found)
            raise conflict(f"{mismatch}: read it again and repeat", wish.target, exists=wish.expected == 0)

    def _outcome(self, wish: Wish, entry: Entry | None) -> Outcome:
        before = None if entry is None else entry.document
        if wish.document is None:
            return Outcome(wish, DELETED, before, None, 0)
        after = self._stamped(wish, wish.document, before)
        if entry is not None and after == before:
            return Outcome(wish, UNCHANGED, before, after, entry.revision)
        if entry is None:
            return Outcome(wish, CREATED, before, after, 0)
        # Of a dry run; a commit has another.
        return Outcome(wish, CHANGED, before, after, entry.revision)

    @property
    def now(self) -> str:
        """
        The time, as RFC 3339 has it.
        """
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._seconds()))

    def _stamped(self, wish: Wish, document: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
        """
        A document with what the control plane adds to its metadata.
        """
        after = dict(document)
        metadata = dict(after["metadata"])
        if before is None:
            metadata["uid"] = str(uuid4())
            metadata["creationTimestamp"] = self.now
            metadata["generation"] = 1
        else:
            old = before["metadata"]
            for name in ("uid", "creationTimestamp"):
                metadata[name] = old[name]
            metadata["generation"] = old["generation"] + (0 if _content(document) == _content(before) else 1)
        managed = told(self._owners(wish, document, before) or ())
        if managed:
            metadata["managedFields"] = managed
        after["metadata"] = metadata
        return after

    def _owners(
        self, wish: Wish, document: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> Sequence[Owner] | None:
        if wish.manager is None:
            return wish.owners
        owners = wish.owners
        if before is None:
            return None
        if owners is None:
            owners = ownersOf(before["metadata"].get("managedFields"))
        return tracked(wish.kind.kind, owners, before, document, wish.manager, self.now) if owners else None


def _title(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def _nameOf(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    """
    What a generation counts the changes of.
    """
    return {name: value for name, value in document.items() if name not in ("metadata", "apiVersion", "status")}


def _named(document: dict[str, Any], name: str) -> dict[str, Any]:
    """
    The document with a name, made of its C{generateName} if it has none.
    """
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping) and not metadata.get("name"):
        prefix = metadata.get("generateName")
        if name:
            document["metadata"] = {**metadata, "name": name}
        elif isinstance(prefix, str) and prefix:
            suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
            document["metadata"] = {**metadata, "name": prefix + suffix}
    return document


# What the control plane says, or nobody needs: not what a user's document is compared by.
_SERVERS = (
    "uid",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
)


def _clean(document: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    clean = {name: copy.deepcopy(value) for name, value in document.items() if name != "status"}
    metadata = {name: value for name, value in clean["metadata"].items() if name not in _SERVERS and value is not None}
    if namespace:
        metadata["namespace"] = namespace
    clean["metadata"] = metadata
    return clean
