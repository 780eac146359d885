"""
L{meshproxy.net.proxyheader}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.net.proxyheader import compileTLVFilter


class TLVFilterTests(SynchronousTestCase):
    """
    Which TLVs pass.
    """

    def passed(self, fields: dict[str, Any] | None) -> list[int]:
        """
        The types of 1 to 4 that pass.
        """
        message = "envoy.config.core.v3.ProxyProtocolPassThroughTLVs"
        passes = compileTLVFilter(None if fields is None else Section.of(message, fields))
        return [kind for kind in range(1, 5) if passes(kind)]

    def test_types(self) -> None:
        """
        None without the message, all, or those that are named.
        """
        self.assertEqual(self.passed(None), [])
        self.assertEqual(self.passed({}), [1, 2, 3, 4])
        self.assertEqual(self.passed({"match_type": "INCLUDE", "tlv_type": [2, 4]}), [2, 4])
        self.assertEqual(self.passed({"match_type": "INCLUDE"}), [])
