# -*- test-case-name: tests.controlplane.api.test_schemas -*-
"""
JSON Schemas for the description of the API: those of the kinds are made of the classes of the model, field by field;
those of answers and bodies that no class stands for are written here.
"""

from __future__ import annotations

import inspect
import re
import types
from collections import Counter
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from meshproxy.config.nodes import Node
from meshproxy.config.structure import Seconds
from meshproxy.controlplane.model.kinds import KINDS, Kind

__all__ = ["ANSWERS", "ref", "resourceSchemas"]

Schema = dict[str, Any]

_IVAR = re.compile(r"^@ivar (\w+): (.*(?:\n +.*)*)", re.MULTILINE)

_DURATION: Schema = {
    "type": "string",
    "description": "A duration: 1.5s, 250ms, 1h30m.",
    "pattern": r"^(0|[-+]?([0-9]{1,12}(\.[0-9]{1,9})?(h|m|s|ms|us|ns))+)$",
}
_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    bytes: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Seconds: _DURATION,
    Any: {},
    object: {},
    Node: {},
}


def ref(name: str) -> Schema:
    """
    A reference to a schema by its name.
    """
    return {"$ref": f"#/components/schemas/{name}"}


def _text(about: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": about} if about else {}), **more}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _object(required: str = "", /, **properties: Schema) -> Schema:
    """
    An object of answers.

    @param required: The names of those that are always there.
    """
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = required.split()
    return found


# The model


def _parts(annotation: Any) -> list[type[Any]]:
    """
    The attrs classes in an annotation.
    """
    if isinstance(annotation, type) and attrs.has(annotation):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


def _reached(cls: type[Any], found: list[type[Any]]) -> None:
    if cls not in found:
        found.append(cls)
        for annotation in get_type_hints(cls).values():
            for part in _parts(annotation):
                _reached(part, found)


def _named(kinds: tuple[Kind, ...]) -> dict[type[Any], str]:
    """
    The classes of the model, each with the name of its schema: where two have one name, the module tells them apart.
    """
    classes: list[type[Any]] = []
    for kind in kinds:
        _reached(kind.model, classes)
    specs = {kind.model: f"{kind.kind}Spec" for kind in kinds}
    counts = Counter(cls.__name__ for cls in classes if cls not in specs)
    taken = {kind.kind for kind in kinds} | set(ANSWERS)
    names = {}
    for cls in classes:
        name = cls.__name__
        if counts[name] > 1 or name in taken:
            name = cls.__module__.rpartition(".")[2].capitalize() + name
        names[cls] = specs.get(cls, name)
    return names


def _orNull(schema: Schema) -> Schema:
    """
    A field that is null counts as one that is not there.
    """
    if set(schema) <= {"type", "description", "pattern"} and isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else {}


def _schemaOf(annotation: Any, names: dict[type[Any], str]) -> Schema:
    if annotation in _SCALARS:
        return dict(_SCALARS[annotation])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        members = [_schemaOf(one, names) for one in arguments if one is not type(None)]
        return members[0] if len(members) == 1 else {"anyOf": members}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple, set, frozenset):
        return _list(_schemaOf(arguments[0], names))
    if origin is dict:
        return {"type": "object", "additionalProperties": _schemaOf(arguments[1], names)}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"enum": [member.value if isinstance(member.value, str) else member.name for member in annotation]}
    assert isinstance(annotation, type) and attrs.has(annotation), annotation
    return ref(names[annotation])


def _fields(cls: type[Any], names: dict[type[Any], str]) -> tuple[dict[str, Schema], list[str]]:
    """
    The properties of a class, and those that have to be there.
    """
    hints = get_type_hints(cls)
    properties, required = {}, []
    told = _told(cls)
    for attribute in attrs.fields(cls):
        if not attribute.init:
            continue
        key = attribute.metadata.get("key") or attribute.name
        schema = _schemaOf(hints[attribute.name], names)
        if attribute.default is attrs.NOTHING:
            required.append(key)
        else:
            schema = _orNull(schema)
        if attribute.name in told and "description" not in schema:
            schema = {**schema, "description": told[attribute.name]}
        if "notProgrammed" in attribute.metadata:
            schema = {**schema, "description": f"No effect so far: {attribute.metadata['notProgrammed']}"}
        properties[key] = schema
    return properties, required


