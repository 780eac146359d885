"""
L{meshproxy.http.requestids}.
"""

from __future__ import annotations

import uuid

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.http.requestids import checkRequestIds, newRequestId

EXTENSION = "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension"


class RequestIdTests(SynchronousTestCase):
    """
    L{newRequestId}.
    """

    def test_uuids(self) -> None:
        """
        Ids are UUIDs of version 4, in the usual form, all different, also beyond those that are made at once.
        """
        ids = [newRequestId().decode("ascii") for _ in range(300)]
        self.assertEqual(len(set(ids)), 300)
        for text in ids:
            parsed = uuid.UUID(text)
            self.assertEqual((str(parsed), parsed.version, parsed.variant), (text, 4, uuid.RFC_4122))


class ExtensionTests(SynchronousTestCase):
    """
    L{checkRequestIds}.
    """

    def test_check(self) -> None:
        """
        Only the extension that makes such ids is taken.
        """
        for name, paths in (
            ("request_id.uuid.v3.UuidRequestIdConfig", []),
            ("filters.http.router.v3.Router", ["typed_config"]),
        ):
            config = {"@type": f"type.googleapis.com/envoy.extensions.{name}"}
            section = Section.of(EXTENSION, {"typed_config": config})
            checkRequestIds(section)
            self.assertEqual([error.path for error in section.report.errors], paths)
