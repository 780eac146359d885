# -*- test-case-name: tests.routing.test_rewrites -*-
"""
Rewriting the path and the host of a request that goes upstream.

A path rewriter maps a whole C{:path} to another one, or gives the same; the query always stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.matchers import compileSubstitute, withoutQuery
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.routing.mutations import Mutation
from meshproxy.routing.uritemplate import TemplateError, UriRewrite, UriTemplate
from meshproxy.routing.values import compileValue

__all__ = [
    "PathRewrite",
    "compileHostRewrite",
    "compilePathRewrite",
    "literalHost",
    "pathMutation",
    "replaceHost",
    "replacePrefix",
    "substitutePath",
]

#: A path (with its query) to another.
PathRewrite: TypeAlias = Callable[[bytes, StreamInfo], bytes]
#: The host that a request shall have, or empty bytes to leave it.
_NewHost: TypeAlias = Callable[[RequestHeaders, StreamInfo], bytes]


def replacePrefix(matched: int | None, replacement: bytes) -> PathRewrite:
    """
    Envoy's C{prefix_rewrite}.

    @param matched: How many bytes the route matched; L{None} for the whole path up to its query.
    @param replacement: What stands there instead.
    """
    if matched is not None:
        return lambda path, info: replacement + path[matched:]
    return lambda path, info: replacement + path[len(withoutQuery(path)) :]


def substitutePath(section: Section) -> PathRewrite:
    """
    Envoy's C{regex_rewrite}: every match in the path, not in its query.
    """
    substitute = compileSubstitute(section)

    def rewrite(path: bytes, info: StreamInfo) -> bytes:
        bare = withoutQuery(path)
        return substitute(bare) + path[len(bare) :]

    return rewrite


def _rewriteByTemplate(action: Section, template: UriTemplate | None) -> PathRewrite | None:
    """
    Envoy's C{path_rewrite_policy}.
    """
    policy = action.childOrEmpty("path_rewrite_policy").any("typed_config")
    if policy is None:
        action.refuse("a path_rewrite_policy needs a typed_config", "path_rewrite_policy")
        return None
    if template is None:
        action.refuse(
            "unable to use envoy.path.rewrite.uri_template extension without envoy.path.match.uri_template extension",
            "path_rewrite_policy",
        )
        return None
    try:
        rewrite = UriRewrite(policy.get("path_template_rewrite"), template).rewrite
    except TemplateError as fault:
        policy.refuse(str(fault), "path_template_rewrite")
        return None

    def rewriteWithQuery(path: bytes, info: StreamInfo) -> bytes:
        bare = withoutQuery(path)
        return rewrite(bare) + path[len(bare) :]

    return rewriteWithQuery


def compilePathRewrite(action: Section, matched: int | None, template: UriTemplate | None = None) -> PathRewrite | None:
    """
    Compile the path rewrite of a C{RouteAction}.

    @param matched: As for L{replacePrefix}.
    @param template: The one that the route matches with.

    @return: L{None} where there is none.
    """
    ways = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")
    used = [name for name in ways if action.has(name)]
    if len(used) > 1:
        action.refuse(f"specify only one of {', '.join(ways)}", used[1])
    if not used:
        return None
    if used[0] == "prefix_rewrite":
        if template is not None:
            action.refuse("a route that matches by a path_match_policy has no prefix to rewrite", "prefix_rewrite")
        return replacePrefix(matched, action.get("prefix_rewrite").encode("utf-8"))
    if used[0] == "regex_rewrite":
        return substitutePath(action.childOrEmpty("regex_rewrite"))
    if used[0] == "path_rewrite_policy":
        return _rewriteByTemplate(action, template)
    value = compileValue(action, "path_rewrite", omitEmpty=True)

    def formatted(path: bytes, info: StreamInfo) -> bytes:
        made = value if isinstance(value, bytes) else value(info)
        return made + path[len(withoutQuery(path)) :]

    return formatted


def pathMutation(rewrite: PathRewrite) -> Mutation:
    """
    Rewrite the path in place, and keep the one that was asked for in C{x-envoy-original-path}, where the router adds
    such fields.
    """

    def mutate(headers: HeaderMap, info: StreamInfo) -> None:
        assert isinstance(headers, RequestHeaders)
        path = headers.path
        if info.tellsOriginalPath:
            HeaderMap.set(headers, b"x-envoy-original-path", path)
        headers.path = rewrite(path, info)

    return mutate


def literalHost(host: str) -> Mutation:
    """
    The C{host_rewrite_literal} of a weighted cluster, which leaves no trace of the former host.
    """
    authority = host.encode("utf-8")

    def mutate(headers: HeaderMap, info: StreamInfo) -> None:
        assert isinstance(headers, RequestHeaders)
        headers.authority = authority

    return mutate


def _appendForwardedHost(headers: RequestHeaders) -> None:
    """
    Add the host to C{x-forwarded-host}, unless it is the last one there.
    """
    present = headers.first.get(b"x-forwarded-host")
    if not present:
        HeaderMap.set(headers, b"x-forwarded-host", headers.authority)
        return
    hosts = [host for host in present.split(b",") if host]
    if not hosts or hosts[-1] != headers.authority:
        headers.first[b"x-forwarded-host"] = present + b"," + headers.authority


def replaceHost(headers: RequestHeaders, host: bytes, appendForwardedHost: bool, tells: bool = True) -> None:
    """
    Give a request another host.

    @param appendForwardedHost: C{append_x_forwarded_host}.
    @param tells: Whether the one that was asked for is kept in C{x-envoy-original-host}.
    """
    if tells:
        HeaderMap.set(headers, b"x-envoy-original-host", headers.authority)
    if appendForwardedHost and headers.authority:
        _appendForwardedHost(headers)
    headers.authority = host


def _newHost(action: Section, kind: str) -> _NewHost:
    if kind == "host_rewrite_literal":
        literal: bytes = action.get(kind).encode("utf-8")
        return lambda headers, info: literal
    if kind == "host_rewrite_header":
        name: bytes = action.get(kind).lower().encode("utf-8")
        return lambda headers, info: headers.first.get(name, b"")
    if kind == "host_rewrite_path_regex":
        substitute = compileSubstitute(action.childOrEmpty(kind))
        return lambda headers, info: substitute(withoutQuery(headers.path))
    value = compileValue(action, kind, omitEmpty=False)
    return lambda headers, info: value if isinstance(value, bytes) else value(info)


def compileHostRewrite(action: Section) -> Mutation | None:
    """
    Compile the host rewrite of a C{RouteAction}; not C{auto_host_rewrite}, which needs the endpoint.

    @return: L{None} where there is none.
    """
    kind = action.oneof("host_rewrite_specifier")
    if kind is None or kind == "auto_host_rewrite":
        return None
    appendForwardedHost: bool = action.get("append_x_forwarded_host")
    newHost = _newHost(action, kind)

    def mutate(headers: HeaderMap, info: StreamInfo) -> None:
        assert isinstance(headers, RequestHeaders)
        host = newHost(headers, info)
        if host:
            replaceHost(headers, host, appendForwardedHost, info.tellsOriginalPath)

    return mutate
