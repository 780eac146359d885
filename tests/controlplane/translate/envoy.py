"""
All golden translations in one static bootstrap, so that one run of Envoy says whether it takes them.

What would come apart is put in: routes into their connection managers, endpoints into their clusters. Names get the
case before them, and listeners a port of their own, since in one bootstrap each stands once. Certificates stand below
C{/certificates}.
"""

from __future__ import annotations

import copy
import json
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.conformance.proxies import findEnvoy
from tests.controlplane.model.test_core import pair
from tests.controlplane.translate.golden import Case, caseNames, caseOf, translated

__all__ = ["bootstrap", "complaints", "inlined", "writeFiles"]

_MANAGER = "HttpConnectionManager"

_SOURCE = {"apiType": "GRPC", "transportApiVersion": "V3", "grpcServices": [{"envoyGrpc": {"clusterName": "xds"}}]}


def inlined(value: Any, routes: dict[str, Any]) -> Any:
    """
    The routes, where they are asked for, and a stream of its own for what comes by the aggregated one.
    """
    if isinstance(value, list):
        return [inlined(item, routes) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: inlined(held, routes) for key, held in value.items()}
    if "ads" in made:
        # Envoy 1.40 falls over an aggregated stream while it only validates.
        del made["ads"]
        made["apiConfigSource"] = _SOURCE
    if str(made.get("@type", "")).endswith(_MANAGER) and "rds" in made:
        made["routeConfig"] = copy.deepcopy(routes[made.pop("rds")["routeConfigName"]])
    return made


def revoked() -> str:
    """
    A list of certificates that count no more, with none on it.
    """
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "golden")]), now, now + timedelta(days=1)
    )
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def bootstrap(names: list[str], given: Callable[[str], Case] = caseOf) -> dict[str, Any]:
    """
    The bootstrap of some cases.

    @param given: What goes into each.
    """
    listeners: list[Any] = []
    clusters: list[Any] = []
    secrets: dict[str, Any] = {}
    for name in names:
        made = translated(given(name))
        for listener in made.listeners.values():
            one = inlined(listener, made.routes)
            one["name"] = f"{name} {one['name']}"
            if "socketAddress" in one["address"]:
                one["address"]["socketAddress"].update(address="127.0.0.1", portValue=20000 + len(listeners))
            listeners.append(one)
        for cluster in made.clusters.values():
            one = inlined(cluster, made.routes)
            one["name"] = f"{name} {one['name']}"
            if one.pop("edsClusterConfig", None) is not None:
                one.update(type="STATIC", loadAssignment=made.endpoints[cluster["name"]])
            clusters.append(one)
        secrets.update(made.secrets)
    clusters.append(
        {
            "name": "xds",
            "type": "STATIC",
            "connectTimeout": "1s",
            "typedExtensionProtocolOptions": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicitHttpConfig": {"http2ProtocolOptions": {}},
                }
            },
        }
    )
    return {
        "node": {"id": "golden", "cluster": "golden"},
        "staticResources": {"listeners": listeners, "clusters": clusters, "secrets": list(secrets.values())},
    }


def writeFiles(folder: Path) -> None:
    """
    Write what the cases name below C{/certificates}.
    """
    for file, held in zip(("certificate.pem", "key.pem", "revoked.pem"), (*pair(), revoked()), strict=True):
        (folder / file).write_text(held)


def complaints(names: list[str] | None = None, spoilt: tuple[str, str] = ("", "")) -> str:
    """
    What Envoy says against the translations; nothing if it takes them all.

    @param spoilt: A text of the bootstrap, and what stands there instead.
    """
    envoy = findEnvoy()
    assert envoy is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bootstrap.json"
        text = json.dumps(bootstrap(names if names is not None else caseNames()))
        writeFiles(Path(folder))
        text = text.replace(*spoilt) if spoilt[0] else text
        path.write_text(text.replace("/certificates/", f"{folder}/"))
        command = [envoy, "-c", str(path), "--mode", "validate", "-l", "error", "--disable-hot-restart"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else done.stderr[-3000:] + done.stdout[-1000:]
