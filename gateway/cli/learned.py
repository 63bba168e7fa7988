"""What was learned of an archive, and the profile that says it."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import GatewayError
from gateway.region.profile import Profile

MOVE: Final = "Study Root MOVE"


@dataclass(slots=True)
class Learned:
    """What a probe found; None is not known.

    Attributes:
        sop_classes: Query/Retrieve and Verification SOP Classes that it accepts, by name.
        relational: whether it grants relational queries, and can do them: "granted", "refused" or "not granted".
        honoured: keys that it matches, at STUDY level.
        ignored: keys that it takes for universal: the gateway matches them itself.
        refused: keys at which it fails.
        character_set: the one its text is in.
        stated: whether its rows say so.
        ignores_case: whether it finds tremblay for TREMBLAY.
        ignores_accents: whether it finds BÉLANGER for belanger.
        result_cap: rows after which it ends an answer although there are more.
        rows_seen: how many it gave to a query for everything.
        issuer: Issuer of Patient ID that its rows state.
        offset: Timezone Offset From UTC that they state.
        c_get: whether an instance came by C-GET.
        c_move: whether one came by C-MOVE.
        originator: what its C-STOREs say of the C-MOVE: "AE title and Message ID", "Message ID", "nothing".
        transfer_syntaxes: those in which it offers to send, by name.
        associations: how many it granted at once.
        milliseconds: of what was timed.
        remarks: what could not be learned, and why.
    """

    sop_classes: list[str] = field(default_factory=list)
    relational: str = "not granted"
    honoured: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    character_set: str | None = None
    stated: bool = False
    ignores_case: bool | None = None
    ignores_accents: bool | None = None
    result_cap: int | None = None
    rows_seen: int = 0
    issuer: str | None = None
    offset: str | None = None
    c_get: bool | None = None
    c_move: bool | None = None
    originator: str | None = None
    transfer_syntaxes: list[str] = field(default_factory=list)
    associations: int = 0
    milliseconds: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    async def ask(self, questions: Mapping[str, Callable[[], Awaitable[None]]], told: Callable[[str], None]) -> None:
        """Ask one question after the other; what one meets does not keep the next from being asked."""
        for what, question in questions.items():
            told(what)
            try:
                await question()
            except GatewayError as error:
                self.remarks.append(f"{what}: not learned, {error}")


def improved(profile: Profile, learned: Learned) -> Profile:
    """Return the profile with what was learned in the place of what was assumed."""
    changes: dict[str, object] = {}
    if learned.character_set:
        changes["character_set"] = learned.character_set
    if learned.issuer and not profile.issuer_of_patient_id:
        changes["issuer_of_patient_id"] = learned.issuer
    if learned.ignores_accents is not None:
        changes["ignores_accents"] = learned.ignores_accents
    if learned.result_cap:
        changes["result_cap"] = learned.result_cap
    if learned.relational == "refused":
        changes["relational_queries"] = "never"
    if profile.dicomweb:
        return profile.model_copy(update=changes)
    if 0 < learned.associations < profile.max_associations:
        changes["max_associations"] = learned.associations
    if learned.c_move and learned.c_get is False:
        changes["retrieve"] = "c-move"
    elif learned.c_get and MOVE not in learned.sop_classes:
        # A C-MOVE that is offered and fails may fail for a port of ours: the gateway tries it for itself.
        changes["retrieve"] = "c-get"
    return profile.model_copy(update=changes)


def toml(profile: Profile, learned: Learned, day: str) -> str:
    """Return the profile as a file that a person can read, with what has no key as comments."""
    lines = [f"# {profile.name} as `gateway region profile` found it on {day}; lines without # are what it decided."]
    comments = _of_web if profile.dicomweb else _comments
    lines += [f"# {text}" for text in comments(learned)]
    given = profile.model_dump(mode="json", exclude_defaults=True)
    always = {"max_associations", "character_set", "time_zone", "ignores_accents"}
    if not profile.dicomweb:
        always.add("retrieve")
    for key, value in profile.model_dump(mode="json").items():
        if key in given or key in always:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _of_web(learned: Learned) -> Iterator[str]:
    yield from _services(learned)
    if learned.offset:
        yield f"states the time zone {learned.offset}: check time_zone"
    yield "milliseconds: " + ", ".join(f"{what} {spent}" for what, spent in learned.milliseconds.items())
    yield from learned.remarks


def _services(learned: Learned) -> Iterator[str]:
    yield f"accepts: {', '.join(learned.sop_classes) or 'nothing'}"
    yield f"relational queries: {learned.relational}"
    for what, keys in (("honours", learned.honoured), ("ignores", learned.ignored), ("fails at", learned.refused)):
        if keys:
            yield f"{what} the keys: {', '.join(keys)}"


def _comments(learned: Learned) -> Iterator[str]:
    yield from _services(learned)
    if learned.character_set:
        yield f"text is {learned.character_set}, {'as its rows say' if learned.stated else 'which its rows do not say'}"
    yield f"case of names: {_word(learned.ignores_case, 'ignored', 'minded')}"
    yield f"accents of names: {_word(learned.ignores_accents, 'ignored', 'minded')}"
    if learned.result_cap:
        yield f"ends an answer after {learned.result_cap} rows although there are more"
    else:
        yield f"no result cap within {learned.rows_seen} rows"
    yield f"C-GET: {_word(learned.c_get, 'works', 'does not work')}; C-MOVE: {_word(learned.c_move, 'works', 'fails')}"
    if learned.originator:
        yield f"its C-STOREs name of the C-MOVE: {learned.originator}"
    if learned.transfer_syntaxes:
        yield f"offers to send: {', '.join(learned.transfer_syntaxes)}"
    if learned.offset:
        yield f"states the time zone {learned.offset}: check time_zone"
    yield f"associations at once: {learned.associations}"
    yield "milliseconds: " + ", ".join(f"{what} {spent}" for what, spent in learned.milliseconds.items())
    yield from learned.remarks


def _word(value: bool | None, yes: str, no: str) -> str:
    return "not known" if value is None else yes if value else no
