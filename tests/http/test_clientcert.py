"""
Tests of L{meshproxy.http.clientcert}.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.headers import RequestHeaders
from meshproxy.http.clientcert import compileClientCert
from meshproxy.net.certificates import pemOf
from meshproxy.net.tls import TLSTransport
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.testing.pki import Authority, Credential
from tests.secrets.support import Room

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
MODES = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")


class ClientCertTests(SynchronousTestCase):
    """
    C{x-forwarded-client-cert} in each of its five modes.
    """

    def setUp(self) -> None:
        self.room = Room()
        self.authority = Authority()
        self.server = self.authority.issue("spiffe://mesh/server", "server.example")

    def connection(self, credential: Credential | None) -> ConnectionInfo:
        """
        A TLS connection of a client.
        """
        downstream = self.room.downstream(
            {
                "common_tls_context": {
                    "tls_certificates": [self.server.inline],
                    "validation_context": {"trusted_ca": {"inline_string": self.authority.root}},
                }
            }
        )
        keys = [] if credential is None else [credential.inline]
        server, _ = self.room.shake(downstream, self.room.upstream({"common_tls_context": {"tls_certificates": keys}}))
        assert isinstance(server.transport, TLSTransport)
        info = ConnectionInfo()
        info.tls = server.transport.tls
        return info

    def told(self, mode: str, info: ConnectionInfo, before: tuple[bytes, ...] = (), details: Any = None) -> list[bytes]:
        """
        The values of the field after it was seen to.
        """
        value = {"forward_client_cert_details": mode, "set_current_client_cert_details": details or {}}
        tell, _ = compileClientCert(Section.of(MANAGER, value))
        headers = RequestHeaders(b"GET", b"/")
        for each in before:
            headers.add(b"x-forwarded-client-cert", each)
        if tell is not None:
            tell(headers, info)
            tell(headers, info) if mode != "APPEND_FORWARD" else None
        return list(headers.values(b"x-forwarded-client-cert"))

    def test_cleartext(self) -> None:
        """
        What a client on cleartext says is believed only where it always is.
        """
        for mode in MODES:
            wanted = [b"Hash=1"] if mode == "ALWAYS_FORWARD_ONLY" else []
            self.assertEqual(self.told(mode, ConnectionInfo(), (b"Hash=1",)), wanted, mode)

    def test_anonymous(self) -> None:
        """
        Nor is a client on TLS believed that shows no certificate.
        """
        info = self.connection(None)
        for mode in MODES:
            wanted = [b"Hash=1"] if mode == "ALWAYS_FORWARD_ONLY" else []
            self.assertEqual(self.told(mode, info, (b"Hash=1",)), wanted, mode)

    def test_mutual(self) -> None:
        """
        With a certificate the field is taken away, passed on, added to, or replaced.
        """
        credential = self.authority.issue("spiffe://mesh/client", "a.example", "b.example", commonName="me")
        info = self.connection(credential)
        own = self.own(info)
        given = (b"Hash=1", b"Hash=2")
        self.assertEqual(self.told("SANITIZE", info, given), [])
        self.assertEqual(self.told("FORWARD_ONLY", info, given), list(given))
        self.assertEqual(self.told("ALWAYS_FORWARD_ONLY", info, given), list(given))
        self.assertEqual(self.told("SANITIZE_SET", info, given), [own])
        self.assertEqual(self.told("SANITIZE_SET", info), [own])
        self.assertEqual(self.told("APPEND_FORWARD", info, given), [b"Hash=1,Hash=2," + own])
        self.assertEqual(self.told("APPEND_FORWARD", info), [own])

    def own(self, info: ConnectionInfo) -> bytes:
        assert info.tls is not None
        return f"By=spiffe://mesh/server;Hash={info.tls.get('PEER_FINGERPRINT_256')}".encode()

    def test_details(self) -> None:
        """
        Each detail that is asked for, in Envoy's order.
        """
        credential = self.authority.issue("spiffe://mesh/client", "a.example", "b.example", commonName="me")
        info = self.connection(credential)
        (value,) = self.told("SANITIZE_SET", info, details={"subject": True, "dns": True, "uri": True})
        rest = b';Subject="CN=me";URI=spiffe://mesh/client;DNS=a.example;DNS=b.example'
        self.assertEqual(value, self.own(info) + rest)
        (value,) = self.told("SANITIZE_SET", info, details={"cert": True, "chain": True})
        cert, chain = value.split(b";")[2:]
        self.assertTrue(cert.startswith(b'Cert="-----BEGIN%20CERTIFICATE-----%0A'))
        self.assertEqual(chain.replace(b"Chain", b"Cert"), cert)

    def test_nothingToTell(self) -> None:
        """
        Subject and URI are named even if the certificate has none.
        """
        info = self.connection(self.authority.issue("a.example"))
        (value,) = self.told("SANITIZE_SET", info, details={"subject": True, "uri": True})
        self.assertEqual(value, self.own(info) + b';Subject="";URI=')

    def test_hostile(self) -> None:
        """
        What a certificate's names contain writes neither another element nor another line (CVE-2023-27493).
        """
        names = [
            x509.UniformResourceIdentifier("spiffe://a\r\nx-evil: 1"),
            x509.UniformResourceIdentifier('spiffe://b,By=x;Hash="1"'),
            x509.DNSName("a\0b"),
        ]
        credential = self.authority.issue(others=names, commonName='me";URI=spiffe://root,\r\nHash=1')
        (value,) = self.told(
            "SANITIZE_SET", self.connection(credential), details={"subject": True, "dns": True, "uri": True}
        )
        self.assertNotRegex(value, rb"[^\x20-\x7e]")
        quoted = rb'"(?:[^"\\]|\\.)*"'
        elements = rb"(?:[A-Za-z]+=(?:" + quoted + rb"|[^,;=\"]*)(?:;|$))+"
        self.assertRegex(value, rb"\A" + elements + rb"\Z")
        self.assertIn(rb'URI="spiffe://b,By=x;Hash=\"1\""', value)

    def test_issuer(self) -> None:
        """
        Who signed the certificate, behind all else.
        """
        info = self.connection(self.authority.issue("spiffe://mesh/client", "a.example"))
        (value,) = self.told("SANITIZE_SET", info, details={"issuer": True, "dns": True})
        assert info.tls is not None
        issuer = info.tls.get("PEER_ISSUER")
        self.assertTrue(issuer)
        self.assertEqual(value, self.own(info) + f';DNS=a.example;Issuer="{issuer}"'.encode())

    def test_json(self) -> None:
        """
        As JSON, in a list, nothing is named that is not there.
        """
        info = self.connection(self.authority.issue("spiffe://mesh/client", commonName='a "name"'))
        assert isinstance(info.tls, TLSInfo)
        details = dict.fromkeys(("subject", "uri", "dns", "cert", "chain"), True)
        (value,) = self.told("SANITIZE_SET", info, (b"Hash=1",), details={**details, "format": "JSON"})
        leaf = info.tls.peerCertificate
        assert leaf is not None
        wanted = {
            "by": ["spiffe://mesh/server"],
            "hash": info.tls.get("PEER_FINGERPRINT_256"),
            "cert": pemOf(leaf),
            "chain": list(map(pemOf, info.tls.peerChain)),
            "subject": info.tls.get("PEER_SUBJECT"),
            "uri": ["spiffe://mesh/client"],
        }
        self.assertEqual(list(json.loads(value)[0].items()), list(wanted.items()))
        self.assertNotIn(b"\n", value)

    def test_appended(self) -> None:
        """
        What the client said decides, as text or as JSON, in which form is added to it.
        """
        info = self.connection(self.authority.issue("spiffe://mesh/client"))
        own = self.own(info)
        element = json.dumps({"by": ["spiffe://mesh/server"], "hash": own[-64:].decode()}, separators=(",", ":"))
        for given, wanted in (
            ((b"Hash=1",), b"Hash=1," + own),
            ((b'[{"hash":"1"}',), b'[{"hash":"1"},' + own),
            ((b'[{"hash":"1"}]',), f'[{{"hash":"1"}},{element}]'.encode()),
            ((b"[]",), f"[{element}]".encode()),
        ):
            for form in ("TEXT", "JSON"):
                self.assertEqual(self.told("APPEND_FORWARD", info, given, {"format": form}), [wanted], given)
        self.assertEqual(self.told("APPEND_FORWARD", info, (), {"format": "JSON"}), [f"[{element}]".encode()])
        self.assertEqual(self.told("APPEND_FORWARD", info, (), {"format": "TEXT"}), [own])

    def matched(self, path: bytes, mode: str = "SANITIZE") -> list[bytes]:
        """
        What becomes of the field where requests for C{/set} and C{/keep} have modes of their own.
        """

        def branch(prefix: str, own: str) -> dict[str, Any]:
            return {
                "predicate": {
                    "single_predicate": {
                        "input": {
                            "name": "path",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                                "header_name": ":path",
                            },
                        },
                        "value_match": {"prefix": prefix},
                    }
                },
                "on_match": {
                    "action": {
                        "name": "own",
                        "typed_config": {
                            "@type": f"type.googleapis.com/{MANAGER}.ForwardClientCertConfig",
                            "forward_client_cert_details": own,
                        },
                    }
                },
            }

        value = {
            "forward_client_cert_details": mode,
            "forward_client_cert_matcher": {
                "matcher_list": {"matchers": [branch("/set", "SANITIZE_SET"), branch("/keep", "ALWAYS_FORWARD_ONLY")]}
            },
        }
        section = Section.of(MANAGER, value)
        tell, mayAdd = compileClientCert(section)
        section.report.raiseIfAny()
        self.assertTrue(mayAdd)
        assert tell is not None
        headers = RequestHeaders(b"GET", path)
        headers.add(b"x-forwarded-client-cert", b"Hash=1")
        tell(headers, self.info)
        return list(headers.values(b"x-forwarded-client-cert"))

    def test_matcher(self) -> None:
        """
        Each request may have a mode of its own; what no branch is for has that of all.
        """
        self.info = self.connection(self.authority.issue("spiffe://mesh/client"))
        self.assertEqual(self.matched(b"/set"), [self.own(self.info)])
        self.assertEqual(self.matched(b"/keep"), [b"Hash=1"])
        self.assertEqual(self.matched(b"/other"), [])
        self.assertEqual(self.matched(b"/other", "ALWAYS_FORWARD_ONLY"), [b"Hash=1"])

    def test_state(self) -> None:
        """
        Of the filter state there is what filters of the connection share; where nobody does, no branch is for it.
        """
        state = {
            "@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
            "key": "k",
        }
        mode = {
            "@type": f"type.googleapis.com/{MANAGER}.ForwardClientCertConfig",
            "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
        }
        branch = {
            "predicate": {
                "single_predicate": {
                    "input": {"name": "state", "typed_config": state},
                    "value_match": {"exact": "v"},
                }
            },
            "on_match": {"action": {"name": "own", "typed_config": mode}},
        }
        section = Section.of(MANAGER, {"forward_client_cert_matcher": {"matcher_list": {"matchers": [branch]}}})
        tell, _ = compileClientCert(section)
        section.report.raiseIfAny()
        assert tell is not None
        info = self.connection(self.authority.issue("spiffe://mesh/client"))
        held: tuple[tuple[dict[str, object] | None, list[bytes]], ...] = (
            (None, []),
            ({"k": "w"}, []),
            ({"k": b"v"}, [b"Hash=1"]),
        )
        for info.filterState, wanted in held:
            headers = RequestHeaders(b"GET", b"/")
            headers.add(b"x-forwarded-client-cert", b"Hash=1")
            tell(headers, info)
            self.assertEqual(list(headers.values(b"x-forwarded-client-cert")), wanted)
