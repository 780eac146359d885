# -*- test-case-name: tests.admin.explain.test_verdicts -*-
"""
What each HTTP filter does with a request, as far as it can be foreseen.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.admin.explain.asked import Asked, AskedStream
from meshproxy.admin.explain.place import Answer, placeOf
from meshproxy.config.section import Section
from meshproxy.listener.filterchain import FilterChain
from meshproxy.routing.route import Route

__all__ = ["clearsRoute", "filtersOf", "networkFiltersOf"]


def networkFiltersOf(chain: FilterChain, info: ConnectionInfo) -> tuple[list[Answer], str]:
    """
    Tell of the network filters of a chain, in order.

    @return: What is told of each, and which one closes the connection; empty if none would.
    """
    told: list[Answer] = []
    closed = ""
    for number, item in enumerate(chain.section.children("filters")):
        entry: Answer = {"name": item.get("name"), "at": placeOf(item)}
        foreseen = chain.filters[number].foresee(info) if number < len(chain.filters) else None
        if foreseen is not None:
            entry["verdict"] = foreseen.asDict()
            closed = closed or (foreseen.closes and f"{foreseen.outcome} by {entry['name']}") or ""
        told.append(entry)
    return told, closed


def clearsRoute(asked: Asked, found: Route | None) -> bool:
    """
    Let the filters of a request that nobody sent note what they would, and tell whether its route is chosen anew then.
    """
    stream = asked.stream
    if not isinstance(stream, AskedStream):
        return False
    stream.route = found
    disabled = {item.get("name"): item.get("disabled") for item in asked.manager.children("http_filters")}
    disabled.update({} if found is None else found.overrides.disabled)
    configs = {} if found is None else found.overrides.configs
    verdicts = [
        link.filterClass.foresee(configs.get(link.context.name) or link.config, stream, asked.headers)
        for link in asked.running.chain.links
        if not disabled.get(link.context.name)
    ]
    return any(one is not None and one.clearsRoute for one in verdicts)


def filtersOf(asked: Asked, found: Route | None, levels: Sequence[Section]) -> tuple[list[Answer], str]:
    """
    Tell of the filters of a connection manager, in order.

    @param found: The route that was found, if any.
    @param levels: What may say something to filters, nearest first.

    @return: What is told of each, and what the first that would answer itself answers with; empty if none would.
    """
    disabled = {} if found is None else found.overrides.disabled
    configs = {} if found is None else found.overrides.configs
    chain = asked.running.chain
    links = {link.context.name: link for link in chain.links}
    # Of a request under way the filters themselves know more than could be foreseen.
    stream = asked.stream if isinstance(asked.stream, AskedStream) else None
    if stream is not None:
        stream.route = found
    told: list[Answer] = []
    refused = ""
    for item in asked.manager.children("http_filters"):
        name: str = item.get("name")
        off = disabled.get(name, item.get("disabled"))
        entry: Answer = {"name": name, "at": placeOf(item), "disabled": bool(off)}
        if item.get("is_optional") and name not in chain.names:
            entry["left_out"] = "no such filter is known here, and it is_optional"
        for level in levels:
            own = level.entries("typed_per_filter_config").get(name)
            if own is not None:
                entry["route_config_at"] = placeOf(own)
                break
        link = links.get(name)
        if link is not None and not off and stream is not None:
            foreseen = link.filterClass.foresee(configs.get(name) or link.config, stream, asked.headers)
            if foreseen is not None:
                entry["verdict"] = foreseen.asDict()
                refused = refused or (foreseen.status and f"{foreseen.outcome} from {name}") or ""
        told.append(entry)
    return told, refused
