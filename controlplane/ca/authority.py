# -*- test-case-name: tests.controlplane.ca.test_authority -*-
"""
The certificate authority: it gives a public key a certificate for an identity that somebody else has proven.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from meshproxy.controlplane.ca.certificates import PrivateKey, certify, pemOf, utc
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.ca.requests import PublicKey, RequestRefused, checkRequest
from meshproxy.errors import MeshProxyError

__all__ = ["Authority", "AuthorityError", "Issued", "Signer"]

DEFAULT_LIFE = timedelta(hours=24)
"""
As Istio's C{DEFAULT_WORKLOAD_CERT_TTL}.
"""

MAX_LIFE = timedelta(days=90)
"""
As Istio's C{MAX_WORKLOAD_CERT_TTL}.
"""

MIN_LIFE = timedelta(seconds=1)

_MOST_REMEMBERED = 10_000


class AuthorityError(MeshProxyError):
    """
    The authority cannot sign: its own certificate or key is not fit for it.
    """


@dataclass(frozen=True)
class Signer:
    """
    What an authority signs with.

    @ivar certificate: Of the key that signs; a root's or an intermediate's.
    @ivar key: The key.
    @ivar chain: The certificates between C{certificate} and a root, the root left out; those of a workload are followed
        by C{certificate} and these, unless C{certificate} is a root itself.
    @ivar roots: What peers have to trust.
    """

    certificate: x509.Certificate
    key: PrivateKey
    chain: Sequence[x509.Certificate]
    roots: Sequence[x509.Certificate]

    @property
    def below(self) -> list[x509.Certificate]:
        """
        What is sent after a certificate that this one signed.
        """
        if self.certificate in self.roots:
            return []
        return [self.certificate, *(one for one in self.chain if one not in self.roots and one != self.certificate)]


@dataclass(frozen=True, slots=True)
class Issued:
    """
    A certificate that was issued.

    @ivar certificate: It.
    @ivar chain: It and what leads to the root, as a server presents it.
    @ivar roots: What its owner has to trust in peers.
    """

    certificate: x509.Certificate
    chain: Sequence[x509.Certificate]
    roots: Sequence[x509.Certificate]

    @property
    def notAfter(self) -> datetime:
        """
        When it ends.
        """
        return self.certificate.not_valid_after_utc

    @property
    def serial(self) -> str:
        """
        Its serial number, hexadecimal.
        """
        return f"{self.certificate.serial_number:x}"

    def chainPEM(self) -> str:
        """
        The chain as PEM.
        """
        return pemOf(self.chain)


class Authority:
    """
    See the module.

    @ivar trustDomain: It certifies nobody of another one.
    @ivar counts: What is counted, in the words of Istio's stats (C{citadel_server_}).
    @ivar newest: The newest certificate of each identity, of those that this process issued, for who looks when they
        end.
    """

    def __init__(
        self,
        signer: Callable[[], Signer],
        trustDomain: str,
        seconds: Callable[[], float],
        life: timedelta = DEFAULT_LIFE,
        maxLife: timedelta = MAX_LIFE,
    ) -> None:
        """
        @param signer: What to sign with now; asked for each certificate, since an intermediate is renewed.
        @param seconds: The time, since 1970.
        @param life: Of a certificate where nobody asks for another.
        """
        self._signer = signer
        self.trustDomain = trustDomain
        self._seconds = seconds
        self._life = min(life, maxLife)
        self._maxLife = maxLife
        self.newest: dict[Identity, Issued] = {}
        self.counts: Counter[str] = Counter()

    @property
    def roots(self) -> Sequence[x509.Certificate]:
        """
        What peers have to trust.
        """
        return self._signer().roots

    @property
    def signing(self) -> x509.Certificate:
        """
        The certificate of the key that signs.
        """
        return self._signer().certificate

    def issue(self, request: bytes, identity: Identity, life: timedelta | None = None) -> Issued:
        """
        Certify a workload.

        @param request: A signing request, PEM; only its key counts.
        @param identity: Who sent it, as proven by a token or a certificate. It alone is the name in the certificate.
        @param life: How long it is to be valid. More than the most that is allowed gets that.

        @raise RequestRefused: If the request is bad.
        @raise AuthorityError: If the identity is of another trust domain, or the authority expired.
        """
        self.counts["csr_count"] += 1
        try:
            issued = self._issue(request, identity, life)
        except RequestRefused:
            self.counts["csr_parsing_err_count"] += 1
            raise
        except AuthorityError:
            self.counts["csr_sign_err_count"] += 1
            raise
        self.counts["success_cert_issuance_count"] += 1
        self._remember(identity, issued)
        return issued

    def _issue(self, request: bytes, identity: Identity, life: timedelta | None) -> Issued:
        key = checkRequest(request, identity)
        if identity.trustDomain != self.trustDomain:
            raise AuthorityError(f"{identity} is not of the trust domain {self.trustDomain}")
        return self._certify(key, [x509.UniformResourceIdentifier(str(identity))], life)

    def _remember(self, identity: Identity, issued: Issued) -> None:
        # The newest of each identity, the least recent identity forgotten first.
        self.newest.pop(identity, None)
        self.newest[identity] = issued
        if len(self.newest) > _MOST_REMEMBERED:
            del self.newest[next(iter(self.newest))]

    def issueServer(self, key: PublicKey, names: Sequence[x509.GeneralName], life: timedelta | None = None) -> Issued:
        """
        Certify the control plane itself, by host names and addresses.
        """
        return self._certify(key, names, life)

    def _certify(self, key: PublicKey, names: Sequence[x509.GeneralName], life: timedelta | None) -> Issued:
        signer = self._signer()
        now = utc(self._seconds())
        asked = self._life if life is None or life <= timedelta(0) else max(life, MIN_LIFE)
        # A certificate that outlives its issuer's is worth nothing in the end.
        notAfter = min(now + min(asked, self._maxLife), signer.certificate.not_valid_after_utc)
        if notAfter <= now:
            ended = signer.certificate.not_valid_after_utc.isoformat()
            raise AuthorityError(f"the authority's own certificate ended at {ended}")
        certificate = certify(key, names, notAfter, now, signer.certificate, signer.key)
        return Issued(certificate, [certificate, *signer.below], signer.roots)
