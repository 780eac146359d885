# -*- test-case-name: tests.controlplane.api.test_transactions -*-
"""
Several resources as one: apply, delete, validate, diff; and what the history makes possible: rollback.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from meshproxy.controlplane.api.access import Principal, Role
from meshproxy.controlplane.api.call import YAML_TYPES, Call
from meshproxy.controlplane.api.commits import commitOf, resourceOf, visible, writtenOf
from meshproxy.controlplane.api.objects import Objects, Outcome, Wish, kindOf
from meshproxy.controlplane.api.redaction import redacted
from meshproxy.controlplane.api.replies import JSON, Refused, Reply, invalid, notFound
from meshproxy.controlplane.api.router import Handler, Operation, Router
from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.kinds import KINDS, Kind, findKind
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.store.values import Commit, Compacted, Entry, Listing

__all__ = ["addTransactions", "onText", "parsed"]

_BODY = (JSON, *YAML_TYPES)
_DRY = {"dryRun": "true: tell what would happen, and do nothing."}
_APPLY = {
    **_DRY,
    "namespace": "For what names none; default if not given.",
    "filename": "How errors name the text.",
    "message": "Why, for the history.",
}
#: Where a text is read and not applied.
_READ = {name: _APPLY[name] for name in ("namespace", "filename")}


#: What each answers with, and how it may refuse besides.
_ANSWERS = {
    ("POST", "/v1/apply"): ("Applied", (409, 422)),
    ("POST", "/v1/delete"): ("Applied", (409, 422)),
    ("POST", "/v1/validate"): ("Validated", ()),
    ("POST", "/v1/diff"): ("Changes", (409, 422)),
    ("GET", "/v1/history"): ("History", ()),
    ("GET", "/v1/history/{revision}"): ("Commit", ()),
    ("POST", "/v1/rollback"): ("Applied", (409, 410, 422)),
}


def addTransactions(router: Router, objects: Objects) -> None:
    """
    The operations.
    """
    own = _Transactions(objects)

    def add(method: str, pattern: str, handler: Any, role: Role, told: str, parameters: Any, *types: str) -> None:
        answer, refuses = _ANSWERS[method, pattern]
        accepts = "RollbackRequest" if pattern == "/v1/rollback" else ""
        rest = (parameters, types, "transactions", (200,), answer, accepts, refuses)
        router.add(Operation(method, pattern, handler, role, told, *rest))

    write = Role.WRITE
    add("POST", "/v1/apply", own.apply, write, "Create or replace all resources of a text or none", _APPLY, *_BODY)
    add("POST", "/v1/delete", own.delete, Role.WRITE, "Delete all resources that a text names, or none", _APPLY, *_BODY)
    add("POST", "/v1/validate", own.validate, Role.READ, "Tell every problem of a text", _READ, *_BODY)
    add("POST", "/v1/diff", own.diff, Role.READ, "Tell what applying a text would change", _READ, *_BODY)
    paging = {"before": "Only of earlier revisions.", "limit": "How many commits; 100 if not given."}
    one = {"kind": "Only of this resource.", "namespace": "Its namespace.", "name": "Its name."}
    add("GET", "/v1/history", own.history, Role.READ, "Who changed what, newest first", {**paging, **one})
    add("GET", "/v1/history/{revision}", own.commit, Role.READ, "One commit, with what it changed", {})
    add("POST", "/v1/rollback", own.rollback, Role.WRITE, "Bring back what was there at a revision", _DRY, JSON)


def onText(asked: Operation, handler: Handler, refuses: tuple[int, ...] = ()) -> Operation:
    """
    What can be asked of the mesh, asked of it as it would be with a text applied.

    @param asked: How it is asked as it is.
    @param refuses: What is refused besides.
    """
    return replace(
        asked,
        method="POST",
        handler=handler,
        summary=f"{asked.summary}, as it would be with a text applied",
        parameters={**asked.parameters, **_READ},
        consumes=_BODY,
        refuses=(*asked.refuses, *refuses),
    )


def parsed(call: Call) -> tuple[list[Resource], list[Problem]]:
    """
    The resources of a body, and what is wrong with it.
    """
    name = call.one("filename")
    if call.contentType not in YAML_TYPES:
        # JSON is read as JSON; the name of the text says so to the parser.
        name = name if name.endswith(".json") else f"{name or 'body'}.json"
    return parseDocuments(call.text(), name or None, call.one("namespace", "default"))


class _Transactions:
    """
    See the module.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def apply(self, call: Call) -> Reply:
        """
        All resources of the body, as one transaction.
        """
        wishes, problems = self._wishes(call)
        outcomes = await self._objects.write(wishes, call.principal.name, call.one("message"), call.dryRun)
        return self._told(call, outcomes, problems)

    async def delete(self, call: Call) -> Reply:
        """
        All resources that the body names, as one transaction. What is not there is told as such, and is no fault.
        """
        wishes, problems = self._wishes(call)
        found = [wish for wish in wishes if await self._objects.store.get(wish.key) is not None]
        gone = [Wish(wish.kind, wish.namespace, wish.name, None, wish.expected, (), wish.index) for wish in found]
        outcomes: list[Outcome] = []
        if gone:
            outcomes = await self._objects.write(gone, call.principal.name, call.one("message"), call.dryRun)
        missing = [Outcome(wish, "not found", None, None, 0) for wish in wishes if wish not in found]
        return self._told(call, sorted([*outcomes, *missing], key=lambda one: one.wish.index), problems)

    async def validate(self, call: Call) -> Reply:
        """
        Every problem; nothing is written.
        """
        if not call.body:
            raise Refused(400, "a body is needed: the resources to look at")
        resources, problems = parsed(call)
        valid = not any(problem.isError for problem in problems)
        return Reply({"valid": valid, "resources": len(resources), "problems": [one.asDict() for one in problems]})

    async def diff(self, call: Call) -> Reply:
        """
        What would be changed, each as a unified diff of YAML.
        """
        wishes, problems = self._wishes(call)
        outcomes = await self._objects.write(wishes, call.principal.name, dryRun=True)
        changes = []
        for outcome in outcomes:
            told = _outcomeOf(outcome)
            told["diff"] = _diff(outcome.wish.kind, call.principal, outcome.before, outcome.after, told["resource"])
            changes.append(told)
        return Reply({"changes": changes, "warnings": _warnings(problems)})

    async def history(self, call: Call) -> Reply:
        """
        Commits, newest first.
        """
        kind = call.one("kind")
        key = None
        if kind:
            key = self._target(kind, call.one("namespace", "default"), call.one("name")).key
        before, limit = call.number("before", 0), call.number("limit", 100, 1000)
        commits: list[Commit] = []
        # Commits of what is no resource, tokens for example, are not shown, and do not count.
        while len(commits) < limit:
            found: Sequence[Commit] = await self._objects.store.history(key, before, limit)
            commits += [one for one in found if visible(one)]
            if len(found) < limit:
                break
            before = found[-1].revision
        return Reply({"commits": [commitOf(one) for one in commits[:limit]]})

    async def commit(self, call: Call, revision: str) -> Reply:
        """
        One commit, with a diff of each resource.
        """
        number = _revisionOf(revision)
        found: Sequence[Commit] = await self._objects.store.history(None, number + 1, 1)
        if not found or found[0].revision != number or not visible(found[0]):
            raise notFound(f"revision {revision}")
        told = commitOf(found[0])
        changes = []
        for written in visible(found[0]):
            kind = kindOf(written.key)
            assert kind is not None
            one = writtenOf(kind, written)
            one["diff"] = _diff(kind, call.principal, _doc(written.before), _doc(written.after), one["resource"])
            changes.append(one)
        return Reply({**told, "changes": changes})

    async def rollback(self, call: Call) -> Reply:
        """
        All resources, or those that the body names, as they were at a revision.
        """
        asked = call.document()
        if not isinstance(asked, Mapping) or type(asked.get("revision")) is not int:
            raise Refused(400, 'the body is {"revision": NUMBER}, and may have "resources" and "message"')
        unknown = sorted(set(asked) - {"revision", "resources", "message"})
        if unknown:
            raise Refused(400, f"{unknown[0]!r} is not known here, only revision, resources and message")
        revision = asked["revision"]
        if revision < 0 or not isinstance(asked.get("message", ""), str | None):
            raise Refused(400, "revision is 0 or more, and message is text")
        try:
            then: Listing = await self._objects.store.at(revision)
        except Compacted as error:
            raise Refused(410, str(error)) from error
        except ValueError as error:
            raise Refused(400, str(error)) from error
        now: Listing = await self._objects.store.listing()
        wishes = _backTo(then.entries, now.entries)
        if asked.get("resources") is not None:
            wanted = {self._targetOf(one).key for one in _listOf(asked["resources"])}
            wishes = [wish for wish in wishes if wish.key in wanted]
        wishes = [replace(wish, manager=call.manager) for wish in wishes]
        message = str(asked.get("message") or f"roll back to revision {revision}")
        outcomes = await self._objects.write(wishes, call.principal.name, message, call.dryRun) if wishes else []
        return self._told(call, outcomes, [])

    # The texts.

    def _wishes(self, call: Call) -> tuple[list[Wish], list[Problem]]:
        """
        @raise Refused: If anything is wrong with any of them, or there are none.
        """
        resources, problems = parsed(call)
        if any(problem.isError for problem in problems):
            raise invalid(problems)
        if not resources:
            raise Refused(400, "the body has no resources")
        wishes = []
        for index, resource in enumerate(resources):
            kind = findKind(resource.apiVersion, resource.kind)
            assert kind is not None
            if not resource.name:
                where = f"{resource.kind} number {index + 1}"
                raise Refused(422, f"{where} has generateName: apply needs a name to find it by")
            wish = self._objects.wishOf(kind, resource, resource.document, [], None, index)
            wishes.append(replace(wish, manager=call.manager))
        return wishes, problems

    def _target(self, kindName: str, namespace: str, name: str) -> Wish:
        kind = next((one for one in KINDS if kindName.lower() in _namesOf(one)), None)
        if kind is None:
            raise Refused(400, f"{kindName!r} is not a kind: {', '.join(one.kind for one in KINDS)}")
        if not name:
            raise Refused(400, "a name is missing")
        return Wish(kind, namespace if kind.namespaced else "", name, None)

    def _targetOf(self, told: Any) -> Wish:
        if not isinstance(told, Mapping):
            raise Refused(400, 'each of resources is {"kind": KIND, "namespace": NAMESPACE, "name": NAME}')
        return self._target(str(told.get("kind", "")), str(told.get("namespace", "default")), str(told.get("name", "")))

    def _told(self, call: Call, outcomes: Sequence[Outcome], problems: Sequence[Problem]) -> Reply:
        told = [_outcomeOf(outcome) for outcome in outcomes]
        revisions = [outcome.revision for outcome in outcomes if outcome.action not in ("unchanged", "not found")]
        revision = 0 if call.dryRun else max(revisions, default=self._objects.store.revision)
        return Reply({"revision": revision, "dryRun": call.dryRun, "results": told, "warnings": _warnings(problems)})


