# -*- test-case-name: tests.controlplane.ca.test_issuing -*-
"""
The gRPC service by which Istio's agents ask for certificates: C{istio.v1.auth.IstioCertificateService}.

Who asks is proven by a bootstrap token (C{authorization: Bearer TOKEN}), the first time, and by the certificate that
was issued before, from then on.

Source: https://github.com/istio/api/blob/master/security/v1alpha1/ca.proto
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.message import DecodeError
from twisted.logger import Logger

from meshproxy.controlplane.ca.authority import Authority, AuthorityError
from meshproxy.controlplane.ca.certificates import pemOf
from meshproxy.controlplane.ca.identity import Identity, IdentityError
from meshproxy.controlplane.ca.requests import RequestRefused
from meshproxy.controlplane.ca.tokens import BootstrapTokens, TokenRefused
from meshproxy.grpc.server import Method, ServerCall, unary
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.secrets.issuing import CREATE_CERTIFICATE, certificateMessages

__all__ = ["CertificateService"]


class CertificateService:
    """
    See the module.

    @ivar issued: How many certificates were issued.
    @ivar refused: How many requests were not served.
    """

    _log = Logger()

    def __init__(
        self,
        authority: Authority,
        tokens: BootstrapTokens,
        urisOf: Callable[[Any], Sequence[str]],
    ) -> None:
        """
        @param urisOf: The URIs in the verified certificate of a transport's peer.
        """
        self.issued = 0
        self.refused = 0
        self._authority = authority
        self._tokens = tokens
        self._urisOf = urisOf

    def methods(self) -> dict[str, Method]:
        """
        For a L{meshproxy.grpc.server.GRPCServer}.
        """
        return {CREATE_CERTIFICATE: unary(self._create)}

    async def _create(self, data: bytes, call: ServerCall) -> bytes:
        try:
            return await self._issue(data, call)
        except GRPCError as error:
            self.refused += 1
            peer = getattr(call.transport.getPeer(), "host", "")
            self._log.warn("no certificate for {peer}: {error}", peer=peer, error=str(error))
            raise

    async def _issue(self, data: bytes, call: ServerCall) -> bytes:
        requestClass, responseClass = certificateMessages()
        try:
            request = requestClass.FromString(data)
        except DecodeError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, "this is no IstioCertificateRequest") from error
        identity = await self._sender(call)
        life = timedelta(seconds=min(max(request.validity_duration, 0), 10**9))
        try:
            issued = self._authority.issue(request.csr.encode("utf-8"), identity, life)
        except RequestRefused as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from error
        except AuthorityError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        self.issued += 1
        response = responseClass()
        # Istio's agents want the root at the end.
        response.cert_chain.extend(pemOf([one]) for one in [*issued.chain, *issued.roots])
        answer: bytes = response.SerializeToString()
        return answer

    async def _sender(self, call: ServerCall) -> Identity:
        """
        Who asks, proven.
        """
        authorization = (call.headers.get(b"authorization") or b"").decode("utf-8", "replace")
        if authorization:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise GRPCError(Status.UNAUTHENTICATED, "only Bearer tokens are taken")
            peer = str(getattr(call.transport.getPeer(), "host", ""))
            try:
                return await self._tokens.redeem(token.strip(), peer)
            except TokenRefused as error:
                raise GRPCError(Status.UNAUTHENTICATED, str(error)) from error
        for uri in self._urisOf(call.transport):
            try:
                return Identity.parse(uri)
            except IdentityError:
                continue
        raise GRPCError(Status.UNAUTHENTICATED, "a bootstrap token or a certificate of this mesh is needed")
