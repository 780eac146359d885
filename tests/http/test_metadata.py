"""
L{meshproxy.http.metadata}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.http.metadata import NotedMetadata, mergeInto, noteMetadata, noteShared


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


class _Stream:
    """
    What notes need of a stream.
    """

    noted: Any = None
    dynamicMetadata = NotedMetadata()


class SharedTests(SynchronousTestCase):
    """
    L{NotedMetadata}, and values that many streams share.
    """

    note = ("n", {"a": 1})

    def test_read(self) -> None:
        """
        What waits is there when it is read, as a dictionary of the stream's own, and stays one.
        """
        stream = _Stream()
        stream.noted = self.note
        stream.dynamicMetadata["n"]["a"] = 2
        self.assertEqual((stream.dynamicMetadata, self.note), ({"n": {"a": 2}}, ("n", {"a": 1})))
        self.assertEqual(_Stream().dynamicMetadata, {})

    def test_again(self) -> None:
        """
        A note of which the stream has one already is merged with it, be it read or not, and changes no other stream's.
        """
        for isRead in (False, True):
            stream = _Stream()
            stream.noted = self.note
            if isRead:
                self.assertEqual(stream.dynamicMetadata, {"n": {"a": 1}})
            noteShared(stream, ("n", {"b": 1}))
            noteShared(stream, ("o", {"c": 1}))
            self.assertEqual(stream.dynamicMetadata, {"n": {"a": 1, "b": 1}, "o": {"c": 1}})
            self.assertFalse(stream.noted)
        self.assertEqual(self.note, ("n", {"a": 1}))


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
