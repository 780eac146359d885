"""
Tests for L{meshproxy.controlplane.api.patches}.
"""

from __future__ import annotations

import copy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.patches import jsonPatch, mergePatch, strategicPatch
from meshproxy.controlplane.api.replies import Refused


class MergePatchTests(SynchronousTestCase):
    """
    L{mergePatch} is RFC 7386.
    """

    def test_appendix(self) -> None:
        """
        The examples of its appendix A.
        """
        cases: list[tuple[Any, Any, Any]] = [
            ({"a": "b"}, {"a": "c"}, {"a": "c"}),
            ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
            ({"a": "b"}, {"a": None}, {}),
            ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
            ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
            ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
            ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
            ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
            (["a", "b"], ["c", "d"], ["c", "d"]),
            ({"a": "b"}, ["c"], ["c"]),
            ({"a": "foo"}, None, None),
            ({"a": "foo"}, "bar", "bar"),
            ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
            ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
            ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ]
        for document, patch, wanted in cases:
            before = copy.deepcopy((document, patch))
            self.assertEqual(mergePatch(document, patch), wanted)
            self.assertEqual((document, patch), before)


class JSONPatchTests(SynchronousTestCase):
    """
    L{jsonPatch} is RFC 6902.
    """

    def done(self, document: Any, *operations: dict[str, Any]) -> Any:
        """
        The patched document; the given one stays.
        """
        before = copy.deepcopy(document)
        try:
            return jsonPatch(document, list(operations))
        finally:
            self.assertEqual(document, before)

    def test_operations(self) -> None:
        """
        Each operation, in the manner of appendix A.
        """
        cases: list[tuple[Any, dict[str, Any], Any]] = [
            ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
            ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
            ({"a": [1]}, {"op": "add", "path": "/a/-", "value": [2]}, {"a": [1, [2]]}),
            ({"a": [1]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2]}),
            ({"a": 1}, {"op": "add", "path": "", "value": 2}, 2),
            ({"a": 1, "b": 2}, {"op": "remove", "path": "/b"}, {"a": 1}),
            ({"a": [1, 2, 3]}, {"op": "remove", "path": "/a/1"}, {"a": [1, 3]}),
            ({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}),
            ({"a": [1, 2]}, {"op": "replace", "path": "/a/1", "value": 3}, {"a": [1, 3]}),
            ({"a": {"x": 1}, "b": {}}, {"op": "move", "from": "/a/x", "path": "/b/y"}, {"a": {}, "b": {"y": 1}}),
            ({"a": [1, 2, 3]}, {"op": "move", "from": "/a/0", "path": "/a/2"}, {"a": [2, 3, 1]}),
            ({"a": {"x": 1}}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": {"x": 1}, "b": {"x": 1}}),
            ({"a": 1}, {"op": "test", "path": "/a", "value": 1.0}, {"a": 1}),
            ({"a/b": 1, "m~n": 2}, {"op": "remove", "path": "/a~1b"}, {"m~n": 2}),
            ({"m~1n": 2}, {"op": "remove", "path": "/m~01n"}, {}),
            ({"": 1}, {"op": "replace", "path": "/", "value": 2}, {"": 2}),
        ]
        for document, operation, wanted in cases:
            self.assertEqual(self.done(document, operation), wanted)

    def test_impossible(self) -> None:
        """
        What cannot be done is refused, and told by its place.
        """
        operations: list[Any] = [
            {"op": "remove", "path": "/b"},
            {"op": "replace", "path": "/b", "value": 1},
            {"op": "add", "path": "/b/c", "value": 1},
            {"op": "add", "path": "/a/9", "value": 1},
            {"op": "add", "path": "/a/01", "value": 1},
            {"op": "add", "path": "/a/\u0661", "value": 1},
            {"op": "add", "path": "/a/-1", "value": 1},
            {"op": "add", "path": "/a"},
            {"op": "add", "path": "a", "value": 1},
            {"op": "add", "value": 1},
            {"op": "remove", "path": ""},
            {"op": "move", "from": "/a", "path": "/a/0"},
            {"op": "copy", "from": "/x", "path": "/y"},
            {"op": "test", "path": "/a", "value": []},
            {"op": "test", "path": "/a/0", "value": True},
            {"op": "whatever", "path": "/a"},
            {"op": [], "path": "/a"},
            {"path": "/a"},
            [],
        ]
        for operation in operations:
            fine = {"op": "test", "path": "", "value": {"a": [1]}}
            error = self.assertRaises(Refused, jsonPatch, {"a": [1]}, [fine, operation])
            self.assertIn("operation 1 ", error.detail)
        self.assertRaises(Refused, jsonPatch, {}, {"op": "add"})

    def test_growth(self) -> None:
        """
        A patch that doubles a document with each line ends before the memory does.
        """
        double = {"op": "copy", "from": "/a", "path": "/a/-"}
        self.assertRaises(Refused, jsonPatch, {"a": [1]}, [double] * 60)
        deeper = {"op": "copy", "from": "", "path": "/a"}
        self.assertRaises(Refused, jsonPatch, {}, [deeper] * 200)
        self.assertRaises(Refused, jsonPatch, {}, [{"op": "test", "path": "", "value": {}}] * 1001)


