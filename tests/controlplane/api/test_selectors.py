"""
Tests for L{meshproxy.controlplane.api.selectors}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.api.selectors import fieldSelector, labelSelector


class LabelSelectorTests(SynchronousTestCase):
    """
    L{labelSelector} reads what kubectl's C{-l} takes.
    """

    def matches(self, text: str, **labels: str) -> bool:
        """
        Whether labels are selected.
        """
        return labelSelector(text)({"metadata": {"labels": labels}})

    def test_requirements(self) -> None:
        """
        Each form, met and not met.
        """
        for text, good, bad in (
            ("a=b", {"a": "b"}, {"a": "c"}),
            ("a==b", {"a": "b"}, {}),
            ("a = b , c", {"a": "b", "c": ""}, {"a": "b"}),
            ("a!=b", {"a": "c"}, {"a": "b"}),
            ("a!=b", {}, {"a": "b"}),
            ("a=", {"a": ""}, {"a": "b"}),
            ("a in (b, c)", {"a": "c"}, {"a": "d"}),
            ("a in(b)", {"a": "b"}, {}),
            ("a notin (b,c)", {"a": "d"}, {"a": "b"}),
            ("a notin (b)", {}, {"a": "b"}),
            ("a", {"a": "x"}, {"b": "x"}),
            ("!a", {"b": "x"}, {"a": "x"}),
            ("in", {"in": "x"}, {}),
            ("in in (in)", {"in": "in"}, {"in": "x"}),
            ("a.b/c=d,x in (y),!z", {"a.b/c": "d", "x": "y"}, {"a.b/c": "d", "x": "y", "z": ""}),
        ):
            self.assertTrue(labelSelector(text)({"metadata": {"labels": good}}), text)
            self.assertFalse(labelSelector(text)({"metadata": {"labels": bad}}), text)

    def test_everything(self) -> None:
        """
        Nothing asked selects all, also what has no labels.
        """
        self.assertTrue(labelSelector("")({"metadata": {}}))
        self.assertFalse(labelSelector("a")({}))

    def test_unreadable(self) -> None:
        """
        What cannot be read is refused, with the place.
        """
        for text in ("=", "a b", "a=b c", "a in b", "a in (b", "a in (b))", "!a=b", "-a", "a,,b", "a=b=c", "a<b"):
            self.assertRaises(Refused, labelSelector, text)
        self.assertIn("character 5", str(self.assertRaises(Refused, labelSelector, "a=b,<").detail))


class FieldSelectorTests(SynchronousTestCase):
    """
    L{fieldSelector} knows names and namespaces.
    """

    def test_fields(self) -> None:
        """
        Equal and not equal, all of them.
        """
        document = {"metadata": {"name": "a", "namespace": "n"}}
        for text in ("", "metadata.name=a", "metadata.name==a,metadata.namespace!=m"):
            self.assertTrue(fieldSelector(text)(document), text)
        for text in ("metadata.name=b", "metadata.name=a,metadata.namespace!=n"):
            self.assertFalse(fieldSelector(text)(document), text)

    def test_others(self) -> None:
        """
        Other fields, and what is no selector, are refused.
        """
        for text in ("spec.host=a", "metadata.name", "=a", "metadata.name<a"):
            self.assertRaises(Refused, fieldSelector, text)
