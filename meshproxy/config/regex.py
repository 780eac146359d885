# -*- test-case-name: tests.config.test_regex -*-
"""
Regular expressions of a configuration: RE2's language, in linear time.

C{google-re2} decides what is legal and is right about every input. It costs a microsecond a match, C{re} a quarter
of one; so a pattern that L{meshproxy.config.linear} proves not to backtrack is given to C{re}, in a form written anew
from the proof. Everything else stays with RE2.

As in Envoy, a character is a byte (RE2's Latin-1): C{.} matches one byte of a UTF-8 sequence.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import re2

from meshproxy.config.linear import proveLinear

__all__ = ["Regex", "RegexError", "compileRegex", "compileSubstitution"]

# Envoy refuses programs above 100 instructions unless its runtime allows them ("re2.max_program_size.error_level").
# Here they are allowed: RE2 itself bounds a program by its memory, and this bounds the time to read one.
MAX_PATTERN_BYTES = 32 * 1024

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.encoding = re2.Options.Encoding.LATIN1

_BACK_REFERENCE = re.compile(rb"\\(\d|.)", re.DOTALL)


class RegexError(ValueError):
    """
    A pattern or a substitution that RE2 does not accept.
    """


class Regex:
    """
    One compiled pattern.

    @ivar pattern: As it was written.
    @ivar fullMatch: Whether the whole of some bytes matches.
    @ivar isLinear: Whether C{re} does the work.
    """

    __slots__ = ("_re2", "fullMatch", "isLinear", "pattern")

    def __init__(self, pattern: str, compiled: re2._Regexp, fullMatch: Callable[[bytes], bool], isLinear: bool) -> None:
        self.pattern = pattern
        self._re2 = compiled
        self.fullMatch = fullMatch
        self.isLinear = isLinear

    @property
    def groups(self) -> int:
        """
        How many groups the pattern captures.
        """
        return int(self._re2.groups)

    def capture(self, subject: bytes) -> tuple[bytes, ...] | None:
        """
        What the groups hold where the whole of C{subject} matches, else L{None}.
        """
        found = self._re2.fullmatch(subject)
        return None if found is None else tuple([group or b"" for group in found.groups()])

    def substitute(self, template: list[bytes | int], subject: bytes) -> bytes:
        """
        Replace every match in C{subject}: RE2's C{GlobalReplace}.

        @param template: Literals, and the numbers of groups.
        """
        pieces: list[bytes] = []
        end = 0
        for found in self._re2.finditer(subject):
            start, stop = found.span()
            if start == stop == end and end and pieces:
                # RE2 takes no empty match right behind a match.
                continue
            pieces.append(subject[end:start])
            for part in template:
                pieces.append(part if isinstance(part, bytes) else found[part] or b"")
            end = stop
        if not pieces:
            return subject
        pieces.append(subject[end:])
        return b"".join(pieces)


def compileRegex(pattern: str) -> Regex:
    """
    Compile a pattern.

    @raise RegexError: If RE2 does not accept it.
    """
    encoded = pattern.encode("utf-8")
    if len(encoded) > MAX_PATTERN_BYTES:
        raise RegexError(f"the regular expression is longer than {MAX_PATTERN_BYTES} bytes")
    try:
        compiled = re2.compile(encoded, _OPTIONS)
    except re2.error as fault:
        why = fault.args[0] if fault.args else "refused"
        told = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise RegexError(f"not a regular expression of RE2: {told}") from fault
    slow = compiled.fullmatch
    proven = proveLinear(pattern)
    if proven is None:
        return Regex(pattern, compiled, lambda subject: slow(subject) is not None, False)
    quick = re.compile(proven, re.DOTALL).fullmatch
    return Regex(pattern, compiled, lambda subject: quick(subject) is not None, True)


def _parseTemplate(substitution: str, groups: int) -> list[bytes | int]:
    r"""
    RE2's rewrite string: C{\0} to C{\9} are groups, C{\\} is a backslash.
    """
    template: list[bytes | int] = []
    text = substitution.encode("utf-8")
    end = 0
    for found in _BACK_REFERENCE.finditer(text):
        template.append(text[end : found.start()])
        end = found.end()
        if found[1].isdigit():
            if int(found[1]) > groups:
                raise RegexError(f"the substitution names group {int(found[1])}, the pattern has {groups}")
            template.append(int(found[1]))
        elif found[1] == b"\\":
            template.append(b"\\")
        else:
            raise RegexError(r"a backslash in a substitution is followed by a digit or a backslash")
    if b"\\" in text[end:]:
        raise RegexError(r"a backslash in a substitution is followed by a digit or a backslash")
    template.append(text[end:])
    return [part for part in template if part != b""]


def compileSubstitution(pattern: str, substitution: str) -> Callable[[bytes], bytes]:
    """
    Compile Envoy's C{RegexMatchAndSubstitute}: every match replaced.

    @raise RegexError: If RE2 does not accept the pattern or the substitution.
    """
    compiled = compileRegex(pattern)
    template = _parseTemplate(substitution, compiled.groups)
    substitute = compiled.substitute
    return lambda subject: substitute(template, subject)
