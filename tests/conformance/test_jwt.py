"""
The filter jwt_authn.
"""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, get, ok, request
from tests.conformance.comparison import OF_CALLS, Comparison, compared
from tests.http.jwt.support import encode, keySet, publicKey, token

_TYPES = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3."
_NAME = "envoy.filters.http.jwt_authn"
_NOW = int(time.time())

Tree = dict[str, Any]

_SET = keySet(
    publicKey("ES256", kid="ec"),
    publicKey("RS256", kid="rsa", alg="RS256"),
    publicKey("HS256", kid="hmac"),
)
# Apart: where a token names no key, Envoy tells of the last one that it tried, and of this kind in words of its own.
_EDWARDS = {"local_jwks": {"inline_string": keySet(publicKey("EdDSA", kid="ed"))}}
_LOCAL = {"local_jwks": {"inline_string": _SET}}
_ALL = {"prefix": "/"}


def _manager(providers: Tree, *rules: Tree, told: str = "", **fields: object) -> Manager:
    config = {"@type": f"{_TYPES}JwtAuthentication", "providers": providers, "rules": list(rules), **fields}

    def said(**override: object) -> Tree:
        return {_NAME: {"@type": f"{_TYPES}PerRouteConfig", **override}}

    headers = [
        {"header": {"key": f"x-noted-{number}", "value": f"%DYNAMIC_METADATA({_NAME}:{name})%"}}
        for number, name in enumerate(told.split())
    ]
    routes = [
        {"match": {"prefix": "/off"}, "route": {"cluster": "backend"}, "typed_per_filter_config": said(disabled=True)},
        {
            "match": {"prefix": "/named"},
            "route": {"cluster": "backend"},
            "typed_per_filter_config": said(requirement_name="two"),
        },
        {
            "match": {"prefix": "/wrong"},
            "route": {"cluster": "backend"},
            "typed_per_filter_config": said(requirement_name="none"),
        },
        {"match": _ALL, "route": {"cluster": "backend"}},
    ]
    return Manager(
        routes=json.dumps(routes),
        table=json.dumps({"request_headers_to_add": headers}),
        filters=json.dumps([{"name": _NAME, "typed_config": config}]),
    )


def _requires(name: str) -> Tree:
    return {"provider_name": name}


_ONE = {"one": {"issuer": "one", **_LOCAL}}
_TWO = {
    **_ONE,
    "two": {"issuer": "two", "from_headers": [{"name": "x-two", "value_prefix": ""}], **_LOCAL},
}
_RICH = {
    "rich": {
        "issuer": "one",
        "audiences": ["https://a.example/", "b"],
        "forward_payload_header": "x-payload",
        "payload_in_metadata": "payload",
        "header_in_metadata": "header",
        "claim_to_headers": [
            {"header_name": "x-sub", "claim_name": "sub"},
            {"header_name": "x-deep", "claim_name": "nested.key"},
            {"header_name": "x-number", "claim_name": "n"},
            {"header_name": "x-real", "claim_name": "r"},
            {"header_name": "x-flag", "claim_name": "f"},
        ],
        **_LOCAL,
    }
}


def _remote(cluster: str) -> Tree:
    uri = {"uri": "https://keys.example/set?x=1", "cluster": cluster, "timeout": "0.3s"}
    return {"one": {"issuer": "one", "remote_jwks": {"http_uri": uri}}}


