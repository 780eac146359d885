# -*- test-case-name: tests.admin.explain.test_text -*-
"""
An answer to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshproxy.admin.explain.place import Answer

__all__ = ["readable"]


def readable(answer: Answer) -> str:
    """
    The answer in lines, in the order in which a request passes.
    """
    return "\n".join(_lines(answer)) + "\n"


def _lines(answer: Answer) -> Iterator[str]:
    request = answer["request"]
    if request["scheme"] in ("tcp", "tls"):
        yield f"{request['scheme']}://{request['authority']}"
    else:
        yield f"{request['method']} {request['scheme']}://{request['authority']}{request['path']}"
    yield from (f"  {field}" for field in request["headers"])
    if "principal" in request:
        yield f"  as {request['principal']}"
    yield f"=> {answer['outcome']}"
    yield from _stream(answer)
    yield ""
    yield from _listener(answer)
    if "connection_manager" in answer:
        yield f"connection manager {answer['connection_manager']['stat_prefix']}{_at(answer['connection_manager'])}"
    for change in answer.get("head", ()):
        yield f"  {change['field']}: {_or(change['before'])} -> {_or(change['after'])}"
    yield from _scopes(answer)
    yield from _hosts(answer)
    yield from _routes(answer)
    yield from _filters(answer)
    for change in answer.get("sent", {}).get("changes", ()):
        yield f"  sent with {change['field']}: {_or(change['before'])} -> {_or(change['after'])}"
    for cluster in answer.get("clusters", ()):
        yield from _cluster(cluster)
    retries = answer.get("retries")
    if retries is not None:
        yield f"retries: {retries['num_retries']} on {_or(retries['retry_on'])}{_at(retries)}"
    if answer.get("timeouts"):
        yield "time-outs:"
        rows = answer["timeouts"]
        name, value = (max(len(row[key]) for row in rows) for key in ("name", "value"))
        for row in rows:
            yield f"  {row['name']:{name}}  {row['value']:>{value}}  {row['set_by']}: {row['when']}"


def _at(told: Answer) -> str:
    return f" ({told['at']})" if told.get("at") else ""


def _or(text: str) -> str:
    return text or "(nothing)"


def _named(what: str, told: Answer) -> str:
    return f"{what} {told['name'] or '(no name)'}{_at(told)}"


def _origin(told: Answer) -> Iterator[str]:
    """
    What the control plane made it of.
    """
    if "origin" in told:
        held = told["origin"]
        yield f"    of {held['config']} {held.get('field', '')}".rstrip()
        if "delegate" in held:
            yield f"    by {held['delegate']} {held.get('delegateField', '')}".rstrip()


def _missed(told: Answer) -> Iterator[str]:
    for miss in told["missed"]:
        why = f"{miss['what']} wants {miss['wanted']}, is {miss['actual']}" if miss["wanted"] else miss["actual"]
        yield f"      {why} ({miss['at']})"


def _listener(answer: Answer) -> Iterator[str]:
    if "listener" in answer:
        yield f"{_named('listener', answer['listener'])}, {answer['listener']['address']}"
    for other in answer.get("other_listeners", ()):
        yield f"  {_named('not', other)}: {other['why']}"
    if "filter_chain" in answer:
        yield _named("filter chain", answer["filter_chain"])
    for other in answer.get("other_filter_chains", ()):
        yield f"  {_named('not', other)}:"
        yield from _missed(other)
    for each in answer.get("network_filters", ()):
        if "verdict" in each:
            yield _named("network filter", each)
            yield f"  {each['verdict']['told']}"


def _stream(answer: Answer) -> Iterator[str]:
    """
    Of a request under way: how far it is, and which time-outs run.
    """
    stream = answer.get("stream")
    if stream is None:
        return
    yield f"   for {stream['idle_ms'] / 1000:g}s; it came {stream['age_ms'] / 1000:g}s ago, from {stream['client']}"
    if stream["upstream_host"]:
        yield f"   sent to {stream['upstream_host']}, try {stream['attempts']}"
    if "began_with" in stream:
        yield f"   it began with {stream['began_with']}"
    for row in answer.get("deadlines", ()):
        place = f" ({row['set_by']})" if row["set_by"] else ""
        yield f"   {row['name']} in {row['in_ms'] / 1000:g}s{place}"


def _scopes(answer: Answer) -> Iterator[str]:
    if "scope" in answer:
        yield f"{_named('scope', answer['scope'])}: key {', '.join(answer['scope']['key'])}"
    for other in answer.get("other_scopes", ()):
        yield f"  {_named('not', other)}: key {', '.join(other['key'])}"


def _hosts(answer: Answer) -> Iterator[str]:
    if "virtual_host" in answer:
        host = answer["virtual_host"]
        yield f"{_named('virtual host', host)}: {', '.join(host['domains'])}"
    for other in answer.get("other_virtual_hosts", ()):
        yield f"  {_named('not', other)}: {', '.join(other['domains'])}: {other['why']}"


def _routes(answer: Answer) -> Iterator[str]:
    route: Any = answer.get("route")
    if route is not None:
        yield _named("route", route)
        yield from _origin(route)
        for condition in route["matched"]:
            yield f"    {condition['what']}: {condition['wanted']} ({condition['at']})"
    elif "virtual_host" in answer:
        yield "no route"
    for other in answer.get("routes_before", ()):
        yield f"  {_named('not', other)}:"
        yield from _missed(other)


def _filters(answer: Answer) -> Iterator[str]:
    if answer.get("filters"):
        yield "filters:"
    for each in answer.get("filters", ()):
        off = ", disabled" if each["disabled"] else ""
        off += f", left out: {each['left_out']}" if "left_out" in each else ""
        off += f", holds the {each['holds']}" if "holds" in each else ""
        own = f", configured for this route at {each['route_config_at']}" if "route_config_at" in each else ""
        yield f"  {each['name']}{_at(each)}{off}{own}"
        if "verdict" in each:
            yield f"    {each['verdict']['told']}"


def _cluster(cluster: Answer) -> Iterator[str]:
    share = f", share {cluster['share']}" if "share" in cluster else ""
    chosen = f", chosen at {cluster['chosen_at']}"
    if cluster.get("missing"):
        yield f"cluster {_or(cluster['name'])}: there is none of this name{chosen}{share}"
        return
    yield f"{_named('cluster', cluster)}: {cluster['type']}, {cluster['lb_policy']}{chosen}{share}"
    yield from _origin(cluster)
    if "upstream_filters" in cluster:
        yield f"  each try passes {', '.join(cluster['upstream_filters'])}"
    if not cluster["endpoints"]:
        yield "  no endpoints: 503, no healthy upstream"
    for endpoint in cluster["endpoints"]:
        name = f" {endpoint['hostname']}" if endpoint["hostname"] else ""
        yield f"  {endpoint['address']}{name}{'' if endpoint['healthy'] else ' (not healthy)'}"
