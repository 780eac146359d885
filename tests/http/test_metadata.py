"""
L{meshproxy.http.metadata}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.http.metadata import mergeInto, noteMetadata


class NoteTests(SynchronousTestCase):
    """
    L{noteMetadata}.
    """

    def test_beside(self) -> None:
        """
        Values stand beside those that are there, and take the place of their namesakes.
        """
        stream = StreamInfo()
        noteMetadata(stream, "n", {"a": 1, "b": 1})
        noteMetadata(stream, "n", {"b": 2})
        noteMetadata(stream, "o", {"c": 3})
        self.assertEqual(stream.dynamicMetadata, {"n": {"a": 1, "b": 2}, "o": {"c": 3}})


class MergeTests(SynchronousTestCase):
    """
    L{mergeInto}.
    """

    def test_kinds(self) -> None:
        """
        Structures are merged, lists follow each other, all else is replaced.
        """
        held: dict[str, object] = {"s": {"a": 1, "b": 1}, "l": [1], "t": "old", "k": "kept", "o": [1]}
        mergeInto(held, {"s": {"b": 2, "c": 3}, "l": [2], "t": "new", "n": None, "o": "one"})
        expected = {"s": {"a": 1, "b": 2, "c": 3}, "l": [1, 2], "t": "new", "k": "kept", "n": None, "o": "one"}
        self.assertEqual(held, expected)

    def test_leavesOthers(self) -> None:
        """
        Structures that others hold as well are not changed.
        """
        inner: dict[str, object] = {"a": 1}
        mergeInto({"s": inner}, {"s": {"a": 2}})
        self.assertEqual(inner, {"a": 1})
