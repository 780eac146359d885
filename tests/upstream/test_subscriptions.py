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
        self.clock.advance(INTERVAL)
        self.write("2", "a", "b")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.received, [["a"], ["a", "b"]])
        expected = {"update_attempt": 2, "update_success": 2, "version_text": "2", "update_time": 1001200}
        self.assertEqual(self.counted(), expected)

    def test_refused(self) -> None:
        """
        What its receiver does not take, and what is wrong in itself, is counted as rejected; what cannot be read as a
        failure. The version is that of what is served.
        """
        self.write("1", "a")
        self.subscription.start()
        self.wrong = ["no"]
        self.write("2", "a")
        self.clock.advance(INTERVAL)
        self.write("3", "")
        self.clock.advance(INTERVAL)
        with open(self.path, "w") as file:
            file.write("{")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.received, [["a"], ["a"]])
        counted = self.counted()
        names = ("update_attempt", "update_success", "update_rejected", "update_failure", "version_text")
        self.assertEqual([counted[name] for name in names], [4, 1, 2, 1, "1"])

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
