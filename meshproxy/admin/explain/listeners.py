# -*- test-case-name: tests.admin.explain.test_answer -*-
"""
Which listener gets a request, and why no other one does.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.admin.explain.place import Answer, placeOf
from meshproxy.admin.explain.question import Question
from meshproxy.listener.listener import Listener
from meshproxy.net.address import Address

__all__ = ["addressOf", "chooseListener"]


def chooseListener(question: Question, listeners: Sequence[Listener]) -> tuple[Listener | None, list[Answer]]:
    """
    @return: The listener, if any accepts the connection, and what is told of all others.
    """
    found = []
    others: list[Answer] = []
    for listener in listeners:
        why = _miss(question, listener)
        if not why:
            found.append(listener)
        else:
            others.append(_other(listener, why))
    # Several may have one port on addresses of their own, as the sidecars of one machine have.
    chosen = next((each for each in found if question.host in _hostsOf(each)), found[0] if found else None)
    nearer = f"another one is nearer to {question.host or 'the address'}"
    others += [_other(listener, nearer) for listener in found if listener is not chosen]
    # Nobody listens on the port that the URL names, which is the usual one where it names none: a single listener is
    # meant all the same.
    if chosen is None and len(listeners) == 1 and not question.listener and question.port in (80, 443):
        return listeners[0], []
    return chosen, others


def addressOf(listener: Listener) -> Address | None:
    """
    Where a listener is, the first place of several: as it is bound, or as it is configured where nobody bound it.
    """
    if listener.ports:
        return listener.ports[0].address
    return listener.addresses[0][0] if listener.addresses else None


def _other(listener: Listener, why: str) -> Answer:
    return {"name": listener.name, "at": placeOf(listener.section), "why": why}


def _miss(question: Question, listener: Listener) -> str:
    """
    Why a listener does not get the request; empty if it might.
    """
    if question.listener:
        return "" if listener.name == question.listener else f"its name is not {question.listener!r}"
    ports = [address.port for address, _ in listener.addresses]
    ports += [port.address.port for port in listener.ports]
    if question.port in ports:
        return ""
    shown = ", ".join(dict.fromkeys(address.text for address, _ in listener.addresses))
    return f"it listens on {shown}, not on port {question.port}"


def _hostsOf(listener: Listener) -> set[str]:
    """
    The IP addresses that a listener is bound to.
    """
    return {address.host for address, _ in listener.addresses}
