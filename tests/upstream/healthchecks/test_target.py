"""
L{meshproxy.upstream.healthchecks.target}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.net.address import Address
from meshproxy.upstream.healthchecks.target import compileCheckedBy

_HOME = Address("192.0.2.1", 80)


class CheckedByTests(SynchronousTestCase):
    """
    Where an endpoint is checked.
    """

    def at(self, **fields: Any) -> str:
        """
        The address for the checks of an endpoint.
        """
        made = compileCheckedBy(Section.of("envoy.config.endpoint.v3.Endpoint.HealthCheckConfig", fields))
        assert made is not None
        return made.addressOf(_HOME).text

    def test_address(self) -> None:
        """
        At its own address and port, unless others are given. A path has no port.
        """
        elsewhere = {"socket_address": {"address": "192.0.2.9", "port_value": 90}}
        self.assertEqual(self.at(), "192.0.2.1:80")
        self.assertEqual(self.at(port_value=81), "192.0.2.1:81")
        self.assertEqual(self.at(address=elsewhere), "192.0.2.9:90")
        self.assertEqual(self.at(address=elsewhere, port_value=81), "192.0.2.9:81")
        self.assertEqual(self.at(address={"pipe": {"path": "/run/a"}}, port_value=81), "/run/a")

    def test_refused(self) -> None:
        """
        A name is no address.
        """
        section = Section.of(
            "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig",
            {"address": {"socket_address": {"address": "a.example", "port_value": 90}}},
        )
        compileCheckedBy(section)
        self.assertEqual(
            [str(error) for error in section.report.errors],
            ["address.socket_address.address: 'a.example' is not an IP address"],
        )
