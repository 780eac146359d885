"""
L{meshproxy.filters.http.set_metadata}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.set_metadata import SetMetadata
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed


class SetMetadataTests(SynchronousTestCase):
    """
    L{SetMetadata}.
    """

    def noted(self, text: str, route: str = "", before: dict[str, dict[str, object]] | None = None) -> object:
        """
        What is noted of a request.
        """
        context = makeContext()
        levels = [compiled(SetMetadata, route, context, True)] if route else []
        stream = FakeStream(route=routed(*levels))
        stream.dynamicMetadata = before
        makeFilter(SetMetadata, text, context).requestHeaders(stream, stream.requestHeaders, True)
        return stream.dynamicMetadata

    def test_values(self) -> None:
        """
        Values of every kind are noted under their namespaces.
        """
        text = "metadata: [{metadata_namespace: a, value: {t: x, n: 1.5, b: true, l: [1], s: {k: null}}}]"
        expected = {"a": {"t": "x", "n": 1.5, "b": True, "l": [1], "s": {"k": None}}}
        self.assertEqual(self.noted(text), expected)

    def test_overwrite(self) -> None:
        """
        What is there stays, unless it may be overwritten.
        """
        text = "metadata: [{metadata_namespace: a, %s value: {k: new, l: [2]}}]"
        before: dict[str, dict[str, object]] = {"a": {"k": "old", "l": [1]}}
        self.assertEqual(self.noted(text % "", before=dict(before)), before)
        expected = {"a": {"k": "new", "l": [1, 2]}}
        self.assertEqual(self.noted(text % "allow_overwrite: true,", before={"a": dict(before["a"])}), expected)

    def test_deprecated(self) -> None:
        """
        The old fields merge.
        """
        self.assertEqual(
            self.noted("{metadata_namespace: a, value: {k: 1}}", before={"a": {"j": 2}}), {"a": {"j": 2, "k": 1}}
        )

    def test_copies(self) -> None:
        """
        What one stream does with its values, the next does not see.
        """
        made = makeFilter(SetMetadata, "metadata: [{metadata_namespace: a, value: {l: [1]}}]")
        first, second = FakeStream(), FakeStream()
        made.requestHeaders(first, first.requestHeaders, True)
        assert first.dynamicMetadata is not None
        first.dynamicMetadata["a"]["l"].append(2)  # type: ignore[attr-defined]  # a list
        made.requestHeaders(second, second.requestHeaders, True)
        self.assertEqual(second.dynamicMetadata, {"a": {"l": [1]}})

    def test_route(self) -> None:
        """
        A route's values take the place of the filter's.
        """
        text = "metadata: [{metadata_namespace: %s, value: {k: 1}}]"
        self.assertEqual(self.noted(text % "a", text % "b"), {"b": {"k": 1}})

    def test_typed(self) -> None:
        """
        Typed metadata are refused, for nothing here reads them.
        """
        value = "{'@type': type.googleapis.com/google.protobuf.StringValue, value: x}"
        self.assertRaises(ConfigErrors, self.noted, f"metadata: [{{metadata_namespace: a, typed_value: {value}}}]")