def _namesOf(kind: Kind) -> set[str]:
    return {kind.kind.lower(), kind.plural, *kind.shortNames}


def _listOf(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(400, "resources is a list")
    return value


def _revisionOf(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Refused(400, f"a revision is a number, not {text!r}")
    return int(text)


def _warnings(problems: Sequence[Problem]) -> list[dict[str, object]]:
    return [problem.asDict() for problem in problems if not problem.isError]


def _outcomeOf(outcome: Outcome) -> dict[str, Any]:
    wish = outcome.wish
    return {
        "resource": resourceOf(wish.kind, wish.namespace, wish.name),
        "kind": wish.kind.kind,
        "namespace": wish.namespace,
        "name": wish.name,
        "action": outcome.action,
    }


def _doc(entry: Entry | None) -> Mapping[str, Any] | None:
    return None if entry is None else entry.document


#: What the control plane itself writes; it would show in each diff, and says nothing.
_SERVERS = ("uid", "creationTimestamp", "generation", "managedFields")


def _lines(kind: Kind, principal: Principal, document: Mapping[str, Any] | None) -> list[str]:
    if document is None:
        return []
    shown = redacted(kind, document, principal)
    metadata = {name: value for name, value in shown["metadata"].items() if name not in _SERVERS}
    text = yaml.safe_dump({**shown, "metadata": metadata}, sort_keys=True, allow_unicode=True, default_flow_style=False)
    return text.splitlines(keepends=True)


def _diff(
    kind: Kind,
    principal: Principal,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    title: str,
) -> str:
    """
    A unified diff.
    """
    old, new = _lines(kind, principal, before), _lines(kind, principal, after)
    names = (title if before is not None else "/dev/null", title if after is not None else "/dev/null")
    return "".join(difflib.unified_diff(old, new, *names))


def _backTo(then: Sequence[Entry], now: Sequence[Entry]) -> list[Wish]:
    """
    The wishes that make what is there now into what was there then.
    """
    old = {entry.key: entry for entry in then}
    new = {entry.key: entry for entry in now}
    wishes: list[Wish] = []
    for key in sorted({*old, *new}):
        kind = kindOf(key)
        if kind is None:
            continue
        before, after = new.get(key), old.get(key)
        if after is None:
            assert before is not None
            wishes.append(Wish(kind, key.namespace, key.name, None, before.revision, (), len(wishes)))
        elif before is None or _content(before) != _content(after):
            expected = 0 if before is None else before.revision
            wishes.append(Wish(kind, key.namespace, key.name, _content(after), expected, (), len(wishes)))
    return wishes


def _content(entry: Entry) -> dict[str, Any]:
    """
    A document without what changes with each write.
    """
    return {**entry.document, "metadata": _unstamped(entry.document["metadata"])}


def _unstamped(metadata: Any) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name not in _SERVERS}
