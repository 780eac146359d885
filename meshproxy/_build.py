# -*- test-case-name: tests.test_build -*-
"""
Generate Envoy's descriptor set when the wheel or the editable install is built.

Envoy's messages come from the distribution C{xds-protos}, which is needed here and nowhere else: at run time its
modules would overwrite files of googleapis-common-protos and opentelemetry-proto.  So this module copies the
descriptors out of them into one compressed C{FileDescriptorSet}, which L{meshproxy.config.pool} loads into a pool
of its own.

In a checkout that was not installed, C{python -m meshproxy._build} writes the file.
"""

from __future__ import annotations

import gzip
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from setuptools.command.build_py import build_py

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

__all__ = ["DESCRIPTOR_SET", "BuildPy", "descriptorSet", "generate", "main"]

#: Where the descriptor set lies, relative to the folder that holds the package.
DESCRIPTOR_SET = Path("meshproxy", "config", "envoy.pb.gz")

_SOURCE = "xds-protos"

#: What is taken: Envoy's API of version 3, and the udpa and xds messages beside it.  Files that these import follow.
_ROOTS = re.compile(r"(envoy/(.+/)?v3(alpha)?|envoy/annotations|udpa/.+|xds/.+|validate|google/rpc)/\w+_pb2\.py\Z")

#: Well-known types that a configuration may carry in an Any, though no file of Envoy's imports all of them.
_WELL_KNOWN = ("any", "descriptor", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")


class BuildPy(build_py):
    """
    C{build_py}, which writes the descriptor set into the source tree first, so that C{package_data} finds it and
    an editable install has it.
    """

    def run(self) -> None:
        """
        Generate, then build as ever.
        """
        generate(Path())
        super().run()


def descriptorSet() -> bytes:
    """
    Envoy's descriptors from the installed C{xds-protos}.

    @return: A serialized C{FileDescriptorSet} in which each file follows those it imports.

    @raise PackageNotFoundError: If C{xds-protos} is not installed.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    found: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name not in found:
            for dependency in file.dependencies:
                add(dependency)
            found[file.name] = file

    modules = sorted(str(file) for file in files(_SOURCE) or () if _ROOTS.match(str(file)))
    for name in [f"google/protobuf/{name}_pb2.py" for name in _WELL_KNOWN] + modules:
        add(import_module(name.removesuffix(".py").replace("/", ".")).DESCRIPTOR)
    whole = FileDescriptorSet()
    for file in found.values():
        whole.file.add().ParseFromString(file.serialized_pb)
    return whole.SerializeToString(deterministic=True)


def generate(root: Path) -> Path:
    """
    Write the descriptor set below a source tree.

    @param root: The folder that holds the package C{meshproxy}.

    @return: The file. Where C{xds-protos} is missing, one that is there already (in an sdist) stays.
    """
    target = root / DESCRIPTOR_SET
    try:
        whole = descriptorSet()
    except PackageNotFoundError:
        if target.exists():
            return target
        raise
    # No time stamp: the same protos give the same bytes, as reproducible builds ask.
    target.write_bytes(gzip.compress(whole, mtime=0))
    return target


def main() -> None:
    """
    Generate into the checkout that this module lies in.
    """
    print(generate(Path(__file__).resolve().parent.parent))


if __name__ == "__main__":
    main()
