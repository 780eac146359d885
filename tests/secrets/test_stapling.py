"""
L{meshproxy.secrets.stapling}: which response a client that asks for one gets, and when the handshake ends instead.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.secrets.downstream import DownstreamTLS
from meshproxy.secrets.session import TLSSession
from meshproxy.secrets.validation import Validation
from meshproxy.secrets.watch import INTERVAL
from meshproxy.testing.pki import Authority, Credential
from tests.secrets.support import Heard, Room

_HOUR = timedelta(hours=1)


class StaplingTests(SynchronousTestCase):
    """
    A server, and clients that ask.
    """

    def setUp(self) -> None:
        self.room = Room()
        self.authority = Authority()
        self.server = self.authority.issue("example.com")
        # Responses are as of now, and so has to be the clock.
        self.room.reactor.rightNow = self.server.certificate.not_valid_before_utc.timestamp() + 86400

    def made(self, staple: Any, credential: Credential | None = None, **fields: Any) -> DownstreamTLS:
        """
        @param staple: A response, a C{DataSource}, or nothing.
        """
        certificate = dict((credential or self.server).inline)
        if isinstance(staple, bytes):
            staple = {"inline_bytes": base64.b64encode(staple).decode()}
        if staple:
            certificate["ocsp_staple"] = staple
        return self.room.downstream({"common_tls_context": {"tls_certificates": [certificate]}, **fields})

    def ask(self, tls: DownstreamTLS) -> tuple[bool, list[bytes]]:
        """
        Connect.

        @return: Whether the handshake was finished, and what was stapled.
        """
        came: list[bytes] = []

        def stapled(connection: SSL.Connection, data: bytes, _: object) -> bool:
            came.append(data)
            return True

        upstream = self.room.upstream({})

        def session(sock: Any) -> TLSSession:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_ocsp_client_callback(stapled)
            connection = SSL.Connection(context, sock)
            connection.request_ocsp()
            connection.set_connect_state()
            return TLSSession(connection, Validation(), upstream.stats)

        self.patch(upstream, "session", session)
        server, client = self.room.shake(tls, upstream)
        assert isinstance(server, Heard)
        return server.isMade and client.isMade, came

    def refused(self, staple: Any, credential: Credential | None = None, **fields: Any) -> str:
        """
        Why a configuration is refused.
        """
        return str(self.assertRaises(ConfigErrors, self.made, staple, credential, **fields))

    def test_policies(self) -> None:
        """
        A response that holds is stapled; where none does, the policy decides.
        """
        good = self.authority.staple(self.server)
        over = self.authority.staple(self.server, ends=-_HOUR)
        endless = self.authority.staple(self.server, ends=None)
        for policy, staple, outcome in (
            ("LENIENT_STAPLING", good, (True, [good])),
            ("LENIENT_STAPLING", over, (True, [b""])),
            ("LENIENT_STAPLING", endless, (True, [b""])),
            ("LENIENT_STAPLING", None, (True, [b""])),
            ("STRICT_STAPLING", good, (True, [good])),
            ("STRICT_STAPLING", over, (False, [])),
            ("STRICT_STAPLING", None, (True, [b""])),
            ("MUST_STAPLE", good, (True, [good])),
            ("MUST_STAPLE", over, (False, [])),
        ):
            tls = self.made(staple, ocsp_staple_policy=policy)
            self.assertEqual(self.ask(tls), outcome, policy)
        self.assertEqual(
            {name: value for name, value in self.room.counted("listener.a.ssl.").items() if "ocsp" in name},
            {
                "ocsp_staple_requests": 9,
                "ocsp_staple_responses": 3,
                "ocsp_staple_omitted": 4,
                "ocsp_staple_failed": 2,
            },
        )

    def test_timeGoesOn(self) -> None:
        """
        A response that ends while it is in use is stapled no more; how long it still holds is told.
        """
        tls = self.made(self.authority.staple(self.server, ends=_HOUR))
        now = self.room.reactor.seconds()
        left = self.room.secrets.secondsUntilStaplesEnd(now)
        assert left is not None
        self.assertTrue(3500 < left <= 3600, left)
        self.assertNotEqual(self.ask(tls)[1], [b""])
        self.room.reactor.advance(3700)
        self.assertEqual(self.ask(tls), (True, [b""]))
        self.assertEqual(self.room.secrets.secondsUntilStaplesEnd(self.room.reactor.seconds()), 0)
        tls.stop()
        self.assertIsNone(self.room.secrets.secondsUntilStaplesEnd(now))

    def test_mustStaple(self) -> None:
        """
        A certificate that says that it must be stapled (RFC 7633) is held to that, whatever the policy.
        """
        credential = self.authority.issue("example.com", mustStaple=True)
        self.assertIn("says that it must be stapled", self.refused(None, credential))
        over = self.authority.staple(credential, ends=-_HOUR)
        self.assertEqual(self.ask(self.made(over, credential)), (False, []))

    def test_file(self) -> None:
        """
        A response in a file is read again when it changes; one that does not do is refused, and the last one stays.
        """
        path = self.mktemp()

        def write(data: bytes) -> None:
            with open(path, "wb") as file:
                file.write(data)

        first = self.authority.staple(self.server)
        write(first)
        self.room.secrets.start()
        self.addCleanup(self.room.secrets.stop)
        tls = self.made({"filename": path})
        self.assertEqual(self.ask(tls), (True, [first]))
        second = self.authority.staple(self.server, ends=2 * _HOUR)
        for data in (second, b"garbage"):
            write(data)
            self.room.reactor.advance(INTERVAL)
            self.room.reactor.advance(INTERVAL)
            self.assertEqual(self.ask(tls), (True, [second]))
        self.assertEqual(self.room.secrets.rejected.value, 1)
        self.flushLoggedErrors()

    def test_refused(self) -> None:
        """
        What is no response to one certificate, and to this one, is refused with its place.
        """
        other = self.authority.issue("other.com")
        unsuccessful = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        for staple, why in (
            (b"garbage", "no OCSP response in DER"),
            (self.authority.staple(other), "does not match its TLS certificate"),
            (unsuccessful.public_bytes(serialization.Encoding.DER), "TRY_LATER"),
            ({"inline_string": "x"}, "filename or inline_bytes"),
            ({"filename": "/does/not/exist"}, "cannot be read"),
        ):
            told = self.refused(staple)
            self.assertIn(why, told)
            self.assertIn("tls_certificates[0].ocsp_staple", told)
        self.assertIn("MUST_STAPLE asks for an OCSP response", self.refused(None, ocsp_staple_policy="MUST_STAPLE"))

    def test_severalCertificates(self) -> None:
        """
        Of several certificates, the response is that of the one that the client gets.
        """
        rsa = self.authority.issue("example.com", kind="rsa")
        staples = {"ecdsa": self.authority.staple(self.server), "rsa": self.authority.staple(rsa)}
        tls = self.room.downstream(
            {
                "common_tls_context": {
                    "tls_certificates": [
                        {**each.inline, "ocsp_staple": {"inline_bytes": base64.b64encode(staples[kind]).decode()}}
                        for kind, each in (("ecdsa", self.server), ("rsa", rsa))
                    ]
                }
            }
        )
        self.assertEqual(self.ask(tls), (True, [staples["ecdsa"]]))
        self.assertEqual(
            {each.serial_number for each in tls.staples()},
            {self.server.certificate.serial_number, rsa.certificate.serial_number},
        )
        for each in tls.staples():
            self.assertIsInstance(each, x509.Certificate)