LISTENERS = {
    "one": _manager(_ONE, {"match": _ALL, "requires": _requires("one")}),
    "edwards": _manager({"one": {"issuer": "one", **_EDWARDS}}, {"match": _ALL, "requires": _requires("one")}),
    "forward": _manager(
        {"one": {**_ONE["one"], "forward": True, "forward_payload_header": "x-p", "pad_forward_payload_header": True}},
        {"match": _ALL, "requires": _requires("one")},
    ),
    "rich": _manager(_RICH, {"match": _ALL, "requires": _requires("rich")}, told="payload header payload:sub"),
    "places": _manager(
        {
            "one": {
                **_LOCAL,
                "issuer": "one",
                "from_headers": [{"name": "X-Token", "value_prefix": "T:"}, {"name": "x-plain"}],
                "from_params": ["tok"],
                "from_cookies": ["ck"],
            }
        },
        {"match": _ALL, "requires": _requires("one")},
    ),
    "strict": _manager(
        {
            "one": {
                **_LOCAL,
                "subjects": {"prefix": "s-"},
                "require_expiration": True,
                "max_lifetime": "3600s",
                "clock_skew_seconds": 1,
            }
        },
        {"match": _ALL, "requires": _requires("one")},
    ),
    "audiences": _manager(
        _ONE,
        {"match": _ALL, "requires": {"provider_and_audiences": {"provider_name": "one", "audiences": ["c"]}}},
    ),
    "any": _manager(
        _TWO,
        {"match": _ALL, "requires": {"requires_any": {"requirements": [_requires("one"), _requires("two")]}}},
    ),
    "all": _manager(
        _TWO,
        {"match": _ALL, "requires": {"requires_all": {"requirements": [_requires("one"), _requires("two")]}}},
    ),
    "missing": _manager(_TWO, {"match": _ALL, "requires": {"allow_missing": {}}}),
    "failed": _manager(_TWO, {"match": _ALL, "requires": {"allow_missing_or_failed": {}}}),
    "anyMissing": _manager(
        _TWO,
        {"match": _ALL, "requires": {"requires_any": {"requirements": [_requires("one"), {"allow_missing": {}}]}}},
    ),
    "rules": _manager(
        _TWO,
        {"match": {"path": "/free"}},
        {"match": {"prefix": "/one"}, "requires": _requires("one")},
        {"match": {"prefix": "/mapped"}, "requirement_name": "two"},
        {"match": {"safe_regex": {"regex": "/re[0-9]+"}}, "requires": _requires("one")},
        {
            "match": {"prefix": "/h", "headers": [{"name": "x-h", "present_match": True}]},
            "requires": _requires("one"),
        },
        requirement_map={"two": _requires("two")},
        bypass_cors_preflight=True,
    ),
    "stripped": _manager(_ONE, {"match": _ALL, "requires": _requires("one")}, strip_failure_response=True),
    "remote": _manager(_remote("keys"), {"match": _ALL, "requires": _requires("one")}),
    "remoteBroken": _manager(_remote("keys"), {"match": _ALL, "requires": _requires("one")}),
    "remoteClosed": _manager(_remote("closed"), {"match": _ALL, "requires": _requires("one")}),
}


def _claims(**more: object) -> Tree:
    return {"iss": "one", "exp": _NOW + 3000, "sub": "s-me", **more}


