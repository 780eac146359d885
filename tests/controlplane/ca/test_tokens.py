"""
Tests for L{meshproxy.controlplane.ca.tokens}.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.ca.tokens import BootstrapTokens, TokenRefused
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.values import Key
from meshproxy.testing.clock import VirtualReactor
from tests.controlplane.ca.support import ANN, BOB


class _Late(Ledger):
    """
    A store whose answers to C{get} wait, so that two may look before either writes.
    """

    def __init__(self, reactor: VirtualReactor) -> None:
        super().__init__(reactor)
        self.held: list[tuple[Deferred[Any], Any]] | None = None

    def get(self, key: Key) -> Deferred[Any]:
        answer = super().get(key)
        if self.held is None:
            return answer
        later: Deferred[Any] = Deferred()
        self.held.append((later, self.successResult(answer)))
        return later

    def successResult(self, answer: Deferred[Any]) -> object:
        """
        What is there already.
        """
        found: list[object] = []
        answer.addCallback(found.append)
        return found[0]


class BootstrapTokensTests(SynchronousTestCase):
    """
    L{BootstrapTokens}: each proves one identity, once, for some time.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = _Late(self.reactor)
        self.tokens = BootstrapTokens(self.store, self.reactor.seconds)

    def run_(self, work: Coroutine[Any, Any, Any]) -> Any:
        """
        The result of a coroutine that has nothing to wait for.
        """
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, token: str, tokens: BootstrapTokens | None = None) -> str:
        """
        Why a token is refused.
        """
        work = Deferred.fromCoroutine((tokens or self.tokens).redeem(token, "10.0.0.1"))
        return str(self.failureResultOf(work, TokenRefused).value)

    def test_once(self) -> None:
        """
        A token proves its identity, and after that nothing.
        """
        token = self.run_(self.tokens.make(ANN, 60, "admin"))
        other = self.run_(self.tokens.make(BOB, 60, "admin"))
        self.assertEqual(self.run_(self.tokens.redeem(token, "10.0.0.1")), ANN)
        self.assertIn("used up", self.refused(token))
        self.assertEqual(self.run_(self.tokens.redeem(other, "10.0.0.1")), BOB)

    def test_race(self) -> None:
        """
        Of two who come at once, one gets it.
        """
        token = self.run_(self.tokens.make(ANN, 60, "admin"))
        held: list[tuple[Deferred[Any], Any]] = []
        self.store.held = held
        both = [Deferred.fromCoroutine(self.tokens.redeem(token, peer)) for peer in ("10.0.0.1", "10.0.0.2")]
        self.store.held = None
        for later, entry in held:
            later.callback(entry)
        self.assertEqual(self.successResultOf(both[0]), ANN)
        self.failureResultOf(both[1], TokenRefused)

    def test_expired(self) -> None:
        """
        In its last moment it is good, then no more.
        """
        tokens = [self.run_(self.tokens.make(ANN, 60, "admin")) for _ in range(2)]
        self.reactor.advance(59.5)
        self.run_(self.tokens.redeem(tokens[0], "10.0.0.1"))
        self.reactor.advance(0.5)
        self.assertIn("expired", self.refused(tokens[1]))

    def test_foreign(self) -> None:
        """
        Another control plane's token, and what is no token, prove nothing.
        """
        token = self.run_(BootstrapTokens(Ledger(self.reactor), self.reactor.seconds).make(ANN, 60, "admin"))
        self.assertIn("unknown here", self.refused(token))
        for text in ("", "mpboot-", "x" * 50, token[:-1], token + "x", "\ud800" * 50):
            self.assertIn("no bootstrap token", self.refused(text))
        self.assertIn("unknown", self.refused(token[:-1] + ("A" if token[-1] != "A" else "B")))

    def test_notInTheStore(self) -> None:
        """
        Who reads the store, its history included, learns no token.
        """
        token = self.run_(self.tokens.make(ANN, 60, "admin"))
        self.run_(self.tokens.redeem(token, "10.0.0.1"))
        history = self.successResultOf(self.store.history())
        told = json.dumps([[str(c.message), str(c.changes)] for c in history])
        self.assertNotIn(token[7:], told)
        self.assertIn(str(ANN), told)
        used = history[0].changes[0].after
        assert used is not None
        self.assertEqual(used.document["usedBy"], "10.0.0.1")

    def test_sweep(self) -> None:
        """
        What expired is forgotten, used or not; what has not stays, so that it cannot be used twice.
        """
        for life in (10, 20, 30):
            self.run_(self.tokens.make(ANN, life, "admin"))
        used = self.run_(self.tokens.make(ANN, 30, "admin"))
        self.run_(self.tokens.redeem(used, "10.0.0.1"))
        self.reactor.advance(20)
        self.assertEqual(self.run_(self.tokens.sweep()), 2)
        self.assertEqual(self.run_(self.tokens.sweep()), 0)
        self.assertIn("used up", self.refused(used))

    def test_life(self) -> None:
        """
        A token without end is not made.
        """
        for life in (0, -1, float("inf"), float("nan")):
            self.failureResultOf(Deferred.fromCoroutine(self.tokens.make(ANN, life, "admin")), ValueError)
