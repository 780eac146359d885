# -*- test-case-name: tests.secrets.test_handshakes -*-
"""
What TLS with clients and TLS with endpoints have in common: contexts that follow their secrets, and are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from cryptography import x509

from meshproxy.config import Section
from meshproxy.secrets.keylog import compileKeyLog
from meshproxy.secrets.material import ContextSource
from meshproxy.secrets.stapling import Staple
from meshproxy.secrets.stats import TLSStats
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Scope

__all__ = ["TLSSide"]

Made = TypeVar("Made")

_OF_SIDE = {False: ("client", "upstream", "downstream"), True: ("server", "downstream", "upstream")}


class TLSSide(Generic[Made]):
    """
    One C{DownstreamTlsContext} or C{UpstreamTlsContext}, the contexts of which are of the type that is named.

    @ivar section: The message.
    @ivar alpn: The application protocols, the preferred one first.
    @ivar came: Is told of each version after the first moment, such as when secrets have come; L{None} for nobody.
    @ivar keyLog: Takes the secrets of sessions, L{None} where nobody wants them.
    """

    came: Callable[[], object] | None = None

    def __init__(
        self, section: Section, secrets: SecretStore, scope: Scope, stats: TLSStats | None, isServer: bool
    ) -> None:
        """
        @param scope: The listener's or the cluster's.
        @param stats: Where to count; by default, at the scope.
        """
        self.section = section
        self.stats = TLSStats(scope) if stats is None else stats
        name, own, other = _OF_SIDE[isServer]
        factory = scope.scope(f"{name}_ssl_socket_factory.")
        self._updates = factory.counter("ssl_context_update_by_sds")
        self._notReady = factory.counter(f"{own}_context_secrets_not_ready")
        factory.counter(f"{other}_context_secrets_not_ready")
        self._secrets = secrets
        self.keyLog = compileKeyLog(section.childOrEmpty("common_tls_context"))
        self._source: ContextSource[Made] = ContextSource(
            section.childOrEmpty("common_tls_context"), secrets, isServer, self._updated, self.stats.expire
        )
        self.parameters = self._source.parameters
        self.alpn = self._source.alpn

    def _updated(self) -> None:
        self._updates.value += 1
        if self.came is not None:
            self.came()

    @property
    def isReady(self) -> bool:
        """
        Whether all secrets have come.
        """
        return self._source.made is not None

    def notReady(self) -> str:
        """
        A connection has to fail because a secret has not come: count it.

        @return: The transport failure reason.
        """
        self._notReady.value += 1
        return "TLS_error: Secret is not supplied by SDS"

    def certificates(self) -> list[tuple[list[tuple[str, x509.Certificate]], list[tuple[str, x509.Certificate]]]]:
        """
        See L{meshproxy.secrets.store.SecretUser.certificates}.
        """
        material = self._source.material
        if material is None:
            return []
        validation = material.validation
        roots = [(validation.path, root) for root in validation.roots]
        chains = [(key.path, each) for key in material.keys for each in key.chain]
        return [(roots, chains)]

    def staples(self) -> dict[x509.Certificate, Staple]:
        """
        See L{meshproxy.secrets.store.SecretUser.staples}.
        """
        material = self._source.material
        return {} if material is None else {key.leaf: key.staple for key in material.keys if key.staple is not None}

    def stop(self) -> None:
        """
        No new connections: follow the secrets no more.
        """
        self._source.stop()
        self._secrets.users.pop(self, None)
