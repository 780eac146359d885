# -*- test-case-name: tests.secrets.test_handshakes -*-
"""
One connection's handshake: the verification of the peer while it goes on, and what is counted of it.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from OpenSSL import SSL, crypto

from meshproxy.errors import TLSError
from meshproxy.net.openssl import verifyErrorText
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.secrets.stats import TLSStats
from meshproxy.secrets.validation import Validation

__all__ = ["TLSSession", "verifyPeer"]

# include/openssl/x509_vfy.h
_OUT_OF_TIME = (9, 10)

Further = Callable[[x509.Certificate], "tuple[str, str] | None"]


class TLSSession:
    """
    A L{meshproxy.net.tls.Handshake}.

    @ivar connection: OpenSSL's object.
    """

    def __init__(
        self,
        connection: SSL.Connection,
        validation: Validation,
        stats: TLSStats,
        further: Further | None = None,
        isAsked: bool = True,
    ) -> None:
        """
        @param isAsked: Whether the peer is asked for a certificate, as a server always is.
        @param further: What else is asked of the peer's certificate, answering as L{Validation.refusal} does.
        """
        self.connection = connection
        self._validation = validation
        self._stats = stats
        self._further = further
        self._isAsked = isAsked
        self._fault: tuple[str, str] | None = None
        self._root: crypto.X509 | None = None
        self._isChecked = False
        self._isTolerated = False
        connection.set_app_data(self)

    def verify(self, certificate: crypto.X509, code: int, depth: int, holds: bool) -> bool:
        """
        OpenSSL looked at one certificate of the peer's chain, beginning at its root.

        @param code: What is wrong with it, where it does not hold.

        @return: Whether to go on.
        """
        validation = self._validation
        if not validation.verifies and self._further is None:
            return True
        if not holds:
            if code in _OUT_OF_TIME and validation.acceptsExpired:
                return True
            if validation.acceptsUntrusted or not validation.roots:
                if validation.roots and not self._isTolerated:
                    # As in Envoy, it counts all the same.
                    self._stats.failures["fail_verify_error"].value += 1
                self._isTolerated = True
                return True
            self._fault = (
                "fail_verify_error",
                "verify cert failed: X509_verify_cert: certificate verification error at depth "
                f"{depth}: {verifyErrorText(code)}",
            )
            return False
        if self._root is None:
            self._root = certificate
        return depth > 0 or self._checkLeaf(certificate.to_cryptography())

    def _checkLeaf(self, leaf: x509.Certificate) -> bool:
        self._isChecked = True
        root = None if self._root is None else self._root.to_cryptography()
        try:
            self._fault = self._validation.refusal(leaf, root)
            if self._fault is None and self._further is not None:
                self._fault = self._further(leaf)
        except ValueError:
            # A certificate that OpenSSL can read and the stricter reader cannot.
            self._fault = "fail_verify_error", "verify cert failed: the certificate cannot be read"
        return self._fault is None

    def succeeded(self) -> TLSInfo:
        """
        See L{meshproxy.net.tls.Handshake.succeeded}.
        """
        connection = self.connection
        connection.set_app_data(None)
        name = connection.get_servername() or b""
        info = TLSInfo(connection, False, name.decode("ascii", "replace"), self._isAsked)
        validation = self._validation
        if self._isAsked and (validation.verifies or self._further is not None) and info.isPresented:
            leaf = info.peerCertificate
            # A session that was taken up is not verified by OpenSSL again. It was by the same rules (they are part of
            # the session's context), but those of this connection may be other ones.
            if leaf is not None and not self._isChecked and not self._checkLeafAgain(leaf, info.isResumed):
                raise TLSError(self.failed(""))
            info.isValidated = validation.verifies and not (
                self._isTolerated and not validation.hashes and not validation.spkis
            )
        self._stats.shaken(info)
        return info

    def _checkLeafAgain(self, leaf: x509.Certificate, isResumed: bool) -> bool:
        if not isResumed:
            # OpenSSL asked about every certificate; that it did not is no way a handshake may end.
            self._fault = "fail_verify_error", "verify cert failed: it was not verified"
            return False
        if self._validation.domains is not None:
            return True  # the end of its chain was looked at when the session began
        return self._checkLeaf(leaf)

    def settled(self) -> None:
        """
        See L{meshproxy.net.tls.Handshake.settled}.
        """

    @property
    def broken(self) -> Callable[[], object]:
        """
        See L{meshproxy.net.tls.Handshake.broken}.
        """
        return self._stats.broken

    def failed(self, why: str) -> str:
        """
        See L{meshproxy.net.tls.Handshake.failed}.
        """
        self.connection.set_app_data(None)
        if self._fault is not None:
            counter, words = self._fault
            self._fault = None
            self._stats.failures[counter].value += 1
            why = f"SSL routines::certificate verify failed:{words}"
        elif "peer did not return a certificate" in why:
            self._stats.failures["fail_verify_no_cert"].value += 1
        elif why.startswith("TLS_error:"):
            return why  # told already
        elif why:
            self._stats.connectionError.value += 1
        return f"TLS_error:|{why}:TLS_error_end" if why else ""


def verifyPeer(connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, holds: int) -> bool:
    """
    OpenSSL's question about one certificate, passed on to the session of the connection.
    """
    session = connection.get_app_data()
    return isinstance(session, TLSSession) and session.verify(certificate, code, depth, bool(holds))
