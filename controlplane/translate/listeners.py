# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
What all listeners are made of.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.translate.messages import JSON, address, typed, without

__all__ = ["HTTP_INSPECTOR", "ORIGINAL_DESTINATION", "TLS_INSPECTOR", "distinct", "inspectors", "listener", "tlsMatch"]


def _filter(name: str) -> JSON:
    short = name.rpartition(".")[2]
    message = "".join(part.title() for part in short.split("_"))
    return {
        "name": name,
        "typedConfig": typed(f"envoy.extensions.filters.listener.{short}.v3.{message}"),
    }


TLS_INSPECTOR = _filter("envoy.filters.listener.tls_inspector")
HTTP_INSPECTOR = _filter("envoy.filters.listener.http_inspector")
ORIGINAL_DESTINATION = _filter("envoy.filters.listener.original_dst")


def listener(name: str, host: str, port: int, direction: str) -> JSON:
    """
    The beginning of a listener.
    """
    return {"name": name, "address": address(host, port), "trafficDirection": direction}


def tlsMatch(hosts: Sequence[str], ranges: Sequence[JSON]) -> JSON:
    """
    The match of connections by TLS.

    @param hosts: The names that callers ask for; C{*} is every one, for which Envoy has no word.
    @param ranges: The addresses that they go to; none for all.
    """
    names = [] if "*" in hosts else list(dict.fromkeys(host.lower() for host in hosts))
    return without({"serverNames": names, "transportProtocol": "tls", "prefixRanges": list(ranges)})


def distinct(chains: Sequence[JSON]) -> list[JSON]:
    """
    Chains that Envoy takes together: of a name, or a range, that several match under otherwise the same conditions, the
    first one is, as with routes; it would refuse the listener.
    """
    taken: set[tuple[object, ...]] = set()
    kept = []
    for chain in chains:
        match = chain.get("filterChainMatch") or {}
        names = match.get("serverNames") or [""]
        ranges = match.get("prefixRanges") or [{}]
        others = (match.get("transportProtocol"), *match.get("applicationProtocols", ()))
        keys = {(name, number): (name, *one.values(), *others) for name in names for number, one in enumerate(ranges)}
        isFree = {pair: key not in taken for pair, key in keys.items()}
        if not all(isFree.values()):
            numbers = range(len(ranges))
            some = [name for name in names if all(isFree[name, number] for number in numbers)]
            if some:
                names = some
            else:
                ranges = [ranges[number] for number in numbers if all(isFree[name, number] for name in names)]
            if not ranges:
                continue
            trimmed = {
                "serverNames": names if "serverNames" in match else None,
                "prefixRanges": ranges if "prefixRanges" in match else None,
            }
            chain = {**chain, "filterChainMatch": without({**match, **trimmed})}
        taken.update((name, *one.values(), *others) for name in names for one in ranges)
        kept.append(chain)
    return kept


def inspectors(chains: Sequence[JSON]) -> list[JSON]:
    """
    The listener filters that the matches of some filter chains need, TLS before HTTP: what is TLS is no HTTP in clear.
    """
    matches = [chain.get("filterChainMatch") or {} for chain in chains]
    needsHTTP = any("http/1.1" in match.get("applicationProtocols", ()) for match in matches)
    needsTLS = any(match.get("transportProtocol") == "tls" or match.get("serverNames") for match in matches)
    isMixed = any(match.get("transportProtocol") == "raw_buffer" for match in matches)
    needed = [TLS_INSPECTOR] if needsTLS or (isMixed and needsHTTP) else []
    return [*needed, HTTP_INSPECTOR] if needsHTTP else needed
