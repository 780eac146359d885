# -*- test-case-name: tests.config.test_pool -*-
"""
Tests for L{meshproxy.config.pool}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from meshproxy.config import pool


class PoolTests(SynchronousTestCase):
    """
    The messages come from a pool of our own.
    """

    def test_nothingOfEnvoyImported(self) -> None:
        """
        Making a bootstrap imports no generated module: those of C{xds-protos} overwrite files of others.
        """
        code = (
            "import sys\n"
            "from meshproxy.config.pool import newMessage\n"
            "newMessage('envoy.config.bootstrap.v3.Bootstrap')\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('envoy', 'xds', 'udpa', 'validate')])\n"
        )
        root = str(Path(meshproxy.__file__).parent.parent)
        path = os.pathsep.join([root, *filter(None, sys.path)])
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": path},
            cwd="/",
        )
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))

    def test_findType(self) -> None:
        """
        A name finds its descriptor, or nothing.
        """
        found = pool.findType("envoy.config.cluster.v3.Cluster")
        assert found is not None
        self.assertEqual(found.name, "Cluster")
        self.assertIsNone(pool.findType("envoy.config.cluster.v3.Clutter"))
        self.assertIsNone(pool.findType(""))

    def test_unknownClass(self) -> None:
        """
        A class that this program asks for by a wrong name is a mistake of ours.
        """
        self.assertRaises(KeyError, pool.newMessage, "envoy.Nothing")

    def test_typeURL(self) -> None:
        """
        A type URL and the name in it; what stands before the last slash does not matter.
        """
        self.assertEqual(pool.typeURL("a.B"), "type.googleapis.com/a.B")
        self.assertEqual(pool.typeName("type.googleapis.com/a.B"), "a.B")
        self.assertEqual(pool.typeName("example.com/x/a.B"), "a.B")

    def test_packAny(self) -> None:
        """
        Messages of this pool and of protobuf's own are packed alike.
        """
        packed: Any = pool.packAny(Duration(seconds=5))
        self.assertEqual(packed.type_url, "type.googleapis.com/google.protobuf.Duration")
        unpacked: Any = pool.messageClass("google.protobuf.Duration").FromString(packed.value)
        self.assertEqual(unpacked.seconds, 5)

    def test_typeNames(self) -> None:
        """
        All top-level messages are listed, to find near names in.
        """
        names = pool.typeNames()
        self.assertIn("envoy.extensions.filters.http.router.v3.Router", names)
        self.assertEqual(list(names), sorted(names))

    def test_missingFile(self) -> None:
        """
        A checkout that nobody installed says in one line what to do.
        """
        self.patch(pool, "_FILE", "absent.gz")
        pool._descriptorSet.cache_clear()
        self.addCleanup(pool._descriptorSet.cache_clear)
        error = self.assertRaises(pool.MissingDescriptors, pool._descriptorSet)
        self.assertIn("pip install -e .", str(error))
        self.assertNotIn("\n", str(error))
