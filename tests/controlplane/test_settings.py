"""
Tests for L{meshproxy.controlplane.settings}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.settings import Settings, defaultData, loadSettings
from meshproxy.errors import ConfigErrors


class SettingsTests(SynchronousTestCase):
    """
    L{loadSettings} reads a file, or needs none.
    """

    def load(self, text: str) -> Settings:
        """
        The settings of a text.
        """
        path = Path(self.mktemp())
        path.write_text(text)
        return loadSettings(str(path))

    def refused(self, text: str) -> str:
        """
        What is said of a text.
        """
        return str(self.assertRaises(ConfigErrors, self.load, text))

    def test_defaults(self) -> None:
        """
        Without a file, and with an empty one, this machine is served and no other.
        """
        for settings in (loadSettings(None), self.load("")):
            assert settings.xds.plain is not None and settings.xds.secure is not None
            listens = [settings.rest.listen, settings.xds.plain, settings.xds.secure]
            self.assertEqual([(one.address, one.port) for one in listens], [
                ("127.0.0.1", 15014), ("127.0.0.1", 15010), ("127.0.0.1", 15012),
            ])  # fmt: skip
            self.assertEqual((settings.store.type, settings.ca.workloadCertTTL), ("sqlite", 86400.0))

    def test_file(self) -> None:
        """
        What a file may say.
        """
        settings = self.load(
            """
            mesh: {trustDomain: td.test, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
            store: {type: memory, history: 50}
            rest: {listen: {address: "::1", port: 0}, tls: true}
            xds: {plain: null, names: [control.test]}
            ca: {workloadCertTTL: 10s}
            auth:
              tokens: [{name: ci, sha256: "%s", roles: [read, write]}]
              identities: [{id: spiffe://td.test/ns/a/sa/b, roles: [read]}]
              local: []
            """
            % ("a" * 64)
        )
        self.assertEqual((settings.mesh.trustDomain, settings.store.history), ("td.test", 50))
        self.assertEqual((settings.xds.plain, settings.ca.workloadCertTTL), (None, 10.0))
        self.assertEqual(settings.auth.tokens[0].roles, ["read", "write"])

    def test_faults(self) -> None:
        """
        Every fault is told with its place, and with what would be right.
        """
        told = self.refused("mesh: {trustDomian: a}\nrest: {listen: {port: 70000}}\nstore: {type: etcd, history: 1}\n")
        for part in (":1:8  mesh.trustDomian", "did you mean trustDomain", "rest.listen.port: 70000 is no port"):
            self.assertIn(part, told)
        self.assertIn("store.type: 'etcd' is no store: sqlite, memory", told)
        told = self.refused(
            "auth: {tokens: [{name: a, sha256: abc, roles: [admin]}], identities: [{id: x, roles: []}]}"
        )
        for part in ("64 hexadecimal digits", "'admin' is no role: read, write, issue", "spiffe://TRUST_DOMAIN"):
            self.assertIn(part, told)
        self.assertIn("mesh.trustDomain", self.refused("mesh: {trustDomain: UPPER}"))
        self.assertIn("not YAML", self.refused("mesh: ["))
        self.assertIn("ca.workloadCertTTL", self.refused("ca: {workloadCertTTL: 0s}"))

    def test_missing(self) -> None:
        """
        A file that is not there is named.
        """
        self.assertIn("/nowhere/at/all", str(self.assertRaises(ConfigErrors, loadSettings, "/nowhere/at/all")))

    def test_data(self) -> None:
        """
        Where data go.
        """
        import os

        self.patch(os, "environ", {"HOME": "/home/ann"})
        self.assertEqual(defaultData(), Path("/home/ann/.local/state/meshproxy"))
        self.patch(os, "environ", {"HOME": "/home/ann", "XDG_STATE_HOME": "/state"})
        self.assertEqual(defaultData(), Path("/state/meshproxy"))
        self.patch(os, "environ", {"HOME": "/home/ann", "XDG_STATE_HOME": "state"})
        self.assertEqual(defaultData(), Path("/home/ann/.local/state/meshproxy"))
