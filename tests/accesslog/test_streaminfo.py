"""
Tests for L{meshproxy.accesslog.streaminfo}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo


class StreamInfoTests(SynchronousTestCase):
    """
    L{StreamInfo}'s defaults.
    """

    def test_empty(self) -> None:
        """
        A new stream holds nothing of its own, and still answers every question.
        """
        info = StreamInfo()
        self.assertEqual(vars(info), {})
        self.assertEqual((info.responseCode, info.end, info.connection.id), (0, None, 0))
