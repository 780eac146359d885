"""
L{meshproxy.filters.network.direct_response}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.filters.network.support import FilterProxy, accessLog, refusals


class DirectResponseTests(SynchronousTestCase):
    """
    The same to everybody.
    """

    def test_response(self) -> None:
        """
        The bytes, then the end, whatever the client says.
        """
        proxy = FilterProxy(("direct_response", {"response": {"inline_string": "hello"}}))
        for pieces in ([], [b"ignored"]):
            peer = proxy.talk(*pieces)
            self.assertEqual((peer.received, peer.closed), (b"hello", True))

    def test_empty(self) -> None:
        """
        Without a response it only closes.
        """
        peer = FilterProxy(("direct_response", {})).talk()
        self.assertEqual((peer.received, peer.closed), (b"", True))

    def test_log(self) -> None:
        """
        The listener's log says who answered, and how much.
        """
        log = accessLog("%RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%\n")
        proxy = FilterProxy(("direct_response", {"response": {"inline_bytes": "aGk="}}), access_log=log)
        proxy.talk().close()
        self.assertEqual(proxy.log, ["direct_response 0 2"])

    def test_unreadable(self) -> None:
        """
        A file that is not there is told.
        """
        fields = {"response": {"filename": "/no/such/file"}}
        self.assertIn("response", refusals(("direct_response", fields)))
