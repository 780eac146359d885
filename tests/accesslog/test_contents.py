"""
Tests for L{meshproxy.accesslog.contents}.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.contents import FILE_OPERATORS, INTERVAL, FileContent, ReadSecret, secretOperators
from meshproxy.accesslog.formatter import compileFormat
from meshproxy.accesslog.operators import OPERATORS
from tests.accesslog.streams import sampleStream


class FileCase(SynchronousTestCase):
    """
    A file.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"one")


class FileContentTests(FileCase):
    """
    L{FileContent}.
    """

    def test_changes(self) -> None:
        """
        What was read holds for a moment; then the file is looked at again, by its content. What was there last stays
        where it is gone, or too long.
        """
        clock = Clock()
        content = FileContent(str(self.path), clock.seconds)
        self.path.write_bytes(b"two")
        self.assertEqual(content(), "one")
        clock.advance(INTERVAL)
        self.assertEqual(content(), "two")
        for data, expected in ((b"", ""), (b"x" * (2 << 20), ""), (b"again", "again")):
            self.path.write_bytes(data)
            clock.advance(INTERVAL)
            self.assertEqual(content(), expected)
        self.path.unlink()
        clock.advance(INTERVAL)
        self.assertEqual(content(), "again")

    def test_replaced(self) -> None:
        """
        Another file in its place is noticed, however old it is; one that is as it was is not read again.
        """
        clock = Clock()
        content = FileContent(str(self.path), clock.seconds)
        other = Path(self.mktemp())
        other.write_bytes(b"new")
        os.utime(other, (1, 1))
        other.replace(self.path)
        clock.advance(INTERVAL)
        self.assertEqual(content(), "new")

    def test_shown(self) -> None:
        """
        In one line, without the end of the last one; bytes that are no text stay what they are.
        """
        texts = {b"a\n": "a", b"a\r\n": "a", b"a\n\n": "a\\x0a", b"a\r\nb\tc": "a\\x0d\\x0ab\tc", b"\xff": "\udcff"}
        for data, expected in texts.items():
            self.path.write_bytes(data)
            self.assertEqual(FileContent(str(self.path))(), expected)


class OperatorTests(FileCase):
    """
    C{%FILE_CONTENT(...)%} and C{%SECRET(...)%}.
    """

    def shown(self, text: str, secrets: Mapping[str, ReadSecret] | None = None) -> str:
        """
        A line with them.
        """
        operators = {**OPERATORS, **FILE_OPERATORS, **secretOperators(secrets or {})}
        return compileFormat(text, operators=operators).format(sampleStream())

    def test_file(self) -> None:
        """
        The content, cut where it is to be; the directory to watch has to be there.
        """
        path, folder = str(self.path), str(self.path.resolve().parent)
        self.assertEqual(self.shown(f"[%FILE_CONTENT({path})% %FILE_CONTENT({path}:{folder}):2%]"), "[one on]")
        self.path.write_bytes(b"")
        self.assertEqual(self.shown(f"[%FILE_CONTENT(:{path}:)%]"), "[]")

    def test_fileWrong(self) -> None:
        """
        A file that cannot be read, a directory that is not there, too many or too few of them.
        """
        path = str(self.path)
        for wrong in ("", "()", f"({path}x)", f"({path}:{path}:{path})", f"({path}:{path})", f"({path}\0)"):
            self.assertRaises(FormatError, self.shown, f"%FILE_CONTENT{wrong}%")
        self.path.write_bytes(b"x" * (2 << 20))
        error = self.assertRaises(FormatError, self.shown, f"%FILE_CONTENT({path})%")
        self.assertIn("longer than", str(error))

    def test_secret(self) -> None:
        """
        As it is now; nothing while there is none.
        """
        told: dict[str, bytes | None] = {"a": b"some\n", "b": None, "c": b""}
        secrets: dict[str, ReadSecret] = {name: lambda name=name: told[name] for name in told}  # type: ignore[misc]
        self.assertEqual(self.shown("%SECRET(a)% %SECRET(a):2% %SECRET(b)% %SECRET(c)%", secrets), "some so - -")
        for wrong in ("%SECRET%", "%SECRET()%", "%SECRET(d)%"):
            self.assertRaises(FormatError, self.shown, wrong, secrets)

    def test_notAsked(self) -> None:
        """
        Neither is there where C{formatters} do not say so.
        """
        for text in ("%SECRET(a)%", f"%FILE_CONTENT({self.path})%"):
            self.assertRaises(FormatError, compileFormat, text)
        coalesced = '%COALESCE({"operators": [{"command": "FILE_CONTENT", "param": "/etc/passwd"}]})%'
        self.assertRaises(FormatError, self.shown, coalesced)
