# -*- test-case-name: tests.admin.test_statspages -*-
"""
C{/stats} and C{/stats/prometheus}.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import replace

from meshproxy.admin.commands import AdminRequest, AdminResponse
from meshproxy.admin.home import HTML, PAGE_HEADERS, pageEnd, pageStart
from meshproxy.admin.served import Served
from meshproxy.stats import Exposition, QueryError, parseStatsQuery

__all__ = ["statsPage"]


def statsPage(exposition: Exposition, format: str) -> Callable[[Served, AdminRequest], AdminResponse]:
    """
    What answers one of both paths.

    @param format: The format where the request names none.
    """

    def answer(server: Served, request: AdminRequest) -> AdminResponse:
        try:
            query = parseStatsQuery(request.parameters, format)
        except QueryError as error:
            return AdminResponse(str(error), 400)
        if query.format == "active-html":
            return AdminResponse("active-html is not implemented; there are html, json, prometheus and text\n", 400)
        server.refreshStats()
        if query.format != "html":
            contentType, pieces = exposition.show(query)
            return AdminResponse(pieces, contentType=contentType)
        _, pieces = exposition.show(replace(query, format="text"))
        return AdminResponse(_page(pieces), contentType=HTML, headers=PAGE_HEADERS)

    return answer


def _page(pieces: Iterator[str]) -> Iterator[str]:
    yield pageStart("Stats") + "<p><a href='/'>all commands</a></p>\n<pre>\n"
    for piece in pieces:
        yield html.escape(piece)
    yield "</pre>\n" + pageEnd()
