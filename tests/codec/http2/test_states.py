"""
The states of streams.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.states import NEXT_STATE, Happening, StreamState
from meshproxy.errors import LocalProtocolError
from tests.codec.http2.helpers import downstream


class StateTests(SynchronousTestCase):
    """
    L{NEXT_STATE}.
    """

    def test_reachable(self) -> None:
        """
        Every state is reached from C{IDLE}, and nothing leads out of C{CLOSED}.
        """
        reached = {StreamState.IDLE}
        for _ in StreamState:
            reached |= {after for (before, _), after in NEXT_STATE.items() if before in reached}
        self.assertEqual(reached, set(StreamState))
        self.assertFalse([before for before, _ in NEXT_STATE if before is StreamState.CLOSED])

    def test_everyPair(self) -> None:
        """
        A stream goes where the table leads, and refuses each pair that is not in it.
        """
        from meshproxy.codec.http2.stream import CodecStream

        for before in StreamState:
            for what in Happening:
                codec, _, _ = downstream()
                stream = CodecStream(codec, 1, before, 65535, 65535)
                codec.streams[1] = stream
                after = NEXT_STATE.get((before, what))
                if after is None:
                    self.assertRaises(LocalProtocolError, stream.happen, what)
                else:
                    stream.happen(what)
                    self.assertIs(stream.state, after)
                    self.assertEqual(1 in codec.streams, after is not StreamState.CLOSED)
