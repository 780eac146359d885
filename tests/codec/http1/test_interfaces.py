"""
L{meshproxy.codec.http1.interfaces}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshproxy.codec.http1 import Http1Counters, Http1Options, IRequestSink, IResponseSink
from tests.codec.http1.helpers import RecordingSink


class InterfaceTests(SynchronousTestCase):
    """
    Sinks, options and counters.
    """

    def test_sinks(self) -> None:
        """
        One object may be the sink of both roles.
        """
        self.assertTrue(verifyObject(IRequestSink, RecordingSink()))
        self.assertTrue(verifyObject(IResponseSink, RecordingSink()))

    def test_defaults(self) -> None:
        """
        The defaults are those of Envoy's configuration.
        """
        options = Http1Options()
        self.assertEqual((options.maxHeadBytes, options.maxHeaderCount), (61440, 100))
        self.assertTrue(options.allowAbsoluteURL)
        self.assertFalse(options.acceptHTTP10 or options.enableTrailers or options.allowChunkedLength)

    def test_ownCounters(self) -> None:
        """
        Without counters of its own a codec counts where nobody reads, and not where another one does.
        """
        one, other = Http1Counters(), Http1Counters()
        one.droppedHeadersWithUnderscores.value += 1
        self.assertEqual(other.droppedHeadersWithUnderscores.value, 0)
