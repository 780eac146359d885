# -*- test-case-name: tests.controlplane.explain.test_text -*-
"""
An explanation to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["readable"]

#: Time-outs that are told although nobody set them: those that end requests.
_SHOWN = ("timeout", "per_try_timeout", "stream_idle_timeout")

_Told = Mapping[str, Any]


def readable(told: _Told) -> Iterator[str]:
    """
    Its lines, in the order in which the request passes.
    """
    request = told["request"]
    if request.get("scheme") in ("tcp", "tls"):
        yield f"{request['scheme']}://{request['authority']}"
    elif "authority" in request:
        yield f"{request['method']} {request['scheme']}://{request['authority']}{request['path']}"
    else:
        yield f"{request['method']} {request['url']}"
    yield from (f"  {field}" for field in request["headers"])
    if request.get("principal"):
        yield f"  as {request['principal']}"
    yield f"=> {told['outcome']}"
    yield ""
    yield f"{_DIRECTIONS[told['direction']]} {told['proxy']}"
    yield from _listener(told)
    yield from _routes(told)
    yield from _filters(told)
    yield from _clusters(told)
    yield from _limits(told)
    for problem in told.get("problems", ()):
        field = f", {problem['path']}" if problem.get("path") else ""
        yield f"{problem['severity']}: {problem['resource']}{field}: {problem['message']}"
    for each in told.get("not_judged", ()):
        yield f"not judged: {each}"
    for after in told.get("next", ()):
        yield ""
        yield "then:"
        yield from (f"  {line}".rstrip() for line in readable(after))


_DIRECTIONS = {
    "inbound": "at the workload of",
    "outbound": "out of the workload of",
    "gateway": "at the gateway",
}


def _by(found: Sequence[_Told] | _Told | None) -> str:
    """
    The resources that set something.
    """
    many = [] if not found else [found] if isinstance(found, Mapping) else list(found)
    told = []
    for one in many:
        field = f" {one['field']}" if "field" in one else ""
        told.append(f"{one['resource']}{field}{' (' + one['at'] + ')' if 'at' in one else ''}")
    return ", ".join(told)


def _line(what: str, found: Sequence[_Told] | _Told | None, indent: str = "") -> str:
    by = _by(found)
    return f"{indent}{what}{': ' + by if by else ''}"


def _missed(told: _Told) -> Iterator[str]:
    for miss in told["missed"]:
        why = f"{miss['what']} wants {miss['wanted']}, is {miss['actual']}" if miss["wanted"] else miss["actual"]
        yield f"      {why}"


def _listener(told: _Told) -> Iterator[str]:
    if "listener" not in told:
        return
    listener = told["listener"]
    yield _line(f"listener {listener['name']}, {listener['address']}", listener.get("set_by"))
    if "filter_chain" in told and told["filter_chain"]["name"]:
        yield f"filter chain {told['filter_chain']['name']}"
    if "filter_chain" not in told:
        for other in told.get("other_filter_chains", ()):
            yield f"  not {other['name'] or '(no name)'}:"
            yield from _missed(other)
    mutual = told.get("mutual_tls")
    if mutual is not None:
        yield _line(f"mutual TLS {mutual['mode']}", mutual["set_by"] or [{"resource": "the default"}])
    yield from _said("network filters:", [one for one in told.get("network_filters", ()) if "verdict" in one])


def _routes(told: _Told) -> Iterator[str]:
    if "virtual_host" in told:
        yield _line(f"virtual host {told['virtual_host']['name']}", told["virtual_host"].get("set_by"))
    route = told.get("route")
    if route is not None:
        name = f" {route['name']}" if route["name"] else ""
        yield _line(f"route{name}", route.get("set_by"))
        for condition in route["matched"]:
            yield f"    {condition['what']}: {condition['wanted']}"
    elif "virtual_host" in told:
        yield "no route"
    for other in told.get("routes_before", ()):
        yield _line(f"not {other['name'] or 'route'}", other.get("set_by"), "  ")
        yield from _missed(other)


def _filters(told: _Told) -> Iterator[str]:
    yield from _said("filters:", [one for one in told.get("filters", ()) if _says(one)])


def _said(title: str, shown: Sequence[_Told]) -> Iterator[str]:
    if shown:
        yield title
    for one in shown:
        off = " (disabled)" if one.get("disabled") else ""
        yield _line(f"{one['name']}{off}", one.get("set_by"), "  ")
        if "verdict" in one:
            yield f"    {one['verdict']['told']}"


def _says(one: _Told) -> bool:
    """
    Whether a filter has something to do with the request, as far as can be told.
    """
    return "route_config_at" in one or one.get("verdict", {}).get("told", "no fault") != "no fault"


def _clusters(told: _Told) -> Iterator[str]:
    for change in told.get("sent", {}).get("changes", ()):
        yield f"  sent with {change['field']}: {change['before'] or '(nothing)'} -> {change['after'] or '(nothing)'}"
    for cluster in told.get("clusters", ()):
        share = f", share {cluster['share']}" if "share" in cluster else ""
        if cluster.get("missing"):
            yield _line(f"cluster {cluster['name']}: there is none of this name{share}", cluster.get("set_by"))
            continue
        yield _line(f"cluster {cluster['name']}{share}", cluster.get("set_by"))
        if not cluster["endpoints"]:
            yield "  no endpoints: 503, no healthy upstream"
        for one in cluster["endpoints"]:
            labels = ",".join(f"{key}={value}" for key, value in one.get("labels", {}).items())
            more = [labels, "" if one["healthy"] else "not healthy", "mutual TLS" if one.get("mutual_tls") else ""]
            yield f"  {one['address']} {', '.join(filter(None, more))}".rstrip()


def _limits(told: _Told) -> Iterator[str]:
    retries = told.get("retries")
    if retries is not None:
        by = retries.get("set_by") or {"resource": "the default of the mesh"}
        yield _line(f"retries: {retries['num_retries']} on {retries['retry_on'] or '(nothing)'}", by)
    rows = [row for row in told.get("timeouts", ()) if "resource" in row or row["name"] in _SHOWN]
    if rows:
        yield "time-outs:"
    for row in rows:
        yield f"  {row['name']} {row['value']} ({_by(row.get('resource')) or 'default'}): {row['when']}"
