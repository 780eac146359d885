# -*- test-case-name: tests.controlplane.model.test_names -*-
"""
Host names as Istio reads them: wildcards that cover others, short names that belong to a namespace.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["covers", "fullName", "mostSpecific", "overlaps", "within"]


def within(host: str, other: str) -> bool:
    """
    Whether every name that C{host} stands for is one that C{other} stands for.
    """
    if other == "*":
        return True
    if other.startswith("*"):
        return host.removeprefix("*").endswith(other[1:])
    return host == other


def covers(other: str, host: str) -> bool:
    """
    The other way round: whether C{other}, which may be a wildcard, stands for C{host} as well.
    """
    return within(host, other)


def overlaps(one: str, other: str) -> bool:
    """
    Whether there is a name that both stand for.
    """
    return within(one, other) or within(other, one)


def fullName(host: str, namespace: str, domain: str = "cluster.local") -> str:
    """
    A host with its namespace, if it is a short name: C{reviews} is C{reviews.NAMESPACE.svc.cluster.local}.

    @param host: A short name, a full one, a wildcard or an address.
    @param namespace: That of the resource which names it.
    @param domain: The domain of the cluster.
    """
    if "." in host or ":" in host or "*" in host or not namespace:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def mostSpecific(host: str, candidates: Iterable[str]) -> str | None:
    """
    Which of some hosts, wildcards among them, is meant for a host: itself, else the longest wildcard that covers it.
    """
    best: str | None = None
    for candidate in candidates:
        if candidate == host:
            return candidate
        if candidate.startswith("*") and within(host, candidate) and (best is None or len(candidate) > len(best)):
            best = candidate
    return best
