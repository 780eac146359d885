# -*- test-case-name: tests.admin.explain.test_command -*-
"""
C{/explain}.
"""

from __future__ import annotations

from meshproxy.admin.commands import AdminRequest, AdminResponse, jsonResponse
from meshproxy.admin.explain.answer import explain
from meshproxy.admin.explain.question import QuestionError, askedIn
from meshproxy.admin.explain.text import readable
from meshproxy.admin.served import Served

__all__ = ["explainCommand"]

_USAGE = (
    "usage: /explain?url=http://host:port/path[&method=GET][&header=name:value]...[&listener=NAME][&source=ADDRESS]"
    "[&format=text|json]\n"
)


def explainCommand(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/explain}.
    """
    parameters = request.parameters
    form = parameters.get("format") or "text"
    if form not in ("text", "json"):
        return AdminResponse(_USAGE, 400)
    try:
        question = askedIn(
            parameters.get("url", ""),
            parameters.get("method") or "GET",
            [field for field in request.values("header") if field],
            parameters.get("listener", ""),
            parameters.get("source", ""),
        )
    except QuestionError as error:
        return AdminResponse(f"{error}\n{_USAGE}", 400)
    context = server.context
    answer = explain(question, list(server.listeners.byName.values()), server.clusters.byName, context.runtime)
    return jsonResponse(answer) if form == "json" else AdminResponse(readable(answer))
