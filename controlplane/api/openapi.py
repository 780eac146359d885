# -*- test-case-name: tests.controlplane.api.test_openapi -*-
"""
The description of the API: C{/openapi.json}, as OpenAPI 3.1 has it, made of the operations themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshproxy import __version__
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.patches import JSON_PATCH, MERGE_PATCH
from meshproxy.controlplane.api.replies import JSON, PROBLEM, Reply
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.model.kinds import KINDS, Kind

__all__ = ["addDescription", "describe"]

_NUMBERS = ("limit", "before", "since", "timeoutSeconds", "revision")
_EVENTS = "text/event-stream"

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "What is wrong with the resources that were sent: document, line and field of each.",
            "items": {"type": "object"},
        },
    },
}

# Kubernetes' own answer to what goes wrong, for clients that ask its paths for JSON.
_STATUS = {
    "type": "object",
    "required": ["kind", "apiVersion", "status"],
    "properties": {
        "kind": {"const": "Status"},
        "apiVersion": {"const": "v1"},
        "status": {"enum": ["Success", "Failure"]},
        "code": {"type": "integer"},
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "details": {"type": "object"},
    },
}

_METADATA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "resourceVersion": {"type": "string", "description": "What a writer saw; another one's change is refused."},
        "uid": {"type": "string", "readOnly": True},
        "generation": {"type": "integer", "readOnly": True},
        "creationTimestamp": {"type": "string", "readOnly": True},
    },
}


def addDescription(router: Router) -> None:
    """
    The description of all operations that the router has, and of itself.
    """

    async def handler(call: Call) -> Reply:
        return Reply(describe(router))

    router.add(Operation("GET", "/openapi.json", handler, Role.READ, "This description", group="discovery"))


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
                "Problem": _PROBLEM,
                "Status": _STATUS,
                "ObjectMeta": _METADATA,
                **{kind.kind: _schema(kind) for kind in KINDS},
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
        # None at all on loopback, unless it is configured so.
        "security": [{}, {"token": []}, {"certificate": []}],
    }


def _schema(kind: Kind) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"enum": list(kind.apiVersions)},
            "kind": {"const": kind.kind},
            "metadata": {"$ref": "#/components/schemas/ObjectMeta"},
        },
        "description": "The rest of its fields: docs/reference/resources.md",
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
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in places),
            *(
                {
                    "name": name,
                    "in": "query",
                    "description": text,
                    "schema": {"type": "integer" if name in _NUMBERS else "string"},
                }
                for name, text in operation.parameters.items()
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


def _body(operation: Operation, media: str) -> dict[str, Any]:
    if media == JSON_PATCH:
        return {"type": "array", "items": {"type": "object", "required": ["op", "path"]}}
    kinds = {kind.kind for kind in KINDS}
    if operation.group in kinds and operation.method in ("POST", "PUT") and media != MERGE_PATCH:
        return {"$ref": f"#/components/schemas/{operation.group}"}
    return {"type": "object"} if media == JSON else {}


def _responses(operation: Operation) -> dict[str, Any]:
    isKubernetes = operation.pattern.startswith(("/api/", "/apis/"))
    problem: dict[str, Any] = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if isKubernetes:
        problem[JSON] = {"schema": {"$ref": "#/components/schemas/Status"}}
    media = _EVENTS if operation.pattern == "/v1/events" else JSON
    schema: dict[str, Any] = {"type": "string"} if media == _EVENTS else {"type": "object"}
    return {
        **{
            str(code): {"description": "It is done.", "content": {media: {"schema": schema}}}
            for code in operation.codes
        },
        "default": {"description": "It is not; this says why.", "content": problem},
    }
