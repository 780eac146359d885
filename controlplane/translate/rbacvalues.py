# -*- test-case-name: tests.controlplane.translate.test_authorization -*-
"""
Values of an AuthorizationPolicy to Envoy's matchers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshproxy.controlplane.translate.messages import JSON

__all__ = [
    "NotSeen",
    "audience",
    "claim",
    "claimMatch",
    "envoyMetadata",
    "headerMatch",
    "hostMatch",
    "namespaceMatch",
    "pathMatch",
    "requestPrincipal",
    "serviceAccountMatch",
    "stringMatch",
    "trustDomainMatch",
]

_JWT = "envoy.filters.http.jwt_authn"

#: What has a meaning in a regular expression of Go, and so of RE2: Istio escapes these and no others.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


class NotSeen(Exception):
    """
    An ALLOW rule asks for what a connection does not show.
    """


def _quoted(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _regex(pattern: str) -> JSON:
    return {"safeRegex": {"regex": pattern}}


def stringMatch(value: str, before: str = "") -> JSON:
    """
    A text, a prefix, a suffix, or anything that is not empty.

    @param before: What stands before the text itself.
    """
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return _regex(f"{before}.*{_quoted(value[1:])}") if before else {"suffix": value[1:]}
    if value.endswith("*"):
        return {"prefix": before + value[:-1]}
    return {"exact": before + value}


def pathMatch(value: str) -> JSON:
    """
    A path.
    """
    return stringMatch(value)


def headerMatch(name: str, value: str) -> JSON:
    """
    A header; C{*} is that it is there.
    """
    if value == "*":
        return {"name": name, "presentMatch": True}
    return {"name": name, "stringMatch": stringMatch(value)}


def hostMatch(value: str) -> JSON:
    """
    The host of a request, whatever its case.
    """
    match = headerMatch(":authority", value)
    if "stringMatch" in match:
        match["stringMatch"]["ignoreCase"] = True
    return match


def namespaceMatch(value: str) -> JSON:
    """
    A namespace in an identity.
    """
    name = ".*".join(_quoted(part) for part in value.split("*"))
    return _regex(f".*/ns/{name}/.*")


def serviceAccountMatch(value: str, namespace: str) -> JSON:
    """
    A service account in an identity.
    """
    owner, slash, name = value.partition("/")
    owner, name = (owner, name) if slash else (namespace, value)
    return _regex(f"spiffe://.+/ns/{_quoted(owner)}/(.+/|)sa/{_quoted(name)}(/.+)?")


def trustDomainMatch(value: str) -> JSON:
    """
    A trust domain in an identity.
    """
    if value == "*":
        return {"prefix": "spiffe://"}
    if "*" not in value:
        return {"prefix": f"spiffe://{value}/"}
    before, _, behind = value.partition("*")
    return _regex(f"spiffe://{_quoted(before)}[^/]*{_quoted(behind)}/.*")


def _matcher(path: Sequence[str], value: JSON, filterName: str = _JWT) -> JSON:
    return {"filter": filterName, "path": [{"key": key} for key in path], "value": value}


def _metadata(path: Sequence[str], value: JSON, filterName: str = _JWT) -> JSON:
    return {"metadata": _matcher(path, value, filterName)}


def _someOf(values: Sequence[str]) -> JSON:
    matches = [{"stringMatch": stringMatch(value)} for value in values]
    return matches[0] if len(matches) == 1 else {"orMatch": {"valueMatchers": matches}}


def _listed(path: Sequence[str], values: Sequence[str]) -> JSON:
    """
    A claim that is a text, or a list with such a text.
    """
    return _metadata(path, _alone(_someOf(values)))


def _alone(value: JSON) -> JSON:
    return {"orMatch": {"valueMatchers": [value, {"listMatch": {"oneOf": value}}]}}


def audience(name: str, values: Sequence[str]) -> JSON:
    """
    For whom a token is, or who asked for it.
    """
    return _listed(["payload", name], values)


def claim(key: str, values: Sequence[str]) -> JSON:
    """
    A claim of a token: C{request.auth.claims[a][b]}.
    """
    return _listed(["payload", *re.findall(r"\[([^\]]*)\]", key)], values)


def claimMatch(path: Sequence[str], match: JSON) -> JSON:
    """
    A C{envoy.type.matcher.v3.MetadataMatcher} of a claim.

    @param path: Its name, behind those of the claims that it is inside of.
    @param match: A C{StringMatcher} for it, or for one of those that it lists.
    """
    return _matcher(["payload", *path], _alone({"stringMatch": match}))


def requestPrincipal(values: Sequence[str]) -> JSON:
    """
    Whose a token is: ISSUER/SUBJECT.
    """
    made = []
    for value in values:
        issuer, subject = _issuerAndSubject(value)
        parts = [
            _metadata(["payload", "iss"], {"stringMatch": issuer}),
            _metadata(["payload", "sub"], {"stringMatch": subject}),
        ]
        made.append({"andIds": {"ids": parts}})
    return made[0] if len(made) == 1 else {"orIds": {"ids": made}}


def _issuerAndSubject(value: str) -> tuple[JSON, JSON]:
    """
    The issuer may be a URL, so the last slash counts.
    """
    found = "/" in value
    issuer, _, subject = value.rpartition("/") if found else (value, "", "")
    anything = _regex(".+")
    if value == "*":
        return anything, anything
    if value.startswith("*"):
        if not found:
            return anything, {"suffix": value[1:]}
        return (anything if issuer == "*" else {"suffix": issuer[1:]}), {"exact": subject}
    if value.endswith("*"):
        if not found:
            return {"prefix": value[:-1]}, anything
        return {"exact": issuer}, (anything if subject == "*" else {"prefix": subject[:-1]})
    return {"exact": issuer}, {"exact": subject}


def envoyMetadata(key: str, values: Sequence[str]) -> JSON:
    """
    What another filter wrote: C{experimental.envoy.filters.NAME[KEY]}; C{[v]} is a list that holds C{v}.
    """
    name, _, path = key.removeprefix("experimental.").partition("[")
    matches: list[JSON] = []
    for value in values:
        if value.startswith("[") and value.endswith("]"):
            matches.append({"listMatch": {"oneOf": {"stringMatch": stringMatch(value.strip("[]"))}}})
        else:
            matches.append({"stringMatch": stringMatch(value)})
    chosen = matches[0] if len(matches) == 1 else {"orMatch": {"valueMatchers": matches}}
    return _metadata([path.removesuffix("]")], chosen, name)
