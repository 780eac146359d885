"""
Resources as text, for every test of the control plane that is not about reading them.
"""

from __future__ import annotations

from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.model.resource import Resource

__all__ = ["resourcesOf"]


def resourcesOf(text: str, namespace: str = "shop") -> list[Resource]:
    """
    The resources of a text.

    @raise AssertionError: If one of them has an error: the test itself is wrong.
    """
    resources, problems = parseDocuments(text, "given.yaml", namespace)
    errors = [str(problem) for problem in problems if problem.isError]
    assert not errors, "\n".join(errors)
    return resources
