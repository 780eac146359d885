# -*- test-case-name: tests.controlplane.xds.test_session -*-
"""
What is known of one type of resources on a stream: what the proxy asked for, was sent and took.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from meshproxy.controlplane.snapshot.snapshot import Resources
from meshproxy.grpc.status import GRPCError, Status

__all__ = ["Rejection", "Subscription", "checkNames", "errorOf"]

_MOST_NAMES = 100_000
"""
Names that a proxy may subscribe to, of one type: far more than any has, and bounded.
"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """
    What a proxy said to a response that it did not take.

    @ivar version: That of the response.
    """

    version: str
    message: str


@dataclass
class Subscription:
    """
    What is known of one type on a stream.

    @ivar isWildcard: Whether all resources are asked for.
    @ivar names: Those that are asked for by name.
    @ivar nonce: That of the last response; empty before the first one.
    @ivar isUnderWay: Whether the last response is not answered yet.
    @ivar sent: The version of each resource that the proxy was sent, or said that it has; empty where it is not known.
    @ivar version: That of the last response.
    @ivar accepted: That of the last response that was taken; empty before the first one.
    @ivar rejection: What was said to the last response, if it was not taken.
    @ivar isDue: Whether a response is due although nothing changed.
    @ivar told: The names that the proxy knows not to exist.
    @ivar resumes: Whether the proxy said what it has, and it is not looked at yet: the version of all, or that of each.
    @ivar invented: Those of which it was sent that they have no endpoints, although nobody said so.
    @ivar offered: The names in the last response.
    @ivar gone: The names that the last response said to be gone.
    @ivar withdrawn: Those of responses that were not taken: the proxy may have them still.
    @ivar doubtful: Names in responses that were not taken: what the proxy has of them is not known.
    @ivar settledOn: The resources of a snapshot, if the proxy has all of them that it asked for, or was sent them.
    @ivar coveredOf: The resources of a snapshot, if all of them are asked for.
    """

    isWildcard: bool = False
    names: set[str] = field(default_factory=set)
    nonce: str = ""
    isUnderWay: bool = False
    sent: dict[str, str] = field(default_factory=dict)
    version: str = ""
    accepted: str = ""
    rejection: Rejection | None = None
    isDue: bool = False
    told: set[str] = field(default_factory=set)
    resumes: bool = False
    invented: set[str] = field(default_factory=set)
    offered: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    settledOn: Resources | None = None
    coveredOf: Resources | None = None

    def wants(self, name: str) -> bool:
        """
        Whether a resource is asked for.
        """
        return self.isWildcard or name in self.names

    def asksAnew(self) -> None:
        """
        What is asked for, or what is there, changed: nothing that was found out holds any more.
        """
        self.settledOn = self.coveredOf = None

    def wantsAll(self, resources: Resources) -> bool:
        """
        Whether every one of some resources is asked for.
        """
        if self.isWildcard:
            return True
        changed = resources.changedSince(self.coveredOf)
        wants = all(map(self.names.__contains__, resources if changed is None else changed))
        self.coveredOf = resources if wants else None
        return wants


def checkNames(names: Iterable[str]) -> set[str]:
    """
    The names of a subscription, each once.

    @raise GRPCError: If they are too many.
    """
    found = set(names)
    if len(found) > _MOST_NAMES:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a subscription has at most {_MOST_NAMES} names")
    return found


def errorOf(request: Any) -> str:
    """
    What a proxy says that is wrong with the last response; empty if it took it.
    """
    if not request.HasField("error_detail"):
        return ""
    return request.error_detail.message or f"rejected, with code {request.error_detail.code}"
