# -*- test-case-name: tests.controlplane.api.test_openapi3 -*-
"""
The description of the API as clients of Kubernetes look for it (C{/openapi/v3}): one document of OpenAPI 3.0 for each
group and version. With it C{kubectl apply} needs no C{--validate=false}, since it says that the control plane itself
refuses fields that are not known; and C{kubectl explain} tells of each field.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from meshproxy import __version__
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.patches import MERGE_PATCH
from meshproxy.controlplane.api.replies import JSON, Reply, notFound
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.api.schemas import ANSWERS, resourceSchemas
from meshproxy.controlplane.model.kinds import KINDS, Kind

__all__ = ["addKubernetesDescription", "describeVersion"]

Schema = dict[str, Any]

_VERSION = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
_VALIDATION = {**_VERSION, "description": "Fields that are not known are refused, whatever it says."}


def addKubernetesDescription(router: Router) -> None:
    """
    The operations below C{/openapi/v3}.
    """
    versions = dict.fromkeys(version for kind in KINDS for version in kind.apiVersions)
    paths = {_pathOf(version): version for version in versions}

    async def index(call: Call) -> Reply:
        told = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_digest(v)}"} for path, v in paths.items()}
        return Reply({"paths": told})

    async def core(call: Call, version: str) -> Reply:
        return _reply(f"api/{version}")

    async def group(call: Call, group: str, version: str) -> Reply:
        return _reply(f"apis/{group}/{version}")

    def _reply(path: str) -> Reply:
        if path not in paths:
            raise notFound(f"a description of {path}")
        return Reply(describeVersion(paths[path]))

    def add(pattern: str, handler: Any, summary: str, answer: str = "OpenAPI") -> None:
        router.add(Operation("GET", pattern, handler, Role.READ, summary, group="discovery", answer=answer))

    add("/openapi/v3", index, "Where clients of Kubernetes find descriptions", "OpenAPIIndex")
    add("/openapi/v3/api/{version}", core, "The core group, in OpenAPI 3.0")
    add("/openapi/v3/apis/{group}/{version}", group, "A version of a group, in OpenAPI 3.0")


def _pathOf(apiVersion: str) -> str:
    return f"{'apis' if '/' in apiVersion else 'api'}/{apiVersion}"


@cache
def _digest(apiVersion: str) -> str:
    """
    What changes with a description: clients keep those that they have.
    """
    return hashlib.sha256(json.dumps(describeVersion(apiVersion), sort_keys=True).encode()).hexdigest().upper()


@cache
def describeVersion(apiVersion: str) -> dict[str, Any]:
    """
    The description of one version of a group.
    """
    kinds = [kind for kind in KINDS if apiVersion in kind.apiVersions]
    schemas = {**resourceSchemas(), "ObjectMeta": ANSWERS["ObjectMeta"], "ListMeta": ANSWERS["ListMeta"]}
    wanted: dict[str, Schema] = {}
    for kind in kinds:
        _take(kind.kind, schemas, wanted)
        wanted[kind.kind] = {**wanted[kind.kind], "x-kubernetes-group-version-kind": [_gvk(kind, apiVersion)]}
    return {
        "openapi": "3.0.0",
        "info": {"title": "meshproxy's control plane", "version": __version__},
        "paths": {path: item for kind in kinds for path, item in _paths(kind, apiVersion).items()},
        "components": {"schemas": wanted},
    }


def _gvk(kind: Kind, apiVersion: str) -> dict[str, str]:
    return {"group": kind.group, "version": apiVersion.rpartition("/")[2], "kind": kind.kind}


def _paths(kind: Kind, apiVersion: str) -> dict[str, Any]:
    """
    As much of the operations as clients look for: which fields they know of.
    """
    base = f"/{_pathOf(apiVersion)}" + ("/namespaces/{namespace}" if kind.namespaced else "") + f"/{kind.plural}"
    schema = {"$ref": f"#/components/schemas/{kind.kind}"}
    answer = {"200": {"description": "OK", "content": {JSON: {"schema": schema}}}}

    def operation(action: str, media: str) -> dict[str, Any]:
        return {
            "operationId": f"{action}{kind.kind}",
            "parameters": [_VALIDATION, {**_VERSION, "name": "dryRun"}],
            "requestBody": {"content": {media: {"schema": schema}}},
            "responses": answer,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(kind, apiVersion),
        }

    return {
        base: {"post": operation("post", JSON)},
        f"{base}/{{name}}": {"put": operation("put", JSON), "patch": operation("patch", MERGE_PATCH)},
    }


def _take(name: str, schemas: dict[str, Schema], wanted: dict[str, Schema]) -> None:
    """
    A schema, and all that it refers to.
    """
    if name not in wanted:
        wanted[name] = {}
        wanted[name] = _older(schemas[name], schemas, wanted)


def _older(schema: Any, schemas: dict[str, Schema], wanted: dict[str, Schema]) -> Any:
    """
    A schema in the words of OpenAPI 3.0, which knows neither C{const} nor several types.
    """
    if isinstance(schema, list):
        return [_older(one, schemas, wanted) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        _take(name, schemas, wanted)
        # Beside a reference nothing counts there; this is how Kubernetes itself has both.
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {"allOf": [{"$ref": schema["$ref"]}], **rest} if rest else dict(schema)
    members = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(members) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return _older({**members[0], **rest}, schemas, wanted)
    found: Schema = {}
    for key, value in schema.items():
        if key == "const":
            found |= {"type": "string", "enum": [value]}
        elif key == "type" and isinstance(value, list):
            found[key] = next(one for one in value if one != "null")
        elif key == "enum":
            found |= {"type": "string", "enum": list(map(str, value))}
        elif key == "properties":
            found[key] = {name: _older(one, schemas, wanted) for name, one in value.items()}
        else:
            found[key] = _older(value, schemas, wanted)
    return found
