"""
Tests of L{meshproxy.admin.certificates}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.messages import dictOf
from meshproxy.net.certificates import serialOf
from meshproxy.testing.pki import Authority
from tests.admin.support import BOOTSTRAP, ask, makeServer

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


class CertificatesTests(SynchronousTestCase):
    """
    C{/certs} and the secrets of C{/config_dump}.
    """

    def setUp(self) -> None:
        self.authority = Authority()
        self.issued = self.authority.issue("example.com", "spiffe://a/b", "192.0.2.1")
        path = self.mktemp() + ".json"
        resource = {"@type": f"{_TLS}Secret", "name": "dynamic", "tls_certificate": self.issued.inline}
        with open(path, "w") as file:
            json.dump({"version_info": "7", "resources": [resource]}, file)
        upstream = {
            "@type": f"{_TLS}UpstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [self.issued.inline],
                "validation_context_sds_secret_config": {"name": "roots"},
            },
        }
        other = {
            "@type": f"{_TLS}UpstreamTlsContext",
            "common_tls_context": {
                "tls_certificate_sds_secret_configs": [
                    {"name": "dynamic", "sds_config": {"path_config_source": {"path": path}}}
                ]
            },
        }
        roots = {"name": "roots", "validation_context": {"trusted_ca": {"inline_string": self.authority.root}}}
        key = {"name": "mine", "tls_certificate": self.issued.inline}
        clusters = [
            {
                "name": name,
                "load_assignment": {"cluster_name": name},
                "transport_socket": {"name": "tls", "typed_config": config},
            }
            for name, config in (("one", upstream), ("two", other))
        ]
        more = json.dumps({"static_resources": {"clusters": clusters, "secrets": [roots, key]}})
        self.server = makeServer(self.merged(more))

    def merged(self, more: str) -> str:
        import yaml

        whole: dict[str, Any] = yaml.safe_load(BOOTSTRAP)
        added = json.loads(more)["static_resources"]
        whole["static_resources"]["clusters"] += added["clusters"]
        whole["static_resources"]["secrets"] = added["secrets"]
        return json.dumps(whole)

    def test_list(self) -> None:
        """
        Roots and chains of each context, in Envoy's form.
        """
        first, second = ask(self.server, "/certs").json["certificates"]
        (root,), (leaf,) = first["ca_cert"], first["cert_chain"]
        self.assertEqual(root["path"], "<inline>")
        self.assertEqual(leaf["serial_number"], serialOf(self.issued.certificate))
        self.assertEqual(
            leaf["subject_alt_names"], [{"dns": "example.com"}, {"uri": "spiffe://a/b"}, {"ip_address": "192.0.2.1"}]
        )
        self.assertRegex(leaf["expiration_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(leaf["days_until_expiration"].isdigit())
        self.assertEqual(second["ca_cert"], [])

    def test_expiry(self) -> None:
        """
        The gauge tells the days until the first one is over; without certificates it is Envoy's never.
        """
        ends = self.issued.certificate.not_valid_after_utc.timestamp()
        secrets = self.server.context.secrets
        self.assertEqual(secrets.daysUntilExpiry(ends - 2.5 * 86400), 2)
        self.assertEqual(secrets.daysUntilExpiry(ends + 1), 0)
        text = ask(makeServer(), "/stats").text
        self.assertIn("server.days_until_first_cert_expiring: 4294967295", text)

    def test_dump(self) -> None:
        """
        Secrets are listed, and their keys are not shown, wherever they stand.
        """
        shown = ask(self.server, "/config_dump")
        self.assertNotIn("PRIVATE KEY", shown.text)
        (dump,) = [each for each in shown.json["configs"] if each["@type"].endswith("SecretsConfigDump")]
        self.assertEqual([each["name"] for each in dump["static_secrets"]], ["roots", "mine"])
        mine = dump["static_secrets"][1]["secret"]["tls_certificate"]
        self.assertIn("BEGIN CERTIFICATE", mine["certificate_chain"]["inline_string"])
        self.assertEqual(list(mine["private_key"].values()), ["[redacted]"])
        (dynamic,) = dump["dynamic_active_secrets"]
        self.assertEqual((dynamic["name"], dynamic["version_info"]), ("dynamic", "7"))
        self.assertEqual(dictOf(self.server.bootstrap.message)["static_resources"]["secrets"][0]["name"], "roots")
