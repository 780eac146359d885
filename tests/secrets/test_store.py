"""
Tests of L{meshproxy.secrets.store}.
"""

from __future__ import annotations

import gc
import json
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.config import Section
from meshproxy.errors import ConfigErrors
from meshproxy.secrets.store import NamedSecret, checkSecret
from meshproxy.secrets.watch import INTERVAL
from meshproxy.testing.pki import Authority
from tests.secrets.support import Room, section

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class SecretsCase(SynchronousTestCase):
    """
    A store, and an authority.
    """

    def setUp(self) -> None:
        self.room = Room()
        self.secrets = self.room.secrets
        self.authority = Authority()
        self.events: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def certificate(self, name: str, *names: str) -> Section:
        return section("Secret", {"name": name, "tls_certificate": self.authority.issue(*names).inline})

    def find(self, value: dict[str, Any]) -> NamedSecret:
        held = section("SdsSecretConfig", value)
        found = self.secrets.find(held)
        held.report.raiseIfAny()
        assert found is not None
        return found


class StaticSecretTests(SecretsCase):
    """
    C{static_resources.secrets} are found by their names.
    """

    def test_names(self) -> None:
        """
        A name that is not there is refused, with those that are.
        """
        self.secrets.compile([self.certificate("mine", "a")])
        self.assertEqual(self.find({"name": "mine"}).name, "mine")
        error = self.assertRaises(ConfigErrors, self.find, {"name": "other"})
        self.assertIn("no static secret 'other'; there are: mine", str(error))

    def test_doubled(self) -> None:
        """
        Two of one name are refused.
        """
        second = self.certificate("mine", "a")
        self.secrets.compile([self.certificate("mine", "a"), second])
        self.assertIn("two secrets", str(self.assertRaises(ConfigErrors, second.report.raiseIfAny)))

    def test_replaced(self) -> None:
        """
        Whoever uses a secret is told when another configuration has another content for it, and not otherwise; until
        the configuration serves, the old content stays.
        """
        first, second = self.certificate("mine", "a"), self.certificate("mine", "b")
        self.secrets.compile([first])
        self.secrets.replace()
        secret = self.find({"name": "mine"})
        told: list[int] = []
        leave = secret.subscribe(lambda: told.append(1))
        self.secrets.compile([first])
        self.secrets.replace()
        self.assertEqual(told, [])
        self.secrets.compile([second])
        self.assertIs(self.find({"name": "mine"}).section, first)
        self.secrets.replace()
        self.assertEqual((told, secret.section), ([1], second))
        leave()
        self.secrets.compile([first])
        self.secrets.replace()
        self.assertEqual(told, [1])

    def test_kept(self) -> None:
        """
        A configuration that will not serve leaves no name behind.
        """
        self.secrets.compile([self.certificate("mine", "a")])
        self.secrets.replace()
        self.secrets.compile([self.certificate("other", "a")])
        self.secrets.keep()
        self.find({"name": "mine"})
        self.assertRaises(ConfigErrors, self.find, {"name": "other"})

    def test_kinds(self) -> None:
        """
        Each kind of secret is loaded for a try, and what does not load is refused; ticket keys always are.
        """
        good: list[dict[str, Any]] = [
            {"tls_certificate": self.authority.issue("a").inline},
            {"validation_context": {"trusted_ca": {"inline_string": self.authority.root}}},
            {"generic_secret": {"secret": {"inline_string": "x"}}},
        ]
        bad: list[dict[str, Any]] = [
            {"tls_certificate": {"private_key": {"inline_string": "x"}}},
            {"validation_context": {"trusted_ca": {"inline_string": "x"}}},
            {"generic_secret": {"secret": {"filename": "/nowhere"}}},
            {"session_ticket_keys": {"keys": [{"inline_string": "x"}]}},
            {},
        ]
        for value in good:
            held = section("Secret", {"name": "x", **value})
            checkSecret(held)
            held.report.raiseIfAny()
        for value in bad:
            held = section("Secret", {"name": "x", **value})
            checkSecret(held)
            self.assertRaises(ConfigErrors, held.report.raiseIfAny)

    def test_generic(self) -> None:
        """
        The text of a generic secret is read by its name, as it is each time.
        """
        held = section("Secret", {"name": "token", "generic_secret": {"secret": {"inline_string": "abc"}}})
        self.secrets.compile([held])
        named = section("SdsSecretConfig", {"name": "token"})
        read = self.secrets.reader(named)
        assert read is not None
        self.assertEqual(read(), b"abc")
        self.secrets.replace()
        self.secrets.compile(
            [section("Secret", {"name": "token", "generic_secret": {"secret": {"inline_bytes": "eA=="}}})]
        )
        self.assertEqual(read(), b"abc")
        self.secrets.replace()
        self.assertEqual(read(), b"x")
        self.assertEqual(named.report.errors, [])

    def test_genericNot(self) -> None:
        """
        There is none of that name, or it is of another kind, or has only texts with names.
        """
        texts = {"secrets": {"a": {"inline_string": "b"}}}
        self.secrets.compile(
            [
                section("Secret", {"name": "roots", "validation_context": {}}),
                section("Secret", {"name": "texts", "generic_secret": texts}),
            ]
        )
        for name in ("none", "roots"):
            named = section("SdsSecretConfig", {"name": name})
            self.assertIsNone(self.secrets.reader(named))
            self.assertEqual([error.path for error in named.report.errors], ["name"])
        read = self.secrets.reader(section("SdsSecretConfig", {"name": "texts"}))
        assert read is not None
        self.assertIsNone(read())

    def test_genericLate(self) -> None:
        """
        One that comes from the control plane is used for as long as anybody may read it, and nothing until it came.
        """
        self.secrets.hasStream = True
        read = self.secrets.reader(section("SdsSecretConfig", {"name": "late", "sds_config": {"ads": {}}}))
        assert read is not None
        self.assertIsNone(read())
        self.secrets.receive(
            "late", section("Secret", {"name": "late", "generic_secret": {"secret": {"inline_string": "y"}}}), "1"
        )
        self.assertEqual(read(), b"y")
        (secret,) = self.secrets.dynamic
        self.assertTrue(secret.isUsed)
        del read
        gc.collect()
        self.assertFalse(secret.isUsed)


