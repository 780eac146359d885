"""
L{meshproxy.identity.renewal}, in virtual time.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshproxy.grpc.status import GRPCError, Status
from meshproxy.identity.credential import Credential
from meshproxy.identity.renewal import NEVER, Renewal
from meshproxy.stats import Store
from meshproxy.testing.clock import EPOCH
from tests.identity.support import ControlPlaneTestCase, credential


class RenewalTests(ControlPlaneTestCase):
    """
    L{Renewal}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.clock = self.reactor
        self.asked: list[tuple[Credential | None, str]] = []
        self.answers: list[Deferred[Credential]] = []
        self.taken: list[Credential] = []
        self.token_ = "t1"
        self.chance = 0.5
        self.store = Store()
        self.renewal = self.make()

    def make(self, kept: Credential | None = None) -> Renewal:
        """
        One that has not begun.
        """
        scope = self.store.scope("identity.")
        taken = self.taken.append
        return Renewal(self.issue, lambda: self.token_, taken, self.clock, lambda: self.chance, scope, kept)

    async def issue(self, held: Credential | None, token: str) -> Credential:
        """
        Asked for a certificate; the test answers.
        """
        self.asked.append((held, token))
        answer: Deferred[Credential] = Deferred(lambda _: None)
        self.answers.append(answer)
        return await answer

    def give(self, life: float = 1000.0) -> Credential:
        """
        Answer the last request.
        """
        given = credential(self.authority, life=life)
        self.answers[-1].callback(given)
        return given

    def refuse(self, status: Status = Status.UNAVAILABLE) -> None:
        """
        Refuse it.
        """
        self.answers[-1].errback(GRPCError(status, "no"))

    def counted(self, name: str) -> int:
        """
        A counter.
        """
        return self.store.counters[f"identity.{name}"].value

    def left(self) -> int:
        """
        The gauge, as it is shown.
        """
        self.renewal.refresh()
        return int(self.store.gauges["identity.seconds_until_expiry"].value)

    def test_first(self) -> None:
        """
        The first certificate is had by the token, and serves.
        """
        self.assertEqual(self.left(), NEVER)
        self.renewal.start()
        self.assertEqual(self.asked, [(None, "t1")])
        given = self.give()
        self.assertEqual((self.taken, self.renewal.credential), ([given], given))
        self.assertEqual((self.counted("update_attempt"), self.counted("update_success")), (1, 1))
        self.assertEqual(self.left(), 1000)
        self.clock.advance(10)
        self.assertEqual(self.left(), 990)

    def test_halfLife(self) -> None:
        """
        It is renewed at half of its life, by itself; the one before serves until the next one is there.
        """
        self.renewal.start()
        first = self.give()
        self.clock.advance(499)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        self.assertEqual(self.asked[1:], [(first, "")])
        self.assertIs(self.renewal.credential, first)
        second = self.give()
        self.assertIs(self.renewal.credential, second)
        self.clock.advance(500)
        self.assertEqual(self.asked[2:], [(second, "")])

    def test_spread(self) -> None:
        """
        Chance moves it within a tenth of its life.
        """
        for chance, due in ((0.0, 450), (0.999, 549.9)):
            self.chance = chance
            renewal = self.make()
            renewal.start()
            self.give()
            before = len(self.asked)
            self.clock.advance(due - 1)
            self.assertEqual(len(self.asked), before)
            self.clock.advance(1)
            self.assertEqual(len(self.asked), before + 1)
            renewal.stop()

    def test_ratio(self) -> None:
        """
        How much of its life is left may be said; the spread is a tenth of the time either way.
        """
        for chance, due in ((0.0, 180), (0.5, 200), (1.0, 220)):
            self.chance = chance
            scope = Store().scope("identity.")
            renewal = Renewal(
                self.issue, lambda: "t", self.taken.append, self.clock, lambda: self.chance, scope, None, 0.8
            )
            renewal.start()
            given = self.give()
            (call,) = self.clock.getDelayedCalls()
            self.assertAlmostEqual(call.getTime() - self.clock.seconds(), due, 3)
            self.assertEqual(given.ends - self.clock.seconds(), 1000)
            renewal.stop()

    def test_failing(self) -> None:
        """
        A failure keeps what there is, is counted, and is tried again with pauses that double, up to a minute.
        """
        self.chance = 1.0
        self.renewal.start()
        pauses = []
        for _ in range(8):
            self.refuse()
            due = self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds()
            pauses.append(due)
            self.clock.advance(due)
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60])
        self.assertEqual((self.counted("update_failure"), self.counted("update_attempt")), (8, 9))
        self.give()
        self.assertEqual(len(self.taken), 1)
        # After a success the first pause is the short one again.
        self.clock.advance(550)
        self.refuse()
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds(), 1)

    def test_jitter(self) -> None:
        """
        Pauses are spread over their second half.
        """
        self.chance = 0.0
        self.renewal.start()
        self.refuse()
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds(), 0.5)

    def test_shortLives(self) -> None:
        """
        Of a short life no pause takes more than a tenth of what is left, so that several tries fit into it.
        """
        self.chance = 1.0
        self.renewal.start()
        held = self.give(4)
        self.clock.advance(4 * 0.55)
        while self.clock.seconds() < held.ends:
            self.refuse()
            due = self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds()
            self.assertLess(due, 0.2001)
            self.clock.advance(due)
        self.assertGreater(len(self.asked), 8)
        self.assertIs(self.renewal.credential, held)
        self.assertEqual(self.left(), 0)

    def test_freshToken(self) -> None:
        """
        A certificate that is not taken is followed by a token that was not sent yet, and by the certificate again.
        """
        self.renewal.start()
        held = self.give()
        self.clock.advance(500)
        self.refuse()
        self.clock.advance(60)
        # The token was used up by the first certificate.
        self.assertEqual(self.asked[1:], [(held, ""), (held, "")])
        self.token_ = "t2"
        self.refuse()
        self.clock.advance(60)
        self.assertEqual(self.asked[3:], [(held, "t2")])
        self.refuse(Status.UNAUTHENTICATED)
        self.clock.advance(60)
        self.assertEqual(self.asked[4:], [(held, "")])

    def test_ended(self) -> None:
        """
        A certificate that ended proves nothing: without a token there is nothing to do but wait for one.
        """
        self.renewal.start()
        held = self.give(10)
        self.token_ = ""
        self.clock.advance(5)
        self.refuse()
        for _ in range(200):
            self.clock.advance(0.5)
            if self.answers and not self.answers[-1].called:
                self.refuse()
        before = len(self.asked)
        self.assertGreater(self.clock.seconds(), held.ends)
        self.clock.advance(60)
        self.assertEqual(len(self.asked), before)
        self.token_ = "t2"
        self.clock.advance(60)
        self.assertEqual(self.asked[before:], [(held, "t2")])

    def test_noToken(self) -> None:
        """
        Without any proof nobody is asked; a token that comes later is found.
        """
        self.token_ = ""
        self.renewal.start()
        self.assertEqual((self.asked, self.counted("update_failure")), ([], 1))
        self.token_ = "late"
        self.clock.advance(1)
        self.assertEqual(self.asked, [(None, "late")])

    def test_kept(self) -> None:
        """
        That of an earlier process serves at once, and is renewed at half of its life, counted from where it began.
        """
        kept = credential(self.authority, life=1000)
        # It began two minutes ago, for clocks that are behind.
        renewal = self.make(kept)
        renewal.start()
        self.assertEqual((self.taken, self.asked), ([kept], []))
        half = (1000 + 120) / 2 - 120
        self.clock.advance(half - 1)
        self.assertEqual(self.asked, [])
        self.clock.advance(1)
        self.assertEqual(self.asked, [(kept, "")])

    def test_keptTooLong(self) -> None:
        """
        One past half of its life is renewed at once; one that ended is nothing any more.
        """
        kept = credential(self.authority, life=1000)
        self.clock.advance(900)
        renewal = self.make(kept)
        renewal.start()
        self.clock.advance(0)
        self.assertEqual((self.taken, self.asked), ([kept], [(kept, "")]))
        renewal.stop()
        self.clock.advance(100)
        self.make(kept).start()
        self.assertEqual((len(self.taken), self.asked[1:]), (1, [(None, "t1")]))

    def test_overAlready(self) -> None:
        """
        A certificate that has ended when it comes does not serve.
        """
        self.renewal.start()
        given = credential(self.authority, life=5)
        self.clock.advance(6)
        self.answers[-1].callback(given)
        self.assertEqual((self.taken, self.counted("update_failure")), ([], 1))

    def test_takerRaises(self) -> None:
        """
        Whoever is told of a certificate and raises is in the log, and does not end the renewal.
        """
        taken: Any = self.taken

        def broken(given: Credential) -> None:
            taken.append(given)
            raise ValueError("broken")

        scope = self.store.scope("identity.")
        renewal = Renewal(self.issue, lambda: "t", broken, self.clock, lambda: 0.5, scope)
        renewal.start()
        self.give()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(60)
        self.assertEqual(len(self.asked), 2)

    def test_renew(self) -> None:
        """
        It may be asked to do it now, which is no second request while one is under way.
        """
        self.renewal.start()
        self.renewal.renew()
        self.assertEqual(len(self.asked), 1)
        self.give()
        self.renewal.renew()
        self.assertEqual(len(self.asked), 2)
        self.give()
        self.clock.advance(499)
        self.assertEqual(len(self.asked), 2)

    def test_stop(self) -> None:
        """
        After its end it asks for nothing, whether it waited or had asked.
        """
        self.renewal.start()
        self.give()
        self.renewal.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other = self.make()
        other.start()
        other.stop()
        other.renew()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.counted("update_failure"), 0)

    def test_epoch(self) -> None:
        """
        A certificate counts by the clock that is handed in.
        """
        clock = Clock()
        clock.rightNow = EPOCH - 10 * 365 * 86400
        renewal = Renewal(self.issue, lambda: "t", self.taken.append, clock, lambda: 0.5, Store().scope("identity."))
        renewal.start()
        given = self.give()
        (call,) = clock.getDelayedCalls()
        self.assertAlmostEqual(call.getTime() - clock.seconds(), (given.ends - clock.seconds()) / 2, 1)
