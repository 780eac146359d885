# -*- test-case-name: tests.controlplane.test_service -*-
"""
What the control plane knows of a resource: whether proxies have what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshproxy.controlplane.model.kinds import Kind
from meshproxy.controlplane.model.resource import Key
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.xds.server import Connected

__all__ = ["ResourceStatus"]


class ResourceStatus:
    """
    Makes the C{status} of resources: C{programmed} says how many of the proxies that it concerns have all that they are
    to have; C{conditions} are Kubernetes'; C{problems} are what translation could not do, by field.
    """

    def __init__(self, snapshots: Snapshots, connected: Callable[[], Sequence[Connected]]) -> None:
        self._snapshots = snapshots
        self._connected = connected

    def __call__(self, kind: Kind, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """
        See L{meshproxy.controlplane.api.objects.StatusOf}.
        """
        metadata = document["metadata"]
        key = Key(kind.group, kind.kind, metadata.get("namespace", ""), metadata["name"])
        concerned = [one for one in self._snapshots.attached if self._isOf(one.translation, key)]
        if not concerned:
            return None
        # What was applied a moment ago is not in any configuration yet.
        revision = int(metadata.get("resourceVersion") or 0)
        sessions = {str(one.node.get("id", "")): one.session for one in self._connected()}
        programmed, rejected = 0, []
        for attached in concerned:
            session = sessions.get(attached.proxy.id)
            if session is None or session.snapshot is not attached.snapshot or attached.revision < revision:
                continue
            errors = [one.rejection.message for one in session.subscriptions.values() if one.rejection is not None]
            if errors:
                rejected.append({"proxy": attached.proxy.id, "error": errors[0]})
            elif all(map(session.hasAll, session.subscriptions)):
                programmed += 1
        title = f"{kind.kind} {key.namespace}/{key.name}" if key.namespace else f"{kind.kind} {key.name}"
        status: dict[str, Any] = {
            "programmed": f"{programmed} of {len(concerned)}",
            "conditions": [_condition(programmed == len(concerned), rejected)],
        }
        if rejected:
            status["rejected"] = rejected
        problems = self._snapshots.problems(key, title)
        if problems:
            status["problems"] = [problem.asDict() for problem in problems]
        return status

    def _isOf(self, translation: Any, key: Key) -> bool:
        return translation is not None and key in translation.resources


def _condition(isDone: bool, rejected: Sequence[Mapping[str, str]]) -> dict[str, str]:
    reason = "Programmed" if isDone else "Rejected" if rejected else "Pending"
    return {"type": "Programmed", "status": "True" if isDone else "False", "reason": reason}
