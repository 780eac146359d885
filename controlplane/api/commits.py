# -*- test-case-name: tests.controlplane.api.test_transactions -*-
"""
Commits as the API tells them.
"""

from __future__ import annotations

from typing import Any

from meshproxy.controlplane.api.objects import kindOf
from meshproxy.controlplane.model.kinds import Kind
from meshproxy.controlplane.store.values import Commit, Written

__all__ = ["commitOf", "resourceOf", "visible", "writtenOf"]


def resourceOf(kind: Kind, namespace: str, name: str) -> str:
    """
    How a sentence names a resource: C{VirtualService default/reviews}.
    """
    return f"{kind.kind} {namespace}/{name}" if namespace else f"{kind.kind} {name}"


def visible(commit: Commit) -> list[Written]:
    """
    The changes of resources; the store has other things too.
    """
    return [written for written in commit.changes if kindOf(written.key) is not None]


def commitOf(commit: Commit) -> dict[str, Any]:
    """
    Who did what, when and why.
    """
    changes = []
    for written in visible(commit):
        kind = kindOf(written.key)
        assert kind is not None
        changes.append(writtenOf(kind, written))
    return {
        "revision": commit.revision,
        "time": commit.time,
        "author": commit.author,
        "message": commit.message,
        "changes": changes,
    }


def writtenOf(kind: Kind, written: Written) -> dict[str, Any]:
    """
    What a commit did to one resource.
    """
    action = "created" if written.before is None else "deleted" if written.after is None else "configured"
    _, namespace, name = written.key
    told = {"resource": resourceOf(kind, namespace, name), "kind": kind.kind, "namespace": namespace, "name": name}
    return {**told, "action": action}