_GOOD = token(_claims())
_HEAD, _BODY, _SIGNATURE = _GOOD.split(".")
_TOKENS = {
    "good": _GOOD,
    "kid": token(_claims(), kid="ec"),
    "otherKid": token(_claims(), kid="rsa"),
    "unknownKid": token(_claims(), kid="nobody"),
    "rsa": token(_claims(), "RS256"),
    "rsaPSS": token(_claims(), "PS256"),
    "rsa512": token(_claims(), "RS512"),
    "ed": token(_claims(), "EdDSA", kid="ed"),
    "hmac": token(_claims(), "HS256"),
    "hmac384": token(_claims(), "HS384"),
    "none": f"{encode(json.dumps({'alg': 'none'}).encode())}.{_BODY}.",
    "noAlg": token(_claims(), alg=None),
    "oddAlg": token(_claims(), alg="ES999"),
    "numberAlg": token(_claims(), alg=5),
    "numberKid": token(_claims(), kid=5),
    "expired": token(_claims(exp=_NOW - 100)),
    "skewed": token(_claims(exp=_NOW - 20)),
    "early": token(_claims(nbf=_NOW + 600)),
    "forever": token({"iss": "one"}),
    "otherIssuer": token(_claims(iss="two")),
    "noIssuer": token({"exp": _NOW + 3000}),
    "tampered": f"{_HEAD}.{encode(json.dumps(_claims(sub='root')).encode())}.{_SIGNATURE}",
    "cut": _GOOD[:-4],
    "twoParts": f"{_HEAD}.{_BODY}",
    "fourParts": f"{_GOOD}.x",
    "emptyParts": "..",
    "badHead": f"a!.{_BODY}.{_SIGNATURE}",
    "headNoJSON": f"{encode(b'x')}.{_BODY}.{_SIGNATURE}",
    "badBody": f"{_HEAD}.!.{_SIGNATURE}",
    "bodyNoJSON": token(b"{"),
    "bodyList": token([1]),
    "badSignature": f"{_HEAD}.{_BODY}.!!",
    "numberIssuer": token(_claims(iss=1)),
    "numberSubject": token(_claims(sub=1)),
    "textExp": token(_claims(exp="soon")),
    "negativeExp": token(_claims(exp=-1)),
    "numberAud": token(_claims(aud=5)),
    "rich": token(
        _claims(aud=["x", "a.example"], nested={"key": "v"}, n=5, r=-1.5, f=True, l=[1, "a"], big=12345678901234567890)
    ),
    "audB": token(_claims(aud="b")),
    "audC": token(_claims(aud=["c/"])),
    "audHTTP": token(_claims(aud="http://a.example")),
    "audOther": token(_claims(aud=["d"])),
    "long": token(_claims(iat=_NOW, exp=_NOW + 7200)),
    "issued": token(_claims(iat=_NOW, exp=_NOW + 3600)),
    "otherSubject": token(_claims(sub="me")),
}
_TWO_TOKEN = token(_claims(iss="two"))


def _bearer(name: str) -> str:
    return f"authorization: Bearer {_TOKENS[name]}"


_PREFLIGHT = ("origin: https://a", "access-control-request-method: GET")

