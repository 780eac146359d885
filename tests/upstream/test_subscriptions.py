"""
Tests for L{meshproxy.upstream.subscriptions}.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.sources import DiscoveryFile
from meshproxy.secrets.watch import INTERVAL, SecretFiles
from meshproxy.stats import Store
from meshproxy.upstream.subscriptions import FileSubscription, SubscriptionStats

_CLUSTER = "envoy.config.cluster.v3.Cluster"


class FileSubscriptionTests(SynchronousTestCase):
    """
    A file, and who is told what is in it.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.store = Store()
        self.files = SecretFiles(self.clock)
        self.files.start()
        self.addCleanup(self.files.stop)
        self.path = self.mktemp() + ".json"
        self.received: list[list[str]] = []
        self.wrong: list[str] = []
        stats = SubscriptionStats(self.store.scope("x."), self.clock.seconds)
        self.subscription = FileSubscription(self.path, _CLUSTER, self.files, stats, self.receive)

    def receive(self, file: DiscoveryFile) -> list[str]:
        """
        Note what is in a file.
        """
        self.received.append(list(file.resources))
        return self.wrong

    def write(self, version: str, *names: str) -> None:
        """
        Move a file into its place.
        """
        resources = [{"@type": f"type.googleapis.com/{_CLUSTER}", "name": name} for name in names]
        with open(self.path + "new", "w") as file:
            json.dump({"version_info": version, "resources": resources}, file)
        os.rename(self.path + "new", self.path)

    def settle(self) -> None:
        """
        Let files be looked at until there is nothing to wait for.
        """
        for _ in range(4):
            self.clock.advance(INTERVAL)

    def counted(self) -> dict[str, Any]:
        """
        What is not 0.
        """
        readouts = {text.name: text.value for text in self.store.textReadouts.values()}
        counters = {each.name: each.value for each in self.store.counters.values() if each.value}
        gauges = {each.name: each.value for each in self.store.gauges.values() if each.value}
        return {name[2:]: value for name, value in {**readouts, **counters, **gauges}.items() if name != "x.version"}

    def test_taken(self) -> None:
        """
        What is in it is told at once and after each change, with its version; not when the same is written again.
        """
        self.write("1", "a")
        self.assertTrue(self.subscription.start())
        self.clock.advance(INTERVAL)
        self.write("1", "a")
        self.settle()
        self.write("2", "a", "b")
        self.settle()
        self.assertEqual(self.received, [["a"], ["a", "b"]])
        counted = self.counted()
        self.assertGreater(counted.pop("update_time"), 1000000)
        self.assertEqual(counted, {"update_attempt": 2, "update_success": 2, "version_text": "2"})

    def test_refused(self) -> None:
        """
        What its receiver does not take, and what is wrong in itself, is counted as rejected; what cannot be read as a
        failure. The version is that of what is served.
        """
        self.write("1", "a")
        self.subscription.start()
        self.wrong = ["no"]
        self.write("2", "a")
        self.settle()
        self.write("3", "")
        self.settle()
        with open(self.path + "new", "w") as file:
            file.write("{")
        os.rename(self.path + "new", self.path)
        self.settle()
        self.assertEqual(self.received, [["a"], ["a"]])
        counted = self.counted()
        names = ("update_attempt", "update_success", "update_rejected", "update_failure", "version_text")
        self.assertEqual([counted[name] for name in names], [4, 1, 2, 1, "1"])

    def test_inPlace(self) -> None:
        """
        A file that is written in place is taken when it does not change any more: half of it never is.
        """
        self.write("1", "a", "b")
        self.subscription.start()
        with open(self.path) as file:
            text = file.read()
        whole = text.replace('"1"', '"2"')
        for end in (10, len(whole) // 2, len(whole)):
            with open(self.path, "w") as file:
                file.write(whole[:end])
            self.clock.advance(INTERVAL)
            self.assertEqual(self.counted()["update_attempt"], 1)
        self.clock.advance(INTERVAL)
        self.clock.advance(INTERVAL)
        counted = self.counted()
        self.assertEqual((counted["update_attempt"], counted["update_success"], counted["version_text"]), (2, 2, "2"))

    def test_renamedMeanwhile(self) -> None:
        """
        If another file comes in its place meanwhile, that is taken at once, and once.
        """
        self.write("1", "a")
        self.subscription.start()
        with open(self.path, "w") as file:
            file.write("{")
        self.clock.advance(INTERVAL)
        self.write("3", "a")
        self.settle()
        self.assertEqual(self.counted()["version_text"], "3")
        self.settle()
        self.assertEqual(self.counted()["update_attempt"], 2)

    def test_wrongAtStart(self) -> None:
        """
        That the first content is not taken is known at once.
        """
        self.assertFalse(self.subscription.start())

    def test_stopped(self) -> None:
        """
        After its end nothing is told.
        """
        self.write("1", "a")
        self.subscription.start()
        self.subscription.stop()
        self.write("2", "b")
        self.clock.advance(INTERVAL)
        self.assertEqual((len(self.received), self.clock.getDelayedCalls()), (1, []))
