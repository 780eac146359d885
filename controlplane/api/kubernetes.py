# -*- test-case-name: tests.controlplane.api.test_kubernetes -*-
"""
Resources by Kubernetes' paths: C{/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME}, C{/api/v1/...} for the core
group.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import MOST_OF_MANAGER, YAML_TYPES, Call
from meshproxy.controlplane.api.objects import Objects, Outcome, Wish, collectionOf
from meshproxy.controlplane.api.patches import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    jsonPatch,
    mergePatch,
    strategicPatch,
)
from meshproxy.controlplane.api.preconditions import checkOptions, isStrict, mapping, optionsOf, precondition
from meshproxy.controlplane.api.redaction import redacted
from meshproxy.controlplane.api.replies import JSON, Refused, Reply, conflict, status
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.selectors import Matches, fieldSelector, labelSelector
from meshproxy.controlplane.api.serverapply import APPLY_PATCH, serverApply
from meshproxy.controlplane.api.tables import asksForTable, table
from meshproxy.controlplane.api.watching import ResourceWatch, isProgrammed
from meshproxy.controlplane.model.kinds import KINDS, Kind
from meshproxy.controlplane.store.values import Compacted, Entry, Key, Listing

__all__ = ["addResources"]

_READ_PARAMETERS = {
    "labelSelector": "Labels that a resource must have: app=reviews,version in (v1, v2).",
    "fieldSelector": "metadata.name=NAME, metadata.namespace=NAMESPACE.",
    "limit": "How many resources to answer with at most; continue leads to the rest.",
    "continue": "What an earlier answer said, to get the next resources of the same moment.",
    "watch": "Answer with what happens from now on, one event a line.",
    "resourceVersion": "For a watch: the revision that is known.",
    "timeoutSeconds": "For a watch: when it ends by itself.",
    "allowWatchBookmarks": "For a watch: events of type BOOKMARK tell how far it is.",
}
_NAMED = "metadata.name="

# Seconds between a list and the watch that goes on from it, and of how many resources that is remembered.
_MOMENT, _MOST_OPEN = 5.0, 1000

_WRITE_PARAMETERS = {
    "dryRun": "All: tell what would happen, and do nothing.",
    "fieldManager": "Who writes: for the history, and for who manages which fields.",
}
_PATCH_PARAMETERS = {**_WRITE_PARAMETERS, "force": "For server-side apply: take fields from others who manage them."}

#: Lists of the core group that a strategic merge patch merges by a key of their items.
_MERGE_KEYS = {"Service": {"spec.ports": "port"}}


def addResources(router: Router, objects: Objects, reactor: Any) -> None:
    """
    The operations of every kind, in each of its versions.
    """
    for kind in KINDS:
        for apiVersion in kind.apiVersions:
            _Resources(kind, apiVersion, objects, reactor).addTo(router)


class _Resources:
    """
    The operations of one kind in one version.
    """

    def __init__(self, kind: Kind, apiVersion: str, objects: Objects, reactor: Any) -> None:
        self._kind = kind
        self._apiVersion = apiVersion
        self._objects = objects
        self._reactor = reactor
        # When resources were last shown that not all proxies had.
        self._open: dict[Key, float] = {}

    def addTo(self, router: Router) -> None:
        """
        Make them known.
        """
        kind = self._kind
        base = f"/apis/{self._apiVersion}" if kind.group else f"/api/{self._apiVersion}"
        everywhere = f"{base}/{kind.plural}"
        inside = f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else everywhere
        one = inside + "/{name}"
        written = (JSON, *YAML_TYPES)
        patches = (MERGE_PATCH, JSON_PATCH, APPLY_PATCH) + (() if kind.group else (STRATEGIC_PATCH,))

        def add(method: str, pattern: str, handler: Any, role: Role, told: str, parameters: Any, *types: str) -> None:
            codes = {"POST": (201,), "PUT": (200, 201), "PATCH": (200, 201)}.get(method, (200,))
            isOne = pattern == one
            answer = f"{kind.kind}List" if method in ("GET", "DELETE") and not isOne else kind.kind
            if method == "DELETE":
                answer = "Status" if isOne else answer
            accepts = "DeleteOptions" if method == "DELETE" else ""
            # A list may be gone on with, or watched, from a moment that is not kept any more.
            refuses = (410,) if method == "GET" and not isOne else ()
            rest = (parameters, types, kind.kind, codes, answer, accepts, refuses)
            router.add(Operation(method, pattern, handler, role, told, *rest))

        name = kind.kind
        if kind.namespaced:
            add("GET", everywhere, self._list, Role.READ, f"Each {name} of all namespaces", _READ_PARAMETERS)
        add("GET", inside, self._list, Role.READ, f"Each {name} of a namespace", _READ_PARAMETERS)
        add("POST", inside, self._create, Role.WRITE, f"Create a {name}", _WRITE_PARAMETERS, *written)
        several = {**_WRITE_PARAMETERS, **{k: _READ_PARAMETERS[k] for k in ("labelSelector", "fieldSelector")}}
        add("DELETE", inside, self._deleteMany, Role.WRITE, f"Delete each {name} that is selected", several, JSON)
        add("GET", one, self._get, Role.READ, f"One {name}", {})
        add("PUT", one, self._replace, Role.WRITE, f"Replace a {name}", _WRITE_PARAMETERS, *written)
        add("PATCH", one, self._patch, Role.WRITE, f"Change parts of a {name}", _PATCH_PARAMETERS, *patches)
        add("DELETE", one, self._delete, Role.WRITE, f"Delete a {name}", _WRITE_PARAMETERS, JSON)

    # Reading.

    def _shown(self, call: Call, entry: Entry) -> dict[str, Any]:
        document = self._objects.shown(self._kind, entry, self._apiVersion)
        if not isProgrammed(document.get("status")):
            self._open.pop(entry.key, None)
            self._open[entry.key] = self._reactor.seconds()
            while len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        return redacted(self._kind, document, call.principal)

    def _wasOpen(self, entry: Entry) -> bool:
        """
        Whether it was shown a moment ago as one that not all proxies have.
        """
        seen = self._open.get(entry.key)
        return seen is not None and bool(self._reactor.seconds() - seen < _MOMENT)

    async def _get(self, call: Call, name: str, namespace: str = "") -> Reply:
        entry = await self._objects.get(self._kind, namespace, name)
        if asksForTable(call):
            return Reply(table(self._kind, [self._shown(call, entry)], str(entry.revision), self._reactor.seconds()))
        tag = _tag(entry.revision)
        if call.headers.get("if-none-match") == tag:
            return Reply(b"", 304, JSON, {"ETag": tag})
        return Reply(self._shown(call, entry), headers={"ETag": tag})

    async def _list(self, call: Call, namespace: str = "") -> Any:
        selected = _selection(call)
        if call.flag("watch"):
            return self._watch(call, namespace, selected, await self._objects.store.listing())
        listing, after = await self._moment(call, namespace)
        entries = [entry for entry in listing.entries if selected(entry.document) and entry.key > after]
        limit = call.number("limit", 0)
        metadata: dict[str, Any] = {"resourceVersion": str(listing.revision)}
        if limit and len(entries) > limit:
            metadata["continue"] = _continuation(listing.revision, entries[limit - 1])
            metadata["remainingItemCount"] = len(entries) - limit
            entries = entries[:limit]
        shown = [self._shown(call, entry) for entry in entries]
        if asksForTable(call):
            told = table(self._kind, shown, str(listing.revision), self._reactor.seconds())
            return Reply({**told, "metadata": metadata})
        kind = f"{self._kind.kind}List"
        return Reply({"kind": kind, "apiVersion": self._apiVersion, "metadata": metadata, "items": shown})

    async def _moment(self, call: Call, namespace: str) -> tuple[Listing, tuple[str, ...]]:
        """
        What there is, or was when a list that is gone on with began; and the key to go on behind.
        """
        token = call.one("continue")
        collection = collectionOf(self._kind)
        if not token:
            return await self._objects.store.listing(collection, namespace), ()
        revision, after = _continued(token)
        try:
            listing = await self._objects.store.at(revision)
        except Compacted as error:
            raise Refused(410, f"the list cannot be gone on with: {error}") from error
        except ValueError as error:
            raise Refused(400, f"continue: {error}") from error
        found = [
            entry
            for entry in listing.entries
            if entry.key.collection == collection and namespace in ("", entry.key.namespace)
        ]
        return Listing(found, revision), (collection, *after)

    def _watch(self, call: Call, namespace: str, selected: Matches, listing: Listing) -> ResourceWatch:
        since = call.number("resourceVersion", 0)
        shown = self._eventOf(call)
        collection = collectionOf(self._kind)

        def concerns(entry: Entry | None) -> bool:
            return entry is not None and namespace in ("", entry.key.namespace) and selected(entry.document)

        followed = None
        if _NAMED in call.one("fieldSelector") and not asksForTable(call):
            # Who watches one resource may wait for what becomes of it: kubectl wait --for=condition=Programmed.
            found = [e for e in listing.entries if e.key.collection == collection and concerns(e)]
            followed = {one.key: (one, self._wasOpen(one)) for one in found}
        # Without a revision, what there is comes first.
        initial = [] if since else [e for e in listing.entries if e.key.collection == collection and concerns(e)]
        try:
            return ResourceWatch(
                self._objects.store,
                since or listing.revision,
                self._reactor,
                float(call.number("timeoutSeconds", 0)),
                collection,
                shown,
                concerns,
                [shown(entry) for entry in initial],
                {"kind": self._kind.kind, "apiVersion": self._apiVersion} if call.flag("allowWatchBookmarks") else None,
                followed,
            )
        except Compacted as error:
            raise Refused(410, f"{error}: list again") from error
        except ValueError as error:
            raise Refused(400, str(error)) from error

    def _eventOf(self, call: Call) -> Callable[[Entry], Mapping[str, Any]]:
        """
        How a watch shows an entry; to who asks for tables as one of a row, the first with the columns.
        """
        columns: list[object] = []

        def row(entry: Entry) -> Mapping[str, Any]:
            told = table(self._kind, [self._shown(call, entry)], str(entry.revision), self._reactor.seconds())
            if columns:
                del told["columnDefinitions"]
            columns.append(True)
            return told

        return row if asksForTable(call) else lambda entry: self._shown(call, entry)

    # Writing.

    async def _write(self, call: Call, wish: Wish, message: str) -> Outcome:
        wish = wish if wish.manager is None else replace(wish, manager=call.manager)
        (outcome,) = await self._objects.write([wish], call.author, message, call.dryRun)
        return outcome

    def _reply(self, call: Call, outcome: Outcome, code: int = 200) -> Reply:
        assert outcome.after is not None
        entry = Entry(outcome.wish.key, dict(outcome.after), outcome.revision, 0)
        headers = {"ETag": _tag(outcome.revision)}
        warnings = [problem for problem in outcome.wish.problems if not problem.isError]
        if warnings:
            # Kubernetes' way to tell: kubectl shows them. A field has no line ends and no quotes of its own.
            headers["Warning"] = ", ".join(f'299 meshproxy "{_quoted(str(warning))}"' for warning in warnings[:20])
        return Reply(self._shown(call, entry), code, JSON, headers)

    async def _create(self, call: Call, namespace: str = "") -> Reply:
        wish = self._objects.wish(self._kind, namespace, mapping(call.document()), expected=0)
        outcome = await self._write(call, wish, f"create {self._kind.kind} {namespace}/{wish.name}")
        return self._reply(call, outcome, 201)

    async def _replace(self, call: Call, name: str, namespace: str = "") -> Reply:
        document = mapping(call.document())
        expected = call.expected
        wish = self._objects.wish(self._kind, namespace, document, name, expected)
        before = await self._objects.store.get(wish.key)
        precondition(expected, before)
        outcome = await self._write(call, wish, f"replace {self._kind.kind} {namespace}/{name}")
        return self._reply(call, outcome, 201 if outcome.before is None else 200)

    async def _apply(self, call: Call, name: str, namespace: str) -> Reply:
        """
        Server-side apply; what is not there is made.
        """
        manager = call.one("fieldManager")
        if not 0 < len(manager) <= MOST_OF_MANAGER:
            raise Refused(422, f"server-side apply takes a fieldManager of up to {MOST_OF_MANAGER} characters")
        wanted = mapping(call.document())
        if not isinstance(wanted.get("metadata"), dict) or wanted["metadata"].get("managedFields"):
            raise Refused(400, "what is applied has metadata, and no managedFields")
        target = Wish(self._kind, namespace, name, None)
        asked = wanted["metadata"].get("resourceVersion")
        for attempt in range(5):
            before: Entry | None = await self._objects.store.get(target.key)
            precondition(call.expected, before)
            found = 0 if before is None else before.revision
            if asked and asked != str(found):
                raise conflict(f"{self._kind.kind} {name} is at revision {found}, not {asked}", target.target)
            live = None if before is None else before.document
            document, owners = serverApply(
                self._kind.kind, live, wanted, manager, self._objects.now, call.flag("force")
            )
            wish = self._objects.wish(self._kind, namespace, document, name, found)
            try:
                message = f"apply {self._kind.kind} {namespace}/{name}"
                outcome = await self._write(call, replace(wish, manager=None, owners=owners), message)
            except Refused as refused:
                if refused.code != 409 or attempt == 4:
                    raise
                continue
            return self._reply(call, outcome, 201 if outcome.before is None else 200)
        raise AssertionError("unreachable")

    async def _patch(self, call: Call, name: str, namespace: str = "") -> Reply:
        if call.contentType == APPLY_PATCH:
            return await self._apply(call, name, namespace)
        if call.flag("force"):
            raise Refused(422, "force is for server-side apply")
        change = self._patchOf(call)
        # Others may write in between: what is patched is then what they wrote, unless the patch names a revision.
        for attempt in range(5):
            before = await self._objects.get(self._kind, namespace, name)
            precondition(call.expected, before)
            shown = self._objects.shown(self._kind, before, self._apiVersion)
            asked = shown["metadata"]["resourceVersion"]
            document = mapping(change(shown))
            wish = self._objects.wish(self._kind, namespace, document, name)
            isOwn = document.get("metadata", {}).get("resourceVersion") == asked
            try:
                outcome = await self._write(call, wish, f"patch {self._kind.kind} {namespace}/{name}")
            except Refused as refused:
                if refused.code != 409 or not isOwn or attempt == 4:
                    raise
                continue
            return self._reply(call, outcome)
        raise AssertionError("unreachable")

    def _patchOf(self, call: Call) -> Callable[[dict[str, Any]], Any]:
        """
        What a patch does to a document.
        """
        if not call.body:
            raise Refused(400, "a patch has a body")
        patch = call.document()
        if call.contentType == JSON_PATCH:
            return lambda document: jsonPatch(document, patch)
        if not isinstance(patch, Mapping):
            raise Refused(400, "a merge patch is a mapping")
        if call.contentType == MERGE_PATCH:
            return lambda document: mergePatch(document, patch)
        keys = _MERGE_KEYS.get(self._kind.kind, {})
        return lambda document: strategicPatch(document, patch, keys)

    async def _delete(self, call: Call, name: str, namespace: str = "") -> Reply:
        options = optionsOf(call)
        entry = await self._objects.get(self._kind, namespace, name)
        precondition(call.expected, entry)
        wish = Wish(self._kind, namespace, name, None, entry.revision if isStrict(options, call) else -1)
        checkOptions(options, entry, wish)
        outcome = await self._write(call, wish, f"delete {self._kind.kind} {namespace}/{name}")
        assert outcome.before is not None
        details = {**wish.target, "uid": outcome.before["metadata"]["uid"]}
        return Reply(status("Success", details=details))

    async def _deleteMany(self, call: Call, namespace: str = "") -> Reply:
        selected = _selection(call)
        optionsOf(call)
        listing = await self._objects.store.listing(collectionOf(self._kind), namespace)
        found = [entry for entry in listing.entries if selected(entry.document)]
        wishes = [Wish(self._kind, e.key.namespace, e.key.name, None, e.revision) for e in found]
        if wishes:
            message = f"delete {len(wishes)} of {self._kind.plural} in {namespace or 'all namespaces'}"
            await self._objects.write(wishes, call.author, message, call.dryRun)
        shown = [self._shown(call, entry) for entry in found]
        metadata = {"resourceVersion": str(self._objects.store.revision)}
        kind = f"{self._kind.kind}List"
        return Reply({"kind": kind, "apiVersion": self._apiVersion, "metadata": metadata, "items": shown})


def _selection(call: Call) -> Matches:
    labels, fields = labelSelector(call.one("labelSelector")), fieldSelector(call.one("fieldSelector"))
    return lambda document: labels(document) and fields(document)


def _tag(revision: int) -> str:
    return f'"{revision}"'


def _quoted(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text.replace("\\", "/").replace('"', "'"))[:400]


def _continuation(revision: int, entry: Entry) -> str:
    told = json.dumps([revision, entry.key.namespace, entry.key.name])
    return base64.urlsafe_b64encode(told.encode("utf-8")).decode("ascii")


def _continued(token: str) -> tuple[int, Sequence[str]]:
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
        if type(revision) is not int or not isinstance(namespace, str) or not isinstance(name, str) or revision < 0:
            raise ValueError("not of these")
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused(400, "continue is what an earlier answer said; this is not") from error
    return revision, (namespace, name)
