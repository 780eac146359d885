# -*- test-case-name: tests.controlplane.translate.test_mutations -*-
"""
Resources with something wrong in them: they are refused, or translated; nothing else happens.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.documents import parseObject
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import translate
from tests.controlplane.translate.given import ROUTER, SIDECAR
from tests.controlplane.translate.golden import caseNames, caseOf

_VALUES: list[Any] = [
    None,
    [],
    {},
    5,
    -1,
    1.5,
    True,
    "",
    "x",
    "*",
    "~",
    "/a",
    "1s",
    "a.b",
    "10.0.0.1",
    "unix:///a",
    [None],
    [{}],
    ["a"],
    {"a": "b"},
    {"regex": "*"},
]
_ROUNDS = 150


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in items:
        yield from _paths(held, (*path, key))


def mutated(document: Any, chance: random.Random) -> Any:
    """
    A document with one thing taken out, or replaced.
    """
    made = copy.deepcopy(document)
    path = chance.choice([one for one in _paths(made) if len(one) > 1])
    place = made
    for step in path[:-1]:
        place = place[step]
    if chance.random() < 0.3:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(chance.choice(_VALUES))
    return made


class MutationTests(SynchronousTestCase):
    """
    What is wrong with a resource is told; it breaks nothing.
    """

    def test_toldOrTranslated(self) -> None:
        """
        Each resource of the golden cases, with something changed at random, is refused with a reason, or makes
        messages of Envoy's types.
        """
        chance = random.Random(20260101)
        cases = [[one for one in yaml.safe_load_all(caseOf(name).resources) if one] for name in caseNames()]
        refused = accepted = 0
        for _ in range(_ROUNDS):
            resources = {}
            for document in chance.choice(cases):
                resource, problems = parseObject(mutated(document, chance), "shop")
                if resource is None:
                    refused += 1
                    self.assertTrue(any(problem.isError and problem.message for problem in problems))
                else:
                    accepted += 1
                    resources[resource.key] = resource
            for proxy in (SIDECAR, ROUTER):
                held = resources.values()
                translate(proxy, MeshConfig(), ResourceSet(held), indexOf(held)).messages()
        self.assertGreater(refused, _ROUNDS)
        self.assertGreater(accepted, _ROUNDS)
