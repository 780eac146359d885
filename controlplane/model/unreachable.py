# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
Routes that no request can reach, because an earlier one takes all that they would take.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from meshproxy.controlplane.model.common import StringMatch
from meshproxy.controlplane.model.routes import HTTPMatchRequest, HTTPRoute, TCPRoute, TLSRoute
from meshproxy.controlplane.model.spots import Spot

__all__ = ["checkReachable"]


def checkReachable(routes: Sequence[HTTPRoute | TLSRoute | TCPRoute], spot: Spot) -> None:
    """
    Warn of routes, and of single matches, behind one that takes all that they would take.
    """
    seen: list[tuple[int, object]] = []
    everything: int | None = None
    for index, route in enumerate(routes):
        if everything is not None:
            spot[index].warn(f"is never reached: route {everything} takes everything", "unreachable")
            continue
        if not route.match:
            everything = index
            continue
        lost = 0
        for number, match in enumerate(route.match):
            plain = attrs.evolve(match, name="") if isinstance(match, HTTPMatchRequest) else match
            earlier = next((other for other, one in seen if _covers(one, plain)), None)
            if earlier is None:
                seen.append((index, plain))
            else:
                lost += 1
                spot[index]["match"][number].warn(f"is never reached: route {earlier} takes it", "unreachable")
        if lost == len(route.match):
            spot[index].warn("is never reached: earlier routes take all its matches", "unreachable")


def _covers(earlier: object, later: object) -> bool:
    """
    Whether all that the later match takes was taken by the earlier one.
    """
    if earlier == later:
        return True
    if not isinstance(earlier, HTTPMatchRequest) or not isinstance(later, HTTPMatchRequest):
        return False
    if earlier.uri is None or later.uri is None or earlier.ignoreUriCase != later.ignoreUriCase:
        return False
    blank = StringMatch()
    # The same but for the path, which the earlier takes by a shorter prefix.
    if attrs.evolve(earlier, uri=blank, statPrefix="") != attrs.evolve(later, uri=blank, statPrefix=""):
        return False
    path = later.uri.prefix if later.uri.prefix is not None else later.uri.exact
    return earlier.uri.prefix is not None and path is not None and path.startswith(earlier.uri.prefix)
