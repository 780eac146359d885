"""
Tests for L{meshproxy.admin.listing} and L{meshproxy.admin.addresses}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.listing import healthFlags
from meshproxy.net.address import Address
from meshproxy.upstream.endpoint import Endpoint
from tests.admin.support import BOOTSTRAP, ask, makeServer

HELLO = """\
hello::observability_name::greeting
hello::default_priority::max_connections::7
hello::default_priority::max_pending_requests::1024
hello::default_priority::max_requests::1024
hello::default_priority::max_retries::3
hello::high_priority::max_connections::1024
hello::high_priority::max_pending_requests::1024
hello::high_priority::max_requests::1024
hello::high_priority::max_retries::3
hello::added_via_api::false
hello::192.0.2.1:80::cx_active::0
hello::192.0.2.1:80::cx_connect_fail::0
hello::192.0.2.1:80::cx_total::5
hello::192.0.2.1:80::rq_active::2
hello::192.0.2.1:80::rq_error::0
hello::192.0.2.1:80::rq_pending_active::0
hello::192.0.2.1:80::rq_success::0
hello::192.0.2.1:80::rq_timeout::0
hello::192.0.2.1:80::rq_total::0
hello::192.0.2.1:80::hostname::one
hello::192.0.2.1:80::health_flags::healthy
hello::192.0.2.1:80::weight::3
hello::192.0.2.1:80::region::r
hello::192.0.2.1:80::zone::z
hello::192.0.2.1:80::sub_zone::s
hello::192.0.2.1:80::canary::true
hello::192.0.2.1:80::priority::0
hello::192.0.2.1:80::success_rate::-1
hello::192.0.2.1:80::local_origin_success_rate::-1
"""


class ClustersTests(SynchronousTestCase):
    """
    L{clusterList}.
    """

    def setUp(self) -> None:
        """
        A proxy with some figures.
        """
        self.server = makeServer()
        endpoint = self.server.clusters.byName["hello"].endpoints[0]
        endpoint.cxTotal.value = 5
        endpoint.active = 2

    def test_text(self) -> None:
        """
        The lines are Envoy's, in its order, for each endpoint and for clusters without any.
        """
        text = ask(self.server, "/clusters").text
        self.assertTrue(text.startswith(HELLO), text)
        self.assertIn("hello::/run/two::health_flags::/eds_status_draining\n", text)
        self.assertIn("other::added_via_api::false\n", text)

    def test_json(self) -> None:
        """
        The same as C{envoy.admin.v3.Clusters}.
        """
        answer = ask(self.server, "/clusters?format=json")
        self.assertEqual(answer.headers["content-type"], "application/json")
        hello, other = answer.json["cluster_statuses"]
        self.assertEqual((hello["name"], hello["observability_name"]), ("hello", "greeting"))
        thresholds = hello["circuit_breakers"]["thresholds"]
        self.assertEqual([item["max_connections"] for item in thresholds], [7, 1024])
        self.assertEqual(thresholds[1]["priority"], "HIGH")
        one, two = hello["host_statuses"]
        self.assertIn({"name": "cx_total", "value": "5"}, one["stats"])
        self.assertIn({"name": "rq_active", "value": "2", "type": "GAUGE"}, one["stats"])
        self.assertEqual(len(one["stats"]), 9)
        self.assertEqual(one["health_status"], {"eds_health_status": "HEALTHY"})
        self.assertEqual(two["health_status"], {"eds_health_status": "DRAINING"})
        self.assertEqual(one["locality"], {"region": "r", "zone": "z", "sub_zone": "s"})
        self.assertNotIn("host_statuses", other)

    def test_filter(self) -> None:
        """
        C{filter} is found anywhere in a name; nothing found is an empty answer, a bad one 400.
        """
        self.assertNotIn("hello::", ask(self.server, "/clusters?filter=the").text)
        self.assertIn("other::", ask(self.server, "/clusters?filter=the").text)
        self.assertEqual(ask(self.server, "/clusters?filter=nobody").text, "")
        self.assertEqual(ask(self.server, "/clusters?filter=nobody&format=json").json, {})
        bad = ask(self.server, "/clusters?filter=%5B")
        self.assertEqual((bad.status, bad.text), (400, "Invalid re2 regex"))

    def test_healthFlags(self) -> None:
        """
        What EDS says of an endpoint, in the words of C{/clusters}.
        """
        found = {
            status: healthFlags(Endpoint(Address("192.0.2.1", 1), healthStatus=status))
            for status in ("UNKNOWN", "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED")
        }
        self.assertEqual(
            found,
            {
                "UNKNOWN": "healthy",
                "HEALTHY": "healthy",
                "UNHEALTHY": "/failed_eds_health",
                "DRAINING": "/eds_status_draining",
                "TIMEOUT": "/failed_eds_health",
                "DEGRADED": "/degraded_eds_health",
            },
        )


class ListenersTests(SynchronousTestCase):
    """
    L{listenerList}.
    """

    def test_text(self) -> None:
        """
        A line for each address; the admin is not among them.
        """
        more = "    additional_addresses: [{address: {socket_address: {address: 192.0.2.9, port_value: 1}}}]\n"
        server = makeServer(BOOTSTRAP.replace("  - name: back\n", "  - name: back\n" + more))
        self.assertEqual(
            ask(server, "/listeners").text, "front::127.0.0.1:10000\nback::[::1]:10001\nback::192.0.2.9:1\n"
        )
        back = ask(server, "/listeners?format=json").json["listener_statuses"][1]
        self.assertEqual(back["local_address"]["socket_address"], {"address": "::1", "port_value": 10001})
        self.assertEqual(len(back["additional_local_addresses"]), 1)

    def test_boundPort(self) -> None:
        """
        A port of 0 is shown as the one that was bound; a listener that was stopped is not shown.
        """
        server = makeServer(BOOTSTRAP.replace("port_value: 10000", "port_value: 0"))
        self.assertIn("front::127.0.0.1:12345\n", ask(server, "/listeners").text)
        server.listeners.stopAccepting()
        self.assertEqual(ask(server, "/listeners").text, "")
