"""Reads the claims of a token's payload: where issuers write ids and scopes differs. Pure.

A claim is named by its name, or by a path such as ``realm_access.roles`` into nested objects.
Claims that nobody asked for are skipped, not decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Self

import msgspec

from clarion_contract.events.errors import InvalidToken
from clarion_contract.identity.claims import NO_LISTS

NO_CLAIMS: Final[Mapping[str, str]] = MappingProxyType({})
"""No claims that list names."""


class Payload(msgspec.Struct, frozen=True):
    """The claims that every token is checked by (RFC 7519, section 4.1), before they are checked.

    ``client_id`` (RFC 9068) and ``azp`` (OpenID Connect) name the application that a token was
    issued to.
    """

    sub: Any = None
    exp: float | None = None
    nbf: float | None = None
    iat: float | None = None
    iss: Any = None
    aud: str | list[str] | None = None
    jti: str | None = None
    client_id: Any = None
    azp: Any = None
    scope: Any = None


@dataclass(frozen=True, slots=True)
class ScopeClaim:
    """A claim that holds scopes.

    Attributes:
        claim: its name, or a path.
        prefix: scopes begin with it, and count without it; others do not count.
    """

    claim: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """``claim`` or ``claim=prefix``, as in ``scope=clarion/``."""
        claim, _, prefix = text.partition("=")
        return cls(claim.strip(), prefix.strip())


class Reader:
    """Reads the user's id, the scopes and lists of names out of payloads.

    Args:
        subject_claim: holds the id of the user or service.
        scope_claims: hold scopes; the first that a token has counts.
        lists: claims that list names: what `Claims.lists` calls each, and its name in tokens.
    """

    def __init__(
        self,
        subject_claim: str,
        scope_claims: Sequence[ScopeClaim],
        lists: Mapping[str, str] = NO_CLAIMS,
    ) -> None:
        self._subject_claim = subject_claim
        self._fields: dict[str, str] = {name: name for name in Payload.__struct_fields__}
        names = [subject_claim, *(each.claim for each in scope_claims)]
        tops: dict[str, Any] = dict.fromkeys(names, Any)
        tops |= dict.fromkeys((name.partition(".")[0] for name in names), Any)
        tops |= dict.fromkeys(lists.values(), tuple[str, ...] | None)
        more = {name: f"claim_{n}" for n, name in enumerate(tops) if name not in self._fields}
        self._fields |= more
        kind = msgspec.defstruct(
            "Payload",
            [(field, tops[name], None) for name, field in more.items()],
            bases=(Payload,),
            rename={field: name for name, field in more.items()},
            frozen=True,
        )
        self._subject = self._getter(subject_claim)
        self._scopes = [(self._getter(each.claim), each.prefix) for each in scope_claims]
        self._lists = [(name, attrgetter(self._fields[claim])) for name, claim in lists.items()]
        self._decoder: msgspec.json.Decoder[Payload] = msgspec.json.Decoder(kind)

    def decode(self, payload: bytes) -> Payload:
        """The claims of a payload.

        Raises:
            InvalidToken: it is no JSON object, or a claim has the wrong type.
        """
        try:
            return self._decoder.decode(payload)
        except msgspec.ValidationError as error:
            raise InvalidToken("claims", f"the token's claims: {error}") from None
        except (ValueError, RecursionError):
            raise InvalidToken("malformed", "the token's claims are not valid JSON") from None

    def subject(self, payload: Payload) -> str:
        """The id of the user or service.

        Raises:
            InvalidToken: the claim is missing, or is no string.
        """
        value = self._subject(payload)
        if isinstance(value, str):
            return value
        claim = self._subject_claim
        if value is None:
            raise InvalidToken("claims", f"the token lacks the claim {claim}")
        raise InvalidToken(
            "claims", f"expected the claim {claim} to be a string, got {_KINDS[type(value)]}"
        )

    def scopes(self, payload: Payload) -> frozenset[str]:
        """The scopes in the first of the claims that the token has."""
        for get, prefix in self._scopes:
            value = get(payload)
            if value is not None:
                return _scopes(value, prefix)
        return frozenset()

    def lists(self, payload: Payload) -> Mapping[str, tuple[str, ...]]:
        """The names that the token lists."""
        if not self._lists:
            return NO_LISTS
        return {name: names for name, get in self._lists if (names := get(payload))} or NO_LISTS

    def _getter(self, claim: str) -> Callable[[Payload], Any]:
        """Reads a claim by its whole name, else by the path that the name spells."""
        whole = attrgetter(self._fields[claim])
        if "." not in claim:
            return whole
        top, *path = claim.split(".")
        outermost = attrgetter(self._fields[top])

        def get(payload: Payload) -> Any:  # noqa: ANN401 - whatever JSON holds
            value = whole(payload)
            if value is not None:
                return value
            value = outermost(payload)
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            return value

        return get


_NO_NAME: Final = frozenset({""})
_KINDS: Final = {
    int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


def _scopes(value: object, prefix: str) -> frozenset[str]:
    """The scopes in ``"a b"`` (RFC 8693) or in ``["a", "b"]`` (some issuers write a list).

    Only spaces separate names (RFC 6749, section 3.3), not every Unicode white space.
    """
    if isinstance(value, str) and not prefix:
        return frozenset(value.split(" ")) - _NO_NAME
    names: list[Any] = value.split(" ") if isinstance(value, str) else []
    if isinstance(value, list):
        names = value
    size = len(prefix)
    return frozenset(
        name[size:]
        for name in names
        if isinstance(name, str) and len(name) > size and name.startswith(prefix)
    )
