# -*- test-case-name: tests.identity.test_renewal -*-
"""
Having a certificate at any time: asked for at the start, renewed at about half of its life, tried again when that
fails. The one before serves until the next one is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshproxy.errors import MeshProxyError
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.identity.credential import Credential
from meshproxy.stats import Scope

__all__ = ["NEVER", "Issue", "Renewal"]

Issue = Callable[[Credential | None, str], Awaitable[Credential]]
"""
Gets a certificate, proven by the one before or by a token.
"""

_SPREAD = 0.1
"""
By which part of the time it is renewed earlier or later: workloads that were started together do not come together.
"""

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_SHORTEST_PAUSE = 0.2
_PART_OF_REST = 0.1
"""
Before the next try, a tenth of what is left of the certificate at most: short lives are not slept away.
"""

NEVER = (1 << 32) - 1
"""
Seconds until the end of a certificate that is not there; Envoy tells days that way.
"""


class Renewal:
    """
    See the module.

    @ivar credential: What serves now; L{None} until the first one came.
    @ivar isOver: Whether nothing is done any more.
    """

    _log = Logger()

    def __init__(
        self,
        issue: Issue,
        token: Callable[[], str],
        took: Callable[[Credential], object],
        clock: Any,
        chance: Callable[[], float],
        scope: Scope,
        kept: Credential | None = None,
        gracePeriodRatio: float = 0.5,
    ) -> None:
        """
        @param token: Reads the bootstrap token; nothing where there is none.
        @param took: Is told of each certificate: it is to serve from now on.
        @param clock: C{IReactorTime}, which tells seconds since 1970.
        @param chance: From 0 up to 1, for the spread.
        @param kept: The certificate of an earlier process.
        @param gracePeriodRatio: Which part of its life a certificate has left when it is renewed.
        """
        self.credential: Credential | None = None
        self.isOver = False
        self._issue = issue
        self._token = token
        self._took = took
        self._clock = clock
        self._chance = chance
        self._kept = kept
        self._when = 1 - gracePeriodRatio
        self._pause = _FIRST_PAUSE
        self._call: IDelayedCall | None = None
        self._work: Deferred[Any] | None = None
        # The digest of the last token that was sent: used up, or good for nothing.
        self._spent = b""
        self._prefersToken = False
        self._attempts = scope.counter("update_attempt")
        self._successes = scope.counter("update_success")
        self._failures = scope.counter("update_failure")
        self._left = scope.gauge("seconds_until_expiry")
        self.refresh()

    def start(self) -> None:
        """
        Begin.
        """
        kept, self._kept = self._kept, None
        now = self._clock.seconds()
        if kept is None or kept.ends <= now:
            self._ask()
            return
        self._serve(kept)
        whole = kept.ends - kept.begins
        self._later(max(kept.begins + whole * self._part() - now, 0.0))

    def stop(self) -> None:
        """
        Ask no more. What there is serves on.
        """
        self.isOver = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._work is not None:
            self._work.cancel()

    def renew(self) -> None:
        """
        Do not wait any longer: somebody says that there is another token, or another authority.
        """
        if self._work is None and not self.isOver:
            if self._call is not None and self._call.active():
                self._call.cancel()
            self._pause = _FIRST_PAUSE
            self._ask()

    def refresh(self) -> None:
        """
        Bring the gauge up to date, for whoever looks.
        """
        held = self.credential
        self._left.value = NEVER if held is None else max(int(held.ends - self._clock.seconds()), 0)

    def _part(self) -> float:
        return self._when * (1 - _SPREAD + 2 * _SPREAD * self._chance())

    def _later(self, seconds: float) -> None:
        self._call = self._clock.callLater(seconds, self._ask)

    def _ask(self) -> None:
        self._call = None
        self._attempts.value += 1
        self._work = work = Deferred.fromCoroutine(self._get())
        work.addCallbacks(self._given, self._refused)
        # What is told of it may raise; that is a mistake of ours, and no reason to ask no more.
        work.addErrback(self._refused)

    async def _get(self) -> Credential:
        """
        Prove who we are by what there is: the certificate while it is valid, else a token.
        """
        held, token = self.credential, self._token()
        isValid = held is not None and held.ends > self._clock.seconds()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest() if token else b""
        if isValid and not (self._prefersToken and token and digest != self._spent):
            return await self._issue(held, "")
        if not token:
            raise MeshProxyError(
                "there is no bootstrap token" if held is None else "the certificate ended, and there is no new token"
            )
        try:
            given = await self._issue(held, token)
        except GRPCError as error:
            if error.status is Status.UNAUTHENTICATED:
                self._spent = digest
            raise
        self._spent = digest
        return given

    def _given(self, credential: Credential) -> None:
        now = self._clock.seconds()
        if credential.ends <= now:
            raise MeshProxyError("the certificate that was given is over already")
        self._work = None
        self._successes.value += 1
        self._pause = _FIRST_PAUSE
        self._prefersToken = False
        self._serve(credential)
        self._later((credential.ends - now) * self._part())

    def _serve(self, credential: Credential) -> None:
        self.credential = credential
        self.refresh()
        until = datetime.fromtimestamp(credential.ends, UTC).isoformat()
        self._log.info("{uri} has a certificate until {until}", uri=credential.uri, until=until)
        self._took(credential)

    def _refused(self, failure: Failure) -> None:
        self._work = None
        if self.isOver or failure.check(CancelledError):
            return
        self._failures.value += 1
        if not failure.check(MeshProxyError):
            self._log.failure("a certificate could not be asked for, or taken", failure)
        held, now = self.credential, self._clock.seconds()
        # With a certificate that nobody takes any more, a new token helps.
        self._prefersToken = held is not None
        rest = 0.0 if held is None else held.ends - now
        most = self._pause if rest <= 0 else min(self._pause, max(rest * _PART_OF_REST, _SHORTEST_PAUSE))
        pause = most * (0.5 + self._chance() / 2)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self.refresh()
        self._log.warn(
            "no new certificate ({why}), {state}; again in {pause:.1f} s",
            why=failure.getErrorMessage(),
            state=_state(held, now),
            pause=pause,
        )
        self._later(pause)


def _state(held: Credential | None, now: float) -> str:
    if held is None:
        return "and there is none yet"
    if held.ends <= now:
        return "and the one before has ended"
    return f"the one before is good for {held.ends - now:.0f} s"
