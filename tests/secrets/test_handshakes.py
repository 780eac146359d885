"""
Handshakes of L{meshproxy.secrets.downstream} with L{meshproxy.secrets.upstream}, in memory: who is let in, who is not,
what is counted, and what a change of a secret does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors, TLSError
from meshproxy.net.certificates import fingerprint, spkiDigest
from meshproxy.net.tls import TLSTransport
from meshproxy.secrets.downstream import DownstreamTLS
from meshproxy.secrets.upstream import UpstreamTLS
from meshproxy.secrets.watch import INTERVAL
from meshproxy.testing.pki import Authority, Credential
from tests.secrets.support import Heard, Room, section
from tests.secrets.test_validation import SPIFFE

_DAY = timedelta(days=1)


class HandshakeCase(SynchronousTestCase):
    """
    An authority that both sides trust.
    """

    def setUp(self) -> None:
        self.room = Room()
        self.authority = Authority()
        self.ca = {"trusted_ca": {"inline_string": self.authority.root}}
        self.server = self.authority.issue("example.com")

    def downstream(self, *keys: Credential, common: Any = None, **fields: Any) -> DownstreamTLS:
        certificates = [each.inline for each in keys or (self.server,)]
        return self.room.downstream(
            {"common_tls_context": {"tls_certificates": certificates, **(common or {})}, **fields}
        )

    def mutual(self, validation: Any = None, **fields: Any) -> DownstreamTLS:
        common = {"validation_context": {**self.ca, **(validation or {})}}
        return self.downstream(common=common, require_client_certificate=True, **fields)

    def upstream(self, *keys: Credential, validation: Any = None, common: Any = None, **fields: Any) -> UpstreamTLS:
        held: dict[str, Any] = {"tls_certificates": [each.inline for each in keys], **(common or {})}
        if validation is not None:
            held["validation_context"] = validation
        return self.room.upstream({"common_tls_context": held, **fields})

    def leafOf(self, end: Heard) -> x509.Certificate | None:
        transport = end.transport
        assert isinstance(transport, TLSTransport) and transport.tls is not None
        return transport.tls.peerCertificate


class DownstreamTests(HandshakeCase):
    """
    What clients get.
    """

    def test_namedRoots(self) -> None:
        """
        A client that is asked for a certificate is told by whom it may be, unless the configuration says otherwise; it
        is verified all the same.
        """
        for suppressed in (False, True):
            tls = self.mutual({"suppress_client_ca_list": suppressed})
            _, client = self.room.shake(tls, self.upstream(self.authority.issue("me"), validation=self.ca))
            self.assertTrue(client.isMade)
            transport: Any = client.transport
            told = [name.CN for name in transport._connection.get_client_ca_list()]
            self.assertEqual(bool(told), not suppressed)
            server, _ = self.room.shake(tls, self.upstream(Authority("other").issue("me"), validation=self.ca))
            self.assertFalse(server.isMade)

    def test_plain(self) -> None:
        """
        A handshake without client certificates is counted with its version, cipher and group.
        """
        server, client = self.room.shake(self.downstream(), self.upstream())
        self.assertTrue(server.isMade and client.isMade)
        self.assertEqual(
            self.room.counted("listener.a.ssl."),
            {
                "handshake": 1,
                "no_certificate": 1,
                "versions.TLSv1.3": 1,
                "ciphers.TLS_AES_128_GCM_SHA256": 1,
                "curves.X25519MLKEM768": 1,
            },
        )

    def test_needsCertificate(self) -> None:
        """
        A server without a certificate is refused.
        """
        self.assertIn("a server needs a certificate", str(self.assertRaises(ConfigErrors, self.room.downstream, {})))

    def test_serverNames(self) -> None:
        """
        The certificate is that of the name, of the wildcard, or else the first one.
        """
        other = self.authority.issue("other.com", "*.wild.com")
        named = self.authority.issue(commonName="old.com")
        downstream = self.downstream(self.server, other, named)
        wanted = {
            "example.com": self.server,
            "OTHER.com": other,
            "a.wild.com": other,
            "a.b.wild.com": self.server,
            "old.com": named,
            "none.com": self.server,
            "": self.server,
        }
        for name, credential in wanted.items():
            _, client = self.room.shake(downstream, self.upstream(sni=name))
            self.assertEqual(self.leafOf(client), credential.certificate, name)

    def test_kindsOfKeys(self) -> None:
        """
        Of an RSA and an ECDSA certificate for one name, the client gets the one that it can use, with its chain.
        """
        between = Authority("between", self.authority)
        rsa = between.issue("example.com", kind="rsa")
        downstream = self.downstream(self.server, rsa)
        for algorithm, credential in (("rsa_pss_rsae_sha256", rsa), ("ecdsa_secp256r1_sha256", self.server)):
            params = {"signature_algorithms": [algorithm], "tls_maximum_protocol_version": "TLSv1_3"}
            for sni in ("example.com", ""):
                upstream = self.upstream(common={"tls_params": params}, sni=sni)
                _, client = self.room.shake(downstream, upstream)
                self.assertEqual(self.leafOf(client), credential.certificate)
                assert isinstance(client.transport, TLSTransport) and client.transport.tls is not None
                self.assertEqual(len(client.transport.tls.peerChain), 1 + len(credential.issuers))

    def test_fullScan(self) -> None:
        """
        A name that no certificate is for gets one of a kind that the client can use only if all are looked through.
        """
        rsa = self.authority.issue("other.com", kind="rsa")
        params = {"signature_algorithms": ["rsa_pss_rsae_sha256"], "tls_maximum_protocol_version": "TLSv1_3"}
        for fullScan in (True, False):
            downstream = self.downstream(self.server, rsa, full_scan_certs_on_sni_mismatch=fullScan)
            _, client = self.room.shake(downstream, self.upstream(common={"tls_params": params}, sni="none.com"))
            self.assertIs(client.isMade, fullScan)

    def test_requireSNI(self) -> None:
        """
        A client that asks for no name is refused where one is required.
        """
        downstream = self.downstream(require_sni=True)
        self.assertTrue(self.room.shake(downstream, self.upstream(sni="a"))[0].isMade)
        server, client = self.room.shake(downstream, self.upstream())
        self.assertFalse(server.isMade or client.isMade)
        self.assertEqual(self.room.counted("listener.a.ssl.")["connection_error"], 1)

    def test_applicationProtocols(self) -> None:
        """
        The server's first protocol that the client offers wins; a client that offers others only is refused (ALPACA),
        one that offers none is not.
        """
        downstream = self.downstream(common={"alpn_protocols": ["h2", "http/1.1"]})
        for offered, agreed in ((["http/1.1", "h2"], b"h2"), (["http/1.1"], b"http/1.1"), ([], b"")):
            server, client = self.room.shake(downstream, self.upstream(common={"alpn_protocols": offered}))
            for end in (server, client):
                assert isinstance(end.transport, TLSTransport)
                self.assertEqual(end.transport.negotiatedProtocol, agreed)
        server, client = self.room.shake(downstream, self.upstream(common={"alpn_protocols": ["ftp"]}))
        self.assertFalse(server.isMade or client.isMade)
        self.assertIn("no application protocol", server.why)

    def test_versions(self) -> None:
        """
        A client whose versions are too old is refused, with the library's words.
        """
        downstream = self.downstream(common={"tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}})
        upstream = self.upstream(common={"tls_params": {"tls_maximum_protocol_version": "TLSv1_2"}})
        server, _ = self.room.shake(downstream, upstream)
        self.assertIn("TLS_error:|SSL routines::unsupported protocol:TLS_error_end", server.why)

    def test_ciphers(self) -> None:
        """
        Of the ciphers that both have, the server's first is taken, or the client's where that is preferred.
        """
        first, second = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"

        def params(*ciphers: str) -> dict[str, Any]:
            return {"tls_params": {"tls_maximum_protocol_version": "TLSv1_2", "cipher_suites": list(ciphers)}}

        for prefers, agreed in ((False, first), (True, second)):
            downstream = self.downstream(common=params(first, second), prefer_client_ciphers=prefers)
            server, _ = self.room.shake(downstream, self.upstream(common=params(second, first)))
            assert isinstance(server.transport, TLSTransport) and server.transport.tls is not None
            self.assertEqual(server.transport.tls.cipher, agreed)


class ClientCertificateTests(HandshakeCase):
    """
    Which clients are let in.
    """

    def tries(self, downstream: DownstreamTLS, *keys: Credential) -> str:
        """
        Why a client is refused; empty if it is let in.
        """
        server, _ = self.room.shake(downstream, self.upstream(*keys))
        self.assertIs(server.isMade, not server.why)
        return server.why

    def refusals(self) -> dict[str, int]:
        return {
            name: count
            for name, count in self.room.counted("listener.a.ssl.").items()
            if name.startswith("fail_") or name == "connection_error"
        }

    def test_table(self) -> None:
        """
        Only a certificate of that authority, in its time and for clients, is good.
        """
        stranger = Authority("stranger").issue("a")
        between = Authority("between", self.authority)
        cases: list[tuple[str, tuple[Credential, ...], str, str]] = [
            ("good", (self.authority.issue("a"),), "", ""),
            ("good through another", (between.issue("a"),), "", ""),
            ("no purpose named", (self.authority.issue("a", uses=()),), "", ""),
            ("missing", (), "did not return a certificate", "fail_verify_no_cert"),
            ("another's", (stranger,), "unable to get local issuer certificate", "fail_verify_error"),
            ("over", (self.authority.issue("a", ends=-_DAY / 2),), "certificate has expired", "fail_verify_error"),
            ("to come", (self.authority.issue("a", begins=_DAY),), "not yet valid", "fail_verify_error"),
            ("for servers", (self.authority.issue("a", uses=("server",)),), "purpose", "fail_verify_error"),
        ]
        downstream = self.mutual()
        for name, keys, why, counter in cases:
            before = self.refusals()
            self.assertIn(why, self.tries(downstream, *keys), name)
            after = self.refusals()
            changed = {key for key in after if after[key] != before.get(key, 0)}
            self.assertEqual(changed, {counter} if counter else set(), name)

    def test_optional(self) -> None:
        """
        With roots, but no requirement, a client may come without a certificate, not with a bad one.
        """
        downstream = self.downstream(common={"validation_context": self.ca})
        self.assertEqual(self.tries(downstream), "")
        self.assertEqual(self.tries(downstream, self.authority.issue("a")), "")
        self.assertIn("verify cert failed", self.tries(downstream, Authority("stranger").issue("a")))

    def test_requiredUnverified(self) -> None:
        """
        Without roots a required certificate is asked for and not verified; the facts say so.
        """
        downstream = self.downstream(require_client_certificate=True)
        self.assertNotEqual(self.tries(downstream), "")
        server, _ = self.room.shake(downstream, self.upstream(Authority("stranger").issue("a")))
        assert isinstance(server.transport, TLSTransport) and server.transport.tls is not None
        self.assertEqual((server.transport.tls.isPresented, server.transport.tls.isValidated), (True, False))

    def test_names(self) -> None:
        """
        One of the typed names has to match.
        """
        names = [{"san_type": "URI", "matcher": {"prefix": "spiffe://a/"}}]
        downstream = self.mutual({"match_typed_subject_alt_names": names})
        self.assertEqual(self.tries(downstream, self.authority.issue("spiffe://a/b")), "")
        self.assertIn("SAN matcher", self.tries(downstream, self.authority.issue("spiffe://b/b")))
        self.assertIn("SAN matcher", self.tries(downstream, self.authority.issue(others=[x509.DNSName("spiffe://a/")])))
        self.assertEqual(self.refusals(), {"fail_verify_san": 2})

    def test_digests(self) -> None:
        """
        Certificates, or their keys, are listed: with roots the chain has to hold as well, without them nothing else is
        asked.
        """
        stranger = Authority("stranger").issue("a")
        other = self.authority.issue("a")
        leaf = stranger.certificate
        for listed in (
            {"verify_certificate_hash": [fingerprint(leaf)]},
            {"verify_certificate_spki": [_base64(spkiDigest(leaf))]},
        ):
            only = self.downstream(common={"validation_context": listed}, require_client_certificate=True)
            self.assertEqual(self.tries(only, stranger), "")
            self.assertIn("cert hash and spki", self.tries(only, other))
            both = self.mutual(listed)
            self.assertIn("unable to get local issuer", self.tries(both, stranger))
        self.assertEqual(self.refusals(), {"fail_verify_cert_hash": 2, "fail_verify_error": 2})

    def test_leniencies(self) -> None:
        """
        Times, or the whole chain, are ignored if that is asked for; an untrusted one is not called validated.
        """
        expired = self.authority.issue("a", ends=-_DAY / 2)
        stranger = Authority("stranger").issue("a")
        lenient = self.mutual({"allow_expired_certificate": True})
        self.assertEqual(self.tries(lenient, expired), "")
        self.assertNotEqual(self.tries(lenient, stranger), "")
        trusting = self.mutual({"trust_chain_verification": "ACCEPT_UNTRUSTED"})
        for key, validated in ((stranger, False), (self.authority.issue("a"), True)):
            server, _ = self.room.shake(trusting, self.upstream(key))
            assert isinstance(server.transport, TLSTransport) and server.transport.tls is not None
            self.assertIs(server.transport.tls.isValidated, validated)

    def test_revoked(self) -> None:
        """
        A revoked certificate is refused; the list has to be there for each authority of the chain, unless only the leaf
        is looked up.
        """
        good, bad = self.authority.issue("a"), self.authority.issue("a")
        crl = {"crl": {"inline_string": self.authority.revoke(bad)}}
        downstream = self.mutual(crl)
        self.assertEqual(self.tries(downstream, good), "")
        self.assertIn("certificate revoked", self.tries(downstream, bad))
        between = Authority("between", self.authority)
        through = between.issue("a")
        lists = {"crl": {"inline_string": between.revoke(bad)}}
        self.assertIn("unable to get certificate CRL", self.tries(self.mutual(lists), through))
        self.assertEqual(self.tries(self.mutual({**lists, "only_verify_leaf_cert_crl": True}), through), "")

    def test_depth(self) -> None:
        """
        A chain may be longer than is allowed.
        """
        chain = Authority("second", Authority("first", self.authority))
        self.assertEqual(self.tries(self.mutual({"max_verify_depth": 2}), chain.issue("a")), "")
        self.assertIn("too long", self.tries(self.mutual({"max_verify_depth": 1}), chain.issue("a")))

    def test_intermediateRoot(self) -> None:
        """
        As in Envoy, an authority that is not self-signed is trusted if it is listed.
        """
        between = Authority("between", self.authority)
        downstream = self.downstream(
            common={"validation_context": {"trusted_ca": {"inline_string": between.root}}},
            require_client_certificate=True,
        )
        self.assertEqual(self.tries(downstream, between.issue("a")), "")
        self.assertNotEqual(self.tries(downstream, self.authority.issue("a")), "")

    def test_spiffe(self) -> None:
        """
        Each identity needs a chain to the bundle of its own trust domain.
        """
        other = Authority("other")
        domains = [
            {"name": "a", "trust_bundle": self.ca["trusted_ca"]},
            {"name": "b", "trust_bundle": {"inline_string": other.root}},
        ]
        config = {"name": "x", "typed_config": {"@type": SPIFFE, "trust_domains": domains}}
        downstream = self.downstream(
            common={"validation_context": {"custom_validator_config": config}}, require_client_certificate=True
        )
        self.assertEqual(self.tries(downstream, self.authority.issue("spiffe://a/x")), "")
        self.assertEqual(self.tries(downstream, other.issue("spiffe://b/x")), "")
        for credential, why in (
            (other.issue("spiffe://a/x"), "does not end in the trust bundle of a"),
            (self.authority.issue("spiffe://b/x"), "does not end in the trust bundle of b"),
            (self.authority.issue("spiffe://c/x"), "no trust bundle of c"),
            (self.authority.issue("example.com"), "no one URI name"),
            (self.authority.issue("spiffe://a/x", "spiffe://a/y"), "no one URI name"),
            (Authority("a stranger").issue("spiffe://a/x"), "unable to get local issuer"),
        ):
            self.assertIn(why, self.tries(downstream, credential))

    def test_verifiedUnderEveryName(self) -> None:
        """
        The certificate of another server name comes with the same verification of clients, whichever name that is:
        OpenSSL itself takes over the one and not the other.
        """
        other = self.authority.issue("other.com")
        keys = [each.inline for each in (self.server, other)]
        strict = self.room.downstream(
            {
                "common_tls_context": {"tls_certificates": keys, "validation_context": self.ca},
                "require_client_certificate": True,
            }
        )
        lax = self.downstream(self.server, other)
        stranger = Authority("stranger").issue("a")
        for name in ("example.com", "other.com", "none.com", ""):
            for upstream_, good in (
                (self.upstream(sni=name), False),
                (self.upstream(stranger, sni=name), False),
                (self.upstream(self.authority.issue("a"), sni=name), True),
            ):
                self.assertIs(self.room.shake(strict, upstream_)[0].isMade, good, name)
            self.assertTrue(self.room.shake(lax, self.upstream(sni=name))[0].isMade)


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode("ascii")


class UpstreamTests(HandshakeCase):
    """
    Which endpoints are believed.
    """

    def tries(self, server: Credential, upstream: UpstreamTLS, **options: Any) -> str:
        """
        Why an endpoint is refused; empty if it is not.
        """
        _, client = self.room.shake(self.downstream(server), upstream, **options)
        self.assertIs(client.isMade, not client.why)
        return client.why

    def test_unverified(self) -> None:
        """
        Without roots every certificate is good, as in Envoy.
        """
        self.assertEqual(self.tries(Authority("stranger").issue("a"), self.upstream()), "")

    def test_verified(self) -> None:
        """
        A server has to be of the authority, in its time, and for servers.
        """
        upstream = self.upstream(validation=self.ca)
        self.assertEqual(self.tries(self.authority.issue("a"), upstream), "")
        for credential, why in (
            (Authority("stranger").issue("a"), "unable to get local issuer"),
            (self.authority.issue("a", ends=-_DAY / 2), "expired"),
            (self.authority.issue("a", uses=("client",)), "purpose"),
        ):
            self.assertIn(why, self.tries(credential, upstream))
        self.assertEqual(self.room.counted("cluster.b.ssl.")["fail_verify_error"], 3)

    def test_serverName(self) -> None:
        """
        The server name is verified if that is asked for, whether it is configured or comes with the request.
        """
        upstream = self.upstream(validation=self.ca, sni="example.com", auto_sni_san_validation=True)
        self.assertEqual(self.tries(self.server, upstream), "")
        self.assertEqual(self.tries(self.authority.issue("*.example.org"), upstream, serverName="a.example.org"), "")
        self.assertIn("SAN list", self.tries(self.authority.issue("other.com"), upstream))
        self.assertEqual(self.room.counted("cluster.b.ssl.")["fail_verify_san"], 1)
        alone = {"auto_sni_san_validation": True, "sni": "a"}
        self.assertIn("needs a trusted_ca", str(self.assertRaises(ConfigErrors, self.room.upstream, alone)))

    def test_namesOfTheRequest(self) -> None:
        """
        One of some names has to be in the certificate: C{auto_san_validation}.
        """
        upstream = self.upstream(validation=self.ca)
        self.assertEqual(self.tries(self.server, upstream, names=("other.com", "example.com")), "")
        self.assertIn("SAN list", self.tries(self.server, upstream, names=("other.com",)))

    def test_resumption(self) -> None:
        """
        The second connection takes up the session of the first; not under another name, and not where none is kept.
        """
        downstream = self.downstream()

        def connect(upstream: UpstreamTLS, **options: Any) -> bool:
            server, client = self.room.shake(downstream, upstream, **options)
            assert isinstance(server.transport, TLSTransport) and isinstance(client.transport, TLSTransport)
            server.transport.write(b"hello")
            self.room.reactor.settle()
            self.assertEqual(client.received, b"hello")
            assert client.transport.tls is not None
            return client.transport.tls.isResumed

        upstream = self.upstream(validation=self.ca)
        self.assertEqual([connect(upstream), connect(upstream)], [False, True])
        self.assertFalse(connect(upstream, names=("example.com",)))
        self.assertTrue(connect(upstream, names=("example.com",)))
        none = self.upstream(validation=self.ca, max_session_keys=0)
        self.assertEqual([connect(none), connect(none)], [False, False])

    def test_resumptionDisabled(self) -> None:
        """
        A server may keep no sessions, in tickets or by itself.
        """
        downstream = self.downstream(
            disable_stateless_session_resumption=True, disable_stateful_session_resumption=True
        )
        upstream = self.upstream()
        for _ in range(2):
            server, client = self.room.shake(downstream, upstream)
            assert isinstance(server.transport, TLSTransport)
            server.transport.write(b"hello")
            self.room.reactor.settle()
        self.assertNotIn("session_reused", self.room.counted("listener.a.ssl."))

    def test_oneCertificate(self) -> None:
        """
        A client with two certificates is refused.
        """
        one = self.authority.issue("a")
        self.assertIn("one certificate at most", str(self.assertRaises(ConfigErrors, self.upstream, one, one)))


class RotationTests(HandshakeCase):
    """
    What becomes of a context when its secrets change.
    """

    def test_file(self) -> None:
        """
        A pair of files: with only one of them written anew the old pair serves and the fault is told, with both the
        new one serves the next handshake; a connection that is there stays.
        """
        paths = self.mktemp(), self.mktemp()
        _write(paths, self.server)
        value = {"certificate_chain": {"filename": paths[0]}, "private_key": {"filename": paths[1]}}
        downstream = self.room.downstream({"common_tls_context": {"tls_certificates": [value]}})
        self.room.secrets.start()
        before, client = self.room.shake(downstream, self.upstream())
        other = self.authority.issue("example.com")
        with open(paths[0], "w") as file:
            file.write(other.chain)
        self.room.reactor.advance(INTERVAL)
        self.assertEqual(self.leafOf(self.room.shake(downstream, self.upstream())[1]), self.server.certificate)
        self.assertEqual(self.room.counted("secrets."), {"update_rejected": 1})
        _write(paths, other)
        self.room.reactor.advance(INTERVAL)
        self.assertEqual(self.leafOf(self.room.shake(downstream, self.upstream())[1]), other.certificate)
        self.assertEqual(self.room.counted("secrets."), {"update_rejected": 1, "update_success": 1})
        assert isinstance(client.transport, TLSTransport)
        client.transport.write(b"still here")
        self.room.reactor.settle()
        self.assertEqual(before.received, b"still here")
        downstream.stop()
        _write(paths, self.server)
        self.room.reactor.advance(INTERVAL)
        self.assertEqual(self.leafOf(self.room.shake(downstream, self.upstream())[1]), other.certificate)

    def secret(self, name: str, value: dict[str, Any]) -> Any:
        return section("Secret", {"name": name, **value})

    def test_named(self) -> None:
        """
        Certificate and roots come by name: a change of the roots shuts out who was good before, resumed or not.
        """
        roots = self.secret("roots", {"validation_context": self.ca})
        mine = self.secret("mine", {"tls_certificate": self.server.inline})
        secrets = self.room.secrets
        secrets.compile([roots, mine])
        secrets.replace()
        downstream = self.room.downstream(
            {
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": [{"name": "mine"}],
                    "combined_validation_context": {
                        "default_validation_context": {
                            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a"}}]
                        },
                        "validation_context_sds_secret_config": {"name": "roots"},
                    },
                },
                "require_client_certificate": True,
            }
        )
        upstream = self.upstream(self.authority.issue("a"))
        self.assertFalse(self.room.shake(downstream, self.upstream(self.authority.issue("b")))[0].isMade)
        server, _ = self.room.shake(downstream, upstream)
        assert isinstance(server.transport, TLSTransport)
        server.transport.write(b"hello")
        self.room.reactor.settle()
        others = {"trusted_ca": {"inline_string": Authority("other").root}}
        secrets.compile([self.secret("roots", {"validation_context": others}), mine])
        secrets.replace()
        self.assertFalse(self.room.shake(downstream, upstream)[0].isMade)
        self.assertEqual(self.room.counted("listener.a.server_ssl_socket_factory."), {"ssl_context_update_by_sds": 1})

    def test_expirations(self) -> None:
        """
        Gauges tell when certificates end: by the name of their secret, or by Envoy's for those that have none; the next
        version tells anew.
        """

        def ends(credential: Credential) -> int:
            return int(credential.certificate.not_valid_after_utc.timestamp())

        def told() -> dict[str, float]:
            return {
                name.removeprefix("listener.a.ssl.certificate.").removesuffix(".expiration_unix_time_seconds"): (
                    gauge.value
                )
                for name, gauge in self.room.store.gauges.items()
                if name.startswith("listener.a.ssl.certificate.")
            }

        brief = self.authority.issue("example.com", ends=timedelta(days=2))
        second = Authority("second")
        mixed = {"trusted_ca": {"inline_string": second.root + brief.chain}}
        unnamed = self.downstream(self.server, brief, common={"validation_context": mixed})
        self.assertEqual(told(), {"unnamed_cert_e3b0c442": ends(brief), "unnamed_ca_cert_e3b0c442": ends(brief)})
        unnamed.stop()
        secrets = self.room.secrets
        secrets.compile([self.secret("mine", {"tls_certificate": self.server.inline})])
        secrets.replace()
        self.room.downstream({"common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "mine"}]}})
        self.assertEqual(told()["mine"], ends(self.server))
        secrets.compile([self.secret("mine", {"tls_certificate": brief.inline})])
        secrets.replace()
        self.assertEqual(told()["mine"], ends(brief))

    def test_wrongKind(self) -> None:
        """
        A secret of another kind is refused where it is named.
        """
        secrets = self.room.secrets
        secrets.compile([self.secret("roots", {"validation_context": self.ca})])
        secrets.replace()
        value = {"common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "roots"}]}}
        error = self.assertRaises(ConfigErrors, self.room.downstream, value)
        self.assertIn("'roots' holds no tls_certificate", str(error))

    def test_notReady(self) -> None:
        """
        While a secret has not come, connections are refused and counted.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("{}")
        config = {"name": "x", "sds_config": {"path_config_source": {"path": path}}}
        common = {"tls_certificate_sds_secret_configs": [config]}
        downstream = self.room.downstream({"common_tls_context": common})
        upstream = self.room.upstream({"common_tls_context": common})
        self.assertRaises(TLSError, downstream.session, None)
        self.assertRaises(TLSError, upstream.session, None)
        self.assertFalse(upstream.isReady)
        self.assertEqual(
            self.room.counted("listener.a.server_ssl_socket_factory."), {"downstream_context_secrets_not_ready": 1}
        )

    def test_certificates(self) -> None:
        """
        What is in use is listed, for C{/certs}.
        """
        downstream = self.mutual()
        self.assertEqual(list(self.room.secrets.users), [downstream])
        ((roots, chains),) = downstream.certificates()
        self.assertEqual(roots, [("<inline>", self.authority.certificate)])
        self.assertEqual(chains, [("<inline>", self.server.certificate)])
        downstream.stop()
        self.assertEqual(list(self.room.secrets.users), [])


def _write(paths: tuple[str, str], credential: Credential) -> None:
    for path, text in zip(paths, (credential.chain, credential.keyText), strict=True):
        with open(path, "w") as file:
            file.write(text)
