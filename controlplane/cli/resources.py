# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
Commands about resources: apply, delete, get, diff, history, rollback.
"""

from __future__ import annotations

import time
from argparse import Namespace
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.controlplane.api.tables import COLUMNS, cells
from meshproxy.controlplane.cli.client import APIClient, CommandFailed, Locate, path
from meshproxy.controlplane.cli.proxies import waitForProxies
from meshproxy.controlplane.cli.tables import Printer, ago
from meshproxy.controlplane.cli.texts import Text, readTexts
from meshproxy.controlplane.model.kinds import KINDS, Kind

__all__ = ["apply", "delete", "diff", "findKindNamed", "get", "history", "joined", "kindsNamed", "rollback"]


#: How many changes of a commit stand in a table.
_SHOWN = 3


def findKindNamed(name: str) -> Kind:
    """
    A kind by any of its names.

    @raise CommandFailed: If there is none.
    """
    lowered = name.lower()
    for kind in KINDS:
        if lowered in (kind.kind.lower(), kind.plural, *kind.shortNames):
            return kind
    known = ", ".join("/".join((kind.plural, *kind.shortNames)) for kind in KINDS)
    raise CommandFailed(f"{name!r} is not a kind of resource: {known}", 2)


def joined(texts: Sequence[Text]) -> tuple[str, str, str, Locate]:
    """
    Texts as one body, so that all of them are one transaction: content, type, name, and what tells for a line of it
    which text it is of, and its line there.
    """
    if len(texts) == 1:
        return texts[0].content, texts[0].contentType, texts[0].name, lambda line: (texts[0].name, line)
    # JSON is YAML.
    content, starts = "", []
    for text in texts:
        starts.append(content.count("\n"))
        content += f"{text.content}\n---\n"

    def locate(line: int) -> tuple[str, int]:
        number = max(bisect_left(starts, line) - 1, 0)
        return texts[number].name, line - starts[number]

    return content, "application/yaml", "", locate


def _send(client: APIClient, what: str, arguments: Namespace, **query: object) -> Any:
    content, contentType, name, locate = joined(readTexts(arguments.filename))
    target = path("v1", what, namespace=arguments.namespace, filename=name, **query)
    return client.ask("POST", target, content.encode("utf-8"), contentType, locate)


def apply(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Create or replace all resources of files, or none.
    """
    dryRun = "true" if arguments.dry_run else ""
    answer = _send(client, "apply", arguments, dryRun=dryRun, message=arguments.message)
    return _done(client, printer, arguments, answer)


