# -*- test-case-name: tests.config.test_declarations -*-
"""
Tests for L{meshproxy.config.declarations}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.config.load import BUILT_IN
from meshproxy.config.pool import findType
from meshproxy.config.supported import supported


class DeclarationTests(SynchronousTestCase):
    """
    What is declared exists.
    """

    def test_names(self) -> None:
        """
        Every declared message and field is one of Envoy's API.
        """
        wrong = []
        for typeName in supported.types():
            descriptor = findType(typeName)
            known = () if descriptor is None else descriptor.fields_by_name
            wrong += [typeName] if descriptor is None else []
            wrong += [f"{typeName}.{field}" for field in supported.fields(typeName) if field not in known]
        self.assertEqual(wrong, [])

    def test_values(self) -> None:
        """
        Values by which a field is limited are values that it can have.
        """
        for typeName in supported.types():
            for field, support in supported.fields(typeName).items():
                for value in support.values:
                    Section.of(typeName, {field: value})

    def test_reasons(self) -> None:
        """
        A reason is half a sentence: it follows a colon in the reference.
        """
        for typeName in BUILT_IN.types():
            for field, support in BUILT_IN.fields(typeName).items():
                for why in (support.reason, support.refusal):
                    self.assertFalse(why.endswith("."), (typeName, field))
                    self.assertFalse("|" in why, (typeName, field))

    def test_reachable(self) -> None:
        """
        The messages of declared fields are declared too, or else nothing could be set in them; filters' are theirs.
        """
        empty = {
            # Messages without fields, and well-known types.
            "envoy.config.route.v3.RouteMatch.ConnectMatcher",
        }
        missing = []
        for typeName in BUILT_IN.types():
            descriptor = findType(typeName)
            assert descriptor is not None
            for field, support in BUILT_IN.fields(typeName).items():
                message = descriptor.fields_by_name[field].message_type
                if message is None or support.reason or support.refusal or message.GetOptions().map_entry:
                    continue
                name = message.full_name
                if not name.startswith("google.") and name not in empty and name not in set(BUILT_IN.types()):
                    missing.append(f"{typeName}.{field}: {name}")
        self.assertEqual(missing, [])
