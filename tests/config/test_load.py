# -*- test-case-name: tests.config.test_load -*-
"""
Tests for L{meshproxy.config.load}.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Report, Section, loadBootstrap, sectionFromYAML
from meshproxy.config.load import checkedSection
from meshproxy.config.nodes import nodeOf
from meshproxy.errors import ConfigErrors

BOOTSTRAP = """\
node: {id: one, cluster: c}
static_resources:
  clusters:
  - name: a
    connect_timeout: 1s
    load_assignment:
      cluster_name: a
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}
"""

LISTENER = """\
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
"""


class LoadTests(SynchronousTestCase):
    """
    L{loadBootstrap} reads, merges and checks.
    """

    def setUp(self) -> None:
        """
        A folder for files.
        """
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def file(self, text: str, name: str = "envoy.yaml") -> Path:
        """
        A file with a text in it.
        """
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def refusals(self, path: Path | None = None, text: str | None = None, allowUnknown: bool = False) -> list[str]:
        """
        The faults, without the name of the folder.
        """
        error = self.assertRaises(ConfigErrors, loadBootstrap, path, text, allowUnknown)
        return [str(each).replace(f"{self.folder}/", "") for each in error.errors]

    def test_file(self) -> None:
        """
        A file alone.
        """
        bootstrap = loadBootstrap(self.file(BOOTSTRAP))
        self.assertEqual(bootstrap.typeName, "envoy.config.bootstrap.v3.Bootstrap")
        self.assertEqual(bootstrap.childOrEmpty("node").get("id"), "one")

    def test_text(self) -> None:
        """
        A text alone.
        """
        bootstrap = loadBootstrap(text=BOOTSTRAP)
        self.assertEqual(bootstrap.childOrEmpty("node").place.file, "--config-yaml")

    def test_nothing(self) -> None:
        """
        Neither gives an empty bootstrap, as Envoy takes it.
        """
        self.assertEqual(list(loadBootstrap().setFields()), [])

    def test_json(self) -> None:
        """
        A file named C{.json} is JSON, with all of its escapes.
        """
        bootstrap = loadBootstrap(self.file('{"node": {"id": "\\ud83d\\ude00"}}', "envoy.json"))
        self.assertEqual(bootstrap.childOrEmpty("node").get("id"), "\U0001f600")
        self.assertIn("envoy.json:1:1  not JSON", self.refusals(self.file("node: {}", "envoy.json"))[0])

    def test_merge(self) -> None:
        """
        The text goes over the file as protobuf merges: scalars replace, lists append, messages merge.
        """
        text = "node: {id: two}\nstatic_resources:\n  clusters:\n  - name: b\n"
        bootstrap = loadBootstrap(self.file(BOOTSTRAP), text)
        node = bootstrap.childOrEmpty("node")
        self.assertEqual((node.get("id"), node.get("cluster")), ("two", "c"))
        clusters = bootstrap.childOrEmpty("static_resources").children("clusters")
        self.assertEqual([cluster.get("name") for cluster in clusters], ["a", "b"])

    def test_mergedPlaces(self) -> None:
        """
        Each part has its place in the text that it came from, with its index in the whole.
        """
        text = "node: {id: two}\nstatic_resources:\n  clusters:\n  - name: b\n    lb_policy: RANDOM\n"
        bootstrap = loadBootstrap(self.file(BOOTSTRAP), text)
        first, second = bootstrap.childOrEmpty("static_resources").children("clusters")
        self.assertEqual(first.placeOf("name")[1:], (4, 11))
        self.assertEqual(
            str(second.error("x", "lb_policy")), "--config-yaml:5:16  static_resources.clusters[1].lb_policy: x"
        )
        node = bootstrap.childOrEmpty("node")
        self.assertEqual(node.placeOf("id").file, "--config-yaml")
        self.assertEqual(node.placeOf("cluster").file, str(self.folder / "envoy.yaml"))

    def test_mergedFaults(self) -> None:
        """
        The faults of both come together, those of the file first.
        """
        path = self.file("node: {id: 5}\n")
        found = self.refusals(path, "static_resources: {clusters: {nme: x}}\nnode: {cluster: 6}\n")
        self.assertEqual(
            found,
            [
                "envoy.yaml:1:12  node.id: the number 5 is not a string; put it in quotes",
                "--config-yaml:1:31  static_resources.clusters[0].nme: 'nme' is not a field of "
                "envoy.config.cluster.v3.Cluster; did you mean name?",
                "--config-yaml:2:17  node.cluster: the number 6 is not a string; put it in quotes",
            ],
        )

    def test_allKindsOfFaults(self) -> None:
        """
        Reading, constraints and what is not implemented, all at once and in order.
        """
        text = (
            "static_resources:\n"
            "  clusters:\n"
            "  - name: ''\n"
            "    lb_policy: ROUND_ROBBIN\n"
            "    eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V2}}\n"
            "    lrs_server: {self: {}}\n"
        )
        found = self.refusals(self.file(text))
        self.assertEqual(
            [line.partition(":")[2] for line in found],
            [
                "3:11  static_resources.clusters[0].name: must not be empty",
                "4:16  static_resources.clusters[0].lb_policy: 'ROUND_ROBBIN' is not one of ROUND_ROBIN, "
                "LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, LOAD_BALANCING_POLICY_CONFIG; "
                "did you mean ROUND_ROBIN?",
                "5:70  static_resources.clusters[0].eds_cluster_config.eds_config.resource_api_version: V2 is not "
                "implemented by meshproxy, only V3, AUTO",
                "6:5  static_resources.clusters[0].lrs_server: not implemented by meshproxy",
            ],
        )

    def test_notImplemented(self) -> None:
        """
        The paths of what this version leaves out.
        """
        cases = {
            "watchdogs: {}": "watchdogs",
            "static_resources: {secrets: [{name: s, session_ticket_keys: {keys: [{inline_string: x}]}}]}": (
                "static_resources.secrets[0].session_ticket_keys"
            ),
            "layered_runtime: {layers: [{name: x, rtds_layer: {}}]}": "layered_runtime.layers[0].rtds_layer",
        }
        for text, path in cases.items():
            told = self.refusals(text=text)[0].partition("  ")[2]
            self.assertTrue(told.startswith(f"{path}: not implemented by meshproxy"), told)
            # Some tell why.
            self.assertEqual("the bindings to OpenSSL" in told, "session_ticket_keys" in path)

    def test_allowUnknown(self) -> None:
        """
        Unknown and missing fields may be ignored; the warnings say which.
        """
        report = Report()
        loadBootstrap(None, "nod: {}\nwatchdogs: {}\n", True, report)
        self.assertEqual([warning.path for warning in report.warnings], ["nod", "watchdogs"])

    def test_duplicateKey(self) -> None:
        """
        A key that stands twice gives a warning with both lines.
        """
        section = loadBootstrap(text="node: {id: a}\nnode: {id: b}\n")
        self.assertEqual(
            [str(warning) for warning in section.report.warnings],
            ["--config-yaml:2:1  the key 'node' stands on line 1 already; only this one counts"],
        )

    def test_unreadable(self) -> None:
        """
        A file that is not there, is a folder, is not UTF-8, or is empty.
        """
        self.assertEqual(
            self.refusals(self.folder / "none.yaml"), ["none.yaml  cannot be read: No such file or directory"]
        )
        self.assertIn("cannot be read", self.refusals(self.folder)[0])
        path = self.file("")
        self.assertEqual(self.refusals(path), ["envoy.yaml:1:1  holds no configuration"])
        path.write_bytes(b"\xff\xfe")
        self.assertIn("envoy.yaml  is not UTF-8", self.refusals(path)[0])

    def test_byteOrderMark(self) -> None:
        """
        A byte order mark is no part of the text.
        """
        self.assertEqual(loadBootstrap(self.file("\ufeffnode: {id: a}")).childOrEmpty("node").get("id"), "a")

    def test_speed(self) -> None:
        """
        A bootstrap of twenty routes takes milliseconds; a tenth of a second would be felt at each reload.
        """
        routes = "".join(
            f"              - match: {{prefix: /{n}}}\n                route: {{cluster: a}}\n" for n in range(20)
        )
        path = self.file(LISTENER + routes)
        loadBootstrap(path)
        best = min(self.elapsed(path) for _ in range(3))
        self.assertLess(best, 0.1)

    def elapsed(self, path: Path) -> float:
        """
        How long it takes to load a file.
        """
        before = time.perf_counter()
        loadBootstrap(path)
        return time.perf_counter() - before


class MutationTests(SynchronousTestCase):
    """
    Whatever a text holds, it is a configuration or it has faults.
    """

    def test_mutations(self) -> None:
        """
        A text that somebody's editor ruined raises nothing but L{ConfigErrors}, and each fault has a line.
        """
        source = random.Random(7)
        text = BOOTSTRAP + LISTENER.removeprefix("static_resources:\n")
        pieces = [
            "null",
            "{}",
            "[]",
            "5",
            '"x',
            "- ",
            "*a",
            "&a ",
            "true",
            "1.5s",
            "@type",
            "\n",
            "  ",
            ":",
            ".nan",
            "\0",
            "-1",
        ]
        for _ in range(1500):
            mutant = text
            for _ in range(source.randint(1, 4)):
                at = source.randrange(len(mutant))
                mutant = mutant[:at] + source.choice(pieces) + mutant[at + source.choice((0, 0, 1, 8)) :]
            try:
                loadBootstrap(text=mutant)
            except ConfigErrors as error:
                self.assertEqual([str(each) for each in error.errors if not each.line], [], mutant)


class SectionFromYAMLTests(SynchronousTestCase):
    """
    L{sectionFromYAML} reads any message.
    """

    def test_checked(self) -> None:
        """
        Fields and constraints are checked, what is implemented is not.
        """
        section = sectionFromYAML("envoy.config.cluster.v3.Cluster", "{name: a, outlier_detection: {}}")
        self.assertIsInstance(section, Section)
        error = self.assertRaises(ConfigErrors, sectionFromYAML, "envoy.config.cluster.v3.Cluster", "type: EDS", "f")
        self.assertEqual([str(each) for each in error.errors], ["f:1:1  name: must not be empty"])

    def test_empty(self) -> None:
        """
        An empty text is an empty message, and checked as such.
        """
        self.assertEqual(list(sectionFromYAML("envoy.config.core.v3.Node", "").setFields()), [])
        self.assertRaises(ConfigErrors, sectionFromYAML, "envoy.config.core.v3.Address", "")

    def test_warnings(self) -> None:
        """
        A report that is brought along takes the warnings.
        """
        report = Report()
        sectionFromYAML("envoy.config.core.v3.Node", "id: a\nid: b", "f", report)
        self.assertEqual(len(report.warnings), 1)

    def test_nodes(self) -> None:
        """
        L{checkedSection} takes nodes from anywhere.
        """
        section = checkedSection("envoy.config.core.v3.Node", nodeOf({"id": "a"}))
        self.assertEqual(section.get("id"), "a")
