# -*- test-case-name: tests.controlplane.api.test_call -*-
"""
One request of the API, as its handlers see it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meshproxy.config.jsontext import parseJSON
from meshproxy.config.nodes import plain
from meshproxy.config.yamltext import parseYAML
from meshproxy.controlplane.api.access import Principal
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.model.problems import Problem, Severity
from meshproxy.errors import ConfigErrors

__all__ = ["FLAGS", "MOST_OF_MANAGER", "NUMBERS", "Call", "IStream", "YAML_TYPES"]

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

# What kubectl sends with this is JSON, which is YAML.
_YAML_ENDING = "+yaml"

# RFC 9110, 8.8.3.
_ANY_ETAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')
_ETAG = re.compile(r'(?:W/)?"(\d{1,19})"')
#: Query parameters that are true or false.
FLAGS = frozenset(("watch", "allowWatchBookmarks", "inbound", "force"))

#: Query parameters that are numbers, and the greatest.
NUMBERS = {"limit": 2**31 - 1, "timeoutSeconds": 2**31 - 1, "before": 2**63 - 1, "since": 2**63 - 1}

#: Characters of a manager's name.
MOST_OF_MANAGER = 128

_TRUE = ("true", "1", "")
_FALSE = ("false", "0")


class IStream(Protocol):
    """
    An answer that goes on: a watch, events.
    """

    def write(self, data: bytes) -> None:
        """
        Send something.
        """

    def finish(self) -> None:
        """
        It is over.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """
    A request.

    @ivar segments: The path's, decoded.
    @ivar query: The values of each query parameter.
    @ivar headers: The first value of each field, by its name in small letters.
    @ivar peer: The caller's address, for the audit log.
    """

    method: str
    segments: Sequence[str]
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes
    principal: Principal
    peer: str

    @property
    def path(self) -> str:
        """
        The path, decoded.
        """
        return "/" + "/".join(self.segments)

    def one(self, name: str, default: str = "") -> str:
        """
        A query parameter that stands once.

        @raise Refused: If it stands more often.
        """
        values = self.query.get(name, ())
        if len(values) > 1:
            raise Refused(400, f"the query parameter {name!r} stands {len(values)} times")
        return values[0] if values else default

    def flag(self, name: str) -> bool:
        """
        A query parameter that is true or false; without a value it is true.

        @raise Refused: If it is neither.
        """
        if name not in self.query:
            return False
        value = self.one(name).lower()
        if value not in _TRUE + _FALSE:
            raise Refused(400, f"the query parameter {name!r} is true or false, not {value!r}")
        return value in _TRUE

    def number(self, name: str, default: int, most: int = 2**63 - 1) -> int:
        """
        A query parameter that is a number, 0 or more.

        @raise Refused: If it is none.
        """
        value = self.one(name)
        if not value and name not in self.query:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= 19 and int(value) <= most):
            raise Refused(400, f"the query parameter {name!r} is a number from 0 to {most}, not {value!r}")
        return int(value)

    @property
    def dryRun(self) -> bool:
        """
        Whether to tell what would happen and do nothing: Kubernetes' C{dryRun=All}, or C{dryRun=true}.

        @raise Refused: If it is something else.
        """
        return self.one("dryRun") == "All" or self.flag("dryRun")

    @property
    def author(self) -> str:
        """
        Who writes, for the history.
        """
        manager = self.one("fieldManager")
        return f"{self.principal.name} ({manager})" if manager else self.principal.name

    @property
    def manager(self) -> str:
        """
        With what they write, for C{managedFields}: as Kubernetes has it the name of the program if nothing is said.
        """
        agent = self.headers.get("user-agent", "").partition("/")[0].strip()
        return (self.one("fieldManager") or agent or "unknown")[:MOST_OF_MANAGER]

    def checkDryRun(self) -> None:
        """
        @raise Refused: If C{dryRun} cannot be understood.
        """
        bool(self.dryRun)

    @property
    def expected(self) -> int | None:
        """
        The revision that C{If-Match} asks for, 0 for C{If-None-Match: *}, or L{None}.

        @raise Refused: If it is no entity tag of this API.
        """
        if self.headers.get("if-none-match", "").strip() == "*":
            return 0
        tag = self.headers.get("if-match", "*").strip()
        if tag == "*":
            return None
        found = _ETAG.fullmatch(tag)
        if found is None and _ANY_ETAG.fullmatch(tag) is None:
            raise Refused(400, f"If-Match: {tag} is no entity tag: one is a text in quotes, here the resourceVersion")
        if found is None:
            raise Refused(412, f"If-Match: {tag} is no entity tag of this API; one is the quoted resourceVersion")
        return int(found[1])

    @property
    def contentType(self) -> str:
        """
        The media type of the body, without parameters, in small letters.
        """
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def accepts(self, mediaType: str) -> bool:
        """
        Whether C{Accept} names a media type itself.
        """
        accepted = self.headers.get("accept", "").lower()
        return any(part.partition(";")[0].strip() == mediaType for part in accepted.split(","))

    def document(self) -> Any:
        """
        The body as plain data: JSON, or YAML if it says so.

        @raise Refused: If it is neither; with the place.
        """
        return plain(self.node())

    def node(self) -> Any:
        """
        The body as a L{meshproxy.config.nodes.Node}, which knows its places.

        @raise Refused: See L{document}.
        """
        text = self.text()
        try:
            if self.contentType in YAML_TYPES or self.contentType.endswith(_YAML_ENDING):
                return parseYAML(text)
            return parseJSON(text)
        except ConfigErrors as errors:
            raise Refused(400, "the body cannot be read", [_told(error) for error in errors.errors]) from errors

    def text(self) -> str:
        """
        The body as text.

        @raise Refused: If it is not UTF-8.
        """
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused(400, f"the body is not UTF-8: byte {error.start}") from error


def _told(error: Any) -> Problem:
    return Problem(Severity.ERROR, "syntax", error.why, error.path, "", None, error.line, error.column)