CASES = [
    *[Case(f"one_{name}", f"A token: {name}.", get("/a?b", _bearer(name)), listener="one") for name in _TOKENS],
    *[
        Case(f"one_{name}", f"Credentials: {name}.", get(path, *fields), listener="one")
        for name, path, fields in (
            ("missing", "/a", ()),
            ("basic", "/a", ("authorization: Basic abc",)),
            ("lower", "/a", (f"authorization: bearer {_GOOD}",)),
            ("spaces", "/a", (f"authorization: Bearer   {_GOOD}",)),
            ("behind", "/a", (f"authorization: x Bearer {_GOOD}",)),
            ("empty", "/a", ("authorization: Bearer ",)),
            ("odd", "/a", ("authorization: Bearer ;;",)),
            ("trailing", "/a", (f"authorization: Bearer {_GOOD}, x",)),
            ("parameter", f"/a?access_token={_GOOD}", ()),
            ("parameterMore", f"/a?access_token={_GOOD}&b=1", ()),
            ("parameterEncoded", f"/a?access%5Ftoken={_GOOD}", ()),
            ("bothGood", f"/a?access_token={_GOOD}", (_bearer("kid"),)),
            ("bothOneBad", f"/a?access_token={_TOKENS['expired']}", (_bearer("good"),)),
            ("bothOtherBad", f"/a?access_token={_GOOD}", (_bearer("expired"),)),
            ("twice", "/a", (_bearer("good"), _bearer("kid"))),
            ("grpc", "/a", ("content-type: application/grpc",)),
        )
    ],
    *[
        Case(f"{listener}_{name}", f"{name} through {listener}.", get("/a", _bearer(name)), listener=listener)
        for listener, names in (
            ("forward", ("good", "rich", "expired")),
            ("rich", ("good", "rich", "audB", "audC", "audHTTP", "audOther")),
            ("strict", ("good", "forever", "long", "issued", "otherSubject", "skewed", "otherIssuer")),
            ("audiences", ("good", "audB", "audC")),
            ("edwards", ("ed", "kid")),
            ("stripped", ("good", "expired", "audOther")),
        )
        for name in names
    ],
    Case(
        "rich_claimed",
        "A client that says it itself.",
        get("/a", _bearer("audB"), "x-payload: p", "x-deep: d", "x-sub: root"),
        listener="rich",
    ),
    Case("stripped_missing", "No token.", get("/a"), listener="stripped"),
    *[
        Case(f"places_{name}", f"A place: {name}.", get(path, *fields), listener="places")
        for name, path, fields in (
            ("header", "/a", (f"x-token: T:{_GOOD}",)),
            ("headerNoPrefix", "/a", (f"x-token: {_GOOD}",)),
            ("plain", "/a", (f"x-plain: {_GOOD}",)),
            ("parameter", f"/a?tok={_GOOD}", ()),
            ("cookie", "/a", (f"cookie: a=1; ck={_GOOD}",)),
            ("bearer", "/a", (_bearer("good"),)),
        )
    ],
    *[
        Case(f"{listener}_{name}", f"{name} through {listener}.", get("/a", *fields), listener=listener)
        for listener in ("any", "all", "missing", "failed", "anyMissing")
        for name, fields in (
            ("none", ()),
            ("first", (_bearer("good"),)),
            ("second", (f"x-two: {_TWO_TOKEN}",)),
            ("both", (_bearer("good"), f"x-two: {_TWO_TOKEN}")),
            ("bad", (_bearer("expired"),)),
            ("oneBad", (_bearer("expired"), f"x-two: {_TWO_TOKEN}")),
            ("otherBad", (_bearer("good"), f"x-two: {_GOOD}")),
            ("wrong", (_bearer("otherIssuer"),)),
            ("garbage", ("x-two: abc",)),
        )
    ],
    *[
        Case(f"rules_{name}", f"A rule: {name}.", get(path, *fields), listener="rules")
        for name, path, fields in (
            ("free", "/free", ()),
            ("one", "/one/x", ()),
            ("oneGood", "/one/x", (_bearer("good"),)),
            ("mapped", "/mapped", (_bearer("good"),)),
            ("mappedGood", "/mapped", (f"x-two: {_TWO_TOKEN}",)),
            ("regex", "/re12?x", ()),
            ("regexNot", "/re12x", ()),
            ("header", "/h", ("x-h: 1",)),
            ("headerNot", "/h", ()),
            ("nothing", "/other", ()),
            ("off", "/off", ()),
            ("named", "/named", ()),
            ("namedGood", "/named", (f"x-two: {_TWO_TOKEN}",)),
            ("wrong", "/wrong", ()),
        )
    ],
    Case("rules_preflight", "A preflight request.", request("OPTIONS /one", *_PREFLIGHT), listener="rules"),
    Case("rules_options", "OPTIONS.", request("OPTIONS /one"), listener="rules"),
    Case("remote_1", "Keys are fetched.", get("/a", _bearer("good")), (ok(body=_SET), OK), "remote"),
    Case("remote_2", "Once.", get("/a", _bearer("kid")), (OK,), "remote"),
    Case(
        "remoteBroken_500",
        "Keys that are not there.",
        get("/a", _bearer("good")),
        (ok().replace(b"200", b"500"),),
        "remoteBroken",
    ),
    Case("remoteBroken_text", "Keys that are none.", get("/a", _bearer("good")), (ok(body="x"),), "remoteBroken"),
    Case("remoteBroken_early", "No token, no question.", get("/a"), listener="remoteBroken"),
    Case("remoteClosed", "Nobody has them.", get("/a", _bearer("good")), listener="remoteClosed"),
]


@compared(Comparison(LISTENERS, CASES, {"keys": ""}, OF_CALLS))
class JWTTests(SynchronousTestCase):
    """
    Tokens.
    """
