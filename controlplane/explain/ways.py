# -*- test-case-name: tests.controlplane.explain.test_ways -*-
"""
At which listener of a proxy a request comes in, and with which routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from meshproxy.controlplane.explain.subject import Asked, Mesh
from meshproxy.controlplane.model.hosts import fullName
from meshproxy.controlplane.registry.services import Service
from meshproxy.controlplane.translate.messages import JSON
from meshproxy.controlplane.translate.names import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND
from meshproxy.controlplane.translate.proxy import Proxy

__all__ = ["authorityOf", "listenerFor", "nearRoutes", "portOf", "routeNames", "serviceOf"]


def _url(asked: Asked) -> Any:
    return urlsplit(asked.url if "://" in asked.url else f"http://{asked.url}")


def authorityOf(asked: Asked) -> str:
    """
    For whom the request is: what its C{host} says, else its URL.
    """
    for field in asked.fields:
        name, _, value = field.partition(":")
        if name.strip().lower() == "host":
            return value.strip()
    return str(_url(asked).netloc.rpartition("@")[2])


def portOf(asked: Asked) -> int:
    """
    The port that it is sent to. Where only a C{host} names one, that is it.

    @raise ValueError: If it is none.
    """
    url = _url(asked)
    # Read in any case: what is wrong with it is told here.
    ofHost = _portIn(authorityOf(asked))
    named = url.port or ofHost
    return named or (443 if url.scheme == "https" else 80)


def _portIn(authority: str) -> int | None:
    return urlsplit(f"//{authority}").port


def serviceOf(authority: str, proxy: Proxy, mesh: Mesh) -> Service | None:
    """
    What a proxy's workload means by a name: a host, or one of the short ones of the cluster.
    """
    host = urlsplit(f"//{authority}").hostname or ""
    services, domain = mesh.services, mesh.config.domain
    names = [host, fullName(host, proxy.namespace, domain), f"{host}.svc.{domain}", f"{host}.{domain}"]
    for name in names:
        found = services.visible(name, proxy.namespace)
        if found is not None:
            return found
    return next((one for one in services.visibleServices(proxy.namespace) if host in one.addresses), None)


def listenerFor(asked: Asked, proxy: Proxy, listeners: Mapping[str, JSON], mesh: Mesh) -> tuple[str | None, str]:
    """
    The name of the listener, and why there is none.
    """
    port = portOf(asked)
    direction = "INBOUND" if asked.inbound else "OUTBOUND"
    mine = {
        name: one
        for name, one in listeners.items()
        if not proxy.isSidecar or one.get("trafficDirection", direction) == direction
    }
    found = {name: one for name, one in mine.items() if _portOf(one) == port}
    if not found:
        virtual = VIRTUAL_INBOUND if asked.inbound else VIRTUAL_OUTBOUND
        if virtual in mine:
            return virtual, ""
        return None, _whyNone(asked, port, proxy, mine, mesh)
    service = None if asked.inbound else serviceOf(authorityOf(asked), proxy, mesh)
    own = () if service is None else service.addresses
    nearest = [_url(asked).hostname or "", *own, proxy.outboundAddress, "0.0.0.0"]
    ordered = sorted(found, key=lambda name: _rank(_hostOf(found[name]), nearest))
    return ordered[0], ""


def _rank(host: str, nearest: list[str]) -> int:
    return nearest.index(host) if host in nearest else len(nearest)


def _hostOf(listener: JSON) -> str:
    return str(listener.get("address", {}).get("socketAddress", {}).get("address", ""))


def _portOf(listener: JSON) -> int:
    return int(listener.get("address", {}).get("socketAddress", {}).get("portValue", 0))


def _whyNone(asked: Asked, port: int, proxy: Proxy, mine: Mapping[str, JSON], mesh: Mesh) -> str:
    """
    What there is instead.
    """
    service = None if asked.inbound else serviceOf(authorityOf(asked), proxy, mesh)
    if service is not None and service.port(port) is None:
        ports = ", ".join(str(one.number) for one in service.ports)
        return f"nothing listens for port {port}: {service.host} has {ports}"
    ports = ", ".join(map(str, sorted({_portOf(one) for one in mine.values()}))) or "none"
    return f"nothing listens for port {port}; ports of the proxy: {ports}"


def routeNames(value: Any) -> Iterator[str]:
    """
    The route configurations that a listener names.
    """
    if isinstance(value, dict):
        if "routeConfigName" in value:
            yield value["routeConfigName"]
        for held in value.values():
            yield from routeNames(held)
    elif isinstance(value, list):
        for held in value:
            yield from routeNames(held)


def nearRoutes(routes: JSON, authority: str) -> JSON:
    """
    Routes without the virtual hosts that cannot be meant: those that only have other names. A mesh has hundreds.
    """
    host = authority.lower()
    names = {host, urlsplit(f"//{host}").hostname or ""}
    kept = [
        one
        for one in routes.get("virtualHosts", [])
        if any("*" in domain or domain.lower() in names for domain in one["domains"])
        or any(urlsplit(f"//{domain}").hostname in names for domain in one["domains"])
    ]
    return {**routes, "virtualHosts": kept}
