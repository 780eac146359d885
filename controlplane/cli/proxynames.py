# -*- test-case-name: tests.controlplane.cli.test_proxynames -*-
"""
How a user names a proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from meshproxy.controlplane.cli.client import APIClient, CommandFailed, path

__all__ = ["namesOf", "proxyNamed"]


def namesOf(proxies: Iterable[Any]) -> dict[str, list[str]]:
    """
    The short names of proxies, each with the ids of those that bear it: C{NAME.NAMESPACE}, as istioctl has it,
    C{NAME}, and the cluster of the node.

    @param proxies: As C{/v1/proxies} tells them. Istio's ids are C{TYPE~ADDRESS~NAME.NAMESPACE~DOMAIN}; others are
        names as they stand.
    """
    names: dict[str, list[str]] = {}
    for proxy in proxies:
        parts = proxy["id"].split("~")
        full = parts[2] if len(parts) == 4 else proxy["id"]
        # A dict, for the order.
        for name in dict.fromkeys((full, full.partition(".")[0], proxy["cluster"])):
            if name:
                names.setdefault(name, []).append(proxy["id"])
    return names


def proxyNamed(client: APIClient, asked: str) -> str:
    """
    The id of the proxy that is meant, by its id or by a short name that is one proxy's alone.

    @raise CommandFailed: If there is none, or several.
    """
    proxies = client.ask("GET", path("v1", "proxies"))["proxies"]
    if any(proxy["id"] == asked for proxy in proxies):
        return asked
    names = namesOf(proxies)
    found = names.get(asked, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandFailed(f"{asked!r} is the name of {len(found)} proxies: {', '.join(sorted(found))}")
    near = get_close_matches(asked, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "meshctl proxy-status shows those that are connected"
    raise CommandFailed(f"no proxy {asked!r} is connected; {hint}")
