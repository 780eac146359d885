# -*- test-case-name: tests.identity.test_client -*-
"""
Asking for a certificate: Istio's gRPC service, over TLS whose other end has to be the control plane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from google.protobuf.message import DecodeError
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from zope.interface import implementer

from meshproxy.errors import ConnectFailed
from meshproxy.grpc.client import ChannelOptions, GRPCChannel
from meshproxy.identity.credential import Credential, CredentialError, credentialOf, newKey, signingRequest
from meshproxy.identity.settings import IdentitySettings
from meshproxy.interfaces import ICancellable, INetwork
from meshproxy.net.address import Address
from meshproxy.net.tlsdial import TLSDial
from meshproxy.secrets.downstream import useKeys
from meshproxy.secrets.issuing import CREATE_CERTIFICATE, certificateMessages
from meshproxy.secrets.keys import CertifiedKey
from meshproxy.secrets.names import isNamed
from meshproxy.secrets.session import TLSSession, verifyPeer
from meshproxy.secrets.stats import TLSStats
from meshproxy.secrets.validation import Validation
from meshproxy.stats import Scope

__all__ = ["CertificateClient"]

_CONNECT_TIMEOUT = 5.0

_CALL_TIMEOUT = 10.0
"""
Seconds for all of it. Signing takes milliseconds; an authority that is asked by thousands at once has time to queue.
"""


class CertificateClient:
    """
    Gets certificates, one connection each: it is needed twice in a certificate's life.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        roots: Sequence[x509.Certificate],
        network: INetwork,
        reactor: Any,
        scope: Scope,
    ) -> None:
        """
        @param roots: What the control plane is verified by, besides the roots that came with a certificate.
        @param reactor: C{IReactorTime}.
        @param scope: Of the counters C{ssl.*}.
        """
        self._settings = settings
        self._roots = tuple(roots)
        self._network = network
        self._reactor = reactor
        self._stats = TLSStats(scope)

    async def issue(self, credential: Credential | None, token: str) -> Credential:
        """
        Get a certificate for a new key.

        @param credential: What this workload has; it is shown where there is no token, and proves who asks.
        @param token: A bootstrap token, which proves it instead; or nothing.

        @raise meshproxy.grpc.status.GRPCError: If it is not given.
        @raise CredentialError: If what is given cannot be used.
        """
        requestClass, responseClass = certificateMessages()
        key = newKey()
        request = requestClass(csr=signingRequest(key).decode("ascii"), validity_duration=int(self._settings.lifetime))
        metadata = [(b"authorization", b"Bearer " + token.encode("utf-8", "replace"))] if token else []
        trusted = self._roots if credential is None else tuple(dict.fromkeys((*self._roots, *credential.roots)))
        channel = self._channel(trusted, None if token else credential)
        try:
            answer = await channel.unary(CREATE_CERTIFICATE, request.SerializeToString(), metadata, _CALL_TIMEOUT)
        finally:
            channel.close()
        try:
            response = responseClass.FromString(answer)
        except DecodeError as error:
            raise CredentialError("the answer is no IstioCertificateResponse") from error
        return credentialOf(key, list(response.cert_chain))

    def _channel(self, roots: tuple[x509.Certificate, ...], shown: Credential | None) -> GRPCChannel:
        context, validation = self._context(roots, shown)
        host, port = self._settings.where
        name = self._settings.verifiedName

        def session(sock: Any) -> TLSSession:
            connection = SSL.Connection(context, sock)
            if not _isAddress(name):
                connection.set_tlsext_host_name(name.encode("idna"))
            connection.set_connect_state()
            return TLSSession(connection, validation, self._stats, lambda leaf: _misnamed(leaf, name))

        def connect(protocol: Any, failed: Callable[[Exception], object]) -> ICancellable:
            def dial(address: Address) -> ICancellable:
                attempt = TLSDial(session, protocol, failed, _CONNECT_TIMEOUT)
                return attempt.begin(
                    lambda inner: self._network.connect(address, inner, failed, _CONNECT_TIMEOUT),
                    self._reactor.seconds(),
                )

            if _isAddress(host):
                return dial(Address(host, port))

            def failedLater(error: Exception) -> None:
                # An answer that is known already must not overtake whoever asks.
                self._reactor.callLater(0, failed, error)

            return _NamedDial(self._network.resolve(host, "V4_PREFERRED"), host, port, dial, failedLater)

        authority = f"{name}:{port}".encode("ascii", "replace")
        return GRPCChannel(connect, self._reactor, ChannelOptions(authority=authority, scheme=b"https", keepalive=0.0))

    def _context(self, roots: tuple[x509.Certificate, ...], shown: Credential | None) -> tuple[SSL.Context, Validation]:
        validation = Validation(roots=roots)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        validation.setUp(context)
        context.set_verify(SSL.VERIFY_PEER, verifyPeer)
        context.set_alpn_protos([b"h2"])
        if shown is not None:
            useKeys(context, [CertifiedKey(shown.chain, shown.key, "ecdsa", (), "")])
        return context, validation


def _isAddress(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


def _misnamed(leaf: x509.Certificate, name: str) -> tuple[str, str] | None:
    if isNamed(leaf, name):
        return None
    return "fail_verify_san", f"verify cert failed: the certificate is not for {name}"


@implementer(ICancellable)
class _NamedDial:
    """
    An attempt to connect to a host whose address is looked up first.
    """

    def __init__(
        self,
        addresses: Deferred[Any],
        host: str,
        port: int,
        dial: Callable[[Address], ICancellable],
        failed: Callable[[Exception], object],
    ) -> None:
        self._host = host
        self._port = port
        self._dial = dial
        self._failed = failed
        self._isCancelled = False
        self._attempt: ICancellable | None = None
        addresses.addCallbacks(self._found, lambda why: self._notFound(why.getErrorMessage()))

    def _found(self, addresses: list[str]) -> None:
        if self._isCancelled:
            return
        if addresses:
            self._attempt = self._dial(Address(addresses[0], self._port))
        else:
            self._notFound("there is no such host")

    def _notFound(self, why: str) -> None:
        if not self._isCancelled:
            self._failed(ConnectFailed(f"{self._host}: {why}"))

    def cancel(self) -> None:
        """
        See L{ICancellable.cancel}.
        """
        self._isCancelled = True
        if self._attempt is not None:
            self._attempt.cancel()
