# -*- test-case-name: tests.controlplane.api.test_analyzing -*-
"""
What in the mesh does not do what it says, now or with a text applied.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.analysis.whole import analyzed
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.replies import Refused, Reply
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.transactions import onText, parsed
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.snapshot.world import World

__all__ = ["addAnalysis"]


def addAnalysis(router: Router, world: World) -> None:
    """
    The operations at C{/v1/analyze}.
    """

    def reply(resources: Sequence[Resource], problems: Sequence[Problem]) -> Reply:
        found = analyzed(resources, world.mesh, problems)
        valid = not any(problem.isError for problem in found)
        return Reply({"valid": valid, "resources": len(resources), "problems": [one.asDict() for one in found]})

    async def stored(call: Call) -> Reply:
        return reply(world.having(), [])

    async def withText(call: Call) -> Reply:
        if not call.body:
            raise Refused(400, "a body is needed: the resources to look at; GET looks at those that are there alone")
        resources, problems = parsed(call)
        return reply(world.having(resources), problems)

    what = "Tell what does not do what it says, of all resources"
    asked = Operation("GET", "/v1/analyze", stored, Role.READ, what, group="transactions", answer="Validated")
    router.add(asked)
    router.add(onText(asked, withText))
