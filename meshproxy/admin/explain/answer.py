# -*- test-case-name: tests.admin.explain.test_answer -*-
"""
What would become of a request.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.explain.asked import Asked, AskedStream, askedConnection
from meshproxy.admin.explain.chains import chainMisses
from meshproxy.admin.explain.conditions import conditionsOf
from meshproxy.admin.explain.filters import clearsRoute, filtersOf, networkFiltersOf
from meshproxy.admin.explain.forwarding import clustersOf, connectionClusters, retriesOf
from meshproxy.admin.explain.heads import changes, prepareHead, requestOf, sentHead
from meshproxy.admin.explain.hosts import chooseHost
from meshproxy.admin.explain.listeners import addressOf, chooseListener
from meshproxy.admin.explain.place import Answer, originOf, placeOf
from meshproxy.admin.explain.question import Question
from meshproxy.admin.explain.scopes import chooseScope
from meshproxy.admin.explain.timeouts import timeoutsOf
from meshproxy.config.section import Section
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.listener import Listener
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route, RouteAction
from meshproxy.runtime import Runtime

if TYPE_CHECKING:
    from meshproxy.upstream.cluster import Cluster

__all__ = ["Explanation", "explain", "explainInSteps"]

# So many routes are looked at in one turn.
_AT_ONCE = 8

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def explain(
    question: Question, listeners: Sequence[Listener], clusters: Mapping[str, Cluster], runtime: Runtime
) -> Answer:
    """
    Answer a question.

    @param listeners: All listeners.
    @param clusters: All clusters, by name.
    """
    steps = explainInSteps(question, listeners, clusters, runtime)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            answer: Answer = done.value
            return answer


def explainInSteps(
    question: Question, listeners: Sequence[Listener], clusters: Mapping[str, Cluster], runtime: Runtime
) -> Generator[None, None, Answer]:
    """
    The same as L{explain}, a few milliseconds at a time: a table may have thousands of routes, and others are to be
    served meanwhile.
    """
    explanation = Explanation(question, clusters, runtime)
    yield from explanation.run(listeners)
    return explanation.answer


class Explanation:
    """
    One answer in the making: asks each part of the proxy in the order in which a request meets them.

    @ivar answer: What is known so far.
    """

    def __init__(self, question: Question, clusters: Mapping[str, Cluster], runtime: Runtime) -> None:
        self._question = question
        self._clusters = clusters
        self._runtime = runtime
        self._context = RouteContext(runtime=runtime, random=lambda: 0.0)
        # What a filter answers with, whatever comes after it.
        self._refused = ""
        # Which filter closes the connection, whatever is asked on it.
        self._closed = ""
        self.answer: Answer = {"request": requestOf(question)}

    def run(self, listeners: Sequence[Listener]) -> Iterator[None]:
        """
        Find everything out, and pause now and then.
        """
        listener, self.answer["other_listeners"] = chooseListener(self._question, listeners)
        if listener is None:
            self._end("no listener accepts the connection")
        else:
            yield from self._explainListener(listener)

    def _end(self, outcome: str) -> None:
        # What a filter answers with, the router is not asked.
        self.answer["outcome"] = self._closed or self._refused or outcome

    def _explainListener(self, listener: Listener) -> Iterator[None]:
        address = addressOf(listener)
        self.answer["listener"] = {
            "name": listener.name,
            "address": "" if address is None else address.text,
            "at": placeOf(listener.section),
        }
        facts = askedConnection(self._question, address)
        chosen = listener.chainOf(facts)
        self.answer["other_filter_chains"] = [
            {
                "name": chain.name,
                "at": placeOf(chain.section),
                "missed": chainMisses(chain.section, facts, listener.section),
            }
            for chain in listener.chains
            if chain is not chosen
        ]
        if chosen is None:
            self._end("no filter chain matches: the connection is closed")
            return
        self.answer["filter_chain"] = {"name": chosen.name, "at": placeOf(chosen.section)}
        yield from self._explainChain(chosen, facts.info)

    def _explainChain(self, chain: FilterChain, info: ConnectionInfo) -> Iterator[None]:
        filters = chain.section.children("filters")
        self.answer["network_filters"], self._closed = networkFiltersOf(chain, info)
        manager = filters[-1].any("typed_config") if filters else None
        slot = getattr(chain.terminal, "slot", None)
        if manager is None or manager.typeName != _MANAGER or slot is None:
            self._explainConnection(filters[-1] if filters else None, manager)
            return
        self.answer["connection_manager"] = {"stat_prefix": manager.get("stat_prefix"), "at": placeOf(manager)}
        stream = AskedStream()
        stream.connection = info
        headers = self._question.headers()
        stream.requestHeaders = headers
        before = headers.copy()
        refused = prepareHead(slot.current, headers, stream)
        if refused is not None:
            self._end(f"{refused.status} from the connection manager ({refused.details})")
            return
        self.answer["head"] = list(changes(before, headers))
        asked = Asked(manager, slot.current, headers, stream)
        found = slot.current.routes.match(headers, stream)
        if clearsRoute(asked, found):
            # By what filters note of it, such as claims of its token.
            found = slot.current.routes.match(headers, stream)
        yield from self.explainFound(asked, found)

    def _explainConnection(self, item: Section | None, section: Section | None) -> None:
        """
        A connection of whose bytes nobody makes requests.
        """
        name = "nobody" if item is None else item.get("name")
        if section is None or section.typeName != _TCP_PROXY:
            self._end(f"not HTTP: {name} has the connection")
            return
        told = list(connectionClusters(section, self._clusters))
        self.answer["clusters"] = told
        names = " or ".join(one["name"] for one in told)
        self._end(f"forwarded to {names or 'no cluster'} as bytes, not as HTTP")

    def explainFound(self, asked: Asked, found: Route | None) -> Iterator[None]:
        """
        Tell what follows from the route that was found.
        """
        routes, why = asked.running.routes, ""
        if routes.scopes is not None:
            scope = chooseScope(routes.scopes, asked.headers)
            self.answer["other_scopes"] = scope.others
            if scope.told is not None:
                self.answer["scope"] = scope.told
            if found is None:
                # Else the field that chose may be another by now.
                routes, why = scope.routes, scope.why
        chosen = chooseHost(asked, routes, found, self._context)
        table, host = chosen.table, chosen.host
        self.answer["other_virtual_hosts"] = chosen.others
        if table is None or host is None:
            if why:
                self._end(f"404 from the router (route_not_found): {why}")
            elif routes.sections:
                self._end("404 from the router (route_not_found): no virtual host is for this authority")
            else:
                # A proxy that serves waits for them; offline nobody brings them.
                self._end(f"the routes {routes.name!r} come by RDS, and have not come")
            self._explainFilters(asked, None, [])
            self._explainTimeouts(asked)
            return
        self.answer["virtual_host"] = {
            "name": host.get("name"),
            "domains": host.scalars("domains"),
            "at": placeOf(host),
        }
        if found is not None and found.path == host.pathOf("require_tls"):
            # No route was asked.
            self._end("301 to https (require_tls)")
            return
        route = yield from self._explainRoutes(asked, found, table, host)
        self._explainFilters(asked, found, [level for level in (route, host, table) if level is not None])
        if route is None or found is None:
            self._end("404 from the router (route_not_found): no route of the virtual host matches")
            self._explainTimeouts(asked)
            return
        self._explainAction(asked, route, host, found)

    def _explainRoutes(
        self, asked: Asked, found: Route | None, table: Section, host: Section
    ) -> Generator[None, None, Section | None]:
        """
        Tell which conditions of the routes hold, up to the one that was found.

        @return: Its configuration.
        """
        before: list[Answer] = []
        self.answer["routes_before"] = before
        for number, section in enumerate(host.children("routes")):
            if number % _AT_ONCE == _AT_ONCE - 1:
                yield
            conditions = conditionsOf(section, table, self._context, asked.headers, asked.stream)
            told = {"name": section.get("name"), "at": placeOf(section), **originOf(section)}
            if found is not None and section.path == found.path:
                self.answer["route"] = {**told, "matched": [asdict(condition) for condition in conditions]}
                return section
            before.append({**told, "missed": [asdict(condition) for condition in conditions if not condition.holds]})
        return None

    def _explainFilters(self, asked: Asked, found: Route | None, levels: Sequence[Section]) -> None:
        self.answer["filters"], self._refused = filtersOf(asked, found, levels)

    def _explainTimeouts(
        self,
        asked: Asked,
        found: Route | None = None,
        action: Section | None = None,
        cluster: Section | None = None,
    ) -> None:
        self.answer["timeouts"] = timeoutsOf(asked.manager, found, action, cluster, asked.headers)

    def _explainAction(self, asked: Asked, route: Section, host: Section, found: Route) -> None:
        kind = route.oneof("action") or "non_forwarding_action"
        section = route.child("route")
        if section is not None and found.action is not None:
            self._explainForwarding(asked, section, found.action, host, found)
            return
        if kind == "direct_response":
            status = route.childOrEmpty("direct_response").get("status")
            self._end(f"{status}, a direct response at {placeOf(route, kind)}")
        elif kind == "redirect" and found.redirect is not None:
            location = fromBytes(found.redirect.location(asked.headers, StreamInfo()))
            self._end(f"{found.redirect.status} to {location}, a redirect at {placeOf(route, kind)}")
        else:
            self._end("503: the route forwards nothing")
        self._explainTimeouts(asked)

    def _explainForwarding(
        self, asked: Asked, section: Section, action: RouteAction, host: Section, found: Route
    ) -> None:
        told = list(clustersOf(section, action, asked.headers, self._clusters, self._runtime))
        self.answer["clusters"] = told
        names = [each["name"] for each in told]
        cluster = self._clusters.get(names[0]) if names else None
        if len(names) == 1 and cluster is None:
            self._end(f"{action.clusterNotFoundStatus} from the router (cluster_not_found): {names[0]!r}")
        else:
            self._end(f"forwarded to {' or '.join(names) or 'no cluster'}")
        retries = retriesOf(section, host, None if cluster is None else cluster.section)
        if retries is not None:
            self.answer["retries"] = retries
        if isinstance(asked.stream, AskedStream):
            self.answer["sent"] = sentHead(found, asked.headers, asked.stream)
        self._explainTimeouts(asked, found, section, None if cluster is None else cluster.section)
