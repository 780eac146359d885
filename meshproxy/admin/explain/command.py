# -*- test-case-name: tests.admin.explain.test_command -*-
"""
C{/explain}.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator

from meshproxy.admin.commands import JSON, TEXT, AdminRequest, AdminResponse
from meshproxy.admin.explain.answer import explainInSteps
from meshproxy.admin.explain.live import explainUnderWay, findUnderWay
from meshproxy.admin.explain.place import Answer
from meshproxy.admin.explain.question import QuestionError, askedIn
from meshproxy.admin.explain.text import readable
from meshproxy.admin.served import Served

__all__ = ["explainCommand"]

_USAGE = (
    "usage: /explain?url=http://host:port/path[&method=GET][&header=name:value]...[&listener=NAME][&source=ADDRESS]"
    "[&principal=NAME][&alpn=PROTOCOL]...[&format=text|json]\n"
    "of a request under way: /explain?request_id=ID or /explain?connection_id=NUMBER, as /streams tells them\n"
)


def explainCommand(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/explain}.
    """
    parameters = request.parameters
    form = parameters.get("format") or "text"
    if form not in ("text", "json"):
        return AdminResponse(_USAGE, 400)
    requestId, connectionId = (parameters.get(name, "") for name in ("request_id", "connection_id"))
    if requestId or connectionId:
        found = findUnderWay(server.listeners.byName.values(), requestId, connectionId)
        if found is None:
            return AdminResponse("no request of this identifier is under way; /streams lists those that are\n", 404)
        context = server.context
        live = explainUnderWay(found, server.clusters.byName, context.runtime, context.clock.seconds())
        return AdminResponse(_pieces(live, form), contentType=JSON if form == "json" else TEXT)
    try:
        question = askedIn(
            parameters.get("url", ""),
            parameters.get("method") or "GET",
            [field for field in request.values("header") if field],
            parameters.get("listener", ""),
            parameters.get("source", ""),
            parameters.get("principal", ""),
            [name for name in request.values("alpn") if name],
        )
    except QuestionError as error:
        return AdminResponse(f"{error}\n{_USAGE}", 400)
    listeners = list(server.listeners.byName.values())
    steps = explainInSteps(question, listeners, server.clusters.byName, server.context.runtime)
    return AdminResponse(_pieces(steps, form), contentType=JSON if form == "json" else TEXT)


def _pieces(steps: Generator[None, None, Answer], form: str) -> Iterator[str]:
    """
    Nothing, again and again, and then the answer.
    """
    while True:
        try:
            next(steps)
        except StopIteration as done:
            yield json.dumps(done.value, indent=1) + "\n" if form == "json" else readable(done.value)
            return
        yield ""
