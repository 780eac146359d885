"""
Frames as numbers and bytes.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.frames import FrameType, Setting, encodeFrame, encodeSettings, frameHead
from tests.codec.http2.frames import frame, settings


class FrameTests(SynchronousTestCase):
    """
    L{encodeFrame}, L{frameHead} and L{encodeSettings}.
    """

    def test_lengths(self) -> None:
        """
        The three bytes of the length are right at each of their borders.
        """
        for length in (0, 1, 255, 256, 65535, 65536, 16777215):
            self.assertEqual(frameHead(length, 1, 2, 3), frame(1, 2, 3, b"", length))

    def test_frame(self) -> None:
        """
        A head, and the payload behind it.
        """
        self.assertEqual(encodeFrame(FrameType.PING, 1, 0, b"12345678"), frame(6, 1, 0, b"12345678"))

    def test_settings(self) -> None:
        """
        Each setting takes six bytes.
        """
        pairs = [(Setting.ENABLE_PUSH, 0), (Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)]
        self.assertEqual(encodeSettings(pairs), settings(*pairs))
