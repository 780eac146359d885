"""
Options and counters.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import Http2Counters, Http2Options
from meshproxy.stats.metrics import Counter


class OptionsTests(SynchronousTestCase):
    """
    L{Http2Options} and L{Http2Counters}.
    """

    def test_defaults(self) -> None:
        """
        They are Envoy's.
        """
        options = Http2Options()
        self.assertEqual(options.maxConcurrentStreams, 1024)
        self.assertEqual(options.initialStreamWindow, 16 << 20)
        self.assertEqual(options.initialConnectionWindow, 24 << 20)
        self.assertEqual((options.maxOutboundFrames, options.maxOutboundControlFrames), (10000, 1000))

    def test_counters(self) -> None:
        """
        A counter that is handed in counts; the others count for nobody.
        """
        counter = Counter("http2.rx_reset")
        counters = Http2Counters({"rx_reset": counter})
        counters.rxReset.value += 1
        counters.txReset.value += 1
        self.assertEqual(counter.value, 1)
        self.assertEqual(len(set(Http2Counters.names.values())), len(Http2Counters.names))
