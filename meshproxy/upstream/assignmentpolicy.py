# -*- test-case-name: tests.upstream.test_assignmentpolicy -*-
"""
C{ClusterLoadAssignment.Policy}: what is said with the endpoints of a cluster about all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.config import Section
from meshproxy.runtime import fractionOf

__all__ = ["AssignmentPolicy", "compileAssignmentPolicy"]


@dataclass(frozen=True, slots=True)
class AssignmentPolicy:
    """
    What it says.

    @ivar factor: C{overprovisioning_factor}, in percent.
    @ivar weighsHealth: C{weighted_priority_health}.
    @ivar drops: The share of requests that is answered here in place of the upstream, from 0 to 1 (C{drop_overloads}).
    """

    factor: int = 140
    weighsHealth: bool = False
    drops: float = 0.0


def compileAssignmentPolicy(section: Section) -> AssignmentPolicy:
    """
    Read one.
    """
    overloads = section.children("drop_overloads")
    if len(overloads) > 1:
        section.refuse(f"Envoy heeds one category, and here are {len(overloads)}", "drop_overloads")
    drops = 0.0
    for overload in overloads:
        drops = fractionOf(overload.child("drop_percentage"))
        if drops > 1:
            overload.refuse("more than all requests cannot be dropped", "drop_percentage")
    return AssignmentPolicy(
        section.wrapped("overprovisioning_factor", 140), section.get("weighted_priority_health"), drops
    )