class FileSecretTests(SecretsCase):
    """
    SDS from a file: a C{DiscoveryResponse}, read anew when it changes.
    """

    def setUp(self) -> None:
        SecretsCase.setUp(self)
        self.path = self.mktemp() + ".yaml"
        self.secrets.start()

    def write(self, *secrets: dict[str, Any]) -> None:
        resources = [{"@type": SECRET, **each} for each in secrets]
        with open(self.path, "w") as file:
            json.dump({"version_info": "1", "resources": resources}, file)

    def certificateValue(self, *names: str) -> dict[str, Any]:
        return {"name": "mine", "tls_certificate": self.authority.issue(*names).inline}

    @property
    def named(self) -> NamedSecret:
        return self.find({"name": "mine", "sds_config": {"path_config_source": {"path": self.path}}})

    def test_read(self) -> None:
        """
        The secret of that name is found among the resources; all who name it have the same object.
        """
        self.write({**self.certificateValue("b"), "name": "other"}, self.certificateValue("a"))
        secret = self.named
        assert secret.section is not None
        self.assertEqual((secret.section.get("name"), secret.version), ("mine", "1"))
        self.assertIs(self.named, secret)
        self.assertEqual(self.room.counted("sds.mine."), {"update_attempt": 1, "update_success": 1})
        self.assertEqual(self.secrets.dynamic, [secret])

    def test_update(self) -> None:
        """
        Another content is taken within a second.
        """
        self.write(self.certificateValue("a"))
        secret = self.named
        told: list[int] = []
        secret.subscribe(lambda: told.append(1))
        self.write(self.certificateValue("b"))
        self.room.reactor.advance(INTERVAL)
        self.assertEqual(told, [1])

    def test_rejected(self) -> None:
        """
        A content that does not load is counted and told with its place, without the key; what was there stays.
        """
        self.write(self.certificateValue("a"))
        secret = self.named
        before = secret.section
        bad = self.certificateValue("b")
        bad["tls_certificate"]["private_key"] = {"inline_string": self.authority.keyText}
        self.write(bad)
        self.room.reactor.advance(INTERVAL)
        self.assertIs(secret.section, before)
        self.assertEqual(self.room.counted("sds.mine.")["update_rejected"], 1)
        self.assertIn(f"{self.path}:1:", self.events[-1])
        self.assertIn("does not belong to the certificate", self.events[-1])
        self.assertNotIn("PRIVATE", self.events[-1])

    def test_unreadable(self) -> None:
        """
        What is no response, lacks the secret, or has a field that is not implemented, is rejected.
        """
        for text in (
            "{",
            json.dumps({"resources": []}),
            json.dumps({"resources": [{"@type": SECRET, "name": "mine", "session_ticket_keys": {"keys": []}}]}),
        ):
            with open(self.path, "w") as file:
                file.write(text)
            self.room.secrets._fromFiles.clear()
            self.assertIsNone(self.named.section)
        self.assertEqual(self.room.counted("secrets.")["update_rejected"], 3)

    def test_sources(self) -> None:
        """
        A file that is not there, or another kind of source, is refused in the configuration.
        """
        missing = {"name": "x", "sds_config": {"path_config_source": {"path": "/nowhere"}}}
        self.assertIn("does not exist", str(self.assertRaises(ConfigErrors, self.find, missing)))
        ads = {"name": "x", "sds_config": {"ads": {}}}
        self.assertIn("without dynamic_resources.ads_config", str(self.assertRaises(ConfigErrors, self.find, ads)))
