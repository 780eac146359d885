# -*- test-case-name: tests.controlplane.cli.test_explaining -*-
"""
C{meshctl explain}: why does this request get this response?
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from difflib import get_close_matches
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from meshproxy.controlplane.cli.client import APIClient, CommandFailed
from meshproxy.controlplane.cli.offline import readResources
from meshproxy.controlplane.cli.proxynames import proxyNamed
from meshproxy.controlplane.cli.resources import joined
from meshproxy.controlplane.cli.tables import Printer
from meshproxy.controlplane.cli.texts import readTexts
from meshproxy.controlplane.explain.explanation import ExplanationFailed, explained
from meshproxy.controlplane.explain.subject import Asked, Mesh, Subject
from meshproxy.controlplane.explain.text import readable
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Proxy, Role

__all__ = ["explain", "proxiesIn"]

_ROUTER_LABELS = {"istio": "ingressgateway"}


def explain(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Tell what becomes of a request.
    """
    if arguments.admin and arguments.filename:
        raise CommandFailed("--admin tells what a proxy has by now, -f what it would have: one of them", 2)
    if arguments.applied and not arguments.filename:
        raise CommandFailed("--applied wants the files: -f FILE", 2)
    if arguments.gateway and (arguments.applied or not arguments.filename):
        raise CommandFailed("--gateway is for files without a control plane: -f FILE", 2)
    if arguments.filename and not arguments.applied:
        told = _offline(printer, arguments)
    else:
        told = _asked(client, arguments)
    if told is not None and arguments.admin:
        printer.text(_atAdmin(arguments, told))
    elif told is not None and arguments.output == "json":
        printer.json(told)
    elif told is not None:
        for line in readable(told):
            printer.line(printer.painted(line, "bold") if line.startswith("=>") else line)
    return 1 if told is None else 0


def _asked(client: APIClient, arguments: Namespace) -> Any:
    query = [
        ("proxy", proxyNamed(client, arguments.proxy)),
        ("url", arguments.url),
        ("method", arguments.method),
        *(("header", field) for field in arguments.header),
        *([("inbound", "true")] if arguments.inbound else []),
        *((name, value) for name in ("principal", "source") if (value := getattr(arguments, name))),
    ]
    if not arguments.filename:
        return client.ask("GET", f"/v1/explain?{urlencode(query)}")
    content, contentType, name, locate = joined(readTexts(arguments.filename))
    query += [("namespace", arguments.namespace), ("filename", name)]
    return client.ask("POST", f"/v1/explain?{urlencode(query)}", content.encode("utf-8"), contentType, locate)


def _atAdmin(arguments: Namespace, told: Any) -> str:
    """
    What the proxy itself says, asked for the listener that the control plane names.
    """
    host, _, port = arguments.admin.removeprefix("http://").rstrip("/").rpartition(":")
    if not port.isdigit():
        raise CommandFailed(f"--admin is HOST:PORT, not {arguments.admin!r}", 2)
    query = [("url", arguments.url), ("method", arguments.method)]
    query += [("header", field) for field in arguments.header]
    query += [(name, value) for name in ("principal", "source") if (value := getattr(arguments, name))]
    if "listener" in told:
        query.append(("listener", told["listener"]["name"]))
    query.append(("format", "json" if arguments.output == "json" else "text"))
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=30)
    try:
        connection.request("GET", f"/explain?{urlencode(query)}")
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise CommandFailed(f"{arguments.admin}: {error}") from error
    finally:
        connection.close()
    if response.status == 404:
        raise CommandFailed(f"{arguments.admin} knows no /explain, as Envoy does not; without --admin it is told here")
    if response.status != 200:
        raise CommandFailed(f"{arguments.admin}: HTTP status {response.status}: {text.splitlines()[0][:200]}")
    return text


def _offline(printer: Printer, arguments: Namespace) -> Any:
    resources, problems = readResources(arguments)
    errors = [problem for problem in problems if problem.isError]
    if errors:
        for problem in errors:
            printer.line(str(problem))
        return None
    mesh = Mesh.of(MeshConfig(), resources)
    subjects = {name: Subject(proxy, mesh) for name, proxy in proxiesIn(mesh).items()}
    asked = Asked(
        url=arguments.url,
        method=arguments.method,
        fields=tuple(arguments.header),
        inbound=arguments.inbound,
        principal=arguments.principal or "",
        source=arguments.source or "",
    )
    subject = _subject(arguments, mesh, subjects)
    try:
        return explained(asked, subject, mesh, list(subjects.values()))
    except ExplanationFailed as error:
        raise CommandFailed(str(error), 2) from error


def _subject(arguments: Namespace, mesh: Mesh, subjects: dict[str, Subject]) -> Subject:
    """
    The proxy that a name means: one of those that the files tell of, or one with labels of its own.
    """
    name, _, rest = arguments.proxy.partition(".")
    namespace = rest or arguments.namespace
    labels = _labels(arguments.labels)
    if arguments.gateway or labels:
        role = Role.ROUTER if arguments.gateway else Role.SIDECAR
        told = labels or _ROUTER_LABELS
        return Subject(Proxy(id=f"{name}.{namespace}", namespace=namespace, role=role, labels=told), mesh)
    found = subjects.get(f"{name}.{namespace}")
    if found is None:
        near = get_close_matches(f"{name}.{namespace}", subjects, n=1)
        hint = f"did you mean {near[0]}?" if near else f"--labels app={name} makes one up, --gateway a gateway"
        raise CommandFailed(f"the files tell of no workload {name}.{namespace}; {hint}", 2)
    return found


def _labels(text: str | None) -> dict[str, str]:
    found = {}
    for part in (text or "").split(","):
        key, equals, value = part.partition("=")
        if part and not equals:
            raise CommandFailed(f"--labels is NAME=VALUE,..., not {text!r}", 2)
        if part:
            found[key.strip()] = value.strip()
    return found


def proxiesIn(mesh: Mesh) -> dict[str, Proxy]:
    """
    A sidecar for each workload that resources tell of, by C{NAME.NAMESPACE}: a WorkloadEntry has a name; an endpoint of
    a service is called by the service, and, where there are several, by its label C{version} or its place.
    """
    found: dict[str, Proxy] = {}
    known: set[tuple[str, str]] = set()
    for name, namespace, address, labels, account in _workloads(mesh):
        if (address, namespace) in known or name in found:
            continue
        known.add((address, namespace))
        found[name] = Proxy(
            id=name,
            namespace=namespace,
            labels=labels,
            serviceAccount=account or "default",
            addresses=(address,),
        )
    return found


def _workloads(mesh: Mesh) -> Iterator[tuple[str, str, str, dict[str, str], str]]:
    for resource in mesh.resources.all("WorkloadEntry"):
        spec = resource.spec
        name = f"{resource.name}.{resource.namespace}"
        yield name, resource.namespace, spec.address, dict(spec.labels), spec.serviceAccount
    for service in mesh.services.services:
        if service.external:
            continue
        short = service.host.partition(".")[0]
        own = {one.address: one for one in mesh.services.allEndpoints(service.key)}
        versions = [one.labels.get("version", "") for one in own.values()]
        for number, (address, one) in enumerate(own.items()):
            version = one.labels.get("version", "")
            isAlone = version and versions.count(version) == 1
            suffix = "" if len(own) == 1 else f"-{version if isAlone else number + 1}"
            namespace = one.namespace or service.namespace
            yield f"{short}{suffix}.{namespace}", namespace, address, dict(one.labels), one.serviceAccount
