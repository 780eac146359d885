# -*- test-case-name: tests.controlplane.explain.test_explanation -*-
"""
What becomes of a request at a proxy, and which field of which resource set it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve
from twisted.plugin import getPlugins

import meshproxy.plugins
from meshproxy.controlplane.explain.origins import Origins, Told, originOf
from meshproxy.controlplane.explain.subject import Asked, ISubject, Mesh, identityOf, serving
from meshproxy.controlplane.explain.ways import authorityOf, listenerFor, nearRoutes, portOf, routeNames, serviceOf
from meshproxy.controlplane.translate.authentication import peerPolicy
from meshproxy.controlplane.translate.messages import JSON, ROUTES, messageOf
from meshproxy.controlplane.translate.tls import MUTUAL_ALPN
from meshproxy.interfaces import IExplainer
from meshproxy.xds.types import CLUSTER, LISTENER

__all__ = ["ExplanationFailed", "explained"]

_MOST_NEXT = 5
"""
So many next proxies are told of: those of the destinations that a request is shared among.
"""

#: Where a VirtualService says what the filters do that are configured for each route.
_FILTERS = {"envoy.filters.http.fault": "fault", "envoy.filters.http.cors": "corsPolicy"}

#: The time-outs that a DestinationRule sets.
_OF_CLUSTERS = {
    "connect_timeout": ("connectionPool", "tcp", "connectTimeout"),
    "idle_timeout (upstream)": ("connectionPool", "http", "idleTimeout"),
}
_OF_ROUTES = {"timeout": ("timeout",), "per_try_timeout": ("retries", "perTryTimeout")}


#: Where the engine found something: the resource is told instead.
_PLACE = re.compile(r" at (?:routes|listeners|clusters)\[.*")


class ExplanationFailed(ValueError):
    """
    There is nothing to explain; its text says why.
    """


def explained(asked: Asked, subject: ISubject, mesh: Mesh, others: Sequence[ISubject] = ()) -> Told:
    """
    What becomes of a request.

    @param subject: The proxy.
    @param others: The proxies that the request may come to after it.

    @raise ExplanationFailed: If the request is none, or the proxy has nothing yet.
    """
    return _Explanation(asked, subject, mesh, others).told()


def _explainer() -> Any:
    for found in getPlugins(IExplainer, meshproxy.plugins):
        return found
    raise ExplanationFailed("this installation has nobody who explains: the plugin meshproxy.plugins.explaining")


class _Explanation:
    """
    One of them.
    """

    def __init__(self, asked: Asked, subject: ISubject, mesh: Mesh, others: Sequence[ISubject]) -> None:
        if subject.translation is None or subject.snapshot is None:
            raise ExplanationFailed(f"nothing was made for {subject.proxy.id} yet")
        self._asked = asked
        self._proxy = subject.proxy
        self._translation = subject.translation
        self._snapshot = subject.snapshot
        self._mesh = mesh
        self._others = others
        self._origins = Origins(mesh)

    def told(self) -> Told:
        """
        The whole.
        """
        asked, proxy = self._asked, self._proxy
        try:
            port = portOf(asked)
        except ValueError as error:
            raise ExplanationFailed("url is http://host:port/path?query") from error
        direction = ("inbound" if asked.inbound else "outbound") if proxy.isSidecar else "gateway"
        head: Told = {"proxy": proxy.id, "direction": direction}
        name, why = listenerFor(asked, proxy, self._translation.listeners, self._mesh)
        if name is None:
            return {**head, "request": self._request(), "outcome": why}
        answer = self._ask(name, port)
        told = {**head, **answer, "outcome": _PLACE.sub("", answer["outcome"])}
        if told.get("route", {}).get("name") in ("block_all", "allow_any") and "origin" not in told["route"]:
            told["outcome"] += f": no service {authorityOf(asked)} is known here"
        self._source(told)
        if asked.inbound:
            told["mutual_tls"] = self._mutualTLS(port)
        else:
            told["next"] = self._next(told)
            if not any(other["outcome"].startswith("forwarded") for other in told["next"]) and told["next"]:
                told["outcome"] += f"; there: {told['next'][0]['outcome']}"
        problems = [one for one in self._translation.problems if self._concerns(one.resource, told)]
        told["problems"] = [problem.asDict() for problem in problems]
        return told

    def _request(self) -> Told:
        asked = self._asked
        return {"method": asked.method, "url": asked.url, "headers": list(asked.fields)}

    def _ask(self, name: str, port: int) -> Told:
        """
        What serves requests says.
        """
        asked, translation = self._asked, self._translation
        authority = authorityOf(asked)
        listener = translation.listeners[name]
        routes = {
            named: messageOf(ROUTES, nearRoutes(translation.routes[named], authority)).SerializeToString()
            for named in dict.fromkeys(routeNames(listener))
            if named in translation.routes
        }
        url = urlsplit(asked.url if "://" in asked.url else f"http://{asked.url}")
        host = url.hostname or "localhost"
        host = f"[{host}]" if ":" in host else host
        path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
        fields = [one for one in asked.fields if one.partition(":")[0].strip().lower() != "host"]
        request = {
            "url": f"{url.scheme}://{host}:{port}{path}",
            "method": asked.method,
            "fields": [f"host: {authority}", *fields],
            "listener": name,
            "source": asked.source,
            "principal": asked.principal,
            "protocols": asked.protocols or (MUTUAL_ALPN if asked.principal and asked.inbound else ()),
        }
        clusters = {key: one.value for key, one in self._snapshot.ofType(CLUSTER).items()}
        known = [one for one in (self._proxy.sdsCluster,) if one]
        listeners = {name: self._snapshot.ofType(LISTENER)[name].value}
        try:
            answer: Told = _explainer().explain(listeners, routes, clusters, known, request)
        except ValueError as error:
            raise ExplanationFailed(str(error)) from error
        return answer

    # Where it comes from

    def _source(self, told: Told) -> None:
        """
        Write beside each part what set it.
        """
        origins, proxy = self._origins, self._proxy
        self._sourceListener(told)
        host = told.get("virtual_host")
        if host is not None and proxy.isSidecar and not self._asked.inbound:
            host["set_by"] = origins.service(host["name"].rpartition(":")[0], proxy.namespace)
        for route in (told.get("route"), *told.get("routes_before", ())):
            if route is not None:
                route["set_by"] = origins.route(route)
        route = told.get("route", {})
        for one in (*told.get("network_filters", ()), *told.get("filters", ())):
            verdict = one.get("verdict", {})
            # Where none decides, the words name the one that comes nearest.
            policies = origins.policies(verdict.get("policies") or [verdict.get("told", "")])
            if policies:
                one["set_by"] = policies
            elif one["name"] in _FILTERS and "route_config_at" in one:
                field = origins.ofRoute(route, _FILTERS[one["name"]])
                one["set_by"] = [field] if field is not None else []
        destinations = origins.destinations(route)
        clusters = told.get("clusters", ())
        for number, cluster in enumerate(clusters):
            _, _, subset, _ = _parts(cluster["name"])
            cluster["set_by"] = destinations[number : number + 1] + origins.cluster(cluster, subset)
            self._endpoints(cluster)
        if told.get("retries") is not None:
            told["retries"]["set_by"] = origins.ofRoute(route, "retries")
        for row in told.get("timeouts", ()):
            found = None
            if row["name"] in _OF_ROUTES:
                found = origins.ofRoute(route, *_OF_ROUTES[row["name"]])
            elif row["name"] in _OF_CLUSTERS and clusters:
                subset = _parts(clusters[0]["name"])[2]
                found = origins.ofCluster(clusters[0], subset, *_OF_CLUSTERS[row["name"]])
            if found is not None:
                row["resource"] = found

    def _sourceListener(self, told: Told) -> None:
        """
        Gateways, or the Sidecar, where one says something.
        """
        listener = told.get("listener")
        if listener is None:
            return
        wanted = "Sidecar" if self._proxy.isSidecar else "Gateway"
        port = portOf(self._asked)
        found = []
        for key in sorted(self._translation.resources):
            resource = self._mesh.resource(key) if key.kind == wanted else None
            if resource is None:
                continue
            if wanted == "Sidecar":
                found.append(originOf(resource))
                continue
            for number, server in enumerate(resource.spec.servers):
                if server.port is not None and port in (server.port.number, getattr(server.port, "targetPort", 0)):
                    found.append(originOf(resource, "spec", "servers", number))
        listener["set_by"] = found

    def _endpoints(self, cluster: Told) -> None:
        """
        The endpoints that come apart, and what is known of each.
        """
        assignment = self._translation.endpoints.get(cluster["name"])
        if assignment is None:
            return
        _, _, _, host = _parts(cluster["name"])
        service = serviceOf(host, self._proxy, self._mesh)
        known = {}
        if service is not None:
            known = {(one.address, one.port): one for one in self._mesh.services.allEndpoints(service.key)}
        found = []
        for group in assignment.get("endpoints", ()):
            for item in group.get("lbEndpoints", ()):
                socket = item["endpoint"]["address"].get("socketAddress", {})
                where = (str(socket.get("address", "")), int(socket.get("portValue", 0)))
                endpoint = known.get(where)
                one: Told = {
                    "address": f"{where[0]}:{where[1]}",
                    "healthy": item.get("healthStatus") != "UNHEALTHY",
                    "hostname": "",
                    "mutual_tls": bool(item.get("metadata")),
                }
                if group.get("priority"):
                    one["priority"] = group["priority"]
                if endpoint is not None:
                    one["labels"] = dict(endpoint.labels)
                    one["service_account"] = endpoint.serviceAccount
                found.append(one)
        cluster["endpoints"] = found

    def _mutualTLS(self, port: int) -> Told:
        """
        What the port asks of its callers, and who says so.
        """
        used: list[Any] = []
        root = self._mesh.config.rootNamespace
        policy = peerPolicy(self._mesh.resources, self._proxy.namespace, self._proxy.labels, root, used.append)
        return {"mode": policy.forPort(port).value, "set_by": [originOf(one, "spec") for one in used]}

    def _concerns(self, title: str, told: Told) -> bool:
        """
        Whether a problem of a resource is one of a resource that had a say.
        """
        return any(title == one["resource"] for one in _mentioned(told))

    # What comes next

    def _next(self, told: Told) -> list[Told]:
        """
        What the proxies make of it that it is sent to: of each destination the first endpoint that has one.
        """
        found: list[Told] = []
        for cluster in told.get("clusters", ())[:_MOST_NEXT]:
            made = self._translation.clusters.get(cluster["name"])
            _, _, _, host = _parts(cluster["name"])
            service = serviceOf(host, self._proxy, self._mesh)
            if made is None or service is None:
                continue
            for endpoint in cluster.get("endpoints", ()):
                address, _, _ = endpoint["address"].rpartition(":")
                other = serving(self._others, address, service.namespace)
                if other is not None and other.translation is not None:
                    found.append(self._at(other, endpoint, made, told))
                    break
        return found

    def _at(self, other: ISubject, endpoint: Told, cluster: JSON, told: Told) -> Told:
        protocols = _mutualProtocols(cluster, endpoint["mutual_tls"])
        sent = told.get("sent", {})
        changed = {change["field"]: change["after"] for change in sent.get("changes", ())}
        fields = [
            f"{name}: {value}"
            for name, _, value in (one.partition(": ") for one in told["request"]["headers"])
            if name.lower() not in changed
        ]
        fields += [f"{name}: {value}" for name, value in changed.items() if value and not name.startswith(":")]
        request = evolve(
            self._asked,
            url=f"{'http' if sent else 'tcp'}://{endpoint['address']}{sent.get('path', '')}",
            fields=(f"host: {sent.get('authority', endpoint['address'])}", *fields),
            inbound=True,
            principal=identityOf(self._proxy, self._mesh.config) if protocols else "",
            protocols=protocols,
            source=self._proxy.addresses[0] if self._proxy.addresses else "",
        )
        return explained(request, other, self._mesh)


def _parts(name: str) -> tuple[str, str, str, str]:
    """
    Istio's name of a cluster: direction, port, subset, host.
    """
    parts = name.split("|")
    return (parts[0], parts[1], parts[2], parts[3]) if len(parts) == 4 else ("", "", "", name)


def _mutualProtocols(cluster: JSON, speaksMutualTLS: bool) -> tuple[str, ...]:
    """
    What a cluster asks for by ALPN where it shows its identity; nothing where it does not.
    """
    socket = cluster.get("transportSocket")
    for match in cluster.get("transportSocketMatches", ()):
        if socket is None and match["match"] and speaksMutualTLS:
            socket = match["transportSocket"]
    common = ((socket or {}).get("typedConfig") or {}).get("commonTlsContext", {})
    shows = "tlsCertificateSdsSecretConfigs" in common
    return tuple(common.get("alpnProtocols", ())) if shows else ()


def _mentioned(value: Any) -> list[Mapping[str, Any]]:
    """
    All resources that an explanation names.
    """
    if isinstance(value, dict):
        mine = [value] if "resource" in value and isinstance(value["resource"], str) else []
        return mine + [one for held in value.values() for one in _mentioned(held)]
    return [one for held in value for one in _mentioned(held)] if isinstance(value, list) else []
