# -*- test-case-name: tests.controlplane.api.test_analyzing -*-
"""
What in the mesh does not do what it says, now or with a text applied.
"""

from __future__ import annotations

from dataclasses import replace

from meshproxy.controlplane.analysis.whole import analyzed
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import YAML_TYPES, Call
from meshproxy.controlplane.api.replies import JSON, Refused, Reply
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.transactions import parsed
from meshproxy.controlplane.model.kinds import KINDS
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.snapshot.world import World

__all__ = ["addAnalysis"]

_ASKED = {"namespace": "For what names none; default if not given.", "filename": "How problems name the text."}


def addAnalysis(router: Router, world: World) -> None:
    """
    The operations at C{/v1/analyze}.
    """

    def reply(resources: dict[object, Resource], problems: list[Problem]) -> Reply:
        found = analyzed(list(resources.values()), world.mesh, problems)
        valid = not any(problem.isError for problem in found)
        return Reply({"valid": valid, "resources": len(resources), "problems": [one.asDict() for one in found]})

    def held() -> dict[object, Resource]:
        return {resource.key: resource for kind in KINDS for resource in world.resources.all(kind.kind)}

    async def stored(call: Call) -> Reply:
        return reply(held(), [])

    async def withText(call: Call) -> Reply:
        if not call.body:
            raise Refused(400, "a body is needed: the resources to look at; GET looks at those that are there alone")
        resources, problems = parsed(call)
        return reply({**held(), **{one.key: one for one in resources}}, problems)

    what = "Tell what does not do what it says, of all resources"
    asked = Operation("GET", "/v1/analyze", stored, Role.READ, what, group="transactions", answer="Validated")
    router.add(asked)
    router.add(
        replace(
            asked,
            method="POST",
            handler=withText,
            summary=f"{what} as they would be with a text applied",
            parameters=_ASKED,
            consumes=(JSON, *YAML_TYPES),
        )
    )
