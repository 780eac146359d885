# -*- test-case-name: tests.controlplane.api.test_replies -*-
"""
What the API answers: L{Reply}, and L{Refused} for what went wrong, as an RFC 9457 problem or as Kubernetes' Status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from meshproxy.controlplane.model.problems import Problem
from meshproxy.errors import MeshProxyError

__all__ = ["Refused", "Reply", "conflict", "invalid", "notFound", "status", "toJSON"]

JSON = "application/json"
PROBLEM = "application/problem+json"

# The reasons of Kubernetes' Status, by the HTTP status that they go with; clients decide by them.
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    412: "Conflict",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


# RFC 9110's names, where Python's older versions still have those of RFC 7231.
_RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}


def _phrase(code: int) -> str:
    return _RENAMED.get(code) or HTTPStatus(code).phrase


def toJSON(value: object) -> bytes:
    """
    A value as JSON, in one line that ends.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8") + b"\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """
    An answer that is there as a whole.

    @ivar value: What JSON can say; C{bytes} are sent as they are.
    @ivar headers: Further fields.
    """

    value: object = None
    code: int = 200
    contentType: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """
        What is sent.
        """
        return self.value if isinstance(self.value, bytes) else toJSON(self.value)


class Refused(MeshProxyError):
    """
    Something that was asked for is not done. All of its text may be shown to who asked.

    @ivar code: The HTTP status.
    @ivar detail: One or more sentences.
    @ivar errors: What is wrong with the resources that were sent.
    @ivar reason: Kubernetes' word for it.
    @ivar headers: Fields of the answer.
    @ivar target: The resource that it is about, in Kubernetes' C{details}: name, group, kind.
    @ivar cause: Kubernetes' word for what each of C{errors} is.
    """

    def __init__(
        self,
        code: int,
        detail: str,
        errors: Sequence[Problem] = (),
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        target: Mapping[str, str] | None = None,
        cause: str = "FieldValueInvalid",
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.reason = reason or _REASONS.get(code, "Unknown")
        self.headers = dict(headers or {})
        self.target = dict(target or {})
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.code} {self.detail}"

    def problem(self, instance: str = "") -> dict[str, object]:
        """
        As RFC 9457 has it. C{errors} names document, line and field of each, with a suggestion where there is one.
        """
        told: dict[str, object] = {
            "type": "about:blank",
            "title": _phrase(self.code),
            "status": self.code,
            "detail": self.detail,
        }
        if instance:
            told["instance"] = instance
        if self.errors:
            told["errors"] = [error.asDict() for error in self.errors]
        return told

    def status(self) -> dict[str, object]:
        """
        As Kubernetes has it.
        """
        details: dict[str, object] = dict(self.target)
        if self.errors:
            details["causes"] = [
                {"reason": self.cause, "message": _sentence(error), "field": error.path} for error in self.errors
            ]
        message = "\n".join([self.detail, *map(_placed, self.errors)])
        return status("Failure", message, self.reason, self.code, details)


def _placed(error: Problem) -> str:
    where = ", ".join(filter(None, (error.resource, error.path)))
    return f"{where}: {_sentence(error)}" if where else _sentence(error)


def _sentence(error: Problem) -> str:
    return f"{error.message}; did you mean {error.suggestion}?" if error.suggestion else error.message


def status(
    outcome: str, message: str = "", reason: str = "", code: int = 200, details: Mapping[str, object] | None = None
) -> dict[str, object]:
    """
    Kubernetes' C{Status}.
    """
    told: dict[str, object] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome}
    if message:
        told["message"] = message
    if reason:
        told["reason"] = reason
    if details:
        told["details"] = dict(details)
    return {**told, "code": code}


def notFound(what: str, target: Mapping[str, str] | None = None) -> Refused:
    """
    There is none.
    """
    return Refused(404, f"{what} not found", target=target)


def conflict(detail: str, target: Mapping[str, str] | None = None, exists: bool = False) -> Refused:
    """
    Somebody else was quicker.

    @param exists: Whether it is that something exists which was to be new.
    """
    return Refused(409, detail, reason="AlreadyExists" if exists else "Conflict", target=target)


def invalid(problems: Sequence[Problem], target: Mapping[str, str] | None = None) -> Refused:
    """
    What was sent is no valid resource.
    """
    errors = [problem for problem in problems if problem.isError]
    count = "one error" if len(errors) == 1 else f"{len(errors)} errors"
    return Refused(422, f"nothing was changed: {count}", errors, target=target)
