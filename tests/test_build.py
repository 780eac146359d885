# -*- test-case-name: tests.test_build -*-
"""
Tests for L{meshproxy._build}.
"""

from __future__ import annotations

import gzip
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from twisted.trial.unittest import SynchronousTestCase

from meshproxy import _build


class DescriptorSetTests(SynchronousTestCase):
    """
    What L{_build.descriptorSet} copied out of C{xds-protos} when this installation was built.
    """

    def setUp(self) -> None:
        """
        The package itself is there only while something is built.
        """
        built = Path(_build.__file__).parents[1] / _build.DESCRIPTOR_SET
        self.whole = FileDescriptorSet.FromString(gzip.decompress(built.read_bytes()))

    def test_order(self) -> None:
        """
        Each file follows those that it imports, as a pool needs it, and none stands twice.
        """
        seen: set[str] = set()
        for file in self.whole.file:
            self.assertEqual([name for name in file.dependency if name not in seen], [], file.name)
            self.assertNotIn(file.name, seen)
            seen.add(file.name)

    def test_contents(self) -> None:
        """
        Envoy's version 3, its companions and the well-known types are in it; version 2 is not.
        """
        names = {file.name for file in self.whole.file}
        for name in (
            "envoy/config/bootstrap/v3/bootstrap.proto",
            "envoy/service/discovery/v3/ads.proto",
            "xds/type/v3/typed_struct.proto",
            "udpa/type/v1/typed_struct.proto",
            "validate/validate.proto",
            "google/protobuf/struct.proto",
            "google/rpc/status.proto",
        ):
            self.assertIn(name, names)
        self.assertEqual([name for name in names if "/v2/" in name], [])


class GenerateTests(SynchronousTestCase):
    """
    L{_build.generate} writes the file.
    """

    def setUp(self) -> None:
        """
        An empty source tree.
        """
        self.root = Path(self.mktemp())
        self.target = self.root / _build.DESCRIPTOR_SET
        self.target.parent.mkdir(parents=True)

    def test_reproducible(self) -> None:
        """
        The same descriptors give the same bytes, and the bytes hold them.
        """
        self.patch(_build, "descriptorSet", lambda: b"descriptors")
        first = _build.generate(self.root).read_bytes()
        self.assertEqual(_build.generate(self.root).read_bytes(), first)
        self.assertEqual(gzip.decompress(first), b"descriptors")

    def _withoutSource(self) -> bytes:
        raise PackageNotFoundError("xds-protos")

    def test_keptFromAnSdist(self) -> None:
        """
        Without C{xds-protos}, the file that an sdist brought stays as it is.
        """
        self.target.write_bytes(b"brought")
        self.patch(_build, "descriptorSet", self._withoutSource)
        self.assertEqual(_build.generate(self.root), self.target)
        self.assertEqual(self.target.read_bytes(), b"brought")

    def test_missingSource(self) -> None:
        """
        With neither, the build fails.
        """
        self.patch(_build, "descriptorSet", self._withoutSource)
        self.assertRaises(PackageNotFoundError, _build.generate, self.root)
