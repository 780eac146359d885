"""
Tests for L{meshproxy.controlplane.api.events}.
"""

from __future__ import annotations

import json

from tests.controlplane.api.client import SERVICE, VIRTUAL_SERVICE, Answer, APITestCase


class EventStreamTests(APITestCase):
    """
    What happens, as server-sent events.
    """

    def events(self, answer: Answer) -> list[dict[str, str]]:
        """
        The events, each as its fields; comments are left out.
        """
        events = []
        for block in answer.body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
            if fields:
                events.append(fields)
        return events

    def test_events(self) -> None:
        """
        Each commit is an event with its revision as id.
        """
        self.put(SERVICE)
        stream = self.open("GET", "/v1/events")
        self.assertEqual(stream.answer.headers["content-type"], "text/event-stream")
        self.put(VIRTUAL_SERVICE)
        self.ask("POST", "/v1/ca/tokens", {})
        self.reactor.advance(0)
        (event,) = self.events(stream.answer)
        self.assertEqual((event["event"], event["id"]), ("commit", "2"))
        (change,) = json.loads(event["data"])["changes"]
        self.assertEqual((change["resource"], change["action"]), ("VirtualService default/reviews", "created"))

    def test_goOn(self) -> None:
        """
        A browser that comes again with the last id misses nothing.
        """
        self.put(SERVICE)
        self.put(VIRTUAL_SERVICE)
        for stream in (
            self.open("GET", "/v1/events", last_event_id="1"),
            self.open("GET", "/v1/events?since=1"),
            self.open("GET", "/v1/events?since=2", last_event_id="1"),
        ):
            self.reactor.advance(0)
            self.assertEqual([event["id"] for event in self.events(stream.answer)], ["2"])

    def test_forgotten(self) -> None:
        """
        A revision that is forgotten is said to be.
        """
        self.put(SERVICE)
        self.put(VIRTUAL_SERVICE)
        self.successResultOf(self.store.compact(1))
        self.assertEqual(self.ask("GET", "/v1/events?since=0").code, 410)
        self.assertEqual(self.ask("GET", "/v1/events?since=5").code, 400)
        stream = self.open("GET", "/v1/events?since=1")
        self.successResultOf(self.store.compact(2))
        self.reactor.advance(0)
        (event,) = self.events(stream.answer)
        self.assertEqual(event["event"], "lost")

    def test_heartbeat(self) -> None:
        """
        In a silence something is sent.
        """
        stream = self.open("GET", "/v1/events")
        before = len(stream.transport.value())
        self.reactor.advance(20)
        self.assertIn(b": still here", stream.transport.value()[before:])
