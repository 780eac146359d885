# -*- test-case-name: tests.stats.test_tags -*-
"""
Which parts of a metric's name are labels: C{cluster.backend.upstream_rq_200} is C{cluster.upstream_rq} with
C{envoy.cluster_name=backend} and C{envoy.response_code=200}.

The rules are Envoy's well-known tags. Each looks at the whole name; what they find is taken out together at the
end. This happens once for each name, when it is first shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

__all__ = ["DEFAULT_RULES", "Extracted", "TagExtractor", "TagRule", "regexRule", "tokenRule"]


class _Match(Protocol):
    def span(self, group: int, /) -> tuple[int, int]: ...

    def group(self, group: int, /) -> str: ...


class TagRule(NamedTuple):
    """
    How one tag is found.

    @ivar tag: Its name: C{envoy.cluster_name}.
    @ivar search: A regex's search; group 1 leaves the name, group 2 is the value.
    @ivar hint: A part without which the regex need not be tried.
    @ivar never: A value that is none.
    """

    tag: str
    search: Callable[[str], _Match | None]
    hint: str
    never: str | None = None


def regexRule(tag: str, pattern: str, hint: str = "", never: str | None = None) -> TagRule:
    """
    A rule by a regex of our own.
    """
    return TagRule(tag, re.compile(pattern).search, hint, never)


def tokenRule(tag: str, tokens: str) -> TagRule:
    """
    A rule by the words of a name: C{cluster.$.**}.

    @param tokens: C{$} is the value, C{*} one word, C{**} one word or more, else itself.
    """
    pattern = ""
    hint = ""
    words = tokens.split(".")
    for position, word in enumerate(words):
        last = position == len(words) - 1
        dot = "" if last else r"\."
        if word == "$":
            pattern += rf"(([^.]+){dot})"
        elif word == "*":
            pattern += "[^.]+" + dot
        elif word == "**":
            pattern += ".+" + dot
        else:
            pattern += re.escape(word) + dot
            # The word that the fewest other names have.
            hint = word + "." if not last else word
    return TagRule(tag, re.compile(f"^{pattern}$").search, hint)


_WORD = r"[^.]+"
_ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[a-fA-F_\d]+\])_\d+"
_OWNER = r"^(?:listener|cluster)\..*?"


class _EndpointMatch:
    """
    The address of an endpoint: in the name its colons are underscores, in the label they are not.
    """

    def __init__(self, match: re.Match[str]) -> None:
        self.span = match.span
        self._address = match.group(2).replace("_", ":")

    def group(self, group: int, /) -> str:
        return self._address


def _searchEndpoint(name: str) -> _EndpointMatch | None:
    match = _ENDPOINT.search(name)
    return None if match is None else _EndpointMatch(match)


_ENDPOINT = re.compile(rf"^cluster\.{_WORD}\.endpoint\.(({_ADDRESS})\.)\w+$")

#: Envoy's tags, those found by regex first: this is the order in which labels are shown.
DEFAULT_RULES: tuple[TagRule, ...] = (
    regexRule("envoy.response_code", r"_rq(_(\d{3}))$", "_rq_"),
    regexRule("envoy.response_code_class", r"_rq_((\d))xx$", "_rq_"),
    regexRule(
        "envoy.tls_certificate",
        _OWNER + r"\.ssl\.certificate\.((.+)\.)expiration_unix_time_seconds$",
        ".ssl.certificate.",
    ),
    regexRule("envoy.ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.([\w-]+))$", ".ssl.ciphers."),
    regexRule("envoy.ssl_curve", _OWNER + r"\.ssl\.curves(\.([\w-]+))$", ".ssl.curves."),
    regexRule("envoy.ssl_sigalg", _OWNER + r"\.ssl\.sigalgs(\.([\w-]+))$", ".ssl.sigalgs."),
    regexRule("envoy.ssl_version", _OWNER + r"\.ssl\.versions(\.(TLSv\d\.\d))$", ".ssl.versions."),
    regexRule("envoy.ssl_cipher_suite", rf"^cluster\.{_WORD}\.ssl\.ciphers(\.([\w-]+))$", ".ssl.ciphers."),
    regexRule("envoy.http_conn_manager_prefix", rf"^listener\..*?\.http\.(({_WORD})\.)", ".http."),
    regexRule(
        "envoy.worker_id",
        rf"^(?:listener\.(?:{_ADDRESS}|{_WORD})|server|listener_manager|thread_local_cluster_manager)"
        r"\.worker_((\d+)\.)",
        ".worker_",
    ),
    regexRule("envoy.listener_address", rf"^listener\.(({_ADDRESS}|{_WORD})\.)", "listener.", "admin"),
    # A route configuration's name may hold dots.
    regexRule("envoy.rds_route_config", rf"^http\.{_WORD}\.rds\.(([\w.-]+)\.)\w+$", ".rds."),
    tokenRule("envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"),
    tokenRule("envoy.mongo_collection", "mongo.*.collection.$.**.query.*"),
    tokenRule("envoy.mongo_cmd", "mongo.*.cmd.$.**"),
    tokenRule("envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    tokenRule("envoy.http_user_agent", "http.*.user_agent.$.**"),
    tokenRule("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    tokenRule("envoy.scoped_rds_config", "http.*.scoped_rds.$.**"),
    tokenRule("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    tokenRule("envoy.grpc_bridge_service", "cluster.*.grpc.$.**"),
    tokenRule("envoy.tcp_prefix", "tcp.$.**"),
    tokenRule("envoy.udp_prefix", "udp.$.**"),
    tokenRule("envoy.clientssl_prefix", "auth.clientssl.$.**"),
    tokenRule("envoy.ratelimit_prefix", "ratelimit.$.**"),
    tokenRule("envoy.cluster_name", "cluster.$.**"),
    TagRule("envoy.endpoint_address", _searchEndpoint, ".endpoint."),
    tokenRule("envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    tokenRule("envoy.ext_authz_prefix", "http.*.ext_authz.$.**"),
    tokenRule("envoy.http_conn_manager_prefix", "http.$.**"),
    tokenRule("envoy.virtual_host", "vhost.$.**"),
    tokenRule("envoy.mongo_prefix", "mongo.$.**"),
    tokenRule("envoy.route", "vhost.*.route.$.**"),
    tokenRule("envoy.thrift_prefix", "thrift.$.**"),
    tokenRule("envoy.redis_prefix", "redis.$.**"),
    tokenRule("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    tokenRule("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    tokenRule("envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    tokenRule("envoy.dns_filter_prefix", "dns_filter.$.**"),
)


class Extracted(NamedTuple):
    """
    @ivar name: What is left of the name.
    @ivar tags: Labels and their values, in order.
    """

    name: str
    tags: tuple[tuple[str, str], ...]


class TagExtractor:
    """
    The rules of one process.
    """

    def __init__(self, rules: Sequence[TagRule] = DEFAULT_RULES, fixed: Iterable[tuple[str, str]] = ()) -> None:
        """
        @param fixed: Labels that every metric has.
        """
        self._rules = tuple(rules)
        self._fixed = tuple(fixed)

    def extract(self, name: str) -> Extracted:
        """
        Take a name apart.
        """
        tags = list(self._fixed)
        seen = {tag for tag, _ in tags}
        cuts: list[tuple[int, int]] = []
        for rule in self._rules:
            if rule.hint not in name or rule.tag in seen:
                continue
            match = rule.search(name)
            if match is not None and match.group(2) != rule.never:
                seen.add(rule.tag)
                tags.append((rule.tag, match.group(2)))
                cuts.append(match.span(1))
        return Extracted(_without(name, cuts), tuple(tags))


def _without(name: str, cuts: list[tuple[int, int]]) -> str:
    """
    A name without some of its parts, which may overlap.
    """
    left = ""
    position = 0
    for start, end in sorted(cuts):
        left += name[position : max(start, position)]
        position = max(end, position)
    return left + name[position:]