def delete(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Delete what files name, or one resource.
    """
    if bool(arguments.filename) == bool(arguments.kind):
        raise CommandFailed("delete takes -f FILE, or KIND and NAME", 2)
    dryRun = "true" if arguments.dry_run else ""
    if arguments.filename:
        answer = _send(client, "delete", arguments, dryRun=dryRun, message=arguments.message)
        return _done(client, printer, arguments, answer)
    if arguments.kind.lower() == _ALL:
        raise CommandFailed("delete takes the KIND of what is to go, and its NAME", 2)
    targets = _targets([arguments.kind, *arguments.name])
    if not all(names for _, names in targets):
        raise CommandFailed("delete takes a NAME after the KIND", 2)
    missing = []
    for kind, names in targets:
        for name in names:
            try:
                client.ask("DELETE", _pathOf(kind, arguments.namespace, name, dryRun=dryRun))
            except CommandFailed as error:
                if error.status != 404:
                    raise
                missing.append(str(error))
            else:
                printer.line(f"{kind.kind} {arguments.namespace}/{name} deleted{' (dry run)' if dryRun else ''}")
    if missing:
        raise CommandFailed("\n".join(missing))
    if arguments.wait and not dryRun:
        newest = client.ask("GET", path("v1", "history", limit=1))["commits"]
        waitForProxies(client, printer, newest[0]["revision"], arguments.timeout)
    return 0


def _done(client: APIClient, printer: Printer, arguments: Namespace, answer: Mapping[str, Any]) -> int:
    _tell(printer, answer)
    if arguments.wait and not answer["dryRun"]:
        waitForProxies(client, printer, answer["revision"], arguments.timeout)
    return 0


def _tell(printer: Printer, answer: Mapping[str, Any]) -> None:
    suffix = " (dry run)" if answer["dryRun"] else ""
    for result in answer["results"]:
        printer.line(f"{result['resource']} {result['action']}{suffix}")
    for warning in answer["warnings"]:
        where = ", ".join(str(warning[name]) for name in ("resource", "path") if warning.get(name))
        printer.line(f"warning: {where}: {warning['message']}")


def _pathOf(kind: Kind, namespace: str, name: str = "", **query: object) -> str:
    base = ("apis", kind.group, kind.versions[0]) if kind.group else ("api", kind.versions[0])
    inside = ("namespaces", namespace) if namespace else ()
    return path(*base, *inside, kind.plural, *([name] if name else []), **query)


#: What a word for a kind means beside kinds.
_ALL = "all"


def kindsNamed(text: str) -> list[Kind]:
    """
    The kinds that C{vs,dr} or C{all} means.

    @raise CommandFailed: If one of them is none.
    """
    if text.lower() == _ALL:
        return list(KINDS)
    found = [findKindNamed(name) for name in text.split(",")]
    return list(dict.fromkeys(found))


def _targets(words: Sequence[str]) -> list[tuple[Kind, list[str]]]:
    """
    What C{vs}, C{vs,dr}, C{vs reviews ratings} and C{vs/reviews dr/reviews} mean: kinds, each with names; none for all.
    """
    if not any("/" in word for word in words):
        return [(kind, list(words[1:])) for kind in kindsNamed(words[0])]
    found: dict[Kind, list[str]] = {}
    for word in words:
        kind, slash, name = word.partition("/")
        if not slash or not name:
            raise CommandFailed(f"{word!r}: where one is KIND/NAME, all are", 2)
        found.setdefault(findKindNamed(kind), []).append(name)
    return list(found.items())


def get(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Show resources.
    """
    targets = _targets([arguments.kind, *arguments.name])
    isNamed = any(names for _, names in targets)
    if arguments.watch and (len(targets) > 1 or len(targets[0][1]) > 1):
        raise CommandFailed("--watch is for one kind, or one resource", 2)
    if isNamed and arguments.selector:
        raise CommandFailed("names, or --selector: one of them", 2)
    if isNamed and arguments.all_namespaces:
        raise CommandFailed("a resource is named within its namespace: -n NAMESPACE instead of -A", 2)
    namespace = "" if arguments.all_namespaces else arguments.namespace
    found: list[tuple[Kind, list[Mapping[str, Any]]]] = []
    missing: list[str] = []
    revision = ""
    for kind, names in targets:
        if names:
            documents, faults = _eachNamed(client, kind, arguments.namespace, names)
            missing += faults
        else:
            listing = client.ask("GET", _pathOf(kind, namespace, labelSelector=arguments.selector))
            documents, revision = listing["items"], listing["metadata"]["resourceVersion"]
        found.append((kind, documents))
    isOne = sum(len(names) for _, names in targets) == 1
    if not missing or any(documents for _, documents in found):
        _show(printer, found, arguments, isOne, isNamed)
    if missing:
        raise CommandFailed("\n".join(missing))
    if arguments.watch:
        kind = targets[0][0]
        revision = revision or found[0][1][0]["metadata"]["resourceVersion"]
        _watch(client, printer, kind, namespace, arguments, revision)
    return 0


def _eachNamed(
    client: APIClient, kind: Kind, namespace: str, names: Sequence[str]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """
    Single resources, and what is said of those that are not there.
    """
    documents, faults = [], []
    for name in names:
        try:
            documents.append(client.ask("GET", _pathOf(kind, namespace, name)))
        except CommandFailed as error:
            if error.status != 404:
                raise
            faults.append(str(error))
    return documents, faults


def _watch(
    client: APIClient, printer: Printer, kind: Kind, namespace: str, arguments: Namespace, revision: str
) -> None:
    only = f"metadata.name={arguments.name[0]}" if arguments.name else ""
    target = _pathOf(
        kind,
        namespace,
        watch="true",
        resourceVersion=revision,
        labelSelector=arguments.selector,
        fieldSelector=only,
    )
    for event in client.follow(target):
        document = event["object"]
        if event["type"] == "ERROR":
            raise CommandFailed(document["message"])
        metadata = document["metadata"]
        if arguments.output in ("yaml", "json"):
            document = _shown(document, arguments)
            (printer.document if arguments.output == "yaml" else printer.json)(document)
        elif arguments.output == "name":
            printer.line(f"{kind.plural}/{metadata['name']}")
        else:
            printer.line(f"{event['type']:<9} {metadata.get('namespace', '')}/{metadata['name']}")


def _show(
    printer: Printer,
    found: Sequence[tuple[Kind, Sequence[Mapping[str, Any]]]],
    arguments: Namespace,
    isOne: bool,
    isNamed: bool,
) -> None:
    """
    @param isOne: Whether a single resource was asked for.
    @param isNamed: Whether names were.
    """
    output = arguments.output
    documents = [_shown(document, arguments) for _, held in found for document in held]
    if output in ("yaml", "json"):
        value: Any = documents[0] if isOne else {"apiVersion": "v1", "kind": "List", "items": documents}
        (printer.yaml if output == "yaml" else printer.json)(value)
    elif output == "name":
        for kind, held in found:
            for document in held:
                printer.line(f"{kind.plural}/{document['metadata']['name']}")
    elif not documents:
        where = "" if arguments.all_namespaces else f" in namespace {arguments.namespace}"
        what = "resources" if arguments.kind.lower() == _ALL else ", ".join(kind.plural for kind, _ in found)
        # What is not there is nothing for a pipe to read.
        printer.note(f"no {what}{where}")
    else:
        shown = [(kind, held) for kind, held in found if held]
        for number, (kind, held) in enumerate(shown):
            if number:
                printer.line()
            _table(printer, kind, held, arguments, f"{kind.plural}/" if len(found) > 1 else "")


def _shown(document: Mapping[str, Any], arguments: Namespace) -> Mapping[str, Any]:
    """
    A resource without what only programs read, unless it is asked for.
    """
    metadata = document["metadata"]
    if arguments.show_managed_fields or "managedFields" not in metadata:
        return document
    return {**document, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def _table(
    printer: Printer, kind: Kind, documents: Sequence[Mapping[str, Any]], arguments: Namespace, prefix: str
) -> None:
    """
    @param prefix: What stands before the names.
    """
    isWide = arguments.output == "wide"
    head = ["NAME", *(name.upper() for name, _ in COLUMNS.get(kind.kind, ())), "PROGRAMMED", "AGE"]
    if arguments.all_namespaces:
        head.insert(0, "NAMESPACE")
    if isWide:
        head += ["GENERATION", "REVISION", "LABELS"]
    rows = []
    for document in documents:
        metadata = document["metadata"]
        *first, created = cells(kind, document, time.time())
        row = [f"{prefix}{first[0]}", *first[1:], document.get("status", {}).get("programmed", "-"), created]
        if arguments.all_namespaces:
            row.insert(0, metadata.get("namespace", ""))
        if isWide:
            labels = ",".join(f"{name}={value}" for name, value in (metadata.get("labels") or {}).items())
            row += [metadata.get("generation", ""), metadata["resourceVersion"], labels]
        rows.append(row)
    printer.table(head, rows)


def diff(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Tell what applying files would change.

    @return: 1 if anything would, as diff itself does.
    """
    answer = _send(client, "diff", arguments)
    changed = [change for change in answer["changes"] if change["action"] != "unchanged"]
    for change in changed:
        printer.diff(change["diff"])
    return 1 if changed else 0


def history(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Tell who changed what.
    """
    if arguments.revision:
        commit = client.ask("GET", path("v1", "history", arguments.revision))
        printer.line(f"revision {commit['revision']} by {commit['author']}: {commit['message']}")
        for change in commit["changes"]:
            printer.diff(change["diff"])
        return 0
    query: dict[str, object] = {"limit": arguments.limit}
    if arguments.kind:
        if not arguments.name:
            raise CommandFailed("history of a resource takes KIND and NAME", 2)
        kind = findKindNamed(arguments.kind)
        query |= {"kind": kind.plural, "name": arguments.name, "namespace": arguments.namespace}
    commits = client.ask("GET", path("v1", "history", **query))["commits"]
    if arguments.output == "json":
        printer.json(commits)
        return 0
    rows = [
        [
            commit["revision"],
            ago(commit["time"], time.time()),
            commit["author"],
            _changes(commit["changes"], isWhole=arguments.output == "wide"),
            commit["message"],
        ]
        for commit in commits
    ]
    isWhole = arguments.output == "wide"
    printer.table(["REVISION", "AGE", "AUTHOR", "CHANGES", "MESSAGE"], rows, () if isWhole else (2, 3, 4))
    return 0


def _changes(changes: Sequence[Mapping[str, Any]], isWhole: bool) -> str:
    """
    What a commit changed, in one cell: all of it, or the beginning and how much more.
    """
    told = [f"{change['resource']} {change['action']}" for change in changes]
    if isWhole or len(told) <= _SHOWN:
        return ", ".join(told)
    return f"{', '.join(told[: _SHOWN - 1])} and {len(told) - _SHOWN + 1} more"


def rollback(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Bring back what was there at a revision.
    """
    asked: dict[str, Any] = {"revision": arguments.revision}
    if arguments.message:
        asked["message"] = arguments.message
    if arguments.resource:
        asked["resources"] = [_named(one, arguments.namespace) for one in arguments.resource]
    target = path("v1", "rollback", dryRun="true" if arguments.dry_run else "")
    answer = client.json("POST", target, asked)
    if not answer["results"]:
        printer.line(f"nothing differs from revision {arguments.revision}")
    return _done(client, printer, arguments, answer)


def _named(text: str, namespace: str) -> dict[str, str]:
    kind, slash, name = text.partition("/")
    if not slash or not name:
        raise CommandFailed(f"--resource is KIND/NAME, not {text!r}", 2)
    return {"kind": findKindNamed(kind).plural, "namespace": namespace, "name": name}
