# -*- test-case-name: tests.admin.test_statspages -*-
"""
C{/stats} and C{/stats/prometheus}.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from meshproxy.admin.commands import OK, AdminRequest, AdminResponse, Parameter
from meshproxy.admin.home import HTML, PAGE_HEADERS, formOf, pageEnd, pageStart
from meshproxy.admin.served import Served
from meshproxy.stats import Exposition, QueryError, parseStatsQuery

__all__ = ["clearLookups", "disableLookups", "enableLookups", "recentLookups", "statsPage"]


def statsPage(
    exposition: Exposition, format: str, parameters: Sequence[Parameter] = ()
) -> Callable[[Served, AdminRequest], AdminResponse]:
    """
    What answers one of both paths.

    @param format: The format where the request names none.
    @param parameters: What may be asked for, for the form on the page.
    """

    def answer(server: Served, request: AdminRequest) -> AdminResponse:
        try:
            query = parseStatsQuery(request.parameters, format)
        except QueryError as error:
            return AdminResponse(str(error), 400)
        server.refreshStats()
        if query.format not in ("html", "active-html"):
            contentType, pieces = exposition.show(query)
            return AdminResponse(pieces, contentType=contentType)
        _, pieces = exposition.show(replace(query, format="text"))
        form = formOf(request.path, parameters, request.parameters)
        page = _page(form, pieces, isActive=query.format == "active-html")
        return AdminResponse(page, contentType=HTML, headers=PAGE_HEADERS)

    return answer


# How often a page of the format active-html is loaded again; it runs no script.
_REFRESH = 5


def recentLookups(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/stats/recentlookups}.
    """
    lookups = server.context.store.lookups
    if lookups is None:
        head = "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n"
    else:
        ordered = sorted(lookups.items(), key=lambda item: (-item[1], item[0]))
        head = "   Count Lookup\n" + "".join(f"{count:>8} {name}\n" for name, count in ordered)
    return AdminResponse(f"{head}\ntotal: {sum((lookups or {}).values())}\n")


def enableLookups(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/stats/recentlookups/enable}.
    """
    store = server.context.store
    store.lookups = {} if store.lookups is None else store.lookups
    return OK


def disableLookups(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/stats/recentlookups/disable}.
    """
    server.context.store.lookups = None
    return OK


def clearLookups(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/stats/recentlookups/clear}.
    """
    if server.context.store.lookups is not None:
        server.context.store.lookups = {}
    return OK


def _page(form: str, pieces: Iterator[str], isActive: bool) -> Iterator[str]:
    yield pageStart("Stats", _REFRESH if isActive else 0) + "<p><a href='/'>all commands</a></p>\n"
    yield f"{form}<pre>\n"
    for piece in pieces:
        yield html.escape(piece)
    yield "</pre>\n" + pageEnd()
