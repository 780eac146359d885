# -*- test-case-name: tests.identity.test_workload -*-
"""
The identity of a workload, put together: what asks for it, what keeps it, and whom it is handed to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from meshproxy.config import Report, Section
from meshproxy.identity.client import CertificateClient
from meshproxy.identity.credential import CERTIFICATE, ROOTS, Credential, CredentialError, load, save, secretsOf
from meshproxy.identity.renewal import Renewal
from meshproxy.identity.settings import IdentitySettings, readRoots
from meshproxy.interfaces import INetwork
from meshproxy.net.certificates import fingerprint, serialOf
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Scope

__all__ = ["Hand", "WorkloadIdentity", "intoStore"]

Hand = Callable[[Mapping[str, Any], Mapping[str, str]], object]
"""
Takes the C{Secret} messages by name, those first that others rest on, and the version of each.
"""

_PATIENCE = 15.0
"""
Seconds that whatever needs the identity waits for it at the start, as Envoy does for a secret
(C{initial_fetch_timeout}).
"""


class WorkloadIdentity:
    """
    See the module.

    @ivar renewal: When it is asked for.
    """

    _log = Logger()

    def __init__(
        self,
        settings: IdentitySettings,
        network: INetwork,
        reactor: Any,
        chance: Callable[[], float],
        scope: Scope,
        hand: Hand,
    ) -> None:
        """
        @param hand: Is given each version.

        @raise meshproxy.identity.settings.SettingsError: If the roots cannot be read.
        """
        self._settings = settings
        self._reactor = reactor
        self._hand = hand
        self._waiting: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self._hasWaited = False
        client = CertificateClient(settings, readRoots(settings.roots), network, reactor, scope)
        kept, ratio = self._kept(), settings.gracePeriodRatio
        self.renewal = Renewal(client.issue, self._token, self._took, reactor, chance, scope, kept, ratio)

    def _kept(self) -> Credential | None:
        if not self._settings.folder:
            return None
        try:
            return load(Path(self._settings.folder))
        except CredentialError as error:
            self._log.error("the identity that was kept is not used: {error}", error=str(error))
            return None

    def _token(self) -> str:
        path = self._settings.token
        if not path:
            return ""
        try:
            return Path(path).read_text("utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", "") or "it is no text"
            self._log.warn("the token in {path} cannot be read: {why}", path=path, why=why)
            return ""

    def _took(self, credential: Credential) -> None:
        versions = {ROOTS: _versionOf(credential), CERTIFICATE: serialOf(credential.chain[0])}
        self._hand(secretsOf(credential), versions)
        if self._settings.folder:
            try:
                save(Path(self._settings.folder), credential)
            except OSError as error:
                self._log.error("the identity cannot be kept: {path}: {why}", path=error.filename, why=error.strerror)
        self._goOn()

    # Life

    def start(self) -> None:
        """
        Begin.
        """
        self._timer = self._reactor.callLater(_PATIENCE, self._goOn)
        self.renewal.start()

    def stop(self) -> None:
        """
        Ask for no more.
        """
        self.renewal.stop()
        self._endTimer()

    def wait(self) -> Deferred[None]:
        """
        Wait for the first certificate, but not for ever.

        @return: Fires when it is there, or at once where it is, or after a while without it.
        """
        waited: Deferred[None] = Deferred()
        self._waiting.append(waited)
        if self._hasWaited:
            self._goOn()
        return waited

    def _goOn(self) -> None:
        self._hasWaited = True
        self._endTimer()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def _endTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _versionOf(credential: Credential) -> str:
    return "+".join(fingerprint(root)[:16] for root in credential.roots)


def intoStore(secrets: SecretStore) -> Hand:
    """
    What hands versions to the secrets of a proxy: references to C{default} and C{ROOTCA} are to these from now on.
    """
    for name in (ROOTS, CERTIFICATE):
        secrets.reserve(name)

    def hand(messages: Mapping[str, Any], versions: Mapping[str, str]) -> None:
        for name, message in messages.items():
            secrets.receiveOwn(name, Section(message, f"identity[{name}]", Report()), versions[name])

    return hand
