# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
What all listeners are made of.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.translate.messages import JSON, address, typed

__all__ = ["HTTP_INSPECTOR", "ORIGINAL_DESTINATION", "TLS_INSPECTOR", "inspectors", "listener"]


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
