# -*- test-case-name: tests.http.test_shortways -*-
"""
What the short ways have in common: a request of which nothing is left to send when it is made.
"""

from __future__ import annotations

from meshproxy.http.routedrequest import RoutedRequest

__all__ = ["ShortRequest"]


class ShortRequest(RoutedRequest):
    """
    Whatever happens to it besides a whole response is the business of its base class, further tries among them.
    """

    # In slots CPython finds them at once. Beside a default of the same name on the class, which the base class has for
    # most, CPython 3.12 and later look for an attribute that an instance has among its others.
    __slots__ = (
        "_action",
        "_endpoint",
        "_responsePaused",
        "_route",
        "_router",
        "_stats",
        "_stream",
        "_timeouts",
        "_tryBegan",
        "connection",
        "over",
        "responseStarted",
    )

    _requestEnded = _complete = True
