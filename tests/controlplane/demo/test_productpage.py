"""
L{meshproxy.controlplane.demo.productpage}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.demo.productpage import ProductPage
from tests.controlplane.demo.given import Peers, Told, asked, begun

_REVIEWS = b'{"podname": "reviews-v1", "reviews": [{"reviewer": "R", "text": "T"}]}'


def page(peers: Peers, path: str = "/productpage", headers: dict[str, str] | None = None) -> Told:
    """
    What the page answers.
    """
    return asked(ProductPage(peers.caller, "details", "reviews").answer, path, headers)


class ProductPageTests(SynchronousTestCase):
    """
    The page and its parts.
    """

    def test_page(self) -> None:
        """
        Details and reviews are shown, the second time that they are asked for if need be.
        """
        peers = Peers(details=[(200, b'{"pages": 200}')], reviews=[(503, b""), (200, _REVIEWS)])
        told = page(peers)
        self.assertEqual((told.status, told.headers["content-type"]), (200, "text/html; charset=utf-8"))
        for part in (b"Book Reviews", b"Book Details", b"<dd>200</dd>", b"Reviews served by: reviews-v1"):
            self.assertIn(part, told.body)
        self.assertIn("default-src 'none'", told.headers["content-security-policy"])

    def test_without(self) -> None:
        """
        What does not come is said to be missing; the rest is there.
        """
        told = page(Peers(details=[(503, b"")], reviews=[(503, b""), (503, b"")]))
        self.assertEqual(told.status, 200)
        self.assertIn(b"Sorry, product reviews are currently unavailable for this book.", told.body)
        self.assertIn(b"Sorry, product details are currently unavailable for this book.", told.body)

    def test_patience(self) -> None:
        """
        The page waits for reviews twice 3 s.
        """
        peers = Peers(details=[(200, b"{}")], reviews=[(0, b""), (0, b"")])
        request = begun(ProductPage(peers.caller, "details", "reviews").answer, "/productpage")
        peers.clock.advance(3)
        peers.clock.advance(2.9)
        self.assertIsNone(request.flush())
        peers.clock.advance(0.2)
        told = request.flush()
        assert told is not None
        self.assertIn(b"Sorry, product reviews", told.body)

    def test_user(self) -> None:
        """
        Who has logged in is told to the services as a header, whatever the name is, and shown as text.
        """
        peers = Peers(details=[(200, b"{}")] * 2, reviews=[(200, _REVIEWS)] * 2)
        self.assertIn(b">jason<", page(peers, headers={"cookie": "user=jason"}).body)
        self.assertEqual({headers["end-user"] for _, _, headers in peers.seen}, {"jason"})
        told = page(peers, headers={"cookie": "user=%3Cb%3E%0D%0Ax%3A+y"})
        self.assertIn(b"&lt;b&gt;", told.body)
        self.assertEqual(peers.seen[-1][2]["end-user"], "%3Cb%3E%0D%0Ax%3A%2By")

    def test_login(self) -> None:
        """
        The form sets the cookie, and goes back to the page; a name cannot become another header.
        """
        told = asked(ProductPage(Peers().caller, "details", "reviews").answer, "/login", form=b"username=ja%0D%0Ason")
        self.assertEqual((told.status, told.headers["location"]), (303, "/productpage"))
        self.assertEqual(told.headers["set-cookie"], "user=ja%0D%0Ason; Path=/; HttpOnly; SameSite=Lax")

    def test_logout(self) -> None:
        """
        The cookie goes.
        """
        self.assertIn("user=; Path=/; Max-Age=0", page(Peers(), "/logout").headers["set-cookie"])
        self.assertEqual(page(Peers(), "/other").status, 404)
        self.assertEqual(page(Peers(), "/login").status, 404)
