"""
L{meshproxy.controlplane.demo.page}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.demo.page import productPage


def _reviews(**rating: Any) -> dict[str, Any]:
    return {"podname": "p", "reviews": [{"reviewer": "r", "text": "t", "rating": rating}]}


class PageTests(SynchronousTestCase):
    """
    The HTML.
    """

    def test_escapes(self) -> None:
        """
        No text that comes from elsewhere is HTML.
        """
        bad = "<script>'\"&"
        told = productPage(
            bad,
            dict.fromkeys(("type", "pages", "publisher", "language", "ISBN-10", "ISBN-13"), bad),
            {"podname": bad, "reviews": [{"reviewer": bad, "text": bad, "rating": {"error": bad}}]},
        )
        self.assertNotIn("<script>", told)
        self.assertEqual(told.count("&lt;script&gt;&#x27;&quot;&amp;"), 11)

    def test_stars(self) -> None:
        """
        As many as were given, of five, in one of two colours.
        """
        self.assertIn(
            '<div class="stars red" title="4 of 5">★★★★<i>★</i></div>',
            productPage("", {}, _reviews(stars=4, color="red")),
        )
        self.assertIn('class="stars black" title="5 of 5"', productPage("", {}, _reviews(stars=9, color='"><b>')))
        self.assertIn('title="0 of 5"', productPage("", {}, _reviews(stars=-1)))
        self.assertNotIn('class="stars', productPage("", {}, {"podname": "p", "reviews": [{"text": "t"}, 7]}))

    def test_missing(self) -> None:
        """
        What is not there is said to be so, and what is no list of reviews is as none.
        """
        for reviews in (None, {}, {"reviews": 1}):
            self.assertIn("Sorry, product reviews are currently unavailable", productPage("", None, reviews))
        self.assertIn("Ratings service is currently unavailable", productPage("", {}, _reviews(stars="5")))
