# -*- test-case-name: tests.admin.explain.test_live -*-
"""
What became of a request that is under way, and why it waits: by the route, the filters and the cluster that it got, and
the time-outs that run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.explain.answer import Explanation
from meshproxy.admin.explain.asked import Asked
from meshproxy.admin.explain.place import Answer, placeOf
from meshproxy.admin.explain.question import Question
from meshproxy.admin.streams import streamFacts, streamsOf
from meshproxy.config.section import Section
from meshproxy.http.pending import deadlinesOf, holdersOf
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.listener import Listener
from meshproxy.runtime import Runtime

if TYPE_CHECKING:
    from meshproxy.upstream.cluster import Cluster

__all__ = ["UnderWay", "explainUnderWay", "findUnderWay"]

#: A stream, with its listener and its filter chain.
UnderWay = tuple[Listener, FilterChain, Any]

# Conditions on these may be on a secret.
_HIDDEN = ("header ", "query parameter ", "cookie ", "gRPC")

_NOT_SHOWN = "(not shown)"


def findUnderWay(listeners: Iterable[Listener], requestId: str, connectionId: str) -> UnderWay | None:
    """
    The oldest stream with an identifier of its request, or on a connection.
    """
    found = [
        (listener, chain, stream)
        for listener in listeners
        for chain, stream in streamsOf(listener)
        if (stream.requestId == requestId if requestId else str(stream.connection.id) == connectionId)
    ]
    return min(found, key=lambda each: each[2].startTime, default=None)


def explainUnderWay(
    found: UnderWay, clusters: Mapping[str, Cluster], runtime: Runtime, now: float
) -> Generator[None, None, Answer]:
    """
    Explain it, a few milliseconds at a time. Values of fields, cookies and queries are not told: they may hold secrets.

    @param now: The clock's seconds.
    """
    listener, chain, stream = found
    headers = stream.requestHeaders.copy()
    original = headers.first.get(b"x-envoy-original-path")
    if original is not None:
        headers.path = original
    method, scheme, authority = (fromBytes(each) for each in (headers.method, headers.scheme, headers.authority))
    path = fromBytes(headers.path.partition(b"?")[0])
    question = Question(method, scheme, authority, path, 0, (), listener.name)
    explanation = Explanation(question, clusters, runtime)
    answer = explanation.answer
    client = stream.remoteAddress or stream.connection.remoteAddress
    answer["request"]["source"] = "" if client is None else client.text
    answer["stream"] = streamFacts(listener, stream, now)
    answer["listener"] = {
        "name": listener.name,
        "address": listener.addresses[0][0].text if listener.addresses else "",
        "at": placeOf(listener.section),
    }
    answer["filter_chain"] = {"name": chain.name, "at": placeOf(chain.section)}
    manager = _managerOf(chain)
    slot = getattr(chain.terminal, "slot", None)
    if manager is not None and slot is not None and slot.current is stream.manager:
        answer["connection_manager"] = {"stat_prefix": manager.get("stat_prefix"), "at": placeOf(manager)}
        yield from explanation.explainFound(Asked(manager, slot.current, headers, stream), stream.route)
    else:
        # What it began with is not there any more.
        answer["stream"]["began_with"] = "an earlier configuration, in which it ends"
    _narrow(answer, stream, now)
    return answer


def _managerOf(chain: FilterChain) -> Section | None:
    filters = chain.section.children("filters")
    return filters[-1].any("typed_config") if filters else None


def _narrow(answer: Answer, stream: Any, now: float) -> None:
    """
    What was possible is known by now.
    """
    holders = dict(holdersOf(stream))
    facts = answer["stream"]
    if holders and facts["waits_for"] == "a filter":
        facts["waits_for"] = f"the filter {next(iter(holders))}"
    answer["outcome"] = f"waits for {facts['waits_for']}"
    for each in answer.get("filters", ()):
        if each["name"] in holders:
            each["holds"] = holders[each["name"]]
    if stream.upstreamCluster:
        clusters = [each for each in answer.get("clusters", ()) if each["name"] == stream.upstreamCluster]
        answer["clusters"] = clusters or answer.get("clusters", [])
    for told in [*answer.get("routes_before", ()), answer.get("route", {})]:
        for condition in [*told.get("missed", ()), *told.get("matched", ())]:
            if condition["what"].startswith(_HIDDEN):
                condition["actual"] = _NOT_SHOWN
            elif condition["what"] == "path":
                condition["actual"] = condition["actual"].partition("?")[0]
    answer["deadlines"] = sorted(_deadlines(answer, stream, now), key=lambda row: row["in_ms"])


def _deadlines(answer: Answer, stream: Any, now: float) -> Iterator[Answer]:
    rows = {row["name"]: row for row in answer.get("timeouts", ())}
    for name, when in deadlinesOf(stream):
        row = rows.get(name, {})
        yield {"name": name, "in_ms": max(0, round((when - now) * 1000)), "set_by": row.get("set_by", "")}
