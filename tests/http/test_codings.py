"""
L{meshproxy.http.codings}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.codings import chooseCoding

TWO = [(b"gzip", False), (b"br", False)]


class ChooseTests(SynchronousTestCase):
    """
    L{chooseCoding}.
    """

    def test_weights(self) -> None:
        """
        The greatest weight wins; of equal ones the first that the client names.
        """
        cases = {
            b"gzip": b"gzip",
            b"br, gzip": b"br",
            b"gzip, br": b"gzip",
            b"gzip;q=0.5, br;q=0.6": b"br",
            b" gzip ; Q = .5 ,br;q=0.4": b"gzip",
            b"deflate, gzip;q=0.1": b"gzip",
            b"gzip;x=0": b"gzip",
            b"gzip;q=x, br;q=0.1": b"br",
            b"gzip;q=0, br;q=0.1": b"br",
        }
        for value, expected in cases.items():
            self.assertEqual(chooseCoding(value, TWO), (expected, "header_compressor_used"), value)

    def test_first(self) -> None:
        """
        Of equal ones, the one that is to be chosen first.
        """
        self.assertEqual(chooseCoding(b"gzip, br", [(b"gzip", False), (b"br", True)]).coding, b"br")
        self.assertEqual(chooseCoding(b"gzip, br;q=0.9", [(b"gzip", False), (b"br", True)]).coding, b"gzip")

    def test_asterisk(self) -> None:
        """
        An asterisk is the first that is offered and not excluded.
        """
        self.assertEqual(chooseCoding(b"*", TWO), (b"gzip", "header_wildcard"))
        self.assertEqual(chooseCoding(b"gzip;q=0, *", TWO), (b"br", "header_wildcard"))

    def test_identity(self) -> None:
        """
        Who prefers nothing gets nothing.
        """
        self.assertEqual(chooseCoding(b"identity, gzip;q=0.5", TWO), (b"identity", "header_identity"))

    def test_none(self) -> None:
        """
        What leaves no coding is not valid.
        """
        for value in (b"", b",", b"deflate", b"gzip;q=0, br;q=0", b"gzip;q=x", b"*;q=0"):
            self.assertEqual(chooseCoding(value, TWO), (b"identity", "header_not_valid"), value)
        self.assertEqual(chooseCoding(b"gzip", []), (b"identity", "header_not_valid"))
