"""
The list of differences from Envoy is explained.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.differences import DIFFERENCES
from tests.conformance.test_tls import MEANT

_PAGE = Path(__file__).parents[2] / "docs" / "development" / "differences.md"

# What no conversation shows to be different, but a test of this proxy alone, or what is left out of the comparison.
_TESTED_ELSEWHERE = {
    "A configuration that is not there is waited for",
    "A handshake has a minute",
    "A refused response counts once",
    "A refused response with scopes changes nothing",
    "A request without a route has no route's fields",
    "A rewrite names groups that there are",
    "A route speaks to filters that are there",
    "A tunnel ends one direction at a time",
    "Bundles of trust domains",
    "Certificates are read again",
    "Clusters warm together",
    "Connections made ahead by chance",
    "Endpoints are not degraded for ever",
    "Expressions name what there is",
    "Files of discovery are read to the letter",
    "Filters begin after the handshake",
    "Filters on the way upstream come before the connection",
    "Streams outlast the time to drain",
    "The certificate for the name, or none",
    "The cipher of TLS 1.3",
    "The line of a try stands before that of its request",
    "Values in x-forwarded-client-cert are quoted",
    "What is missing is asked for again",
}


class DifferenceTests(SynchronousTestCase):
    """
    L{DIFFERENCES} and the page about them.
    """

    def test_explained(self) -> None:
        """
        Each reason has a heading, and each heading is a reason.
        """
        headings = {line[3:] for line in _PAGE.read_text().splitlines() if line.startswith("## ")}
        self.assertEqual({each.reason for each in DIFFERENCES} | set(MEANT) | _TESTED_ELSEWHERE, headings)
