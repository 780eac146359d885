"""
The admin, beside Envoy's, with what few configure: runtime from a directory, scoped routes, the profiler.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from tests.conformance.admincase import AdminCase

BOOTSTRAP = """
node: {id: node-1, cluster: cluster-1}
admin: {profile_path: FOLDER/cpu.prof, address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
layered_runtime:
  layers:
  - {name: base, static_layer: {a: {b: 3}, x: "y", health: {min: 1}}}
  - {name: disk, disk_layer: {symlink_root: FOLDER/current, subdirectory: values}}
  - {name: cluster, disk_layer: {symlink_root: FOLDER/current, subdirectory: own, append_service_cluster: true}}
  - {name: nowhere, disk_layer: {symlink_root: FOLDER/nowhere}}
  - {name: admin, admin_layer: {}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          scoped_routes:
            name: scopes
            scope_key_builder: {fragments: [{header_value_extractor: {name: x-scope, index: 0}}]}
            scoped_route_configurations_list:
              scoped_route_configurations:
              - name: one
                key: {fragments: [{string_key: "1"}]}
                route_configuration:
                  name: routes
                  virtual_hosts:
                  - name: all
                    domains: ["*"]
                    routes: [{match: {prefix: /}, direct_response: {status: 200}}]
"""

_FIRST = {
    "values/a/b": "7\n",
    "values/a/c": "# a comment\n  text  \n",
    "values/flag": "true",
    "values/share": "numerator: 3\ndenominator: MILLION\n",
    "values/empty": "# nothing\n",
    "values/deep/er/est": "1.5",
    "own/cluster-1/mine": "1",
    "own/other/not": "1",
}
_SECOND = {"values/a/b": "8", "values/new": "now", "own/none": ""}

EQUAL = (
    "GET /runtime",
    "PUT /runtime",
    "POST /runtime_modify?a.b=9&new=true&share=",
    "GET /runtime",
    "POST /runtime_modify?flag=",
    "GET /stats?filter=^runtime.(num_keys|num_layers|load_error|admin_overrides_active)$",
    "GET /config_dump?resource=inline_scoped_route_configs",
    "GET /config_dump?resource=static_route_configs",
    "GET /config_dump?name_regex=scopes",
    "GET /config_dump?name_regex=nothing",
    "GET /listeners",
    "PUT /ready",
    "DELETE /ready",
    "POST /ready",
    "OPTIONS /ready",
    "GET /cpuprofiler",
    "POST /cpuprofiler",
    "POST /cpuprofiler?enable=maybe",
    "POST /cpuprofiler?enable=n",
    "GET /runtime_modify?a=b",
    "GET /healthcheck/fail",
    "GET /healthcheck/ok",
    "GET /reopen_logs",
    "GET /stats/recentlookups/enable",
    "GET /stats/recentlookups/disable",
    "GET /stats/recentlookups/clear",
    "POST /stats/recentlookups/enable",
    "POST /stats/recentlookups/clear",
    "POST /stats/recentlookups/disable",
    "POST /drain_listeners?skip_exit",
    "POST /drain_listeners?graceful&inboundonly",
)

# Here the words are each one's own.
ALIKE = (
    "POST /logging?paths=http",
    "POST /logging?paths=http:nolevel",
    "POST /logging?paths=:info",
    "POST /logging?nobody=info",
    "POST /logging?http=info",
    "POST /logging?level=info&paths=http:info",
    "GET /nosuch/path",
    "GET /stats/nosuch",
)


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _prepare(folder: Path) -> None:
    _write(folder / "first", _FIRST)
    _write(folder / "second", _SECOND)
    (folder / "current").symlink_to("first")


class OperationsTests(AdminCase):
    """
    Questions about those.
    """

    def test_answers(self) -> None:
        """
        What is to be equal is; and where texts may differ, the rest does not.
        """
        self.begin(BOOTSTRAP, _prepare)
        self.assertSame(EQUAL, ALIKE)
        self.assertReread()

    def assertReread(self) -> None:
        """
        A directory is read again when another link stands in the place of the one to it.
        """
        for folder in self.folders.values():
            (folder / "next").symlink_to("second")
            (folder / "next").replace(folder / "current")
        end = time.monotonic() + 60
        while True:
            envoy, mine = (self.ask(kind, "GET /runtime")[2] for kind in ("envoy", "meshproxy"))
            if (envoy == mine and "now" in json.dumps(mine)) or time.monotonic() > end:
                break
            time.sleep(0.05)
        self.assertEqual(mine, envoy)
        self.assertTrue(re.search(r'"now"', json.dumps(mine)), mine)
