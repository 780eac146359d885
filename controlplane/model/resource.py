# -*- test-case-name: tests.controlplane.model.test_documents -*-
"""
A resource: what a user applied, read.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from attrs import Factory, field, frozen

from meshproxy.config.nodes import NOWHERE, Node, Place, plain
from meshproxy.controlplane.model.names import badFQDN, badLabels
from meshproxy.controlplane.model.spots import Spot, placeOf

__all__ = ["Key", "Metadata", "Resource", "checkMetadata"]

#: A label of the domain name system (RFC 1123, 2.1), as Kubernetes wants it of a namespace.
_NAMESPACE = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Key(NamedTuple):
    """
    What names a resource among all others.
    """

    group: str
    kind: str
    namespace: str
    name: str


@frozen(kw_only=True)
class Metadata:
    """
    The C{metadata} of a resource, in Kubernetes' shape.

    @ivar creationTimestamp: RFC 3339. Where two resources say different things, the older one counts.
    """

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = Factory(dict)
    annotations: dict[str, str] = Factory(dict)
    generateName: str = ""
    uid: str = ""
    resourceVersion: str = ""
    generation: int = 0
    creationTimestamp: str = ""
    deletionTimestamp: str = ""
    deletionGracePeriodSeconds: int = 0
    finalizers: list[str] = Factory(list)
    ownerReferences: list[Any] = Factory(list)
    managedFields: list[Any] = Factory(list)
    selfLink: str = ""


@frozen(kw_only=True)
class Resource:
    """
    A resource without errors.

    @ivar apiVersion: As it was applied: C{networking.istio.io/v1}, or C{v1} for the core group.
    @ivar kind: Its kind.
    @ivar metadata: Name, namespace, labels and so on.
    @ivar spec: An instance of the class of the kind. Types are checked by whoever asks the registry of kinds, so it
        is any object here.
    @ivar node: The document with its places.
    """

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: Any
    node: Node = field(repr=False, eq=False)

    @property
    def group(self) -> str:
        """
        The group of the API, empty for the core group.
        """
        return self.apiVersion.rpartition("/")[0]

    @property
    def key(self) -> Key:
        """
        What names this resource among all others: versions of one group are the same.
        """
        return Key(self.group, self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        """
        Its name.
        """
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """
        Its namespace.
        """
        return self.metadata.namespace

    @property
    def title(self) -> str:
        """
        How a sentence names it: C{VirtualService default/reviews}.
        """
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def document(self) -> dict[str, object]:
        """
        What was applied, as plain data.
        """
        whole = plain(self.node)
        assert isinstance(whole, dict)
        return whole

    @property
    def age(self) -> tuple[bool, str, str, str]:
        """
        To sort by: the oldest first, by name among those of one time; what has no time yet comes last.
        """
        created = self.metadata.creationTimestamp
        return not created, created, self.namespace, self.name

    def place(self, *steps: str | int) -> Place:
        """
        Where a field stands in the text that was applied.

        @param steps: Keys and indices: C{"spec", "http", 0}.
        """
        return placeOf(self.node, steps) if self.node is not None else NOWHERE


def checkMetadata(metadata: Metadata, spot: Spot) -> None:
    """
    What Kubernetes asks of every resource.
    """
    if metadata.name:
        if metadata.name != metadata.name.lower() or badFQDN(f"{metadata.name}.x") or len(metadata.name) > 253:
            why = f"{metadata.name!r} is not a name: small letters, digits, hyphens and dots, at most 253"
            legal = re.sub("[^a-z0-9.]+", "-", metadata.name.lower()).strip("-.")
            spot["name"].refuse(why, "invalid", metadata.name, [legal])
    elif not metadata.generateName:
        spot["name"].require(metadata.name)
    if metadata.namespace and not _NAMESPACE.fullmatch(metadata.namespace):
        why = f"{metadata.namespace!r} is not a namespace: small letters, digits and hyphens, at most 63"
        legal = re.sub("[^a-z0-9]+", "-", metadata.namespace.lower()).strip("-")[:63]
        spot["namespace"].refuse(why, "invalid", metadata.namespace, [legal])
    spot["labels"].judge(badLabels(metadata.labels))
