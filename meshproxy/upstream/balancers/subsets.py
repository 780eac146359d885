# -*- test-case-name: tests.upstream.balancers.test_subsets -*-
"""
C{lb_subset_config}: endpoints by their labels, so that a route can ask for those of one version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from meshproxy.stats.store import Scope
from meshproxy.upstream.balancers.base import Choose, IChoice
from meshproxy.upstream.balancers.loadbalancer import LoadBalancer
from meshproxy.upstream.endpoint import Endpoint, Locality

__all__ = ["Selector", "SubsetOptions", "Subsets"]

#: What labels have in common, in the order of their names.
_Values = tuple[object, ...]

# Envoy's name.
_FALLBACK_LIST = "fallback_list"


@dataclass(frozen=True, slots=True)
class Selector:
    """
    Labels that make subsets: one for each combination of values that occurs.

    @ivar keys: The names of the labels, in order.
    @ivar fallback: Where to look when no endpoint has them: C{"NO_FALLBACK"}, C{"ANY_ENDPOINT"}, C{"DEFAULT_SUBSET"},
        C{"KEYS_SUBSET"}, or C{"NOT_DEFINED"} for what the cluster says.
    @ivar fallbackKeys: The labels that are looked at then, for C{"KEYS_SUBSET"}.
    @ivar isSingle: Whether of the endpoints of a subset only one is chosen (C{single_host_per_subset}).
    """

    keys: tuple[str, ...]
    fallback: str = "NOT_DEFINED"
    fallbackKeys: frozenset[str] = frozenset()
    isSingle: bool = False


@dataclass(frozen=True, slots=True)
class SubsetOptions:
    """
    What there is to know of the subsets of a cluster.

    @ivar fallback: C{fallback_policy}.
    @ivar default: C{default_subset}, as plain data.
    @ivar listAsAny: Whether a list among the labels of an endpoint stands for any of its members.
    @ivar panicModeAny: Whether any endpoint is better than none.
    @ivar fallsBackByList: Whether a list under the label C{fallback_list} says what to try in turn.
    @ivar allowsRedundant: Whether labels that no selector asks for are left out.
    @ivar scalesLocalities: Whether a locality weighs less where fewer of its endpoints are in a subset.
    """

    selectors: tuple[Selector, ...] = ()
    fallback: str = "NO_FALLBACK"
    default: Mapping[str, object] = field(default_factory=dict)
    listAsAny: bool = False
    panicModeAny: bool = False
    fallsBackByList: bool = False
    allowsRedundant: bool = False
    scalesLocalities: bool = False


def _labels(endpoint: Endpoint) -> Mapping[str, object]:
    return (endpoint.metadata or {}).get("envoy.lb") or {}


def _hashable(value: object) -> object:
    """
    A value as a key; C{true} and 1 differ.
    """
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(held)) for key, held in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    return (bool, value) if isinstance(value, bool) else value


class _Single:
    """
    Chooses the first endpoint of the first priority, as Envoy does: be it healthy or not.
    """

    _endpoint: Endpoint | None = None

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{IEndpointChooser.update}.
        """
        self._endpoint = min(endpoints, key=lambda endpoint: endpoint.priority, default=None)

    def chooseFor(self, choice: IChoice | None) -> Endpoint | None:
        """
        See L{IEndpointChooser.chooseFor}.
        """
        return self._endpoint


