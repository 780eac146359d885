# -*- test-case-name: tests.controlplane.api.test_openapi -*-
"""
The description of the API: C{/openapi.json}, as OpenAPI 3.1 has it, made of the operations themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from meshproxy import __version__
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import FLAGS, NUMBERS, Call
from meshproxy.controlplane.api.patches import JSON_PATCH
from meshproxy.controlplane.api.replies import JSON, PROBLEM, Reply
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.schemas import ANSWERS, ref, resourceSchemas
from meshproxy.controlplane.model.kinds import KINDS

__all__ = ["addDescription", "describe"]

_EVENTS = "text/event-stream"
_FLAG: dict[str, Any] = {"enum": ["true", "false", "1", "0", ""]}

# What query parameters and parts of paths may be, where any text will not do.
_PARAMETERS: dict[str, dict[str, Any]] = {
    **{name: {"type": "integer", "minimum": 0, "maximum": most} for name, most in NUMBERS.items()},
    **dict.fromkeys(FLAGS, _FLAG),
    "header": {"type": "array", "items": {"type": "string"}},
    "dryRun": {"enum": ["All", *_FLAG["enum"]]},
    "revision": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "what": {"enum": ["listeners", "routes", "clusters", "endpoints", "secrets"]},
}
_HEADERS = {
    "If-Match": "The ETag, or resourceVersion in quotes, that the resource is to have; else it is 412.",
    "If-None-Match": "The ETag that is known: if it is still so, the answer is 304 and empty.",
}
_SAYS = {
    200: "It is done.",
    201: "It is made.",
    304: "It is as it was.",
    400: "The request cannot be read, or asks for what there is not.",
    401: "Who asks is not known: a token or a certificate is wanted.",
    403: "Who asks may not, or asks from another site.",
    404: "There is nothing of that name.",
    409: "Somebody else was quicker, or it is there already.",
    410: "What was then is not kept any more.",
    412: "It is not as If-Match or If-None-Match asks.",
    413: "The body is too large.",
    415: "A body of that media type is not taken.",
    422: "What was sent is no valid resource; errors names document, line and field.",
    503: "It cannot be done now.",
}


def addDescription(router: Router) -> None:
    """
    The description of all operations that the router has, and of itself.
    """

    async def handler(call: Call) -> Reply:
        return Reply(describe(router))

    operation = Operation("GET", "/openapi.json", handler, Role.READ, "This description")
    router.add(replace(operation, group="discovery", answer="OpenAPI"))


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """
    The description, as plain data.
    """
    paths: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for operation in operations:
        told = _operation(operation)
        assert told["operationId"] not in names, told["operationId"]
        names.add(told["operationId"])
        paths.setdefault(operation.pattern, {})[operation.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "meshproxy's control plane",
            "version": __version__,
            "description": "Resources of Istio as Kubernetes has them, and what Kubernetes has no word for under /v1.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {
                **ANSWERS,
                **resourceSchemas(),
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
        # None at all on loopback, unless it is configured so.
        "security": [{}, {"token": []}, {"certificate": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    segments = operation.pattern.strip("/").split("/")
    places = [segment[1:-1] for segment in segments if segment.startswith("{")]
    words = [segment.strip("{}").replace(".", "_").replace("-", "_") for segment in segments]
    told: dict[str, Any] = {
        "operationId": "_".join([operation.method.lower(), *words]),
        "summary": operation.summary,
        "tags": [operation.group],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _parameter(name)} for name in places),
            *(
                {"name": name, "in": "query", "description": text, "schema": _parameter(name)}
                for name, text in operation.parameters.items()
            ),
            *(
                {"name": name, "in": "header", "description": _HEADERS[name], "schema": {"type": "string"}}
                for name in _conditions(operation)
            ),
        ],
        "responses": _responses(operation),
    }
    if operation.role is not None:
        told["description"] = f"For those who may {operation.role.value}."
    if operation.consumes:
        told["requestBody"] = {
            "required": operation.method != "DELETE",
            "content": {media: {"schema": _body(operation, media)} for media in operation.consumes},
        }
    return told


def _parameter(name: str) -> dict[str, Any]:
    return _PARAMETERS.get(name, {"type": "string"})


def _conditions(operation: Operation) -> tuple[str, ...]:
    """
    The fields by which a request for one resource asks how it is to be.
    """
    if not _isResources(operation) or not operation.pattern.endswith("/{name}"):
        return ()
    return ("If-None-Match",) if operation.method == "GET" else ("If-Match",)


def _isResources(operation: Operation) -> bool:
    return operation.group in {kind.kind for kind in KINDS}


def _body(operation: Operation, media: str) -> dict[str, Any]:
    if media == JSON_PATCH:
        return ref("JSONPatch")
    if operation.method == "PATCH":
        return {"type": "object", "description": "What is to be other, in the shape of the resource; null takes away."}
    if operation.pattern in ("/v1/validate", "/v1/analyze"):
        return {"description": "Anything: what is wrong with it is the answer."}
    if operation.accepts and media == JSON:
        return ref(operation.accepts)
    if _isResources(operation) and operation.method in ("POST", "PUT"):
        return ref(operation.group)
    return {"type": "object", "description": "A resource, or a List of some."} if media == JSON else {}


def _refusals(operation: Operation) -> list[int]:
    """
    The statuses that tell that something is not done.
    """
    found = {400, 401, 403, *operation.refuses}
    if "{" in operation.pattern:
        found.add(404)
    if operation.consumes:
        found |= {413, 415}
    if _isResources(operation) and operation.method != "GET":
        found |= {409, 422} | ({412} if _conditions(operation) else set())
    return sorted(found)


def _responses(operation: Operation) -> dict[str, Any]:
    isKubernetes = operation.pattern.startswith(("/api/", "/apis/"))
    problem: dict[str, Any] = {PROBLEM: {"schema": ref("Problem")}}
    if isKubernetes:
        problem[JSON] = {"schema": ref("Status")}
    told: dict[str, Any] = {}
    for code in operation.codes:
        told[str(code)] = {"description": _SAYS[code], "content": _content(operation)}
    if operation.method == "GET" and _conditions(operation):
        told["304"] = {"description": _SAYS[304]}
    if _conditions(operation) and operation.method != "DELETE":
        for code in operation.codes:
            about = "The revision of the resource, for If-Match."
            told[str(code)]["headers"] = {"ETag": {"description": about, "schema": {"type": "string"}}}
    for code in _refusals(operation):
        told[str(code)] = {"description": _SAYS[code], "content": problem}
    return told


def _content(operation: Operation) -> dict[str, Any]:
    if operation.pattern == "/v1/events":
        return {_EVENTS: {"schema": {"type": "string"}}}
    if operation.pattern == "/metrics":
        return {"text/plain": {"schema": {"type": "string"}}}
    schema = ref(operation.answer) if operation.answer else {"type": "object"}
    if _isResources(operation) and operation.method == "GET":
        schema = {"anyOf": [schema, ref("Table")]}
    return {JSON: {"schema": schema}}
