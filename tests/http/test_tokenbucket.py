"""
L{meshproxy.http.tokenbucket}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.http.tokenbucket import TokenBucket, compileTokenBucket


def taken(bucket: TokenBucket, now: float, most: int = 100) -> int:
    """
    How many tokens there are to take.
    """
    return next((count for count in range(most) if not bucket.take(now)), most)


class TokenBucketTests(SynchronousTestCase):
    """
    When there is a token.
    """

    def test_beginsFull(self) -> None:
        """
        All that fits in is there at once, at any time of the clock.
        """
        for now in (0.0, 12.5, 1e9):
            self.assertEqual(taken(TokenBucket(3, 0.1), now), 3, now)

    def test_several(self) -> None:
        """
        Several tokens are taken all at once, or none of them.
        """
        bucket = TokenBucket(3, 0.1)
        self.assertEqual([bucket.take(0, 2), bucket.take(0, 2), bucket.take(0, 1)], [True, False, True])
        self.assertEqual([bucket.take(10, 2), bucket.take(20, 2)], [False, True])

    def test_fillsContinuously(self) -> None:
        """
        A token comes when its share of the interval is over, not before and not with others.
        """
        bucket = TokenBucket(10, 10 / 60)
        taken(bucket, 100.0)
        self.assertFalse(bucket.take(105.99))
        self.assertTrue(bucket.take(106.0))
        self.assertFalse(bucket.take(111.99))
        self.assertTrue(bucket.take(112.0))

    def test_neverMoreThanFits(self) -> None:
        """
        A long pause fills the bucket, and no more.
        """
        bucket = TokenBucket(2, 100.0)
        taken(bucket, 0.0)
        self.assertEqual(taken(bucket, 1e6), 2)

    def test_everyTokenOnce(self) -> None:
        """
        However often it is asked, the tokens taken over some time are those that were there and those that came.
        """
        bucket = TokenBucket(5, 3.0)
        self.assertEqual(sum(bucket.take(step / 100) for step in range(1001)), 5 + 30)

    def test_tokens(self) -> None:
        """
        What is there, and in how many whole seconds there is a token.
        """
        bucket = TokenBucket(2, 0.25)
        seen = [(int(bucket.tokens(0.0)), bucket.secondsToNext(0.0))]
        for now in (0.0, 0.0, 0.0, 1.9, 4.0):
            bucket.take(now)
            seen.append((int(bucket.tokens(now)), bucket.secondsToNext(now)))
        self.assertEqual(seen, [(2, 0), (1, 0), (0, 4), (0, 4), (0, 3), (0, 4)])


class CompileTests(SynchronousTestCase):
    """
    The message.
    """

    def test_rate(self) -> None:
        """
        One token an interval, unless it says more.
        """
        for text, expected in (
            ("{max_tokens: 5, fill_interval: 2s}", (5, 0.5)),
            ("{max_tokens: 5, tokens_per_fill: 10, fill_interval: 0.5s}", (5, 20.0)),
        ):
            self.assertEqual(compileTokenBucket(sectionFromYAML("envoy.type.v3.TokenBucket", text)), expected)

    def test_interval(self) -> None:
        """
        As Envoy, no interval below 50 ms.
        """
        section = Section.of("envoy.type.v3.TokenBucket", {"max_tokens": 1, "fill_interval": "0.049s"})
        compileTokenBucket(section)
        self.assertEqual([error.path for error in section.report.errors], ["fill_interval"])
