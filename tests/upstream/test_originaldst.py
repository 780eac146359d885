"""
L{meshproxy.upstream.originaldst}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.errors import ConfigErrors
from meshproxy.headers import RequestHeaders
from meshproxy.net.address import Address
from meshproxy.stats import Store
from meshproxy.upstream.balancers.base import Origin
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.originaldst import OriginalDestinations, parseDestination


class _Choice:
    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def origin(self) -> Origin:
        return self._origin


class ParseTests(SynchronousTestCase):
    """
    L{parseDestination}.
    """

    def test_parsed(self) -> None:
        """
        An IP address and a port, and nothing else.
        """
        for text, expected in (
            (b"192.0.2.1:80", "192.0.2.1:80"),
            (b"[2001:db8::1]:443", "[2001:db8::1]:443"),
            (b"192.0.2.1:0", "192.0.2.1:0"),
        ):
            found = parseDestination(text)
            assert found is not None
            self.assertEqual(found.text, expected)
        for text in (b"", b"a.example:80", b"192.0.2.1", b"192.0.2.1:", b"192.0.2.1:65536", b"192.0.2.1:-1", b"::1:80"):
            self.assertIsNone(parseDestination(text))
        for text in (b"[192.0.2.1]:80", b"192.0.2.1:\xb2", b"[::1]:", b"/run/x"):
            self.assertIsNone(parseDestination(text))


class OriginalDestinationsTests(SynchronousTestCase):
    """
    L{OriginalDestinations}.
    """

    def make(self, **config: Any) -> None:
        """
        One that has begun.
        """
        fields: dict[str, Any] = {"name": "c", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
        more = config.pop("cluster", {})
        if config:
            fields["original_dst_lb_config"] = config
        self.store = Store()
        self.clock = Clock()
        self.section = Section.of("envoy.config.cluster.v3.Cluster", {**fields, **more})
        self.found: list[list[str]] = []
        scope = self.store.scope("cluster.c.")
        self.made = OriginalDestinations(self.section, "c", scope, self.clock)
        self.section.report.raiseIfAny()
        self.made.start(lambda endpoints: self.found.append([each.address.text for each in endpoints]))

    def chosen(self, to: str = "", address: str = "", note: Any = None) -> Endpoint | None:
        """
        The endpoint of a request.
        """
        headers = RequestHeaders(b"GET", b"/")
        if to:
            headers.add(b"x-envoy-original-dst-host", to.encode("ascii"))
        local = parseDestination(address.encode("ascii"))
        metadata = {} if note is None else {"ns": {"to": note}}
        choice: Any = _Choice(Origin(headers, metadata, local))
        return self.made.chooseFor(choice)

    def text(self, **origin: Any) -> str:
        """
        Where a request goes.
        """
        found = self.chosen(**origin)
        return "" if found is None else found.address.text

    def test_order(self) -> None:
        """
        Metadata goes before the field, and that before the connection; what is no address is counted, and the next one
        has its turn.
        """
        self.make(use_http_header=True, metadata_key={"key": "ns", "path": [{"key": "to"}]})
        one, two, three = "192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"
        self.assertEqual(self.text(note=one, to=two, address=three), one)
        self.assertEqual(self.text(to=two, address=three), two)
        self.assertEqual(self.text(address=three), three)
        self.assertEqual(self.text(), "")
        self.assertEqual(self.text(note="x", to="y", address=three), three)
        self.assertEqual(self.text(note=7, address=three), three)
        self.assertEqual(self.store.scope("cluster.c.").counter("original_dst_host_invalid").value, 2)
        self.assertIsNone(self.made.choose())
        self.assertIsNone(self.made.chooseFor(None))

    def test_configured(self) -> None:
        """
        The field counts where it is asked for only; the port may be another.
        """
        self.make()
        self.assertEqual(self.text(to="192.0.2.1:1", address="192.0.2.2:2"), "192.0.2.2:2")
        self.make(use_http_header=True, upstream_port_override=80)
        self.assertEqual(self.text(to="[2001:db8::1]:1"), "[2001:db8::1]:80")

    def test_kept(self) -> None:
        """
        An endpoint is the same one as long as somebody is sent to it, or is connected to it.
        """
        self.make(use_http_header=True)
        first = self.chosen(to="192.0.2.1:1")
        second = self.chosen(to="192.0.2.2:2")
        assert first is not None and second is not None
        self.assertEqual(first.hostname, "c192.0.2.1:1")
        self.assertIs(self.chosen(to="192.0.2.1:1"), first)
        second.cxActive.value = 1
        self.clock.advance(5)
        self.assertIs(self.chosen(to="192.0.2.1:1"), first)
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual(self.found, [[], ["192.0.2.1:1"], ["192.0.2.1:1", "192.0.2.2:2"], ["192.0.2.2:2"]])
        self.assertIsNot(self.chosen(to="192.0.2.1:1"), first)
        self.made.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.made.stop()

    def test_refused(self) -> None:
        """
        It provides its balancing, and has no endpoints of the configuration.
        """
        for cluster, told in (
            ({"lb_policy": "ROUND_ROBIN"}, "only CLUSTER_PROVIDED is"),
            ({"load_assignment": {"cluster_name": "c"}}, "must have none"),
        ):
            error = self.assertRaises(ConfigErrors, self.make, cluster=cluster)
            self.assertIn(told, str(error))
        error = self.assertRaises(ConfigErrors, self.make, upstream_port_override=70000)
        self.assertIn("not a port", str(error))

    def test_address(self) -> None:
        """
        Equal addresses are one endpoint's.
        """
        self.make()
        self.assertIs(self.chosen(address="192.0.2.1:1"), self.chosen(address="192.0.2.1:1"))
        self.assertEqual(Address("192.0.2.1", 1), parseDestination(b"192.0.2.1:1"))
