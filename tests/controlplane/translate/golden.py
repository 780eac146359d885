"""
Golden files: C{cases/NAME.yaml} is what goes in, C{cases/NAME.out.yaml} what has to come out.

The first document of a case says for which proxy it is, what holds for the mesh, and which parts are compared (C{show};
all of them if it says nothing); the others are resources. C{python -m tests.controlplane.translate.golden} writes what
comes out now: look at the difference before it is believed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from meshproxy.config.structure import structureOrRaise
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import DataPlane, Interception, Proxy, Role
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import Translation, translate
from tests.controlplane.given import resourcesOf

__all__ = ["CASES", "Case", "caseOf", "caseNames", "outcome", "translated", "written"]

CASES = Path(__file__).parent / "cases"
_PARTS = ("listeners", "routes", "clusters", "endpoints", "secrets", "problems")


class Case(NamedTuple):
    """
    What goes in.
    """

    name: str
    proxy: Proxy
    mesh: MeshConfig
    show: dict[str, list[str]]
    resources: str


def caseNames() -> list[str]:
    """
    The name of every case.
    """
    return sorted(path.stem for path in CASES.glob("*.yaml") if not path.name.endswith(".out.yaml"))


def _proxy(told: dict[str, Any]) -> Proxy:
    enums: dict[str, Any] = {"role": Role, "dataPlane": DataPlane, "interception": Interception}
    values: dict[str, Any] = {key: enums[key](value) if key in enums else value for key, value in told.items()}
    values["addresses"] = tuple(values.get("addresses", ()))
    given: dict[str, Any] = {"id": "p", "namespace": "shop", **values}
    return Proxy(**given)


def caseOf(name: str) -> Case:
    """
    One case.
    """
    head, _, resources = (CASES / f"{name}.yaml").read_text("utf-8").partition("\n---\n")
    told = yaml.safe_load(head) or {}
    mesh = structureOrRaise(MeshConfig, told.get("mesh", {}), camelCase=True)
    return Case(name, _proxy(told.get("proxy", {})), mesh, told.get("show", {}), resources)


def translated(case: Case) -> Translation:
    """
    What comes out of a case.
    """
    resources = resourcesOf(case.resources)
    return translate(case.proxy, case.mesh, ResourceSet(resources), indexOf(resources, case.mesh.domain))


def outcome(case: Case) -> dict[str, Any]:
    """
    The parts of what comes out that a case compares.
    """
    made = translated(case)
    whole: dict[str, Any] = {name: getattr(made, name) for name in _PARTS if name != "problems"}
    whole["problems"] = [str(problem) for problem in made.problems]
    if case.show:
        for name in list(whole):
            wanted = case.show.get(name)
            if wanted is None and name != "problems":
                del whole[name]
            elif wanted and isinstance(whole[name], dict):
                whole[name] = {key: value for key, value in whole[name].items() if key in wanted}
    return {name: value for name, value in whole.items() if value}


class _Dumper(yaml.SafeDumper):
    """
    No anchors: what stands twice is written twice.
    """

    def ignore_aliases(self, data: Any) -> bool:
        """
        Never.
        """
        return True


def written(value: object) -> str:
    """
    As text, the same for the same.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=120)
    return text


def main() -> None:
    """
    Write what comes out now.
    """
    for name in caseNames():
        (CASES / f"{name}.out.yaml").write_text(written(outcome(caseOf(name))), "utf-8")


if __name__ == "__main__":
    main()
