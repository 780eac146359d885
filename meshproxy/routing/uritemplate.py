# -*- test-case-name: tests.routing.test_uritemplate -*-
"""
Paths by template: C{envoy.path.match.uri_template} and C{envoy.path.rewrite.uri_template}.

C{*} stands for one segment, C{**} for any number and comes last, C{{name}} and C{{name=...}} keep what stands there. As
in Envoy, a template is one regular expression of RE2's, so that matching is linear in the length of a path.
"""

from __future__ import annotations

import re
from typing import Final

from meshproxy.config.regex import Regex, compileRegex

__all__ = ["TemplateError", "UriRewrite", "UriTemplate"]

# RFC 3986, 3.3: what a segment may hold. Envoy takes a star inside a name too, and then does not match what stands
# there: here it is refused.
_PCHAR: Final = r"a-zA-Z0-9\-._~%!$&'()*+,;:@="
_LITERAL = re.compile(f"[{_PCHAR.replace('*', '')}]+")
_PATH = re.compile(f"[{_PCHAR}/]+")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")

# Envoy's limits.
MAX_VARIABLES: Final = 5
MAX_NAME: Final = 16

_ONE: Final = f"[{_PCHAR}]+"
_ANY: Final = f"[{_PCHAR}/]*"


class TemplateError(ValueError):
    """
    A template that cannot be read.
    """


class UriTemplate:
    """
    A template that paths are matched with.

    @ivar names: Its variables, in order.
    @ivar regex: The expression; a group for each variable.
    """

    def __init__(self, text: str) -> None:
        """
        @raise TemplateError: If it cannot be read.
        """
        if not text.startswith("/"):
            raise TemplateError("a path template begins with a slash")
        self.names: list[str] = []
        self._text = text
        self._place = 0
        self._isOver = False
        self.regex: Regex = compileRegex("".join(self._segments()))

    def _segments(self) -> list[str]:
        pieces: list[str] = []
        text = self._text
        while self._place < len(text):
            sign = text[self._place]
            pieces.append(self._piece(sign, False))
            rest = text[self._place :]
            # As in Envoy, what stands behind an operator in its segment ends the template.
            if sign in "*{" and rest and rest[0] != "/":
                if not _LITERAL.fullmatch(rest):
                    raise TemplateError("behind an operator comes a slash, or the end of the path as it is written")
                self._place = len(text)
                pieces.append(re.escape(rest))
        return pieces

    def _piece(self, sign: str, inVariable: bool) -> str:
        """
        The expression of what begins here.
        """
        text, place = self._text, self._place
        if sign == "/":
            if text.startswith("//", place):
                raise TemplateError("a path template has no empty segment")
            self._place += 1
            return "/"
        if sign == "*":
            if self._isOver:
                raise TemplateError("** is the last operator of a path template")
            if not inVariable and text[place - 1] != "/":
                raise TemplateError("a star begins its segment")
            if text.startswith("**", place):
                self._place += 2
                self._isOver = True
                return _ANY
            self._place += 1
            return _ONE
        if sign == "{" and not inVariable:
            return self._variable()
        found = _LITERAL.match(text, place)
        if found is None:
            raise TemplateError(f"a path template has no place for {sign!r}")
        self._place = found.end()
        return re.escape(found[0])

    def _variable(self) -> str:
        text = self._text
        found = _NAME.match(text, self._place + 1)
        if found is None or len(found[0]) > MAX_NAME:
            raise TemplateError(f"a variable's name is 1 to {MAX_NAME} letters, digits and underscores, a letter first")
        if found[0] in self.names:
            raise TemplateError(f"there are two variables {found[0]!r}")
        if len(self.names) == MAX_VARIABLES:
            raise TemplateError(f"a path template has at most {MAX_VARIABLES} variables")
        self.names.append(found[0])
        self._place = found.end()
        sign = text[self._place : self._place + 1]
        if sign == "}":
            self._place += 1
            if self._isOver:
                raise TemplateError("** is the last operator of a path template")
            return f"({_ONE})"
        if sign != "=":
            raise TemplateError("a variable is {name} or {name=...}")
        self._place += 1
        pieces: list[str] = []
        last = "/"
        while (sign := text[self._place : self._place + 1]) != "}":
            if not sign:
                raise TemplateError("a variable ends with a brace")
            if (sign == "/") is (last == "/"):
                raise TemplateError("a variable stands for operators and names with slashes between them")
            last = sign
            pieces.append(self._piece(sign, True))
        if pieces and last == "/":
            raise TemplateError("a variable stands for operators and names with slashes between them")
        self._place += 1
        if not pieces:
            raise TemplateError("a variable stands for something")
        return f"({''.join(pieces)})"


class UriRewrite:
    """
    A template that paths are made of.
    """

    def __init__(self, text: str, template: UriTemplate) -> None:
        """
        @param template: That of the route's match, whose variables it may name.

        @raise TemplateError: If it cannot be read.
        """
        if not text.startswith("/"):
            raise TemplateError("a path template begins with a slash")
        self._template = template
        self._parts: list[bytes | int] = []
        place = 0
        while place < len(text):
            if text[place] == "{":
                end = text.find("}", place)
                name = text[place + 1 : end]
                if end < 0 or name not in template.names:
                    known = ", ".join(template.names) or "none"
                    raise TemplateError(f"no variable {name!r}; the match has {known}")
                self._parts.append(template.names.index(name))
                place = end + 1
                continue
            if text[place] == "}":
                raise TemplateError(f"a path template to rewrite with has no place for {text[place]!r}")
            end = min((found for found in (text.find("{", place), text.find("}", place)) if found >= 0), default=-1)
            end = len(text) if end < 0 else end
            if "//" in text[place:end]:
                raise TemplateError("a path template has no empty segment")
            if not _PATH.fullmatch(text[place:end]):
                raise TemplateError(f"a path template has no place for {text[place:end]!r}")
            self._parts.append(text[place:end].encode("utf-8"))
            place = end

    def rewrite(self, path: bytes) -> bytes:
        """
        Rewrite a path without its query; one that the template does not match stays as it is.
        """
        groups = self._template.regex.capture(path)
        if groups is None:
            return path
        return b"".join([part if isinstance(part, bytes) else groups[part] for part in self._parts])