class StrategicPatchTests(SynchronousTestCase):
    """
    L{strategicPatch}, as kubectl uses it.
    """

    keys = {"spec.ports": "port"}

    def done(self, patch: dict[str, Any]) -> Any:
        """
        What becomes of a document with two ports.
        """
        ports = [{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]
        document = {"spec": {"ports": ports, "list": [1, 2, 3]}, "x": {"y": 1}}
        before = copy.deepcopy(document)
        merged = strategicPatch(document, patch, self.keys)
        self.assertEqual(document, before)
        return merged

    def test_mergedByKey(self) -> None:
        """
        Items are found by their key: changed, added, deleted.
        """
        ports = [{"port": 2, "name": "c"}, {"port": 3}, {"port": 1, "$patch": "delete"}]
        merged = self.done({"spec": {"ports": ports}})
        self.assertEqual(merged["spec"]["ports"], [{"port": 2, "name": "c"}, {"port": 3}])
        self.assertEqual(merged["x"], {"y": 1})

    def test_order(self) -> None:
        """
        The order that is asked for is given; what it does not name comes behind.
        """
        merged = self.done({"spec": {"$setElementOrder/ports": [{"port": 2}]}})
        self.assertEqual([port["port"] for port in merged["spec"]["ports"]], [2, 1])

    def test_otherLists(self) -> None:
        """
        Lists without a key are replaced.
        """
        self.assertEqual(self.done({"spec": {"list": [4]}})["spec"]["list"], [4])
        self.assertEqual(self.done({"spec": {"$deleteFromPrimitiveList/list": [1, 3]}})["spec"]["list"], [2])

    def test_directives(self) -> None:
        """
        Whole parts are replaced, deleted, or kept by name.
        """
        self.assertEqual(self.done({"x": {"$patch": "replace", "z": 2}})["x"], {"z": 2})
        self.assertNotIn("x", self.done({"x": {"$patch": "delete"}}))
        self.assertNotIn("x", self.done({"x": None}))
        self.assertEqual(self.done({"spec": {"$retainKeys": ["list"], "list": [1]}})["spec"], {"list": [1]})
        replaced = self.done({"spec": {"ports": [{"$patch": "replace"}, {"port": 9}]}})
        self.assertEqual(replaced["spec"]["ports"], [{"port": 9}])

    def test_unknown(self) -> None:
        """
        A directive that is not known, and an item without its key, are refused.
        """
        self.assertRaises(Refused, self.done, {"$whatever": 1})
        self.assertRaises(Refused, self.done, {"spec": {"ports": [{"name": "a"}]}})
