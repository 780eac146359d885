"""
L{meshproxy.identity.settings}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshproxy.config import Section
from meshproxy.errors import ConfigErrors
from meshproxy.identity.settings import SettingsError, compileIdentity, readRoots, splitAddress
from tests.identity.support import ControlPlaneTestCase


def extension(value: dict[str, Any], url: str = "meshproxy.identity") -> dict[str, Any]:
    """
    An entry of C{bootstrap_extensions}.
    """
    struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": url, "value": value}
    return {"name": "identity", "typed_config": struct}


class SettingsTests(ControlPlaneTestCase):
    """
    What a bootstrap says of it.
    """

    def read(self, *extensions: dict[str, Any]) -> Any:
        """
        Compile the extensions of a bootstrap.

        @raise ConfigErrors: If they have faults.
        """
        section = Section.of("envoy.config.bootstrap.v3.Bootstrap", {"bootstrap_extensions": list(extensions)})
        found = compileIdentity(section)
        section.report.raiseIfAny()
        return found

    def why(self, *extensions: dict[str, Any]) -> str:
        """
        Why they are refused.
        """
        return str(self.assertRaises(ConfigErrors, self.read, *extensions))

    def test_none(self) -> None:
        """
        Without one there is no identity.
        """
        self.assertIsNone(self.read())

    def test_defaults(self) -> None:
        """
        The roots are all that is needed: the control plane is on this machine, and a certificate lives for a day.
        """
        found = self.read(extension({"roots": self.roots}))
        self.assertEqual((found.where, found.verifiedName), (("127.0.0.1", 15012), "127.0.0.1"))
        self.assertEqual((found.lifetime, found.token, found.folder), (86400, "", ""))

    def test_all(self) -> None:
        """
        All fields, by the names of a configuration.
        """
        told = {"address": "[2001:db8::1]:15012", "server_name": "control.test", "roots": self.roots, "token": "t"}
        found = self.read(extension({**told, "folder": "/f", "lifetime": "1h30m", "grace_period_ratio": 0.25}))
        self.assertEqual((found.where, found.verifiedName), (("2001:db8::1", 15012), "control.test"))
        self.assertEqual((found.token, found.folder, found.lifetime), ("t", "/f", 5400))
        self.assertEqual(found.gracePeriodRatio, 0.25)

    def test_faults(self) -> None:
        """
        Each fault is told at its place.
        """
        path = "bootstrap_extensions[0].typed_config.value"
        self.assertIn(f"{path}.roots: '/nowhere' cannot be read", self.why(extension({"roots": "/nowhere"})))
        self.assertIn(f"{path}.address", self.why(extension({"roots": self.roots, "address": "localhost"})))
        self.assertIn(f"{path}.lifetime", self.why(extension({"roots": self.roots, "lifetime": "0.5s"})))
        told = self.why(extension({"roots": self.roots, "grace_period_ratio": 1}))
        self.assertIn(f"{path}.grace_period_ratio", told)
        self.assertIn("did you mean", self.why(extension({"roots": self.roots, "tokens": "t"})))
        self.assertIn("roots", self.why(extension({})))
        two = extension({"roots": self.roots})
        self.assertIn("one identity", self.why(two, two))
        self.assertIn("there is one: a xds.type.v3.TypedStruct of the type_url", self.why(extension({}, "other")))

    def test_addresses(self) -> None:
        """
        HOST:PORT, and nothing that is nearly so.
        """
        self.assertEqual(splitAddress("a.test:1"), ("a.test", 1))
        for text in ("", ":1", "a", "a:", "a:b", "a:0", "a:65536", "::1:15012", "a:１", "a:999999999999"):
            self.assertRaises(ValueError, splitAddress, text)

    def test_roots(self) -> None:
        """
        A file without a certificate is told.
        """
        self.assertEqual(readRoots(self.roots), list(self.authority.roots))
        path = Path(self.mktemp())
        path.write_text("nothing")
        self.assertIn("holds no certificate", str(self.assertRaises(SettingsError, readRoots, str(path))))
