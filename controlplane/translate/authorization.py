# -*- test-case-name: tests.controlplane.translate.test_authorization -*-
"""
AuthorizationPolicy to RBAC filters: CUSTOM, then AUDIT, DENY, ALLOW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.abilities import Abilities
from meshproxy.controlplane.translate.extauthz import extAuthzFilter
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.messages import JSON, typed, without
from meshproxy.controlplane.translate.rbacrules import policyOf

__all__ = ["AuthorizationFilters", "authorizationFilters"]

_HTTP = ("envoy.filters.http.rbac", "envoy.extensions.filters.http.rbac.v3.RBAC")
_TCP = ("envoy.filters.network.rbac", "envoy.extensions.filters.network.rbac.v3.RBAC")

#: What never matches: "not anything".
_NEVER: JSON = {"permissions": [{"notRule": {"any": True}}], "principals": [{"notId": {"any": True}}]}

_SHADOW = {"ALLOW": "istio_dry_run_allow_", "DENY": "istio_dry_run_deny_", "LOG": ""}
_CUSTOM_SHADOW = "istio_ext_authz_"
_BAD_CUSTOM = "-deny-due-to-bad-CUSTOM-action"

_TCP_PREFIX = "tcp."

#: Told of a policy: the resource, why, and where in it.
Tell = Callable[..., None]


@frozen
class AuthorizationFilters:
    """
    The filters of one kind of chain, in their order.

    @ivar custom: Those that ask somebody outside; they stand before authentication.
    @ivar rules: The others.
    """

    custom: list[JSON]
    rules: list[JSON]


def authorizationFilters(
    policies: Sequence[Resource],
    mesh: MeshConfig,
    forTCP: bool,
    abilities: Abilities,
    tell: Tell,
    lookUp: Callable[[str, int], str | None],
) -> AuthorizationFilters:
    """
    The filters for a workload.

    @param policies: Those that apply to it.
    @param forTCP: Whether the chain is one of connections, not of requests.
    @param abilities: Whether the proxy can ask a provider. If not, CUSTOM denies: what cannot be asked is not allowed.
    @param tell: Takes what a policy does not do.
    @param lookUp: The cluster of a provider's service and port.
    """
    custom = [policy for policy in policies if policy.spec.action == "CUSTOM"]
    rules = []
    for name, action in (("AUDIT", "LOG"), ("DENY", "DENY"), ("ALLOW", "ALLOW")):
        chosen = [policy for policy in policies if policy.spec.action == name]
        if chosen:
            rules.append(_filter(_built(chosen, mesh, action, forTCP, ""), action, forTCP))
    return AuthorizationFilters(_custom(custom, mesh, forTCP, abilities, tell, lookUp), rules)


@frozen
class _Built:
    """
    Rules that count, and rules that are only tried.
    """

    rules: JSON | None
    shadow: JSON | None


def _rbac(action: str, policies: JSON) -> JSON:
    # ALLOW is the zero value of the action.
    return {**({"action": action} if action != "ALLOW" else {}), "policies": policies}


def _built(policies: Iterable[Resource], mesh: MeshConfig, action: str, forTCP: bool, prefix: str) -> _Built:
    """
    The rules of some policies of one action.
    """
    rules: JSON | None = None
    shadow: JSON | None = None
    for policy in policies:
        made = _policies(policy, mesh, action, forTCP, prefix)
        if policy.metadata.annotations.get("istio.io/dry-run") == "true":
            shadow = {**(shadow or {}), **made}
        else:
            rules = {**(rules or {}), **made}
    return _Built(None if rules is None else _rbac(action, rules), None if shadow is None else _rbac(action, shadow))


def _policies(policy: Resource, mesh: MeshConfig, action: str, forTCP: bool, prefix: str) -> JSON:
    """
    The policies of RBAC for one resource, one for each rule.
    """

    def key(index: int) -> str:
        return f"{prefix}ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]"

    if not policy.spec.rules:
        return {key(0): _NEVER}
    made = {}
    for index, rule in enumerate(policy.spec.rules):
        one = policyOf(rule, policy.namespace, mesh.trustDomains, action, forTCP)
        if one is not None:
            made[key(index)] = one
    return made


def _filter(built: _Built, action: str, forTCP: bool) -> JSON:
    # Istio names the prefix of tried rules where there are none, too: it is that of the zero value then.
    prefix = _SHADOW["ALLOW"] if built.shadow is None else _SHADOW[action]
    return _named(
        forTCP, without({"rules": built.rules, "shadowRules": built.shadow, "shadowRulesStatPrefix": prefix or None})
    )


def _named(forTCP: bool, value: JSON) -> JSON:
    name, typeName = _TCP if forTCP else _HTTP
    return {"name": name, "typedConfig": typed(typeName, {**value, **({"statPrefix": _TCP_PREFIX} if forTCP else {})})}


def _custom(
    policies: Sequence[Resource],
    mesh: MeshConfig,
    forTCP: bool,
    abilities: Abilities,
    tell: Tell,
    lookUp: Callable[[str, int], str | None],
) -> list[JSON]:
    """
    For each provider: rules that are only tried, then a filter that asks where they matched.
    """
    filters: list[JSON] = []
    byProvider: dict[str, list[Resource]] = {}
    for policy in policies:
        byProvider.setdefault(policy.spec.provider.name, []).append(policy)
    for name in sorted(byProvider):
        built = _built(byProvider[name], mesh, "DENY", forTCP, f"istio-ext-authz-{name}-")
        why = _whyNot(name, byProvider, mesh, abilities, lookUp, forTCP)
        if why is not None:
            for policy in byProvider[name]:
                tell("not-programmed", f"{why}; what it would ask about is denied", policy, "spec", "provider")
            filters += _denied(built, forTCP)
            continue
        provider = mesh.provider(name)
        assert provider is not None
        asks = extAuthzFilter(provider, forTCP, lookUp)
        if asks is None:
            # A provider that is asked over HTTP has nothing to say of a connection.
            continue
        shadow = built.rules or _rbac("DENY", {})
        filters.append(
            _named(
                forTCP,
                without({"rules": built.shadow, "shadowRules": shadow, "shadowRulesStatPrefix": _CUSTOM_SHADOW}),
            )
        )
        filters.append(asks)
    return filters


def _whyNot(
    name: str,
    byProvider: dict[str, list[Resource]],
    mesh: MeshConfig,
    abilities: Abilities,
    lookUp: Callable[[str, int], str | None],
    forTCP: bool,
) -> str | None:
    """
    Why a provider cannot be asked, if so.
    """
    if len(byProvider) > 1:
        return f"a workload asks one provider, not {', '.join(sorted(byProvider))}"
    provider = mesh.provider(name)
    if provider is None:
        return f"{name!r} is not one of the extensionProviders of the mesh"
    asked = provider.envoyExtAuthzHttp or provider.envoyExtAuthzGrpc
    if asked is None:
        return f"the provider {name!r} does not decide"
    isHTTP = provider.envoyExtAuthzHttp is not None and provider.envoyExtAuthzGrpc is None
    if not (abilities.asksHTTP if isHTTP else abilities.asksGRPC):
        return f"this data plane cannot ask a provider over {'HTTP' if isHTTP else 'gRPC'}"
    if forTCP and not isHTTP and not abilities.asksOfConnections:
        return "this data plane cannot ask a provider about connections that are no HTTP"
    if lookUp(asked.service, asked.port) is None:
        return f"the service {asked.service!r} of the provider {name!r} is not known, or has no port {asked.port}"
    return None


def _denied(built: _Built, forTCP: bool) -> list[JSON]:
    """
    Rules that were to be asked about, as rules that deny.
    """
    if built.rules is None:
        return []
    policies = {f"{key}{_BAD_CUSTOM}": policy for key, policy in built.rules["policies"].items()}
    return [_named(forTCP, {"rules": _rbac("DENY", policies)})]
