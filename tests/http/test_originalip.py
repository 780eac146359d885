"""
Tests for L{meshproxy.http.originalip}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.config.pool import typeURL
from meshproxy.headers import RequestHeaders
from meshproxy.http.originalip import Detected, addressBefore, compileDetection

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PACKAGE = "envoy.extensions.http.original_ip_detection."
XFF = PACKAGE + "xff.v3.XffConfig"
CUSTOM = PACKAGE + "custom_header.v3.CustomHeaderConfig"


def manager(*extensions: tuple[str, dict[str, Any]]) -> Section:
    """
    A connection manager with extensions.
    """
    listed = [
        {"name": f"x{number}", "typed_config": {"@type": typeURL(name), **fields}}
        for number, (name, fields) in enumerate(extensions)
    ]
    return Section.of(MANAGER, {"stat_prefix": "p", "original_ip_detection_extensions": listed})


def detect(*extensions: tuple[str, dict[str, Any]], peer: str | None = "127.0.0.1", **fields: str) -> Detected:
    """
    What extensions find in a head.

    @param fields: Its fields, with underscores for hyphens.
    """
    section = manager(*extensions)
    found = compileDetection(section.children("original_ip_detection_extensions"))
    section.report.raiseIfAny()
    assert found is not None
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return found(RequestHeaders(b"GET", b"/", b"a", pairs), peer)


class AddressBeforeTests(SynchronousTestCase):
    """
    L{addressBefore}.
    """

    def test_places(self) -> None:
        """
        Places are counted from the end; what is no address, or is not there, is nothing.
        """
        forwarded = b"1.1.1.1, x ,2001:db8::1"
        self.assertEqual(addressBefore(forwarded, 0), ("2001:db8::1", False))
        self.assertEqual(addressBefore(forwarded, 1), (None, False))
        self.assertEqual(addressBefore(forwarded, 2), ("1.1.1.1", False))
        self.assertEqual(addressBefore(forwarded, 3), (None, False))
        self.assertEqual(addressBefore(None, 0), (None, False))
        self.assertEqual(addressBefore(b" 1.1.1.1", 0), ("1.1.1.1", True))

    def test_zones(self) -> None:
        """
        The zone of an address is an interface, and nothing that a client makes up.
        """
        lo = socket.if_nametoindex("lo")
        for zone, number in ((b"1", 1), (b"lo", lo)):
            self.assertEqual(addressBefore(b"fe80::1%" + zone, 0), (f"fe80::1%{number}", True))
        self.assertEqual(addressBefore(b"FE80:0::1%0", 0), ("fe80::1", True))
        for zone in (b"", b"no-such", b"\xff", b'"a b', b"x" * 5000):
            self.assertEqual(addressBefore(b"fe80::1%" + zone, 0), (None, False), zone[:20])


class DetectionTests(SynchronousTestCase):
    """
    L{compileDetection}.
    """

    def test_none(self) -> None:
        """
        Without extensions there is nothing to ask.
        """
        self.assertIsNone(compileDetection([]))

    def test_forwarded(self) -> None:
        """
        C{xff} counts trusted hops, and says whether the field is appended to.
        """
        xff = "9.9.9.9,8.8.8.8"
        self.assertEqual(detect((XFF, {}), x_forwarded_for=xff), Detected("8.8.8.8"))
        self.assertEqual(detect((XFF, {"xff_num_trusted_hops": 1}), x_forwarded_for=xff), Detected("9.9.9.9"))
        self.assertEqual(detect((XFF, {"skip_xff_append": False})), Detected(appends=True))
        self.assertEqual(detect((XFF, {}), x_forwarded_for="9.9.9.9"), Detected("9.9.9.9", True))

    def test_trustedRanges(self) -> None:
        """
        With ranges the last address counts that is of no trusted proxy, and only if the peer is one.
        """
        ranges = {"cidrs": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
        xff: tuple[str, dict[str, Any]] = (XFF, {"xff_trusted_cidrs": ranges})
        for forwarded, expected in (
            ("1.1.1.1,2.2.2.2,10.0.0.2", Detected("2.2.2.2")),
            ("10.0.0.3,10.0.0.2", Detected("10.0.0.3")),
            ("10.0.0.3", Detected("10.0.0.3", True)),
            ("1.1.1.1,x,10.0.0.2", Detected(None)),
        ):
            self.assertEqual(detect(xff, peer="10.0.0.1", x_forwarded_for=forwarded), expected, forwarded)
        self.assertEqual(detect(xff, peer="10.0.0.1"), Detected())
        for peer in ("1.0.0.1", None):
            self.assertEqual(detect(xff, peer=peer, x_forwarded_for="1.1.1.1"), Detected(appends=True))

    def test_customHeader(self) -> None:
        """
        C{custom_header} takes the address out of a field, which may be trusted.
        """
        custom: dict[str, Any] = {"header_name": "X-Client"}
        self.assertEqual(detect((CUSTOM, custom), x_client="5.5.5.5"), Detected("5.5.5.5"))
        trusted = {**custom, "allow_extension_to_set_address_as_trusted": True}
        self.assertEqual(detect((CUSTOM, trusted), x_client="5.5.5.5"), Detected("5.5.5.5", True))
        self.assertEqual(detect((CUSTOM, custom), x_client="who"), Detected())

    def test_refusal(self) -> None:
        """
        It may refuse who does not tell; a status that is no error stands for 403.
        """
        for given, status in (("Unauthorized", 401), ("OK", 403), ("ServiceUnavailable", 503)):
            found = detect((CUSTOM, {"header_name": "x", "reject_with_status": {"code": given}}))
            assert found.refusal is not None
            self.assertEqual(found.refusal.status, status)
            self.assertEqual(found.refusal.details, "rejecting_because_detection_failed")

    def test_order(self) -> None:
        """
        The first that finds something decides.
        """
        both: tuple[tuple[str, dict[str, Any]], ...] = ((CUSTOM, {"header_name": "x-client"}), (XFF, {}))
        self.assertEqual(detect(*both, x_client="5.5.5.5", x_forwarded_for="6.6.6.6").client, "5.5.5.5")
        self.assertEqual(detect(*both, x_forwarded_for="6.6.6.6").client, "6.6.6.6")
        self.assertIsNone(detect(*both).client)

    def test_faults(self) -> None:
        """
        Hops and ranges exclude each other, and other extensions are not there.
        """
        router = "envoy.extensions.filters.http.router.v3.Router"
        for extension in ((XFF, {"xff_num_trusted_hops": 1, "xff_trusted_cidrs": {}}), (router, {})):
            section = manager(extension)
            compileDetection(section.children("original_ip_detection_extensions"))
            self.assertEqual(len(section.report.errors), 1, extension)
