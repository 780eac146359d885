# -*- test-case-name: tests.controlplane.ca.test_tokens -*-
"""
Bootstrap tokens: how a proxy that has no certificate yet proves who it is, once.

Whoever may issue makes a token for an identity and hands it to the workload; the proxy sends it with its first
signing request, and from then on proves itself by its certificate. The store holds only a hash of it, so that who reads
the store, a backup or the history learns no token.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from meshproxy.controlplane.ca.identity import Identity
from meshproxy.controlplane.store.interfaces import IStore
from meshproxy.controlplane.store.values import Change, Conflict, Entry, Key, Listing
from meshproxy.errors import MeshProxyError

__all__ = ["BootstrapTokens", "COLLECTION", "TokenRefused"]

COLLECTION = "meshproxy.io/bootstraptokens"
"""
Where their hashes are in the store. No kind of resource has this name, so no API shows them.
"""

PREFIX = "mpboot-"
"""
What each begins with, so that secret scanners, and people, know one when they see it.
"""

# 256 bits: nobody guesses one, and its hash needs no salt.
_BYTES = 32
_LENGTH = len(PREFIX) + 43


class TokenRefused(MeshProxyError):
    """
    A token that proves nothing. Its text may be shown to who sent it.
    """


class BootstrapTokens:
    """
    See the module.
    """

    def __init__(self, store: IStore, seconds: Callable[[], float]) -> None:
        """
        @param seconds: The time, since 1970.
        """
        self._store = store
        self._seconds = seconds

    async def make(self, identity: Identity, life: float, author: str) -> str:
        """
        A new token.

        @param life: Seconds until it proves nothing any more.
        @param author: Who made it.

        @return: The token; it is not to be had a second time.
        """
        if not 0 < life < float("inf"):
            raise ValueError(f"a token lives for some seconds, not for {life}")
        token = PREFIX + secrets.token_urlsafe(_BYTES)
        document: dict[str, object] = {
            "identity": str(identity),
            "expires": self._seconds() + life,
            "author": author,
        }
        await self._store.commit([Change(_keyOf(token), document, expected=0)], author, f"a token for {identity}")
        return token

    async def redeem(self, token: str, peer: str) -> Identity:
        """
        Take a token, which thereby is used up.

        @param peer: Who sent it, for the record.

        @return: The identity that it proves. Of two who come at once with the same token, at several control planes
            even, one gets it.

        @raise TokenRefused: If it proves nothing.
        """
        if len(token) != _LENGTH or not token.startswith(PREFIX):
            raise TokenRefused(f"this is no bootstrap token: one begins with {PREFIX} and has {_LENGTH} characters")
        key = _keyOf(token)
        entry: Entry | None = await self._store.get(key)
        if entry is None:
            raise TokenRefused("the token is unknown here: it is another control plane's, or long expired")
        if "usedBy" in entry.document:
            raise TokenRefused("the token is used up: a token proves an identity once")
        identity, expires = _read(entry)
        if self._seconds() >= expires:
            raise TokenRefused("the token has expired")
        used = Change(key, {**entry.document, "usedBy": peer, "used": self._seconds()}, entry.revision)
        try:
            await self._store.commit([used], peer, f"the token for {identity} is used")
        except Conflict:
            raise TokenRefused("the token is used up: a token proves an identity once") from None
        return identity

    async def sweep(self) -> int:
        """
        Forget the tokens that expired, used or not. To be called now and then.

        @return: How many there were.
        """
        listing: Listing = await self._store.listing(COLLECTION)
        now = self._seconds()
        gone = [Change(entry.key, None, entry.revision) for entry in listing.entries if _read(entry)[1] <= now]
        if not gone:
            return 0
        try:
            await self._store.commit(gone, "control plane", "expired tokens")
        except Conflict:
            # Another control plane is at it too; what is left is swept next time.
            return 0
        return len(gone)


def _keyOf(token: str) -> Key:
    return Key(COLLECTION, "", hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest())


def _read(entry: Entry) -> tuple[Identity, float]:
    identity, expires = entry.document["identity"], entry.document["expires"]
    assert isinstance(identity, str) and isinstance(expires, int | float)
    return Identity.parse(identity), expires
