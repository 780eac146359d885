"""
L{meshproxy.controlplane.demo.services}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.demo.services import Details, Ratings, Reviews
from tests.controlplane.demo.given import Peers, asked, begun

_RATINGS = b'{"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}'


class ServiceTests(SynchronousTestCase):
    """
    What each service tells, and whom it asks.
    """

    def test_plain(self) -> None:
        """
        Details and ratings know a book by its number, and no other path.
        """
        self.assertEqual(asked(Details().answer, "/details/3").json["id"], 3)
        self.assertEqual(
            asked(Ratings().answer, "/ratings/0").json, {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
        )
        for service in (Details(), Ratings(), Reviews("v1", Peers().caller, "ratings")):
            self.assertEqual(asked(service.answer, "/other").status, 404)

    def test_v1(self) -> None:
        """
        The first version has no stars, and asks nobody.
        """
        peers = Peers()
        told = asked(Reviews("v1", peers.caller, "ratings").answer, "/reviews/0").json
        self.assertEqual(told["podname"], "reviews-v1")
        self.assertEqual([sorted(one) for one in told["reviews"]], [["reviewer", "text"]] * 2)
        self.assertEqual(peers.seen, [])

    def test_stars(self) -> None:
        """
        The later versions have stars, each in its colour, and hand on who asks.
        """
        for version, color in (("v2", "black"), ("v3", "red")):
            peers = Peers(ratings=[(200, _RATINGS)])
            told = asked(Reviews(version, peers.caller, "ratings").answer, "/reviews/7", {"end-user": "jason"}).json
            ratings = [one["rating"] for one in told["reviews"]]
            self.assertEqual(ratings, [{"stars": 5, "color": color}, {"stars": 4, "color": color}])
            ((_, path, headers),) = peers.seen
            self.assertEqual((path, headers["end-user"]), ("/ratings/7", "jason"))

    def test_withoutRatings(self) -> None:
        """
        If ratings fail, or say something strange, there are reviews all the same.
        """
        for answer in ((500, b""), (200, b'{"ratings": 1}'), (200, b'{"ratings": {"Reviewer1": "5"}}')):
            told = asked(Reviews("v2", Peers(ratings=[answer]).caller, "ratings").answer, "/reviews/0")
            self.assertEqual(told.status, 200)
            self.assertEqual(told.json["reviews"][0]["rating"], {"error": "Ratings service is currently unavailable"})

    def test_patience(self) -> None:
        """
        v2 waits for ratings 10 s, v3 two and a half.
        """
        for version, patience in (("v2", 10.0), ("v3", 2.5)):
            peers = Peers(ratings=[(0, b"")])
            request = begun(Reviews(version, peers.caller, "ratings").answer, "/reviews/0")
            peers.clock.advance(patience - 0.1)
            self.assertIsNone(request.flush())
            peers.clock.advance(0.2)
            told = request.flush()
            assert told is not None
            self.assertIn("error", told.json["reviews"][0]["rating"])