class Subsets:
    """
    Chooses among the endpoints that have the labels that a request asks for.
    """

    def __init__(
        self,
        options: SubsetOptions,
        make: Callable[[], LoadBalancer],
        scope: Scope,
        whole: dict[tuple[int, Locality], int] | None = None,
    ) -> None:
        """
        @param make: Makes what chooses among the endpoints of one subset.
        @param scope: Of the cluster's metrics.
        @param whole: Is told how many endpoints each locality of a priority has, for what L{make} makes.
        """
        self._whole = whole
        self._options = options
        self._makeOne = make
        self._heeded: tuple[int, bool] | None = None
        self._subsets: dict[tuple[str, ...], dict[_Values, LoadBalancer | _Single]] = {}
        self._selectors = {selector.keys: selector for selector in reversed(options.selectors)}
        self._any = make()
        self._default = make()
        self._hasDefault = False
        self.choose: Choose = self._chooseAny
        self._active = scope.gauge("lb_subsets_active")
        self._created = scope.counter("lb_subsets_created")
        self._removed = scope.counter("lb_subsets_removed")
        self._selected = scope.counter("lb_subsets_selected")
        self._fellBack = scope.counter("lb_subsets_fallback")
        self._panicked = scope.counter("lb_subsets_fallback_panic")
        self._twins = scope.gauge("lb_subsets_single_host_per_subset_duplicate")
        self._hasAny = False
        # As in Envoy, those that are fallen back to are subsets as well.
        policies = {options.fallback, *[selector.fallback for selector in options.selectors]}
        fallbacks = int("ANY_ENDPOINT" in policies or options.panicModeAny) + int("DEFAULT_SUBSET" in policies)
        self._active.value += fallbacks
        self._created.value += fallbacks

    def _make(self) -> LoadBalancer:
        made = self._makeOne()
        if self._heeded is not None:
            made.heed(*self._heeded)
        return made

    def heed(self, factor: int, weighsHealth: bool) -> None:
        """
        See L{IEndpointChooser.heed}.
        """
        self._heeded = factor, weighsHealth
        subsets = [subset for subsets in self._subsets.values() for subset in subsets.values()]
        for each in (self._any, self._default, *subsets):
            if isinstance(each, LoadBalancer):
                each.heed(factor, weighsHealth)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{IEndpointChooser.update}.
        """
        if self._whole is not None:
            self._whole.clear()
            self._whole.update(Counter((each.priority, each.locality) for each in endpoints))
        twins = 0
        default = self._options.default
        matching = [e for e in endpoints if all(_labels(e).get(key, self) == value for key, value in default.items())]
        self._any.update(endpoints)
        self._default.update(matching)
        self._hasAny, self._hasDefault = bool(endpoints), bool(matching)
        for keys in self._selectors:
            groups: dict[_Values, list[Endpoint]] = {}
            for endpoint in endpoints:
                for values in self._valuesOf(endpoint, keys):
                    groups.setdefault(values, []).append(endpoint)
            self._updateSelector(keys, groups)
            if self._selectors[keys].isSingle:
                twins += sum(len(members) - len({member.priority for member in members}) for members in groups.values())
        self._twins.value = twins

    def _updateSelector(self, keys: tuple[str, ...], groups: Mapping[_Values, list[Endpoint]]) -> None:
        known = self._subsets.get(keys, {})
        make: Callable[[], LoadBalancer | _Single] = _Single if self._selectors[keys].isSingle else self._make
        made = self._subsets[keys] = {values: known.get(values) or make() for values in groups}
        self._created.value += len(made.keys() - known.keys())
        self._removed.value += len(known.keys() - made.keys())
        self._active.value += len(made) - len(known)
        for values, members in groups.items():
            made[values].update(members)

    def _valuesOf(self, endpoint: Endpoint, keys: tuple[str, ...]) -> Iterator[_Values]:
        labels = _labels(endpoint)
        if not all(key in labels for key in keys):
            return
        held = [labels[key] for key in keys]
        if self._options.listAsAny:
            ways = [value if isinstance(value, (list, tuple)) else [value] for value in held]
            yield from {tuple(map(_hashable, way)): None for way in product(*ways)}
        else:
            yield tuple(map(_hashable, held))

    def _chooseAny(self) -> Endpoint | None:
        return self._fallBack(self._options.fallback, None, panics=True)

    def chooseFor(self, choice: IChoice | None) -> Endpoint | None:
        """
        See L{IEndpointChooser.chooseFor}.
        """
        labels = {} if choice is None else choice.labels()
        if self._options.fallsBackByList and _FALLBACK_LIST in labels:
            return self._chooseByList(labels, choice)
        return self._chooseIn(labels, choice)

    def _chooseByList(self, labels: Mapping[str, object], choice: IChoice | None) -> Endpoint | None:
        """
        Try the labels with each member of their C{fallback_list} over them, until there is an endpoint.
        """
        rest = {key: value for key, value in labels.items() if key != _FALLBACK_LIST}
        members = labels[_FALLBACK_LIST]
        for member in (members if isinstance(members, (list, tuple)) else ()) or ({},):
            found = self._chooseIn({**rest, **member} if isinstance(member, Mapping) else rest, choice)
            if found is not None:
                return found
        return None

    def _chooseIn(self, labels: Mapping[str, object], choice: IChoice | None) -> Endpoint | None:
        return self._chooseBy(labels, choice) if labels else self._fallBack(self._options.fallback, choice, True)

    def _chooseBy(self, labels: Mapping[str, object], choice: IChoice | None) -> Endpoint | None:
        if self._options.allowsRedundant:
            labels = self._asked(labels)
        keys = tuple(sorted(labels))
        subset = self._subsets.get(keys, {}).get(tuple(_hashable(labels[key]) for key in keys))
        if subset is not None:
            self._selected.value += 1
            return subset.chooseFor(choice)
        selector = self._selectors.get(keys)
        if selector is None or selector.fallback == "NOT_DEFINED":
            return self._fallBack(self._options.fallback, choice, True)
        if selector.fallback == "KEYS_SUBSET":
            fewer = {key: value for key, value in labels.items() if key in selector.fallbackKeys}
            return self._chooseBy(fewer, choice)
        return self._fallBack(selector.fallback, choice, False)

    def _asked(self, labels: Mapping[str, object]) -> Mapping[str, object]:
        """
        Of some labels those of the first selector that they suffice for; all where they suffice for none.
        """
        for selector in self._options.selectors:
            if labels.keys() >= set(selector.keys):
                return {key: labels[key] for key in selector.keys}
        return labels

    def _fallBack(self, policy: str, choice: IChoice | None, panics: bool) -> Endpoint | None:
        found = None
        if policy == "ANY_ENDPOINT" and self._hasAny:
            self._fellBack.value += panics
            found = self._any.chooseFor(choice)
        elif policy == "DEFAULT_SUBSET" and self._hasDefault:
            self._fellBack.value += panics
            found = self._default.chooseFor(choice)
        # As in Envoy, who wants no fallback has none in a panic either.
        if found is None and panics and self._options.panicModeAny and policy != "NO_FALLBACK":
            self._panicked.value += 1
            found = self._any.chooseFor(choice)
        return found
