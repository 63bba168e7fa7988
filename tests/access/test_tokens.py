"""Bearer tokens: what is believed and what is not (the matrix of RFC 8725)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import RSAKey

from gateway.access.keys import KeyFile, Keys
from gateway.access.principal import Principal, Transaction
from gateway.access.token import MOST_BYTES, MOST_KEPT, Tokens
from gateway.errors import Unauthenticated
from tests.access.issuing import AUDIENCE, NAME, NOW, Issuer, segment


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


class Counting:
    """Keys that count how often they are asked for."""

    def __init__(self, keys: Keys) -> None:
        self.asked = 0
        self._keys = keys

    async def find(self, kid: str) -> Any:
        self.asked += 1
        return await self._keys.find(kid)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def tokens(issuer: Issuer, folder: Path, clock: Clock | None = None, **settings: Any) -> tuple[Tokens, Counting]:
    chosen = issuer.settings(folder, **settings)
    keys = Counting(KeyFile(Path(chosen.jwks_file)))
    return Tokens([chosen], {NAME: keys}, clock=clock or Clock()), keys


def _by_another(issuer: Issuer) -> str:
    other = Issuer(issuer.now)
    other.rsa = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
    return other.token()


ACCEPTED: dict[str, Callable[[Issuer], str]] = {
    "RS256": lambda x: x.token(),
    "ES256": lambda x: x.token({"alg": "ES256", "kid": "ec"}),
    "type of an access token": lambda x: x.token({"typ": "at+jwt"}),
    "type in capitals": lambda x: x.token({"typ": "JWT"}),
    "type with its prefix": lambda x: x.token({"typ": "application/at+jwt"}),
    "one of several audiences": lambda x: x.token(aud=["other", AUDIENCE]),
    "over for less than the leeway": lambda x: x.token(exp=int(NOW) - 59),
    "not good for less than the leeway": lambda x: x.token(nbf=int(NOW) + 59),
    "issued by a clock that is ahead": lambda x: x.token(iat=int(NOW) + 59),
    "without the time of issue": lambda x: x.token(iat=None),
    "with claims that nobody knows": lambda x: x.token(obo="x", profile="y", version="1"),
    "with a header parameter that nobody knows": lambda x: x.token({"x5t": "abc"}),
}

REJECTED: dict[str, Callable[[Issuer], str]] = {
    "nothing": lambda _: "",
    "no token": lambda _: "abc",
    "two segments": lambda x: x.token().rpartition(".")[0],
    "five segments (JWE)": lambda x: x.token() + ".a.b",
    "empty signature": lambda x: x.token().rpartition(".")[0] + ".",
    "alg none": lambda x: x.unsigned(),
    "alg none with a signature": lambda x: x.unsigned(signature="AAAA"),
    "alg None": lambda x: x.unsigned("None", "AAAA"),
    "HS256 with the public key": lambda x: x.by_public_key(),
    "an algorithm that is not configured": lambda x: x.token({"alg": "RS512"}),
    "no alg": lambda x: f"{segment({'kid': 'rsa'})}.{segment(x.claims())}.AAAA",
    "signature changed": lambda x: x.token()[:-8] + "AAAAAAAA",
    "claims changed": lambda x: x.forged(sub="somebody-else"),
    "key of another": _by_another,
    "unknown kid": lambda x: x.token({"kid": "other"}),
    "no kid and two keys": lambda x: x.token({"kid": None}),
    "kid of the other kind of key": lambda x: x.token({"kid": "ec"}),
    "brings its key": lambda x: _with(x, jwk=x.rsa.as_dict(private=False)),
    "brings the address of its key": lambda x: _with(x, jku="https://attacker.example/keys"),
    "brings its certificate": lambda x: _with(x, x5c=["AAAA"]),
    "brings the address of its certificate": lambda x: _with(x, x5u="https://attacker.example/cert"),
    "critical extension": lambda x: _with(x, crit=["exp"], exp=1),
    "unencoded payload": lambda x: _with(x, b64=False),
    "of another type": lambda x: _with(x, typ="dpop+jwt"),
    "no audience": lambda x: x.token(aud=None),
    "wrong audience": lambda x: x.token(aud="other"),
    "audience that begins alike": lambda x: x.token(aud=AUDIENCE + "-test"),
    "audience of objects": lambda x: x.token(aud=[{"a": AUDIENCE}]),
    "no issuer": lambda x: x.token(iss=None),
    "wrong issuer": lambda x: x.token(iss="https://other.example"),
    "issuer with a slash": lambda x: x.token(iss=NAME + "/"),
    "no end": lambda x: x.token(exp=None),
    "end in words": lambda x: _raw(x, exp="tomorrow"),
    "end is true": lambda x: _raw(x, exp=True),
    "over": lambda x: x.token(exp=int(NOW) - 60),
    "not good yet": lambda x: x.token(nbf=int(NOW) + 61),
    "issued in the future": lambda x: x.token(iat=int(NOW) + 61),
    "no subject": lambda x: x.token(sub=None),
    "subject is a number": lambda x: _raw(x, sub=7),
    "too long": lambda x: x.token(padding="x" * MOST_BYTES),
    "claims are a list": lambda _: f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment([1])}.AAAA",
    "header is no JSON": lambda x: f"{segment(b'x')}.{segment(x.claims())}.AAAA",
    "not ASCII": lambda x: x.token() + "é",
}


def _with(issuer: Issuer, **header: Any) -> str:
    """Sign a header that no honest library would, properly."""
    return _signed(issuer, {"alg": "RS256", "kid": "rsa", **header}, issuer.claims())


def _raw(issuer: Issuer, **claims: Any) -> str:
    return _signed(issuer, {"alg": "RS256", "kid": "rsa"}, issuer.claims() | claims)


def _signed(issuer: Issuer, header: dict[str, Any], claims: dict[str, Any]) -> str:
    message = f"{segment(header)}.{segment(claims)}"
    private = load_pem_private_key(issuer.rsa.as_pem(private=True), None)
    assert isinstance(private, RSAPrivateKey)
    return f"{message}.{segment(private.sign(message.encode(), PKCS1v15(), SHA256()))}"


@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_good_token_is_believed(issuer: Issuer, tmp_path: Path, case: str) -> None:
    known, _ = tokens(issuer, tmp_path, algorithms=("RS256", "ES256"))
    principal = await known.principal(ACCEPTED[case](issuer), "10.0.0.1")
    assert (principal.subject, principal.issuer, principal.address) == ("user-1", NAME, "10.0.0.1")
    assert principal.scopes == {Transaction.SEARCH, Transaction.RETRIEVE, Transaction.RENDERED}
    assert (principal.token_id, principal.purpose, principal.patient) == ("token-1", "TREAT", None)


@pytest.mark.parametrize("case", REJECTED)
async def test_a_bad_token_is_not_believed_and_nothing_of_it_is_told(issuer: Issuer, tmp_path: Path, case: str) -> None:
    known, _ = tokens(issuer, tmp_path, algorithms=("RS256", "ES256"))
    with pytest.raises(Unauthenticated) as refused:
        await known.principal(REJECTED[case](issuer))
    assert refused.value.code == "invalid_token"
    assert not any(word in str(refused.value) for word in ("user-1", "attacker", "somebody", NAME))


async def test_the_forger_of_these_tests_signs_well(issuer: Issuer, tmp_path: Path) -> None:
    known, _ = tokens(issuer, tmp_path)
    assert (await known.principal(_with(issuer))).subject == "user-1"
    assert (await known.principal(_raw(issuer, sub="user-2"))).subject == "user-2"


async def test_algorithms_are_those_of_the_tokens_own_issuer(issuer: Issuer, tmp_path: Path) -> None:
    known, _ = tokens(issuer, tmp_path, algorithms=("ES256",))
    await known.principal(issuer.token({"alg": "ES256", "kid": "ec"}))
    with pytest.raises(Unauthenticated):
        await known.principal(issuer.token())


async def test_a_token_of_one_issuer_is_not_verified_by_the_keys_of_another(issuer: Issuer, tmp_path: Path) -> None:
    other = Issuer()
    (tmp_path / "b").mkdir()
    mine, theirs = issuer.settings(tmp_path), other.settings(tmp_path / "b", issuer="https://other.example")
    keys: dict[str, Keys] = {x.issuer: KeyFile(Path(x.jwks_file)) for x in (mine, theirs)}
    known = Tokens([mine, theirs], keys, clock=Clock())
    assert (await known.principal(other.token(iss="https://other.example"))).issuer == "https://other.example"
    with pytest.raises(Unauthenticated):
        await known.principal(issuer.token(iss="https://other.example"))


async def test_a_token_is_verified_once_and_known_until_it_ends(issuer: Issuer, tmp_path: Path) -> None:
    clock = Clock()
    known, keys = tokens(issuer, tmp_path, clock)
    token = issuer.token()
    for address in ("10.0.0.1", "10.0.0.2"):
        assert (await known.principal(token, address)).address == address
    assert keys.asked == 1
    clock.now += 300 + 60
    with pytest.raises(Unauthenticated):
        await known.principal(token)


async def test_a_key_that_is_withdrawn_ends_its_tokens_within_ten_minutes(issuer: Issuer, tmp_path: Path) -> None:
    clock = Clock()
    known, keys = tokens(issuer, tmp_path, clock)
    token = issuer.token(exp=int(NOW) + 36_000)
    await known.principal(token)
    clock.now += 600
    await known.principal(token)
    assert keys.asked == 2


async def test_no_more_than_so_many_tokens_are_known(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_KEPT == 10_000
    monkeypatch.setattr("gateway.access.token.MOST_KEPT", 2)
    known, keys = tokens(issuer, tmp_path)
    made = [issuer.token(sub=f"user-{number}") for number in range(3)]
    for token in made:
        await known.principal(token)
    await known.principal(made[2])
    assert keys.asked == 3
    await known.principal(made[0])
    assert keys.asked == 4


def test_a_principal_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Principal("x").subject = "y"  # type: ignore[misc]
