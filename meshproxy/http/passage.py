# -*- test-case-name: tests.http.test_passage -*-
"""
The way of a head through the filters of a chain, as one function.

A chain has a handful of filters that look at every head, and a call for each would cost more than most of them have to
do. So a filter may tell what it does with the usual head as statements (L{Step}), and the steps of a chain become one
function, written and compiled when the first stream takes the chain. A filter that tells nothing is called, as is one
that told something where a head is not the usual one: what a step leaves out is never more than a call.

Nothing of the configuration stands in that source: what was configured is bound to names
(L{meshproxy.config.expressions}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from meshproxy.config.expressions import Expression
from meshproxy.http.walk import HEADERS

if TYPE_CHECKING:
    from meshproxy.http.passing import PassingStream

__all__ = ["Passage", "Step", "compilePassage", "passEachInRequest", "passEachInResponse", "usually"]

#: Lets the filters see a head, with its stream and whether it ends the message. Whether it passed them all; else one
#: holds it, or answered in its stead.
Passage: TypeAlias = "Callable[[PassingStream, Any, bool], bool]"

F = TypeVar("F", bound=Callable[..., Any])

# What steps may use besides C{stream}, C{headers}, C{endStream} and their own names. A filter that is called may change
# each of them, so they are found again after it.
_KNOWN = {
    "first": "first = headers.first",
    "route": "route = stream.route",
    "configured": "configured = (found := stream.route) is not None and bool(found.overrides.configs)",
}


class Step(NamedTuple):
    """
    What a method for a head does with the usual one. Its expressions may use C{stream}, C{headers}, C{endStream} and

      - C{first}: the dictionary of the head,
      - C{route}: the route of the stream,
      - C{configured}: whether that has something to say to any filter.

    @ivar isUsual: Whether it is such a head. Where not, the method is called.
    @ivar statements: What is done then; the head goes on.
    """

    isUsual: Expression
    statements: tuple[Expression, ...] = ()


def usually(function: F, step: Step) -> F:
    """
    A method that tells what it does with the usual head.
    """
    function.step = step  # type: ignore[attr-defined]  # functions take any
    return function


def compilePassage(methods: Sequence[Callable[..., Any]], places: Sequence[int], isRequest: bool) -> Passage:
    """
    Make the function.

    @param methods: The methods of filters for this event, in order.
    @param places: Which filter of the chain each of them belongs to.
    @param isRequest: Whether they see requests, or else responses.
    """
    halted = "requestHalted" if isRequest else "responseHalted"
    steps: list[Step | None] = [getattr(method, "step", None) for method in methods]
    names: dict[str, Any] = {"goesOn": _goesOnInRequest if isRequest else _goesOnInResponse}
    body = _find(steps)
    for number, (method, place, step) in enumerate(zip(methods, places, steps, strict=True)):
        names[f"method{number}"] = method
        called = [
            f"verdict = method{number}(stream, headers, endStream)",
            f"if verdict is not None or stream.{halted}:",
            f" if not goesOn(stream, verdict, {place}, headers, endStream): return False",
            *_find(steps[number + 1 :]),
        ]
        if step is None:
            body += called
            continue
        for part in (step.isUsual, *step.statements):
            names |= part.names
        if step.statements:
            body.append(f"if {step.isUsual.source}:")
            body += [f" {statement.source}" for statement in step.statements]
            body.append("else:")
        else:
            body.append(f"if not {step.isUsual.source}:")
        body += [f" {line}" for line in called]
    source = "\n ".join(["def passage(stream, headers, endStream):", *body, "return True"])
    exec(compile(source, "<passage of a chain>", "exec"), names)
    made: Passage = names["passage"]
    return made


def _find(steps: Sequence[Step | None]) -> list[str]:
    """
    The lines that find what the steps to come use.
    """
    used = "\n".join(part.source for step in steps if step is not None for part in (step.isUsual, *step.statements))
    return [line for name, line in _KNOWN.items() if name in used]


def passEachInRequest(stream: PassingStream, headers: Any, endStream: bool) -> bool:
    """
    A L{Passage} for the requests of any chain, that calls each of its methods.
    """
    chain = stream.chain
    for place, method in zip(chain.requestHeadersPlaces, chain.requestHeaders, strict=True):
        verdict = method(stream, headers, endStream)
        if verdict is not None or stream.requestHalted:
            if not _goesOnInRequest(stream, verdict, place, headers, endStream):
                return False
    return True


def passEachInResponse(stream: PassingStream, headers: Any, endStream: bool) -> bool:
    """
    The same for its responses.
    """
    chain = stream.chain
    for place, method in zip(chain.responseHeadersPlaces, chain.responseHeaders, strict=True):
        verdict = method(stream, headers, endStream)
        if verdict is not None or stream.responseHalted:
            if not _goesOnInResponse(stream, verdict, place, headers, endStream):
                return False
    return True


def _goesOnInRequest(stream: PassingStream, verdict: object, place: int, headers: Any, endStream: bool) -> bool:
    """
    A filter said that the head of a request does not simply go on; or there is nothing left to go on.
    """
    return stream.requestWalk.answered(verdict, place, (HEADERS, headers, endStream))[0] is None


def _goesOnInResponse(stream: PassingStream, verdict: object, place: int, headers: Any, endStream: bool) -> bool:
    """
    The same of a response.
    """
    return stream.responseWalk.answered(verdict, place, (HEADERS, headers, endStream))[0] is None
