# -*- test-case-name: tests.controlplane.api.test_explaining -*-
"""
What becomes of a request at a proxy that is connected, now or with a text applied.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.replies import Refused, Reply, invalid, notFound
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.transactions import onText, parsed
from meshproxy.controlplane.explain.explanation import ExplanationFailed, explained
from meshproxy.controlplane.explain.subject import Asked, ISubject, Mesh, Subject
from meshproxy.controlplane.snapshot.snapshots import Snapshots

__all__ = ["addExplaining"]

_ASKED = {
    "proxy": "The id of the proxy.",
    "url": "http://host:port/path?query, as the caller has it; tcp://host:port for what is no HTTP.",
    "method": "GET if not given.",
    "header": "name: value; any number.",
    "inbound": "true: the request comes to the workload, instead of from it.",
    "principal": "Who sends it: a SPIFFE ID. Without one it comes without a certificate.",
    "source": "The address that it comes from.",
}


def addExplaining(router: Router, snapshots: Snapshots) -> None:
    """
    The operations at C{/v1/explain}.
    """
    world = snapshots.world

    def reply(call: Call, subjects: Sequence[ISubject], mesh: Mesh) -> Reply:
        id = call.one("proxy")
        if not id or not call.one("url"):
            raise Refused(400, "the query parameters 'proxy' and 'url' are needed; GET /v1/proxies lists the proxies")
        subject = next((one for one in subjects if one.proxy.id == id), None)
        if subject is None:
            raise notFound(f"proxy {id}")
        asked = Asked(
            url=call.one("url"),
            method=call.one("method") or "GET",
            fields=tuple(field for field in call.query.get("header", ()) if field),
            inbound=call.flag("inbound"),
            principal=call.one("principal"),
            source=call.one("source"),
        )
        try:
            return Reply(explained(asked, subject, mesh, subjects))
        except ExplanationFailed as error:
            raise Refused(400, str(error)) from error

    async def now(call: Call) -> Reply:
        return reply(call, snapshots.attached, Mesh(world.mesh, world.resources, world.registry.index))

    async def withText(call: Call) -> Reply:
        resources, problems = parsed(call)
        if any(problem.isError for problem in problems):
            raise invalid(problems)
        mesh = Mesh.of(world.mesh, world.having(resources))
        return reply(call, [Subject(one.proxy, mesh) for one in snapshots.attached], mesh)

    what = "Tell what becomes of a request at a proxy, and what set it"
    asked = Operation(
        "GET", "/v1/explain", now, Role.READ, what, _ASKED, (), "proxies", (200,), "Explanation", "", (404,)
    )
    router.add(asked)
    router.add(onText(asked, withText, (422,)))
