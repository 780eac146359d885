# -*- test-case-name: tests.http.authorization.test_policies -*-
"""
What is said of conditions that fail, to logs and to whoever asks for an explanation.
"""

from __future__ import annotations

import json

from meshproxy.config.section import Section

__all__ = ["clipped", "isSecret", "shown", "wantedHeader", "wantedString"]

_LONGEST = 80
_SECRET = ("authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential", "signature")


def isSecret(name: str) -> bool:
    """
    Whether a header's value must reach no log.
    """
    return any(word in name for word in _SECRET)


def clipped(text: str) -> str:
    """
    A text that is not too long for a line.
    """
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def shown(value: bytes | None) -> str:
    """
    A value from the wire, quoted.
    """
    return "missing" if value is None else clipped(json.dumps(value.decode("utf-8", "backslashreplace")))


def wantedString(matcher: Section) -> str:
    """
    What a C{StringMatcher} wants.
    """
    kind = matcher.oneof("match_pattern") or ""
    if kind == "safe_regex":
        return f"matched by {matcher.childOrEmpty(kind).get('regex')}"
    wanted = f"{kind} {json.dumps(matcher.get(kind))}" if kind in ("exact", "prefix", "suffix", "contains") else kind
    return wanted + (", whatever the case" if matcher.get("ignore_case") else "")


def wantedHeader(matcher: Section) -> str:
    """
    What a C{HeaderMatcher} wants.
    """
    kind = matcher.oneof("header_match_specifier") or "present_match"
    if kind == "string_match":
        wanted = wantedString(matcher.childOrEmpty(kind))
    elif kind == "present_match":
        wanted = "present" if matcher.get(kind) or not matcher.oneof("header_match_specifier") else "absent"
    elif kind == "safe_regex_match":
        wanted = f"matched by {matcher.childOrEmpty(kind).get('regex')}"
    elif kind == "range_match":
        within = matcher.childOrEmpty(kind)
        wanted = f"from {within.get('start')} to below {within.get('end')}"
    else:
        wanted = f"{kind.removesuffix('_match')} {json.dumps(matcher.get(kind))}"
    return f"other than {wanted}" if matcher.get("invert_match") else wanted
