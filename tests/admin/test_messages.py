"""
Tests for L{meshproxy.admin.messages}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.messages import REDACTED, anyOf, dictOf, redacted, setDuration, setTimestamp
from meshproxy.config import Section
from meshproxy.config.pool import newMessage, typeURL

TLS = "envoy.extensions.transport_sockets.tls.v3."
CERTIFICATE = {
    "certificate_chain": {"inline_string": "chain"},
    "private_key": {"inline_string": "secret"},
    "password": {"inline_bytes": "c2VjcmV0"},
}


def message(name: str, value: object) -> Any:
    """
    A message of plain data.
    """
    return Section.of(name, value).message


class RedactTests(SynchronousTestCase):
    """
    L{redacted}.
    """

    def test_sensitive(self) -> None:
        """
        What is below a sensitive field is hidden, text and bytes; what stands beside it is not. The original stays.
        """
        original = message(TLS + "TlsCertificate", CERTIFICATE)
        found = redacted(original)
        self.assertEqual(found.private_key.inline_string, REDACTED)
        self.assertEqual(found.password.inline_bytes, REDACTED.encode())
        self.assertEqual(found.certificate_chain.inline_string, "chain")
        self.assertEqual(original.private_key.inline_string, "secret")

    def test_any(self) -> None:
        """
        Types in an Any are looked into, at any depth.
        """
        context = message(TLS + "DownstreamTlsContext", {"common_tls_context": {"tls_certificates": [CERTIFICATE]}})
        cluster: Any = newMessage("envoy.config.cluster.v3.Cluster")
        cluster.transport_socket.typed_config.CopyFrom(anyOf(context))
        outer: Any = newMessage("envoy.admin.v3.ClustersConfigDump")
        outer.static_clusters.add().cluster.CopyFrom(anyOf(cluster))
        shown = str(dictOf(redacted(outer)))
        self.assertNotIn("secret", shown)
        self.assertNotIn("c2VjcmV0", shown)
        self.assertIn(REDACTED, shown)
        self.assertIn("chain", shown)

    def test_typedStruct(self) -> None:
        """
        A TypedStruct that stands for one of Envoy's messages is held to its fields, by either of their names.
        """
        for key, name in (("private_key", "tls_certificates"), ("privateKey", "tlsCertificates")):
            struct = message(
                "xds.type.v3.TypedStruct",
                {
                    "type_url": typeURL(TLS + "CommonTlsContext"),
                    "value": {name: [{key: {"inline_string": "secret"}}], "alpn_protocols": ["h2"]},
                },
            )
            shown = str(dictOf(redacted(struct)))
            self.assertNotIn("secret", shown)
            self.assertIn("h2", shown)

    def test_customStruct(self) -> None:
        """
        The TypedStruct of a custom filter is shown: nobody said what of it is a secret.
        """
        struct = message("xds.type.v3.TypedStruct", {"type_url": "mine", "value": {"greeting": "hello"}})
        self.assertIn("hello", str(dictOf(redacted(struct))))

    def test_unknownType(self) -> None:
        """
        Bytes of a type that nobody here can read are left out.
        """
        packed: Any = newMessage("google.protobuf.Any")
        packed.type_url = "type.googleapis.com/nobody.Knows"
        packed.value = b"secret"
        self.assertEqual(redacted(packed).value, b"")

    def test_maps(self) -> None:
        """
        What stands in a sensitive map is hidden, under its keys.
        """
        value = {"secret": {"inline_string": "x"}, "secrets": {"a": {"filename": "/p"}}}
        secret = message(TLS + "GenericSecret", value)
        found = redacted(secret)
        self.assertEqual(found.secret.inline_string, REDACTED)
        self.assertEqual(found.secrets["a"].filename, REDACTED)


class DictTests(SynchronousTestCase):
    """
    L{dictOf} and the small ones.
    """

    def test_names(self) -> None:
        """
        Fields have the names of the proto file, durations are in seconds; defaults are shown on demand.
        """
        info: Any = newMessage("envoy.admin.v3.ServerInfo")
        setDuration(info.uptime_current_epoch, 3.9)
        self.assertEqual(dictOf(info), {"uptime_current_epoch": "3s"})
        self.assertEqual(dictOf(info, defaults=True)["state"], "LIVE")

    def test_zeroDuration(self) -> None:
        """
        A duration of nothing is shown, too.
        """
        info: Any = newMessage("envoy.admin.v3.ServerInfo")
        setDuration(info.uptime_all_epochs, 0.2)
        self.assertEqual(dictOf(info), {"uptime_all_epochs": "0s"})

    def test_timestamp(self) -> None:
        """
        Times are to the millisecond.
        """
        dump: Any = newMessage("envoy.admin.v3.BootstrapConfigDump")
        setTimestamp(dump.last_updated, 1.0459)
        self.assertEqual(dictOf(dump), {"last_updated": "1970-01-01T00:00:01.045Z"})
