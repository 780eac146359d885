# -*- test-case-name: tests.controlplane.translate.test_authorization -*-
"""
The other names of a trust domain: who has an identity under one of them is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["expandTrustDomains", "withAliases"]

#: Means the trust domain of the mesh, whatever it is called.
_LOCAL = "cluster.local"


def _matches(domain: str, pattern: str) -> bool:
    """
    Whether a trust domain is one that a policy names, perhaps with a wildcard at its beginning or end.
    """
    if pattern.startswith("*"):
        return domain.endswith(pattern[1:])
    if pattern.endswith("*"):
        return domain.startswith(pattern[:-1])
    return domain == pattern


def withAliases(principals: Sequence[str], trustDomains: Sequence[str]) -> list[str]:
    """
    Principals C{DOMAIN/ns/NAMESPACE/sa/ACCOUNT}, each under every name of its trust domain, if that is ours.
    """
    found: list[str] = []
    for principal in principals:
        domain, *rest = principal.split("/")
        isOurs = any(_matches(known, domain) for known in trustDomains) or domain == _LOCAL
        if len(rest) != 4 or domain == "*" or not isOurs:
            found.append(principal)
            continue
        own: list[str] = []
        for known in trustDomains:
            # What a wildcard covers needs no other spelling.
            covered = domain.startswith("*") and known.endswith(domain[1:])
            own.append(principal if covered else "/".join([known, *rest]))
        found += dict.fromkeys(own)
    return found


def expandTrustDomains(domains: Sequence[str], trustDomains: Sequence[str]) -> list[str]:
    """
    Trust domains; each that is ours under every name.
    """
    found = [one for domain in domains for one in (trustDomains if domain in trustDomains else [domain])]
    return list(dict.fromkeys(found))
