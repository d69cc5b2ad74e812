"""Access tokens as nobody should be able to make them."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from dsplatform.permissions import tokens

KEY = "a secret key that tests know, of more than 32 bytes"

Claims = dict[str, Any]
Forgery = Callable[[Claims, bytes], str]
GOOD_HEADER = {"alg": "HS256", "typ": "at+jwt"}


def claims_of(session_id: str, **changed: object) -> Claims:
    """What a good token says, but for what is changed; None: it is left out."""
    now = int(time.time())
    good = {"iss": "dsplatform", "aud": "dsplatform-api", "sub": "1", "sid": session_id, "iat": now, "nbf": now, "exp": now + 900}
    return {name: value for name, value in (good | changed).items() if value is not None}


def part(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: Claims, key: bytes, digest: str = "sha256") -> str:
    body = f"{part(header)}.{part(claims)}"
    signature = hmac.new(key, body.encode(), digest).digest() if digest else b""
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def good(claims: Claims, key: bytes) -> str:
    return signed(GOOD_HEADER, claims, key)


def header(digest: str = "sha256", with_key: bytes | None = None, **changed: object) -> Forgery:
    made = {name: value for name, value in (GOOD_HEADER | changed).items() if value is not None}
    return lambda claims, key: signed(made, claims, key if with_key is None else with_key, digest)


def claim(**changed: Callable[[Any], Any] | object) -> Forgery:
    def forge(claims: Claims, key: bytes) -> str:
        made = {name: value(claims.get(name)) if callable(value) else value for name, value in changed.items()}
        return good({name: value for name, value in (claims | made).items() if value is not None}, key)

    return forge


PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n"
HOUR = 3600
OCT = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}

FORGERIES: dict[str, Forgery] = {
    "unsigned": header(digest="", alg="none"),
    "unsigned, spelt otherwise": header(digest="", alg="NoNe"),
    "signed, and says it is not": header(alg="none"),
    "without an algorithm": header(alg=None),
    "without its signature": lambda claims, key: good(claims, key).rpartition(".")[0] + ".",
    "another key": header(with_key=b"another secret key of more than 32 bytes"),
    "an empty key": header(with_key=b"\x00"),
    "the secret itself, and not the key made of it": header(with_key=KEY.encode()),
    "says RS256, signed with a public key": header(alg="RS256", with_key=PUBLIC_KEY),
    "says HS256, signed with a public key": header(with_key=PUBLIC_KEY),
    "says RS256, signed with ours": header(alg="RS256"),
    "says ES256, signed with ours": header(alg="ES256"),
    "HS384 with our key": header(alg="HS384", digest="sha384"),
    "HS512 with our key": header(alg="HS512", digest="sha512"),
    "names an empty file as its key": header(kid="../../../../../dev/null", with_key=b""),
    "names a row as its key": header(kid="x' UNION SELECT 'x", with_key=b"x"),
    "brings its key": header(jwk=OCT, with_key=b"x" * 32),
    "says where its key is": header(jku="http://127.0.0.1:1/keys", with_key=b"x" * 32),
    "demands what we do not know": header(crit=["b64"], b64=False),
    "typ JWT": header(typ="JWT"),
    "no typ": header(typ=None),
    "typ of a refresh token": header(typ="rt+jwt"),
    "another issuer": claim(iss="https://example.org"),
    "issuers": claim(iss=["dsplatform"]),
    "no issuer": claim(iss=None),
    "another audience": claim(aud="other"),
    "no audience": claim(aud=None),
    "expired": claim(iat=lambda at: at - HOUR, nbf=lambda at: at - HOUR, exp=lambda at: at - HOUR),
    "expired longer ago than clocks differ": claim(exp=lambda at: at - 900 - 61),
    "never expires": claim(exp=None),
    "expires at no number": claim(exp="tomorrow"),
    "not yet good": claim(nbf=lambda at: at + 120),
    "good since never": claim(nbf=None),
    "made in the future": claim(iat=lambda at: at + 120),
    "made never": claim(iat=None),
    "of nobody": claim(sub=None),
    "of no session": claim(sid=None),
    "of another session": claim(sid="00000000-0000-4000-8000-000000000000"),
    "of what is no session": claim(sid="1 OR 1=1"),
    "of a session that is a number": claim(sid=1),
    "of a session that is a list": claim(sid=["a"]),
    "changed after it was signed": lambda claims, key: good(claims, key).replace(part(claims), part(claims | {"sub": "2"})),
    "empty": lambda *_: "",
    "one word": lambda *_: "x",
    "two parts": lambda claims, key: good(claims, key).rpartition(".")[0],
    "four parts": lambda claims, key: good(claims, key) + ".x",
    "no base 64": lambda *_: "!.!.!",
    "no JSON": lambda *_: "eA.eA.eA",
    "JSON, and no object": lambda *_: ".".join([part(GOOD_HEADER), part([1]), "eA"]),
    "long": lambda claims, key: good(claims | {"x": "y" * 5000}, key),
    "an API token that was never made": lambda *_: tokens.new(tokens.API),
    "a refresh token that was never made": lambda *_: tokens.new(tokens.REFRESH),
    "an API token in another case": lambda *_: tokens.new(tokens.API).upper(),
}
"""What must be refused: by what is wrong with it."""
