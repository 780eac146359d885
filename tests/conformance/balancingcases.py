"""
To which endpoint a request goes: the clusters, in YAML, and the requests.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.spreads import BACKENDS, Spread

__all__ = ["CASES", "hostAt"]


_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def hostAt(number: int, more: str = "", where: str = "") -> str:
    """
    An endpoint at one of the backends.
    """
    return "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $%d}}%s}%s}" % (number, where, more)


def _group(hosts: Sequence[str], more: str = "") -> str:
    return "{lb_endpoints: [%s]%s}" % (", ".join(hosts), more)


def _assign(*groups: str, policy: str = "") -> str:
    return "load_assignment: {cluster_name: c, endpoints: [%s]%s}" % (", ".join(groups), policy)


def _labelled(number: int, labels: str, more: str = "") -> str:
    return hostAt(number, ", metadata: {filter_metadata: {envoy.lb: {%s}}}%s" % (labels, more))


_ALL = [hostAt(number) for number in range(BACKENDS)]
_WEIGHTED = [hostAt(number, f", load_balancing_weight: {number + 1}") for number in range(4)]
_NAMED = [hostAt(number, "", f", hostname: host-{number}") for number in range(4)]
_ILL = ", health_status: UNHEALTHY"
_DEGRADED = ", health_status: DEGRADED"
_BY_KEY = "hash_policy: [{header: {header_name: x-key}}]"
_KEYS = [f"x-key: key-{number}" for number in range(30)]
_MANY = [""] * 240

# Where chance decides, enough that both come out alike: the difference of two shares has a deviation of 0.035 or less.
_CHANCE = [""] * 400


def _ill(*numbers: int, ill: int) -> list[str]:
    """
    Hosts of which the first C{ill} are ill.
    """
    return [hostAt(number, _ILL if place < ill else "") for place, number in enumerate(numbers)]


def _extension(policy: str) -> str:
    return "load_balancing_policy: {policies: [{typed_extension_config: {name: p, typed_config: {%s}}}]}" % policy


def _typed(name: str, message: str, more: str = "") -> str:
    return f"'@type': {_LB}.{name}.v3.{message}{', ' if more else ''}{more}"


def _subset(selectors: str, more: str = "") -> str:
    return "lb_subset_config: {subset_selectors: [%s]%s}, " % (selectors, more)


_VERSIONS = [
    _labelled(0, "version: '1', stage: prod"),
    _labelled(1, "version: '1', stage: test"),
    _labelled(2, "version: '2', stage: prod, canary: true"),
    _labelled(3, "number: 7, list: [a, b]"),
]
_MATCH = "metadata_match: {filter_metadata: {envoy.lb: {%s}}}"

CASES = [
    Spread("ring", "The ring is Envoy's.", "lb_policy: RING_HASH, " + _assign(_group(_ALL)), _BY_KEY, _KEYS),
    Spread(
        "ringSmall",
        "A small one.",
        "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 7, maximum_ring_size: 11}, "
        + _assign(_group(_ALL)),
        _BY_KEY,
        _KEYS,
    ),
    *[
        Spread(
            f"bounded{policy}{factor}",
            "Endpoints with too much under way are passed over, for the same ones.",
            f"lb_policy: {policy}, common_lb_config: {{consistent_hashing_lb_config: "
            f"{{hash_balance_factor: {factor}}}}}, " + _assign(_group(hosts)),
            _BY_KEY,
            [f"x-key: key-{number // 6}" for number in range(24)],
            isHeld=True,
        )
        for policy, factor, hosts in (("RING_HASH", 120, _ALL), ("MAGLEV", 150, _WEIGHTED))
    ],
    *[
        Spread(
            f"breakers{name}",
            "Of requests that are under way together so many may be.",
            "circuit_breakers: {%s}, " % limits + _assign(_group(hosts)),
            route,
            [""] * 10,
            isHeld=True,
        )
        for name, limits, hosts, route in (
            ("Requests", "thresholds: [{max_requests: 3}]", _ALL[:1], ""),
            ("Pending", "thresholds: [{max_connections: 2, max_pending_requests: 3}]", _ALL[:1], ""),
            ("NonePending", "thresholds: [{max_connections: 2, max_pending_requests: 0}]", _ALL[:1], ""),
            (
                "PerHost",
                "thresholds: [{max_pending_requests: 1}], per_host_thresholds: [{max_connections: 2}]",
                _ALL[:1],
                "",
            ),
            ("High", "thresholds: [{priority: HIGH, max_requests: 2}, {max_requests: 4}]", _ALL[:1], "priority: HIGH"),
            ("Default", "thresholds: [{priority: HIGH, max_requests: 2}, {max_requests: 4}]", _ALL[:1], ""),
        )
    ],
    *[
        Spread(
            f"slowStart{policy}",
            "Those that begin together have their weights, however little of them.",
            f"lb_policy: {policy}, {policy.lower()}_lb_config: {{slow_start_config: {{slow_start_window: 100s}}}}, "
            + _assign(_group(_WEIGHTED)),
            fields=_MANY,
            tolerance=0.02,
        )
        for policy in ("ROUND_ROBIN", "LEAST_REQUEST")
    ],
    Spread(
        "localitiesExtension",
        "Localities by their weights, and turns within each.",
        _extension(_typed("round_robin", "RoundRobin", "locality_lb_config: {locality_weighted_lb_config: {}}"))
        + ", "
        + _assign(
            _group(_ALL[:2], ", locality: {zone: a}, load_balancing_weight: 1"),
            _group(_ALL[2:], ", locality: {zone: b}, load_balancing_weight: 3"),
        ),
        fields=_MANY,
        tolerance=0.02,
    ),
    Spread(
        "firstKnown",
        "Of several policies the first counts that is known.",
        "load_balancing_policy: {policies: [%s, {typed_extension_config: {name: p, typed_config: {%s}}}]}, "
        % (
            "{typed_extension_config: {name: x, typed_config: {'@type': type.googleapis.com/google.protobuf.Empty}}}",
            _typed("round_robin", "RoundRobin"),
        )
        + _assign(_group(_ALL)),
        fields=_MANY,
        tolerance=0.02,
    ),
    Spread("ringWeighted", "With weights.", "lb_policy: RING_HASH, " + _assign(_group(_WEIGHTED)), _BY_KEY, _KEYS),
    Spread(
        "ringMurmur",
        "With the other hash.",
        "lb_policy: RING_HASH, ring_hash_lb_config: {hash_function: MURMUR_HASH_2}, " + _assign(_group(_ALL)),
        _BY_KEY,
        _KEYS,
    ),
    Spread(
        "ringNames",
        "By host name.",
        "type: STRICT_DNS, lb_policy: RING_HASH, common_lb_config: {consistent_hashing_lb_config: "
        "{use_hostname_for_hashing: true}}, " + _assign(_group(_NAMED)),
        _BY_KEY,
        _KEYS,
    ),
    Spread(
        "ringHashKey",
        "By a key in the metadata.",
        "lb_policy: RING_HASH, " + _assign(_group([_labelled(n, f"hash_key: k{n}") for n in range(4)])),
        _BY_KEY,
        _KEYS,
    ),
    Spread(
        "ringQuery",
        "By a cookie, a query parameter or the client's address.",
        "lb_policy: RING_HASH, " + _assign(_group(_ALL)),
        "hash_policy: [{cookie: {name: c}}, {query_parameter: {name: q}}]",
        [f"cookie: a=b; c=v{number}" for number in range(12)],
    ),
    Spread(
        "ringSource",
        "Without any hash of their own, requests go anywhere.",
        "lb_policy: RING_HASH, " + _assign(_group(_ALL[:2])),
        _BY_KEY,
        _CHANCE,
        0.17,
    ),
    Spread(
        "ringPriorities",
        "The hash chooses the priority too.",
        "lb_policy: RING_HASH, " + _assign(_group(_ill(0, 1, ill=1)), _group(_ALL[2:], ", priority: 1")),
        _BY_KEY,
        _KEYS,
    ),
    Spread(
        "ringLocalities",
        "Localities have weights.",
        "lb_policy: RING_HASH, common_lb_config: {locality_weighted_lb_config: {}}, "
        + _assign(
            _group(_ALL[:2], ", locality: {zone: a}, load_balancing_weight: 1"),
            _group(_ALL[2:5], ", locality: {zone: b}, load_balancing_weight: 3"),
        ),
        _BY_KEY,
        _KEYS,
    ),
    Spread("maglev", "The table is Envoy's.", "lb_policy: MAGLEV, " + _assign(_group(_ALL)), _BY_KEY, _KEYS),
    Spread(
        "maglevSmall",
        "A small one.",
        "lb_policy: MAGLEV, maglev_lb_config: {table_size: 31}, " + _assign(_group(_ALL)),
        _BY_KEY,
        _KEYS,
    ),
    Spread("maglevWeighted", "With weights.", "lb_policy: MAGLEV, " + _assign(_group(_WEIGHTED)), _BY_KEY, _KEYS),
    Spread(
        "extRing",
        "The extension.",
        _extension(_typed("ring_hash", "RingHash", "minimum_ring_size: 64")) + ", " + _assign(_group(_ALL)),
        _BY_KEY,
        _KEYS,
    ),
    Spread(
        "extMaglev",
        "The extension.",
        _extension(_typed("maglev", "Maglev", "table_size: 101")) + ", " + _assign(_group(_ALL)),
        _BY_KEY,
        _KEYS,
    ),
    Spread("roundRobin", "In turn.", _assign(_group(_ALL)), fields=_MANY, tolerance=0.02),
    Spread("roundRobinWeighted", "By weight.", _assign(_group(_WEIGHTED)), fields=_MANY, tolerance=0.03),
    Spread("leastRequest", "Any of them.", "lb_policy: LEAST_REQUEST, " + _assign(_group(_ALL[:3])), "", _CHANCE, 0.17),
    Spread(
        "leastRequestWeighted",
        "By weight.",
        "lb_policy: LEAST_REQUEST, " + _assign(_group(_WEIGHTED)),
        "",
        _MANY,
        0.03,
    ),
    Spread("random", "By chance.", "lb_policy: RANDOM, " + _assign(_group(_ALL[:3])), "", _CHANCE, 0.17),
    Spread(
        "extRoundRobin",
        "The extension.",
        _extension(_typed("round_robin", "RoundRobin")) + ", " + _assign(_group(_WEIGHTED)),
        "",
        _MANY,
        0.03,
    ),
    Spread(
        "extLeastRequest",
        "The extension.",
        _extension(_typed("least_request", "LeastRequest", "choice_count: 3")) + ", " + _assign(_group(_WEIGHTED)),
        "",
        _MANY,
        0.03,
    ),
    Spread(
        "leastOfAll",
        "Requests that are under way together go to as many endpoints.",
        _extension(_typed("least_request", "LeastRequest", "selection_method: FULL_SCAN"))
        + ", "
        + _assign(_group(_ALL)),
        "",
        [""] * len(_ALL),
        0.001,
        isHeld=True,
    ),
    Spread(
        "priorityFirst",
        "The first priority has all while enough of it is healthy.",
        _assign(_group(_ill(0, 1, 2, 3, ill=1)), _group(_ALL[4:], ", priority: 1")),
        fields=_MANY,
        tolerance=0.02,
    ),
    Spread(
        "prioritySpill",
        "Half of it: 70 percent stay.",
        _assign(_group(_ill(0, 1, ill=1)), _group([hostAt(2)], ", priority: 1")),
        fields=_CHANCE,
        tolerance=0.17,
    ),
    Spread(
        "priorityFactor",
        "With another factor: all stay.",
        _assign(
            _group(_ill(0, 1, ill=1)),
            _group([hostAt(2)], ", priority: 1"),
            policy=", policy: {overprovisioning_factor: 200}",
        ),
        fields=_MANY,
        tolerance=0.02,
    ),
    Spread(
        "priorityGone",
        "Nobody left there.",
        _assign(_group(_ill(0, ill=1)), _group(_ALL[1:3], ", priority: 1")),
        fields=_MANY,
        tolerance=0.02,
    ),
    Spread(
        "priorityWeighed",
        "Health by weight.",
        _assign(
            _group([hostAt(0, _ILL + ", load_balancing_weight: 9"), hostAt(1)]),
            _group([hostAt(2)], ", priority: 1"),
            policy=", policy: {weighted_priority_health: true}",
        ),
        fields=_CHANCE,
        tolerance=0.17,
    ),
    Spread(
        "priorityPanic",
        "Too few in all of them: health does not count.",
        _assign(_group(_ill(0, 1, 2, 3, ill=4)), _group(_ill(4, 5, ill=2), ", priority: 1")),
        fields=_CHANCE,
        tolerance=0.17,
    ),
    Spread(
        "panicOff",
        "Without panic nobody is left.",
        "common_lb_config: {healthy_panic_threshold: {value: 0}}, " + _assign(_group(_ill(0, 1, ill=2))),
    ),
    Spread(
        "panicFails",
        "Or traffic fails.",
        "common_lb_config: {zone_aware_lb_config: {fail_traffic_on_panic: true}}, "
        + _assign(_group(_ill(0, 1, 2, ill=2))),
    ),
    Spread("panic", "Two of three.", _assign(_group(_ill(0, 1, 2, ill=2))), fields=_MANY, tolerance=0.02),
    Spread(
        "panicThreshold",
        "A lower threshold.",
        "common_lb_config: {healthy_panic_threshold: {value: 30}}, " + _assign(_group(_ill(0, 1, 2, ill=2))),
    ),
    Spread(
        "degraded",
        "Degraded ones take what healthy ones cannot.",
        _assign(_group([hostAt(0), hostAt(1, _DEGRADED), hostAt(2, _DEGRADED)])),
        fields=_CHANCE,
        tolerance=0.17,
    ),
    Spread("degradedOnly", "Nobody else.", _assign(_group([hostAt(0, _DEGRADED), hostAt(1, _ILL)]))),
    Spread(
        "degradedPriorities",
        "Healthy ones of the next priority come first.",
        _assign(_group([hostAt(0, _DEGRADED), hostAt(1, _ILL)]), _group([hostAt(2)], ", priority: 1")),
        fields=_CHANCE,
        tolerance=0.17,
    ),
    Spread(
        "localities",
        "Localities by weight.",
        "common_lb_config: {locality_weighted_lb_config: {}}, "
        + _assign(
            _group(_ALL[:2], ", locality: {zone: a}, load_balancing_weight: 1"),
            _group([hostAt(2)], ", locality: {zone: b}, load_balancing_weight: 3"),
            _group([hostAt(3)], ", locality: {zone: c}"),
        ),
        fields=_MANY,
        tolerance=0.03,
    ),
    Spread(
        "localitiesIll",
        "Less where endpoints are ill.",
        "common_lb_config: {locality_weighted_lb_config: {}}, "
        + _assign(
            _group(_ill(0, 1, 2, 3, ill=3), ", locality: {zone: a}, load_balancing_weight: 2"),
            _group(_ALL[4:], ", locality: {zone: b}, load_balancing_weight: 1"),
        ),
        fields=_MANY,
        tolerance=0.03,
    ),
    Spread(
        "localitiesNoWeights",
        "None has a weight.",
        "common_lb_config: {locality_weighted_lb_config: {}}, "
        + _assign(_group(_ALL[:2], ", locality: {zone: a}"), _group([hostAt(2)], ", locality: {zone: b}")),
        fields=_MANY,
        tolerance=0.03,
    ),
    Spread(
        "localitiesIgnored",
        "Weights do not count without asking.",
        _assign(
            _group(_ALL[:2], ", locality: {zone: a}, load_balancing_weight: 1"),
            _group([hostAt(2)], ", locality: {zone: b}, load_balancing_weight: 9"),
        ),
        fields=_MANY,
        tolerance=0.03,
    ),
    Spread(
        "subset",
        "By a label.",
        _subset("{keys: [version]}") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '2'",
    ),
    Spread(
        "subsetBoth",
        "By two.",
        _subset("{keys: [version]}, {keys: [stage, version]}") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '1', stage: test",
    ),
    Spread(
        "subsetSeveral",
        "Two endpoints have it.",
        _subset("{keys: [version]}") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '1'",
        _MANY,
        0.03,
    ),
    Spread(
        "subsetNone",
        "None has it.",
        _subset("{keys: [version]}") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
    ),
    Spread("subsetUnasked", "The route asks for none.", _subset("{keys: [version]}") + _assign(_group(_VERSIONS))),
    Spread(
        "subsetAny",
        "Then any will do.",
        _subset("{keys: [version]}", ", fallback_policy: ANY_ENDPOINT") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
        _MANY,
        0.03,
    ),
    Spread(
        "subsetDefault",
        "Then the default.",
        _subset("{keys: [version]}", ", fallback_policy: DEFAULT_SUBSET, default_subset: {stage: test}")
        + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
    ),
    Spread(
        "subsetDefaultGone",
        "The default has none.",
        _subset("{keys: [version]}", ", fallback_policy: DEFAULT_SUBSET, default_subset: {stage: none}")
        + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
    ),
    Spread(
        "subsetPanic",
        "Any is better than none.",
        _subset("{keys: [version]}", ", panic_mode_any: true") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
        _MANY,
        0.03,
    ),
    Spread(
        "subsetPanicDefault",
        "Any is better than none, where the default has none.",
        _subset(
            "{keys: [version]}",
            ", panic_mode_any: true, fallback_policy: DEFAULT_SUBSET, default_subset: {stage: none}",
        )
        + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
        _MANY,
        0.03,
    ),
    Spread(
        "subsetUnknownKeys",
        "No selector has these labels.",
        _subset("{keys: [version]}", ", fallback_policy: ANY_ENDPOINT") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '1', other: x",
        _MANY,
        0.03,
    ),
    Spread(
        "subsetSelectorFallback",
        "The selector says where else.",
        _subset("{keys: [version], fallback_policy: ANY_ENDPOINT}") + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
        _MANY,
        0.03,
    ),
    Spread(
        "subsetSelectorNo",
        "Or nowhere.",
        _subset("{keys: [version], fallback_policy: NO_FALLBACK}", ", fallback_policy: ANY_ENDPOINT")
        + _assign(_group(_VERSIONS)),
        _MATCH % "version: '3'",
    ),
    Spread(
        "subsetKeys",
        "With fewer labels.",
        _subset(
            "{keys: [stage, version], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [version]}, {keys: [version]}"
        )
        + _assign(_group(_VERSIONS)),
        _MATCH % "version: '2', stage: other",
    ),
    Spread(
        "subsetBool",
        "Booleans and numbers are no text.",
        _subset("{keys: [canary]}, {keys: [number]}") + _assign(_group(_VERSIONS)),
        _MATCH % "canary: true",
    ),
    Spread(
        "subsetNumber",
        "A number.",
        _subset("{keys: [canary]}, {keys: [number]}") + _assign(_group(_VERSIONS)),
        _MATCH % "number: 7",
    ),
    Spread(
        "subsetNumberText",
        "Text is no number.",
        _subset("{keys: [canary]}, {keys: [number]}") + _assign(_group(_VERSIONS)),
        _MATCH % "number: '7'",
    ),
    Spread(
        "subsetList",
        "A member of a list.",
        _subset("{keys: [list]}", ", list_as_any: true") + _assign(_group(_VERSIONS)),
        _MATCH % "list: b",
    ),
    Spread(
        "subsetListWhole",
        "Not without asking.",
        _subset("{keys: [list]}") + _assign(_group(_VERSIONS)),
        _MATCH % "list: b",
    ),
    Spread(
        "subsetHash",
        "A ring in each subset.",
        "lb_policy: RING_HASH, "
        + _subset("{keys: [stage]}")
        + _assign(_group([_labelled(n, f"stage: {'a' if n < 4 else 'b'}") for n in range(BACKENDS)])),
        (_MATCH % "stage: a") + ", " + _BY_KEY,
        _KEYS,
    ),
    Spread(
        "subsetExtension",
        "The extension.",
        _extension(
            _typed(
                "subset",
                "Subset",
                "subset_selectors: [{keys: [version]}], subset_lb_policy: {policies: [{typed_extension_config: "
                "{name: p, typed_config: {%s}}}]}" % _typed("round_robin", "RoundRobin"),
            )
        )
        + ", "
        + _assign(_group(_VERSIONS)),
        _MATCH % "version: '2'",
    ),
    *[
        Spread(
            f"single{name}",
            "One endpoint of each subset is enough.",
            _subset(selectors) + _assign(*groups),
            _MATCH % labels,
            _MANY[:20],
        )
        for name, selectors, labels, groups in (
            ("", "{keys: [version], single_host_per_subset: true}", "version: '1'", [_group(_VERSIONS)]),
            ("None", "{keys: [version], single_host_per_subset: true}", "version: '3'", [_group(_VERSIONS)]),
            (
                "Keys",
                "{keys: [version, stage], single_host_per_subset: true}, {keys: [version]}",
                "version: '1', stage: test",
                [_group(_VERSIONS)],
            ),
            (
                "Ill",
                "{keys: [version], single_host_per_subset: true, fallback_policy: ANY_ENDPOINT}",
                "version: '1'",
                [_group([_labelled(0, "version: '1'", _ILL), _labelled(1, "version: '1'")])],
            ),
            (
                "Priority",
                "{keys: [version], single_host_per_subset: true}",
                "version: '1'",
                [
                    _group([_labelled(0, "version: '1'"), _labelled(1, "version: '2'")], ", priority: 1"),
                    _group([_labelled(2, "version: '2'")]),
                ],
            ),
        )
    ],
    *[
        Spread(
            f"fallbackList{name}",
            "Labels that are tried in turn.",
            _subset(
                "{keys: [version]}, {keys: [stage, version]}",
                ", metadata_fallback_policy: FALLBACK_LIST, fallback_policy: %s" % fallback,
            )
            + _assign(_group(_VERSIONS)),
            _MATCH % labels,
            _MANY[:20],
        )
        for name, fallback, labels in (
            ("First", "NO_FALLBACK", "fallback_list: [{version: '2'}, {version: '1', stage: test}]"),
            ("Second", "NO_FALLBACK", "fallback_list: [{version: '9'}, {version: '1', stage: test}]"),
            ("Over", "NO_FALLBACK", "version: '1', fallback_list: [{version: '8'}, {stage: test}]"),
            ("None", "NO_FALLBACK", "version: '2', fallback_list: [{version: '8'}, {version: '9'}]"),
            (
                "Default",
                "DEFAULT_SUBSET, default_subset: {number: 7}",
                "fallback_list: [{version: '8'}, {version: '2'}]",
            ),
            ("Empty", "NO_FALLBACK", "version: '2', fallback_list: []"),
            ("Text", "NO_FALLBACK", "version: '2', fallback_list: none"),
            ("Texts", "NO_FALLBACK", "version: '2', fallback_list: [none]"),
        )
    ],
    *[
        Spread(
            f"redundant{name}",
            "Labels that no selector asks for.",
            _extension(
                _typed(
                    "subset",
                    "Subset",
                    "allow_redundant_keys: %s, subset_selectors: [{keys: [stage, version]}, {keys: [version]}],"
                    " subset_lb_policy: {policies: [{typed_extension_config: {name: p, typed_config: {%s}}}]}"
                    % (allowed, _typed("round_robin", "RoundRobin")),
                )
            )
            + ", "
            + _assign(_group(_VERSIONS)),
            _MATCH % labels,
        )
        for name, allowed, labels in (
            ("Allowed", "true", "version: '2', zone: a"),
            ("Both", "true", "version: '1', stage: test, zone: a"),
            ("Forbidden", "false", "version: '2', zone: a"),
        )
    ],
    *[
        Spread(
            f"scaled{policy}{scales}",
            "Localities weigh less in subsets that have fewer of their endpoints.",
            f"lb_policy: {policy}, common_lb_config: {{locality_weighted_lb_config: {{}}}}, "
            + _subset("{keys: [v]}", f", locality_weight_aware: true, scale_locality_weight: {scales}")
            + _assign(
                _group(
                    [_labelled(0, "v: a"), *[_labelled(n, "v: b") for n in (1, 2, 3)]],
                    ", locality: {zone: a}, load_balancing_weight: 6",
                ),
                _group([_labelled(n, "v: a") for n in (4, 5)], ", locality: {zone: b}, load_balancing_weight: 4"),
            ),
            _MATCH % "v: a" + ", " + _BY_KEY,
            _KEYS if policy == "RING_HASH" else _MANY,
            0.0 if policy == "RING_HASH" else 0.02,
        )
        for policy in ("ROUND_ROBIN", "RING_HASH")
        for scales in ("false", "true")
    ],
    Spread(
        "retryElsewhere",
        "A retry avoids those that were tried.",
        "lb_policy: RING_HASH, " + _assign(_group(_ALL)),
        _BY_KEY
        + ", retry_policy: {retry_on: 5xx, num_retries: 2, host_selection_retry_max_attempts: 5, retry_host_predicate:"
        " [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}",
        [f"x-fail: 1\r\nx-key: key-{number}" for number in range(12)],
    ),
    Spread(
        "retryElsewhereMaglev",
        "Likewise by a table.",
        "lb_policy: MAGLEV, " + _assign(_group(_ALL)),
        _BY_KEY
        + ", retry_policy: {retry_on: 5xx, num_retries: 2, host_selection_retry_max_attempts: 5, retry_host_predicate:"
        " [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}",
        [f"x-fail: 1\r\nx-key: key-{number}" for number in range(12)],
    ),
    Spread(
        "retryNoCanary",
        "A retry avoids canaries.",
        _assign(_group([_labelled(0, "canary: true", ", load_balancing_weight: 100"), hostAt(1)])),
        "retry_policy: {retry_on: 5xx, num_retries: 1, host_selection_retry_max_attempts: 300, retry_host_predicate:"
        " [{name: envoy.retry_host_predicates.omit_canary_hosts, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}]}",
        ["x-fail: 1"] * 3,
    ),
    Spread(
        "retryOmitLabels",
        "Or those with certain labels.",
        _assign(_group([_labelled(0, "v: '1'", ", load_balancing_weight: 100"), hostAt(1)])),
        "retry_policy: {retry_on: 5xx, num_retries: 1, host_selection_retry_max_attempts: 300, retry_host_predicate:"
        " [{name: envoy.retry_host_predicates.omit_host_metadata, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig,"
        " metadata_match: {filter_metadata: {envoy.lb: {v: '1'}}}}}]}",
        ["x-fail: 1"] * 3,
    ),
    Spread(
        "retryPriority",
        "A retry leaves the priorities that were tried.",
        _assign(*[_group([hostAt(n)], f", priority: {n}") for n in range(3)]),
        "retry_policy: {retry_on: 5xx, num_retries: 1, retry_priority: {name:"
        " envoy.retry_priorities.previous_priorities, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig,"
        " update_frequency: 1}}}",
        ["x-fail: 1"] * 3,
    ),
    Spread(
        "retryPriorityTwice",
        "And the next one too.",
        _assign(*[_group([hostAt(n)], f", priority: {n}") for n in range(3)]),
        "retry_policy: {retry_on: 5xx, num_retries: 2, retry_priority: {name:"
        " envoy.retry_priorities.previous_priorities, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig,"
        " update_frequency: 1}}}",
        ["x-fail: 1"] * 3,
    ),
    Spread(
        "retryPriorityAgain",
        "When all were tried, it begins anew.",
        _assign(*[_group([hostAt(n)], f", priority: {n}") for n in range(2)]),
        "retry_policy: {retry_on: 5xx, num_retries: 2, retry_priority: {name:"
        " envoy.retry_priorities.previous_priorities, typed_config: {'@type':"
        " type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig,"
        " update_frequency: 1}}}",
        ["x-fail: 1"] * 3,
    ),
]
