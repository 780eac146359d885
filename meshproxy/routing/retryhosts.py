# -*- test-case-name: tests.routing.test_retryhosts -*-
"""
Which endpoints a retry avoids: C{retry_host_predicate} and C{retry_priority}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from google.protobuf.json_format import MessageToDict

from meshproxy.config.section import Section

__all__ = ["HostPredicate", "IHost", "compileHostPredicate", "compileRetryPriority"]

_RETRY = "envoy.extensions.retry."


class IHost(Protocol):
    """
    An endpoint, as far as its labels go.
    """

    metadata: dict[str, dict[str, object]] | None


#: Whether an endpoint is to be avoided, given those that were tried.
HostPredicate: TypeAlias = Callable[[IHost, Sequence[IHost]], bool]

# By the name of an extension, where it has no configuration.
_BY_NAME = {
    "envoy.retry_host_predicates.previous_hosts": "previous_hosts",
    "envoy.retry_host_predicates.omit_canary_hosts": "omit_canary_hosts",
}


def _labels(host: IHost) -> Mapping[str, object]:
    return (host.metadata or {}).get("envoy.lb") or {}


def _isPrevious(host: IHost, tried: Sequence[IHost]) -> bool:
    return any(host is other for other in tried)


def _isCanary(host: IHost, tried: Sequence[IHost]) -> bool:
    return _labels(host).get("canary") is True


def compileHostPredicate(section: Section) -> HostPredicate:
    """
    Compile C{envoy.config.route.v3.RetryPolicy.RetryHostPredicate}.
    """
    config = section.any("typed_config")
    name: str = section.get("name")
    if config is None:
        kind = _BY_NAME.get(name, "")
    else:
        kind = config.typeName.removeprefix(_RETRY + "host.").partition(".")[0]
    if kind == "previous_hosts":
        return _isPrevious
    if kind == "omit_canary_hosts":
        return _isCanary
    if config is not None and kind == "omit_host_metadata":
        match = config.childOrEmpty("metadata_match").entries("filter_metadata").get("envoy.lb")
        labels = {} if match is None else MessageToDict(match.message)
        return lambda host, tried: bool(labels) and all(_labels(host).get(k) == v for k, v in labels.items())
    section.refuse(f"{name!r} is not known; those that are: {', '.join(_BY_NAME)}, omit_host_metadata", "name")
    return lambda host, tried: False


def compileRetryPriority(section: Section | None) -> int:
    """
    Compile C{envoy.config.route.v3.RetryPolicy.RetryPriority}.

    @return: C{update_frequency}, 0 where there is none.
    """
    if section is None:
        return 0
    config = section.any("typed_config")
    if config is not None and config.typeName.startswith(_RETRY + "priority.previous_priorities."):
        frequency: int = config.get("update_frequency")
        return frequency
    section.refuse("envoy.retry_priorities.previous_priorities is needed", "typed_config")
    return 0
