# -*- test-case-name: tests.secrets.test_stapling -*-
"""
OCSP responses that a server staples to its certificates: C{TlsCertificate.ocsp_staple} and
C{DownstreamTlsContext.ocsp_staple_policy}, as Envoy understands them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509 import ocsp
from OpenSSL import SSL

from meshproxy.config import Section
from meshproxy.errors import TLSError
from meshproxy.secrets.sources import Loading, readSource
from meshproxy.secrets.stats import TLSStats

if TYPE_CHECKING:
    from meshproxy.secrets.keys import CertifiedKey

__all__ = ["MUST", "Staple", "StapleMissing", "Stapling", "loadStaple", "mustStaple"]

STRICT: Final = "STRICT_STAPLING"
MUST: Final = "MUST_STAPLE"


@dataclass(frozen=True, slots=True)
class Staple:
    """
    One response.

    @ivar data: Its bytes.
    @ivar begins: From when on it holds, in seconds since the epoch.
    @ivar ends: Until when; L{None} where it does not say: as in Envoy, that one never holds.
    """

    data: bytes
    begins: float
    ends: float | None

    def holds(self, now: float) -> bool:
        """
        Whether it is not over.
        """
        return self.ends is not None and now <= self.ends


def loadStaple(source: Section, leaf: x509.Certificate, loading: Loading) -> Staple | None:
    """
    Load a response. Faults are told at its place.

    @param leaf: The certificate that it has to be about.
    """
    if source.oneof("specifier") in ("inline_string", "environment_variable"):
        source.refuse("an OCSP response is DER, which is no text: filename or inline_bytes is needed")
        return None
    data = readSource(source, loading, isText=False)
    if data is None:
        return None
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            source.refuse(f"the OCSP response was not successful: {response.response_status.name}")
            return None
        answers = list(response.responses)
    except ValueError:
        source.refuse("is no OCSP response in DER")
        return None
    if len(answers) != 1:
        source.refuse("an OCSP response must be for one certificate only")
        return None
    (answer,) = answers
    if answer.serial_number != leaf.serial_number:
        source.refuse("the OCSP response does not match its TLS certificate")
        return None
    ends = answer.next_update_utc
    return Staple(data, answer.this_update_utc.timestamp(), None if ends is None else ends.timestamp())


def mustStaple(certificate: x509.Certificate) -> bool:
    """
    Whether a certificate itself says that it is to be shown with a response (RFC 7633).
    """
    try:
        feature = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return x509.TLSFeatureType.status_request in feature


class StapleMissing(TLSError):
    """
    The certificate must not be shown without a response, and there is none that holds.
    """


class Stapling:
    """
    What clients that ask for a response get.
    """

    def __init__(self, keys: Sequence[CertifiedKey], policy: str, clock: Callable[[], float], stats: TLSStats) -> None:
        """
        @param clock: The seconds since the epoch.
        """
        self._byCertificate = {key.leaf: (key.staple, MUST if mustStaple(key.leaf) else policy) for key in keys}
        self._only = next(iter(self._byCertificate.values())) if len(self._byCertificate) == 1 else None
        self._policy = policy
        self._clock = clock
        self._stats = stats

    def answer(self, connection: SSL.Connection, _data: object = None) -> bytes:
        """
        OpenSSL's question for a client that asks: it has chosen the certificate by now.

        @return: The response, empty for none.

        @raise StapleMissing: If the handshake is not to go on.
        """
        stats = self._stats
        stats.stapleRequests.value += 1
        staple, policy = self._only or self._chosen(connection)
        if staple is not None and staple.holds(self._clock()):
            stats.stapleResponses.value += 1
            return staple.data
        if policy == MUST or (policy == STRICT and staple is not None):
            stats.stapleFailed.value += 1
            raise StapleMissing("SSL routines::no OCSP response that holds")
        stats.stapleOmitted.value += 1
        return b""

    def _chosen(self, connection: SSL.Connection) -> tuple[Staple | None, str]:
        certificate = connection.get_certificate()
        found = None if certificate is None else self._byCertificate.get(certificate.to_cryptography())
        return (None, self._policy) if found is None else found