def _told(cls: type[Any]) -> dict[str, str]:
    """
    What the docstring of a class says of its attributes.
    """
    found = _IVAR.findall(inspect.cleandoc(cls.__doc__ or ""))
    return {name: re.sub(r"[A-Z]\{([^{}]*)\}", r"\1", " ".join(text.split())) for name, text in found}


def _classSchema(cls: type[Any], names: dict[type[Any], str]) -> Schema:
    properties, required = _fields(cls, names)
    about = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    found: Schema = {
        "type": "object",
        "description": about,
        "properties": properties,
        "additionalProperties": False,
    }
    return {**found, "required": required} if required else found


def _resourceSchema(kind: Kind, names: dict[type[Any], str]) -> Schema:
    """
    A whole resource of a kind, as it is sent.
    """
    top: dict[str, Schema] = {
        "apiVersion": {"enum": list(kind.apiVersions)},
        "kind": {"const": kind.kind},
        "metadata": ref("ObjectMeta"),
    }
    required = ["apiVersion", "kind", "metadata"]
    if kind.specKey:
        spec = ref(names[kind.model])
        top[kind.specKey] = spec if kind.specRequired else _orNull(spec)
        top["status"] = {"description": "What the control plane tells; what is sent of it is not read."}
        required += [kind.specKey] if kind.specRequired else []
    else:
        top.update(_fields(kind.model, names)[0])
    return {"type": "object", "required": required, "properties": top, "additionalProperties": False}


def resourceSchemas() -> dict[str, Schema]:
    """
    The schemas of all kinds, of lists of them and of what they are made of, by name.
    """
    names = _named(KINDS)
    whole = {kind.model for kind in KINDS if not kind.specKey}
    found = {name: _classSchema(cls, names) for cls, name in names.items() if cls not in whole}
    for kind in KINDS:
        found[kind.kind] = _resourceSchema(kind, names)
        found[f"{kind.kind}List"] = {
            **_object(
                "kind apiVersion metadata items",
                kind={"const": f"{kind.kind}List"},
                apiVersion={"enum": list(kind.apiVersions)},
                metadata=ref("ListMeta"),
                items=_list(ref(kind.kind)),
            ),
        }
    return found


# What no class stands for

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_TEXTS: Schema = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_ONE = {
    "resource": _text("How a sentence names it."),
    "kind": _text(),
    "namespace": _text(),
    "name": _text(),
}
_RESULT = _object(
    "resource kind namespace name action",
    **_ONE,
    action={"enum": ["created", "configured", "unchanged", "deleted", "not found"]},
)
_CHANGE: Schema = {**_RESULT, "properties": {**_RESULT["properties"], "diff": _text("A unified diff of YAML.")}}
_PROXY = {
    "id": _text(),
    "cluster": _text(),
    "dataPlane": _text("Its user_agent_name: envoy, meshproxy."),
    "version": _text(),
    "address": _text(),
    "identity": {"type": ["string", "null"], "description": "Its SPIFFE ID, where it connected by mutual TLS."},
    "variant": {"enum": ["world", "delta"]},
    "connectedSince": {"type": ["number", "string"]},
    "revision": {"type": "integer", "description": "Of what it is to have: all that was changed up to this revision."},
    "types": {"type": "object", "additionalProperties": ref("ProxyType")},
}

