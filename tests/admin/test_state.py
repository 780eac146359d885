"""
Tests for L{meshproxy.admin.state}, L{meshproxy.admin.served} and L{meshproxy.admin.memory}.
"""

from __future__ import annotations

import builtins

from twisted.trial.unittest import SynchronousTestCase

from meshproxy import __version__
from meshproxy.admin.memory import ProcessMemory, parseStatm, processMemory
from tests.admin.support import BOOTSTRAP, ask, makeServer

# A cluster that waits for a name that is never found.
WARMING = BOOTSTRAP.replace(
    "  - name: other\n",
    """  - name: slow
    type: STRICT_DNS
    connect_timeout: 1s
    load_assignment:
      cluster_name: slow
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: slow.example, port_value: 80}}}
  - name: other
""",
)


class ReadyTests(SynchronousTestCase):
    """
    C{/ready} through the life of a proxy.
    """

    def test_initializing(self) -> None:
        """
        Until clusters have found their endpoints the answer is 503; C{/init_dump} says what is waited for.
        """
        server = makeServer(WARMING)
        answer = ask(server, "/ready")
        self.assertEqual((answer.status, answer.text), (503, "INITIALIZING\n"))
        dump = ask(server, "/init_dump").json["unready_targets_dumps"]
        self.assertEqual(dump, [{"name": "init manager Server", "target_names": ["Cluster slow"]}])
        self.assertEqual(ask(server, "/server_info").json["state"], "INITIALIZING")

    def test_live(self) -> None:
        """
        Then it is 200, and nothing is waited for.
        """
        server = makeServer()
        self.assertEqual(ask(server, "/ready").status, 200)
        self.assertEqual(ask(server, "/init_dump").json, {})

    def test_failed(self) -> None:
        """
        A failed health check is 503 until it is well again, and the gauge C{server.live} says so.
        """
        server = makeServer()
        for path, status, state, live in (
            ("/healthcheck/fail", 503, "DRAINING", 0),
            ("/healthcheck/ok", 200, "LIVE", 1),
        ):
            self.assertEqual(ask(server, path, "POST").text, "OK\n")
            answer = ask(server, "/ready")
            self.assertEqual((answer.status, answer.text), (status, f"{state}\n"))
            self.assertEqual(ask(server, "/server_info").json["state"], state)
            self.assertEqual(ask(server, "/stats?filter=^server.live$").text, f"server.live: {live}\n")

    def test_anyMethod(self) -> None:
        """
        What only reads is answered whatever the method, as in Envoy.
        """
        server = makeServer()
        self.assertEqual([ask(server, "/ready", method).status for method in ("POST", "PUT", "OPTIONS")], [200] * 3)


class ServerInfoTests(SynchronousTestCase):
    """
    C{/server_info} and the small answers.
    """

    def test_shape(self) -> None:
        """
        All fields of Envoy's message are there, with the options and the node.
        """
        server = makeServer(serviceNode="other-node", serviceZone="other-zone", drainTime=7.0)
        server.reactor.advance(61)
        info = ask(server, "/server_info").json
        self.assertLessEqual(
            {"version", "state", "uptime_current_epoch", "uptime_all_epochs", "hot_restart_version", "node"}, set(info)
        )
        self.assertIn(f"/{__version__}/", info["version"])
        self.assertEqual((info["uptime_current_epoch"], info["uptime_all_epochs"]), ("61s", "61s"))
        options = info["command_line_options"]
        self.assertEqual((options["drain_time"], options["mode"], options["concurrency"]), ("7s", "Serve", 1))
        self.assertEqual(options["service_node"], "other-node")
        node = info["node"]
        self.assertEqual((node["id"], node["cluster"]), ("other-node", "cluster-1"))
        self.assertEqual(node["locality"]["zone"], "other-zone")

    def test_configTextIsHidden(self) -> None:
        """
        A configuration on the command line may hold secrets: it is not shown.
        """
        options = ask(makeServer(), "/server_info").json["command_line_options"]
        self.assertEqual((options["config_path"], options["config_yaml"]), ("", "[redacted]"))

    def test_small(self) -> None:
        """
        What there is none of is said in Envoy's form.
        """
        server = makeServer()
        self.assertEqual(ask(server, "/hot_restart_version").text, "disabled")
        self.assertTrue(ask(server, "/contention").text.startswith("Mutex contention tracing is not enabled"))

    def test_runtime(self) -> None:
        """
        Runtime values are shown by layer.
        """
        text = BOOTSTRAP + (
            "layered_runtime: {layers: [{name: base, static_layer: {a: 1}}, {name: admin, admin_layer: {}}]}\n"
        )
        self.assertEqual(
            ask(makeServer(text), "/runtime").json,
            {"layers": ["base", "admin"], "entries": {"a": {"final_value": "1", "layer_values": ["1", ""]}}},
        )


class MemoryTests(SynchronousTestCase):
    """
    C{/memory}.
    """

    def test_parse(self) -> None:
        """
        Pages become bytes.
        """
        found = parseStatm("100 50 10 5 0 30 0\n", 4096)
        self.assertEqual(found, ProcessMemory(allocated=40 * 4096, heapSize=30 * 4096, resident=50 * 4096))

    def test_answer(self) -> None:
        """
        All fields of Envoy's message are there; the process has some memory.
        """
        memory = ask(makeServer(), "/memory").json
        self.assertEqual(
            set(memory),
            {
                "allocated",
                "heap_size",
                "pageheap_unmapped",
                "pageheap_free",
                "total_thread_cache",
                "total_physical_bytes",
            },
        )
        self.assertGreater(int(memory["total_physical_bytes"]), int(memory["allocated"]))

    def test_noProc(self) -> None:
        """
        Where the system does not tell, all is 0.
        """

        def refuse(*args: object, **keywords: object) -> None:
            raise OSError("no such file")

        self.patch(builtins, "open", refuse)
        self.assertEqual(processMemory(), ProcessMemory())
