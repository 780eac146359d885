# -*- test-case-name: tests.controlplane.demo.test_services -*-
"""
Three of bookinfo's services: details, ratings, and the three versions of reviews.
"""

from __future__ import annotations

from attrs import frozen
from twisted.web.server import Request

from meshproxy.controlplane.demo.web import Answer, Caller, forwarded, jsonAnswer, numberIn

__all__ = ["Details", "Ratings", "Reviews", "Stars", "VERSIONS"]

_NOWHERE = {"error": "no such path"}


@frozen
class Stars:
    """
    How a version of reviews shows ratings.

    @ivar timeout: Seconds that it waits for them. Istio's v2 waits longer than the page waits for it, on purpose:
        injected delays find that.
    """

    color: str
    timeout: float


#: v1 shows none, and asks for none.
VERSIONS: dict[str, Stars | None] = {"v1": None, "v2": Stars("black", 10.0), "v3": Stars("red", 2.5)}

_TEXTS = {
    "Reviewer1": "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    "Reviewer2": "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays.",
}


class Details:
    """
    What is in a catalogue about a book.
    """

    async def answer(self, request: Request) -> Answer:
        """
        C{GET /details/NUMBER}.
        """
        number = numberIn(request.path, b"/details/")
        if number is None:
            return jsonAnswer(_NOWHERE, 404)
        return jsonAnswer(
            {
                "id": number,
                "author": "William Shakespeare",
                "year": 1595,
                "type": "paperback",
                "pages": 200,
                "publisher": "PublisherA",
                "language": "English",
                "ISBN-10": "1234567890",
                "ISBN-13": "123-1234567890",
            }
        )


class Ratings:
    """
    How many stars each reviewer gives.
    """

    async def answer(self, request: Request) -> Answer:
        """
        C{GET /ratings/NUMBER}.
        """
        number = numberIn(request.path, b"/ratings/")
        if number is None:
            return jsonAnswer(_NOWHERE, 404)
        return jsonAnswer({"id": number, "ratings": {"Reviewer1": 5, "Reviewer2": 4}})


class Reviews:
    """
    What reviewers say, and in later versions their stars.
    """

    def __init__(self, version: str, caller: Caller, ratings: str) -> None:
        """
        @param version: One of L{VERSIONS}.
        @param ratings: The host of the ratings, C{ratings:9080}.
        """
        self._version = version
        self._stars = VERSIONS[version]
        self._caller = caller
        self._ratings = ratings

    async def answer(self, request: Request) -> Answer:
        """
        C{GET /reviews/NUMBER}. Without ratings there are reviews all the same, and a word of what is missing.
        """
        number = numberIn(request.path, b"/reviews/")
        if number is None:
            return jsonAnswer(_NOWHERE, 404)
        reviews = [{"reviewer": name, "text": text} for name, text in _TEXTS.items()]
        if self._stars is None:
            return self._told(number, reviews)
        path = f"/ratings/{number}"
        found = await self._caller.get(self._ratings, path, forwarded(request), self._stars.timeout)
        ratings = (found or {}).get("ratings", {})
        return self._told(number, [{**one, "rating": self._ratingOf(ratings, one["reviewer"])} for one in reviews])

    def _ratingOf(self, ratings: object, reviewer: str) -> dict[str, object]:
        stars = ratings.get(reviewer) if isinstance(ratings, dict) else None
        if self._stars is None or type(stars) is not int:
            return {"error": "Ratings service is currently unavailable"}
        return {"stars": stars, "color": self._stars.color}

    def _told(self, number: int, reviews: object) -> Answer:
        podname = f"reviews-{self._version}"
        return jsonAnswer({"id": str(number), "podname": podname, "clustername": "demo", "reviews": reviews})