ANSWERS: dict[str, Schema] = {
    "Problem": {
        **_object(
            "type title status detail",
            type=_text(),
            title=_text(),
            status={"type": "integer"},
            detail=_text(),
            instance=_text(),
            errors=_list(ref("Finding")),
        ),
        "description": "RFC 9457",
    },
    "Finding": {
        **_object(
            "severity code message",
            severity={"enum": ["error", "warning"]},
            code=_text("A word for programs: unknown-field, required."),
            message=_text(),
            path=_text("The field: spec.http[0].route."),
            suggestion=_text("What was probably meant."),
            file=_text("The name of the text."),
            resource=_text(),
            document={"type": "integer", "description": "Which document of the text, from 1."},
            line={"type": "integer"},
            column={"type": "integer"},
        ),
        "description": "What is wrong with a resource that was sent, or hardly meant.",
    },
    "Status": {
        **_object(
            "kind apiVersion status",
            kind={"const": "Status"},
            apiVersion={"const": "v1"},
            status={"enum": ["Success", "Failure"]},
            code={"type": "integer"},
            reason=_text(),
            message=_text(),
            details={"type": "object"},
            metadata={"type": "object"},
        ),
        "description": "Kubernetes' own answer, for clients that ask its paths for JSON.",
    },
    "ObjectMeta": {
        **_object(
            name={"type": ["string", "null"], "pattern": _NAME, "maxLength": 253},
            namespace={"type": ["string", "null"], "pattern": r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
            labels=_TEXTS,
            annotations=_TEXTS,
            generateName={"type": ["string", "null"], "description": "The beginning of a name that is made up."},
            resourceVersion={
                "type": ["string", "null"],
                "description": "What a writer saw; another one's change is refused.",
            },
            uid={"type": ["string", "null"]},
            generation={"type": ["integer", "null"]},
            creationTimestamp={"type": ["string", "null"]},
            deletionTimestamp={"type": ["string", "null"]},
            deletionGracePeriodSeconds={"type": ["integer", "null"]},
            finalizers={"type": ["array", "null"], "items": {"type": "string"}},
            ownerReferences={"type": ["array", "null"]},
            managedFields={"type": ["array", "null"]},
            selfLink={"type": ["string", "null"]},
        ),
        "additionalProperties": False,
    },
    "ListMeta": {
        "type": "object",
        "required": ["resourceVersion"],
        "properties": {
            "resourceVersion": _text(),
            "continue": _text("Leads to the rest."),
            "remainingItemCount": {"type": "integer"},
        },
    },
    "Table": {
        **_object(
            "kind apiVersion columnDefinitions rows",
            kind={"const": "Table"},
            apiVersion={"const": "meta.k8s.io/v1"},
            metadata={"type": "object"},
            columnDefinitions=_list({"type": "object"}),
            rows=_list({"type": "object"}),
        ),
        "description": "What kubectl shows, for who accepts as=Table.",
    },
    "DeleteOptions": {
        **_object(
            apiVersion={"type": ["string", "null"]},
            kind={"type": ["string", "null"]},
            preconditions={
                "type": ["object", "null"],
                "properties": {"uid": {"type": ["string", "null"]}, "resourceVersion": {"type": ["string", "null"]}},
            },
        ),
        "description": "Kubernetes' options; of them preconditions are heeded.",
    },
    "JSONPatch": _list(
        {
            **_object(
                "op path",
                op={"enum": ["add", "remove", "replace", "move", "copy", "test"]},
                path=_text("RFC 6901"),
                value={},
            ),
            "properties": {
                "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
                "path": _text("RFC 6901"),
                "from": _text("RFC 6901"),
                "value": {},
            },
        }
    ),
    "Version": _object(
        "major minor gitVersion",
        **{
            name: _text()
            for name in "major minor gitVersion gitCommit gitTreeState buildDate goVersion compiler platform".split()
        },
    ),
    "Discovery": {
        **_object("kind", kind={"enum": ["APIVersions", "APIGroupList", "APIGroup", "APIResourceList"]}),
        "description": "As Kubernetes' discovery has it.",
    },
    "Namespace": _object(
        "kind apiVersion metadata",
        kind={"const": "Namespace"},
        apiVersion={"const": "v1"},
        metadata=_object("name", name=_text()),
        status={"type": "object"},
    ),
    "NamespaceList": _object(
        "kind apiVersion metadata items",
        kind={"const": "NamespaceList"},
        apiVersion={"const": "v1"},
        metadata=ref("ListMeta"),
        items=_list(ref("Namespace")),
    ),
    "Applied": _object(
        "revision dryRun results warnings",
        revision={"type": "integer", "description": "0 where nothing was to be written."},
        dryRun={"type": "boolean"},
        results=_list(_RESULT),
        warnings=_list(ref("Finding")),
    ),
    "Validated": _object(
        "valid resources problems",
        valid={"type": "boolean"},
        resources={"type": "integer"},
        problems=_list(ref("Finding")),
    ),
    "Changes": _object("changes warnings", changes=_list(_CHANGE), warnings=_list(ref("Finding"))),
    "Commit": _object(
        "revision time author message changes",
        revision={"type": "integer"},
        time={"type": ["number", "string"]},
        author=_text(),
        message=_text(),
        changes=_list(_CHANGE),
    ),
    "History": _object("commits", commits=_list(ref("Commit"))),
    "RollbackRequest": {
        **_object(
            "revision",
            revision={"type": "integer", "minimum": 0},
            resources={
                "type": ["array", "null"],
                "items": _object("kind name", kind=_text(), namespace=_text(), name=_text()),
            },
            message={"type": ["string", "null"]},
        ),
        "additionalProperties": False,
    },
    "ProxyType": _object(
        "state version accepted resources",
        state={"enum": ["SYNCED", "STALE", "NOT SENT", "ERROR"]},
        version=_text(),
        accepted=_text(),
        resources={"type": "integer"},
        error=_text("What the proxy said to it."),
    ),
    "Proxy": _object("id types", **_PROXY, node={"type": "object"}),
    "Proxies": _object("proxies", proxies=_list(ref("Proxy"))),
    "ProxyConfig": _object("proxy type resources", proxy=_text(), type=_text(), resources=_list({"type": "object"})),
    "Services": _object("services", services=_list({"type": "object"})),
    "Explanation": _object(
        "proxy direction request outcome",
        proxy=_text(),
        direction={"enum": ["inbound", "outbound", "gateway"]},
        request={"type": "object"},
        outcome=_text("The end of the request, in words."),
        next=_list(ref("Explanation")),
    ),
    "Roots": _object(
        "trustDomain roots pem",
        trustDomain=_text(),
        roots=_list(
            _object(
                "subject serial notBefore notAfter",
                subject=_text(),
                serial=_text(),
                notBefore=_text(),
                notAfter=_text(),
            )
        ),
        pem=_text(),
    ),
    "Certificates": _object(
        "certificates",
        certificates=_list(_object("identity serial notAfter", identity=_text(), serial=_text(), notAfter=_text())),
    ),
    "TokenRequest": {
        **_object(
            namespace=_text(),
            serviceAccount=_text(),
            ttlSeconds={"type": "number", "minimum": 0, "maximum": 604800},
        ),
        "additionalProperties": False,
    },
    "Token": _object("token identity ttlSeconds", token=_text(), identity=_text(), ttlSeconds={"type": "number"}),
    "CertificateRequest": {
        **_object(
            "csr",
            csr=_text("A signing request in PEM; the names in it do not count."),
            token=_text("A bootstrap token, in place of the names."),
            namespace=_text(),
            serviceAccount=_text(),
            ttlSeconds={"type": "number", "minimum": 0, "maximum": 315360000},
        ),
        "additionalProperties": False,
    },
    "Certificate": _object(
        "identity serial notAfter certificateChain roots",
        identity=_text(),
        serial=_text(),
        notAfter=_text(),
        certificateChain=_text(),
        roots=_text(),
    ),
    "OpenAPIIndex": _object(
        "paths",
        paths={
            "type": "object",
            "additionalProperties": _object("serverRelativeURL", serverRelativeURL=_text()),
        },
    ),
    "OpenAPI": _object("openapi info paths", openapi=_text(), info={"type": "object"}, paths={"type": "object"}),
}
