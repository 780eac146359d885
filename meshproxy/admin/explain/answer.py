# -*- test-case-name: tests.admin.explain.test_answer -*-
"""
What would become of a request.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.explain.chains import chainMisses
from meshproxy.admin.explain.conditions import conditionsOf, hostOf
from meshproxy.admin.explain.question import Question, placeOf
from meshproxy.admin.explain.timeouts import timeoutsOf
from meshproxy.config.section import Section
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders
from meshproxy.http.requestheaders import compileRequestHeaders
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.listener import Listener
from meshproxy.listener.matching import ConnectionFacts
from meshproxy.net.address import Address
from meshproxy.routing.actions import runtimeWeights
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hosts import withoutPort
from meshproxy.routing.route import Route
from meshproxy.runtime import Runtime

if TYPE_CHECKING:
    from meshproxy.http.manager import ConnectionManager
    from meshproxy.upstream.cluster import Cluster

__all__ = ["Answer", "Explanation", "explain", "explainInSteps"]

#: What can be written as JSON.
Answer = dict[str, Any]

# So many routes are looked at in one turn.
_AT_ONCE = 8

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


class _AskedTLS:
    """
    A session of TLS that nobody began: no more is known of it than that.
    """

    def get(self, fact: str) -> str | None:
        """
        Nothing.
        """
        return None

    def moment(self, fact: str) -> float | None:
        """
        Never.
        """
        return None


class _AskedStream(StreamInfo):
    """
    What is known of a request that nobody sent.

    @ivar route: Its route.
    """

    route: Route | None = None


class Explanation:
    """
    One answer in the making.

    @ivar answer: What is known so far.
    """

    def __init__(self, question: Question, clusters: Mapping[str, Cluster], runtime: Runtime) -> None:
        self._question = question
        self._clusters = clusters
        self._context = RouteContext(runtime=runtime, random=lambda: 0.0)
        # What a filter answers with, whatever comes after it.
        self._refused = ""
        self.answer: Answer = {"request": _request(question)}

    def run(self, listeners: Sequence[Listener]) -> Iterator[None]:
        """
        Find everything out, and pause now and then.
        """
        listener = self._chooseListener(listeners)
        if listener is not None:
            yield from self._explainListener(listener)

    def _end(self, outcome: str) -> None:
        # What a filter answers with, the router is not asked.
        self.answer["outcome"] = self._refused or outcome

    # Listener and chain

    def _chooseListener(self, listeners: Sequence[Listener]) -> Listener | None:
        question = self._question
        found = []
        others: list[Answer] = []
        for listener in listeners:
            why = self._listenerMiss(listener)
            if not why:
                found.append(listener)
            else:
                others.append({"name": listener.name, "at": placeOf(listener.section), "why": why})
        # Several may have one port on addresses of their own, as the sidecars of one machine have.
        chosen = next((each for each in found if question.host in _hostsOf(each)), found[0] if found else None)
        for listener in found:
            if listener is not chosen:
                why = f"another one is nearer to {question.host or 'the address'}"
                others.append({"name": listener.name, "at": placeOf(listener.section), "why": why})
        self.answer["other_listeners"] = others
        if chosen is not None:
            return chosen
        # Nobody listens on the port that the URL names, which is the usual one where it names none: a single listener
        # is meant all the same.
        if len(listeners) == 1 and not question.listener and question.port in (80, 443):
            self.answer["other_listeners"] = []
            return listeners[0]
        self._end("no listener accepts the connection")
        return None

    def _listenerMiss(self, listener: Listener) -> str:
        question = self._question
        if question.listener:
            return "" if listener.name == question.listener else f"its name is not {question.listener!r}"
        ports = [address.port for address, _ in listener.addresses]
        ports += [port.address.port for port in listener.ports]
        if question.port in ports:
            return ""
        shown = ", ".join(dict.fromkeys(address.text for address, _ in listener.addresses))
        return f"it listens on {shown}, not on port {question.port}"

    def _explainListener(self, listener: Listener) -> Iterator[None]:
        address = (
            (listener.ports[0].address if listener.ports else listener.addresses[0][0])
            if (listener.ports or listener.addresses)
            else None
        )
        self.answer["listener"] = {
            "name": listener.name,
            "address": "" if address is None else address.text,
            "at": placeOf(listener.section),
        }
        info = ConnectionInfo()
        info.remoteAddress = info.directRemoteAddress = Address(self._question.source, 50000)
        host = "127.0.0.1" if address is None or address.host in ("0.0.0.0", "::") else address.host
        info.localAddress = info.directLocalAddress = Address(host, self._question.port)
        question = self._question
        isTLS = question.scheme == "https" or bool(question.principal)
        serverName = question.authority.rpartition(":")[0] or question.authority if isTLS else ""
        if question.principal:
            info.tls, info.peerNames = _AskedTLS(), (question.principal,)
        facts = ConnectionFacts(info, serverName, "tls" if isTLS else "raw_buffer", question.protocols)
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
        yield from self._explainChain(chosen, info)

    def _explainChain(self, chain: FilterChain, info: ConnectionInfo) -> Iterator[None]:
        filters = chain.section.children("filters")
        self.answer["network_filters"] = [{"name": item.get("name"), "at": placeOf(item)} for item in filters]
        manager = filters[-1].any("typed_config") if filters else None
        slot = getattr(chain.terminal, "slot", None)
        if manager is None or manager.typeName != _MANAGER or slot is None:
            self._end(f"not HTTP: {filters[-1].get('name') if filters else 'nobody'} has the connection")
            return
        self.answer["connection_manager"] = {"stat_prefix": manager.get("stat_prefix"), "at": placeOf(manager)}
        stream = _AskedStream()
        stream.connection = info
        headers = self._question.headers()
        stream.requestHeaders = headers
        refused = self._prepare(slot.current, headers, stream)
        if refused is not None:
            self._end(f"{refused.status} from the connection manager ({refused.details})")
            return
        yield from self._explainRoute(manager, slot.current, headers, stream)

    # The head

    def _prepare(self, manager: ConnectionManager, headers: RequestHeaders, stream: StreamInfo) -> LocalReply | None:
        """
        Do to the head what the connection manager does before it chooses a route, and note what that changed.

        @return: The answer to a request that it does not serve.
        """
        before = headers.copy()
        settings = manager.settings
        if settings.normalizePath is not None and headers.path[:1] == b"/":
            result = settings.normalizePath(headers.path)
            if not isinstance(result, bytes):
                if isinstance(result, tuple):
                    return LocalReply(307, b"", "path_normalization_failed: redirected to the normalized path")
                return LocalReply(400, b"", "path_normalization_failed")
            headers.path = result
        if settings.stripAuthority is not None:
            settings.stripAuthority(headers, stream.connection)
        if settings.mutateEarly is not None:
            settings.mutateEarly(headers, stream)
        try:
            client = compileRequestHeaders(settings.forwarding, lambda: b"(made for each request)")(
                headers, stream.connection
            )
        except RemoteProtocolError as error:
            return LocalReply(error.statusHint, b"", error.details)
        if isinstance(client, LocalReply):
            return client
        if client is not None:
            stream.remoteAddress = client
        self.answer["head"] = list(_changes(before, headers))
        return None

    # Routes

    def _explainRoute(
        self, manager: Section, running: ConnectionManager, headers: RequestHeaders, stream: StreamInfo
    ) -> Iterator[None]:
        yield from self.explainFound(manager, running, running.routes.match(headers, stream), headers, stream)

    def explainFound(
        self,
        manager: Section,
        running: ConnectionManager,
        found: Route | None,
        headers: RequestHeaders,
        stream: StreamInfo,
    ) -> Iterator[None]:
        """
        Tell what follows from the route that was found.
        """
        table, host = self._chooseHost(running, found, headers, stream)
        if table is None or host is None:
            if running.routes.sections:
                self._end("404 from the router (route_not_found): no virtual host is for this authority")
            else:
                # A proxy that serves waits for them; offline nobody brings them.
                self._end(f"the routes {running.routes.name!r} come by RDS, and have not come")
            self._explainFilters(manager, running, None, [], headers, stream)
            self.answer["timeouts"] = timeoutsOf(manager, None, None, None, headers)
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
        route = None
        before: list[Answer] = []
        for number, section in enumerate(host.children("routes")):
            if number % _AT_ONCE == _AT_ONCE - 1:
                yield
            conditions = conditionsOf(section, table, self._context, headers, stream)
            told = {"name": section.get("name"), "at": placeOf(section), **_originOf(section)}
            if found is not None and section.path == found.path:
                route = section
                self.answer["route"] = {**told, "matched": [asdict(condition) for condition in conditions]}
                break
            before.append({**told, "missed": [asdict(condition) for condition in conditions if not condition.holds]})
        self.answer["routes_before"] = before
        levels = [level for level in (route, host, table) if level is not None]
        self._explainFilters(manager, running, found, levels, headers, stream)
        if route is None or found is None:
            self._end("404 from the router (route_not_found): no route of the virtual host matches")
            self.answer["timeouts"] = timeoutsOf(manager, None, None, None, headers)
            return
        self._explainAction(manager, route, host, found, headers, stream)

    def _chooseHost(
        self, running: ConnectionManager, found: Route | None, headers: RequestHeaders, stream: StreamInfo
    ) -> tuple[Section | None, Section | None]:
        """
        The route configuration and the virtual host.
        """
        tables = list(running.routes.sections)
        if found is not None:
            tables = [table for table in tables if found.path.startswith(f"{table.path}.")]
        table = tables[0] if len(tables) == 1 or found is not None else None
        host = None if table is None else self._hostIn(table, found, headers, stream)
        portless = self._withoutPort(table, headers, stream)
        others: list[Answer] = []
        for each in tables:
            for other in each.children("virtual_hosts"):
                if host is not None and other.path == host.path:
                    continue
                why = "its domains do not match, or another one's is nearer"
                if portless is not None and other.path == portless.path:
                    why = "its domain matches without the port; see strip_any_host_port, ignore_port_in_host_matching"
                domains = other.scalars("domains")
                others.append({"name": other.get("name"), "at": placeOf(other), "domains": domains, "why": why})
        self.answer["other_virtual_hosts"] = others
        return table, host

    def _hostIn(
        self, table: Section, found: Route | None, headers: RequestHeaders, stream: StreamInfo
    ) -> Section | None:
        if found is not None:
            # Of a request under way the authority may be rewritten by now.
            for host in table.children("virtual_hosts"):
                if found.path == host.pathOf("require_tls") or found.path.startswith(f"{host.path}."):
                    return host
        return hostOf(table, self._context, headers, stream)

    def _withoutPort(self, table: Section | None, headers: RequestHeaders, stream: StreamInfo) -> Section | None:
        """
        The virtual host that the request would be for if its authority had no port.
        """
        bare = withoutPort(headers.authority)
        if table is None or bare == headers.authority:
            return None
        asked = headers.copy()
        asked.authority = bare
        return hostOf(table, self._context, asked, stream)

    def _explainFilters(
        self,
        manager: Section,
        running: ConnectionManager,
        found: Route | None,
        levels: Sequence[Section],
        headers: RequestHeaders,
        stream: StreamInfo,
    ) -> None:
        """
        @param levels: What may say something to filters, nearest first.
        """
        disabled = {} if found is None else found.overrides.disabled
        configs = {} if found is None else found.overrides.configs
        links = {link.context.name: link for link in running.chain.links}
        if isinstance(stream, _AskedStream):
            stream.route = found
        told: list[Answer] = []
        for item in manager.children("http_filters"):
            name: str = item.get("name")
            off = disabled.get(name, item.get("disabled"))
            entry: Answer = {"name": name, "at": placeOf(item), "disabled": bool(off)}
            if item.get("is_optional") and name not in running.chain.names:
                entry["left_out"] = "no such filter is known here, and it is_optional"
            for level in levels:
                own = level.entries("typed_per_filter_config").get(name)
                if own is not None:
                    entry["route_config_at"] = placeOf(own)
                    break
            link = links.get(name)
            if link is not None and not off and isinstance(stream, _AskedStream):
                config = configs.get(name) or link.config
                foreseen = link.filterClass.foresee(config, stream, headers)
                if foreseen is not None:
                    entry["verdict"] = foreseen.asDict()
                    self._refused = self._refused or (foreseen.status and f"{foreseen.outcome} from {name}") or ""
            told.append(entry)
        self.answer["filters"] = told

    def _explainAction(
        self,
        manager: Section,
        route: Section,
        host: Section,
        found: Route,
        headers: RequestHeaders,
        stream: StreamInfo,
    ) -> None:
        kind = route.oneof("action") or "non_forwarding_action"
        if kind == "direct_response":
            status = route.childOrEmpty("direct_response").get("status")
            self._end(f"{status}, a direct response at {placeOf(route, kind)}")
        elif kind == "redirect" and found.redirect is not None:
            location = fromBytes(found.redirect.location(headers, StreamInfo()))
            self._end(f"{found.redirect.status} to {location}, a redirect at {placeOf(route, kind)}")
        elif kind != "route" or found.action is None:
            self._end("503: the route forwards nothing")
        action = route.child("route")
        if action is None or found.action is None:
            self.answer["timeouts"] = timeoutsOf(manager, None, None, None, headers)
            return
        self.answer["clusters"] = list(self._explainClusters(action, found, headers))
        names = [each["name"] for each in self.answer["clusters"]]
        self._end(f"forwarded to {' or '.join(names) or 'no cluster'}")
        cluster = self._clusters.get(names[0]) if names else None
        if len(names) == 1 and cluster is None:
            self._end(f"{found.action.clusterNotFoundStatus} from the router (cluster_not_found): {names[0]!r}")
        self._explainRetries(action, host, found)
        if isinstance(stream, _AskedStream):
            self._explainSent(found, headers, stream)
        section = None if cluster is None else cluster.section
        self.answer["timeouts"] = timeoutsOf(manager, found, action, section, headers)

    def _explainClusters(self, action: Section, found: Route, headers: RequestHeaders) -> Iterator[Answer]:
        """
        The cluster, or those that one is drawn from.
        """
        weighted = action.child("weighted_clusters")
        if weighted is not None:
            entries = weighted.children("clusters")
            current = runtimeWeights(weighted, entries, self._context.runtime)
            weights = [entry.wrapped("weight", 0) for entry in entries] if current is None else current()
            for entry, weight in zip(entries, weights, strict=True):
                if weight:
                    header = entry.get("cluster_header").lower().encode("utf-8")
                    name = entry.get("name") or fromBytes(headers.first.get(header, b""))
                    share = f"{weight / sum(weights):.4g}"
                    yield {**self._cluster(name), "share": share, "chosen_at": placeOf(entry)}
            return
        assert found.action is not None
        name = found.action.selectCluster(headers, StreamInfo())
        field = action.oneof("cluster_specifier") or "cluster"
        yield {**self._cluster(name), "chosen_at": placeOf(action, field)}

    def _cluster(self, name: str) -> Answer:
        cluster = self._clusters.get(name)
        if cluster is None:
            return {"name": name, "missing": True}
        section = cluster.section
        return {
            "name": name,
            "at": placeOf(section),
            **_originOf(section),
            "type": cluster.kind,
            "lb_policy": section.get("lb_policy"),
            "endpoints": list(_endpointsOf(cluster)),
        }

    def _explainSent(self, found: Route, headers: RequestHeaders, stream: StreamInfo) -> None:
        """
        The head as it goes upstream, but for what single clusters of several do to it.
        """
        sent = headers.copy()
        if found.finalizeRequestHeaders is not None:
            found.finalizeRequestHeaders(sent, stream)
        self.answer["sent"] = {
            "authority": fromBytes(sent.authority),
            "path": fromBytes(sent.path),
            "changes": list(_changes(headers, sent)),
        }

    def _explainRetries(self, action: Section, host: Section, found: Route) -> None:
        policy = None if found.action is None else found.action.retryPolicy
        if policy is None:
            return
        source = next((each for each in (action, host) if each.has("retry_policy")), action)
        retry = source.childOrEmpty("retry_policy")
        self.answer["retries"] = {
            "retry_on": retry.get("retry_on"),
            "num_retries": retry.wrapped("num_retries", 1),
            "at": placeOf(retry),
        }


def _endpointsOf(cluster: Cluster) -> Iterator[Answer]:
    """
    The endpoints that were found, or those that are configured where nobody looked yet.
    """
    if cluster.endpoints or cluster.warmed.called:
        for endpoint in cluster.endpoints:
            yield {"address": endpoint.address.text, "hostname": endpoint.hostname, "healthy": endpoint.healthy}
        return
    for group in cluster.section.childOrEmpty("load_assignment").children("endpoints"):
        for item in group.children("lb_endpoints"):
            address = item.childOrEmpty("endpoint").childOrEmpty("address")
            sock = address.child("socket_address")
            text = address.childOrEmpty("pipe").get("path")
            if sock is not None:
                text = Address(sock.get("address"), sock.get("port_value")).text
            healthy = item.get("health_status") in ("UNKNOWN", "HEALTHY", "DEGRADED")
            yield {"address": text, "hostname": item.childOrEmpty("endpoint").get("hostname"), "healthy": healthy}


def _hostsOf(listener: Listener) -> set[str]:
    """
    The IP addresses that a listener is bound to.
    """
    return {address.host for address, _ in listener.addresses}


def _originOf(section: Section) -> Answer:
    """
    What a control plane says that a part of the configuration comes from, as Istio's metadata tells it.
    """
    told = section.message.metadata.filter_metadata
    if "istio" not in told or "config" not in told["istio"]:
        return {}
    names = ("config", "field", "delegate", "delegateField")
    return {"origin": {name: str(told["istio"][name]) for name in names if name in told["istio"]}}


def _request(question: Question) -> Answer:
    principal = {"principal": question.principal} if question.principal else {}
    return {
        **principal,
        "method": question.method,
        "scheme": question.scheme,
        "authority": question.authority,
        "path": question.path,
        "headers": [f"{name}: {value}" for name, value in question.fields],
        "source": question.source,
    }


def _changes(before: RequestHeaders, after: RequestHeaders) -> Iterator[Answer]:
    """
    What is otherwise in a head.
    """
    old, new = ({name: each.values(name) for name, _ in each.allFields()} for each in (before, after))
    for name in sorted({*old, *new}):
        was, now = (b",".join(values.get(name, [])) for values in (old, new))
        if was != now:
            yield {"field": fromBytes(name), "before": fromBytes(was), "after": fromBytes(now)}
