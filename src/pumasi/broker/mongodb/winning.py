"""Winning jobs that were chosen: by compare and swap on each one's own document, so it has one winner."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence

from pymongo import ReturnDocument

from pumasi.broker.mongodb import gates, inlet, jobs
from pumasi.broker.mongodb.board import Sight
from pumasi.broker.mongodb.choice import Choice, Pick
from pumasi.broker.mongodb.classic import Entry
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.gates import Place
from pumasi.broker.mongodb.together import together
from pumasi.broker.store import Claim
from pumasi.core.job import Job

#: seconds for which a claim tries again to win what it has slots for
_PATIENCE = 5.0
#: seconds, at most, between two tries of which the first has won nothing: doubled from the first to the last
_AGAIN = 0.002
_AGAIN_AT_MOST = 0.1


async def win_all(
    db: Database, claim: Claim, sight: Sight, choice: Choice, entries: Sequence[Entry], now: float
) -> list[Job]:
    """Win as many as there are slots; of those that others win first, other ones. Whoever wins nothing has lost to
    somebody who did: so there is an end to it."""
    taken: list[Job] = []
    memory, pause = claim.memory, _AGAIN
    until = time.monotonic() + _PATIENCE
    while len(taken) < claim.slots and time.monotonic() < until:
        offered = await choice.pick(claim.slots - len(taken), memory)
        chosen = _merged(choice, offered, entries, claim.slots - len(taken), memory)
        if not chosen:
            break
        picks = [one for one in chosen if isinstance(one, Pick)]
        asked = [one for one in chosen if isinstance(one, Entry)]
        entries = [entry for entry in entries if entry not in asked]
        used = {job.token for job in taken}
        tokens = [token for token in claim.tokens if token not in used]
        won, refused = await _win(db, claim, sight, choice, picks, tokens, now) if picks else ([], [])
        found = await inlet.win(db, claim, asked, tokens[len(picks) :], now) if asked else []
        taken += won + found
        memory -= sum(job.required_memory for job in won + found)
        if len(won) < len(picks):
            choice.lost(refused, jobs=len(picks) - len(won) - len(refused))
        if (len(won), len(found)) == (len(offered), len(asked)):
            break
        choice.put_back(pick for pick in offered if pick not in picks)
        if not won and not found:
            await asyncio.sleep(random.uniform(0.0, pause))
            pause = min(2 * pause, _AGAIN_AT_MOST)
    return taken


def _merged(
    choice: Choice, picks: Sequence[Pick], entries: Sequence[Entry], slots: int, memory: int
) -> list[Pick | Entry]:
    """Of what the queues offer, each in an order of its own, the best that fit: jobs of ours, and documents."""
    chosen: list[Pick | Entry] = []
    rest, documents = list(picks), list(entries)
    while len(chosen) < slots and (rest or documents):
        ours = choice.place(rest[0]) if rest else None
        theirs = (0, documents[0].due, documents[0].id) if documents else None
        one: Pick | Entry = rest.pop(0) if theirs is None or (ours is not None and ours < theirs) else documents.pop(0)
        needed = one.lane.memory if isinstance(one, Pick) else one.job.required_memory
        if needed <= memory:
            chosen.append(one)
            memory -= needed
    return chosen


async def _win(
    db: Database, claim: Claim, sight: Sight, choice: Choice, picks: Sequence[Pick], tokens: Sequence[str], now: float
) -> tuple[list[Job], list[Pick]]:
    """Those of the picks that nobody else was faster for; and those that a gate refused, which are to be had still."""
    async with db.board.flight(len(picks)) as flight:
        wanted = [
            (pick, Place(token, pick.id, pick.lane.share, pick.attempt + 1, change, pick.lane.limit))
            for pick, token, change in zip(picks, tokens, flight.numbers, strict=False)
        ]
        reserved = await _reserve(db, sight, choice, wanted)
        flight.in_time()
        tried = await together(_claim(db, claim, pick, place, now) for pick, place in wanted if place.token in reserved)
        won = [job for job in tried if job is not None]
        await _confirm(db, sight, choice, wanted, reserved, {job.token or "" for job in won})
    return won, [pick for pick, place in wanted if place.token not in reserved]


async def _claim(db: Database, claim: Claim, pick: Pick, place: Place, now: float) -> Job | None:
    """One job, unless somebody else has it by now."""
    same = {"_id": pick.id, "revision": {"$eq": pick.revision}, "state": {"$eq": "pending"}}
    until = now + claim.lease
    change = {
        "$set": {
            "state": "running",
            "when": until,
            "deadline": until,
            "lease_until": until,
            "claimed_at": now,
            "worker": claim.worker,
            "claim_id": claim.claim_id,
            "token": place.token,
            "attempt": place.attempt,
            "change": place.change,
            "kind": "running" + pick.kind[pick.kind.index("|") :],
        },
        "$inc": {"revision": 1},
        "$unset": dict.fromkeys(("lane", "turn", "started_at", "progress"), ""),
    }
    found = await db.jobs.find_one_and_update(same, change, return_document=ReturnDocument.AFTER)
    return None if found is None else jobs.record(found)


_Wanted = Sequence[tuple[Pick, Place]]


def _gated(sight: Sight, wanted: _Wanted, tokens: set[str]) -> Iterator[tuple[str, str | None, list[Place]]]:
    """The gates that these places are behind, in one order for all; of a fair queue also its name."""
    behind: dict[tuple[str, str | None], list[Place]] = {}
    for pick, place in wanted:
        if place.token not in tokens:
            continue
        if place.limit is not None:
            behind.setdefault((gates.key_gate(place.limit.key), None), []).append(place)
        if sight.rules(pick.lane.queue).fair:
            behind.setdefault((gates.turn_gate(pick.lane.queue), pick.lane.queue), []).append(place)
    for (id, queue), places in sorted(behind.items(), key=lambda item: item[0][0]):
        yield id, queue, places


async def _reserve(db: Database, sight: Sight, choice: Choice, wanted: _Wanted) -> set[str]:
    """The tokens of those whose gates all let them through."""
    tokens = {place.token for _, place in wanted}
    passed: list[tuple[str, list[Place]]] = []
    for id, queue, places in _gated(sight, wanted, set(tokens)):
        if await gates.reserve(db, choice.gate(id), places, queue):
            passed.append((id, places))
        else:
            tokens -= {place.token for place in places}
    for id, places in passed:
        if refused := [place for place in places if place.token not in tokens]:
            await gates.confirm(db, choice.gate(id), refused, ())
    return tokens


async def _confirm(
    db: Database, sight: Sight, choice: Choice, wanted: _Wanted, reserved: set[str], won: set[str]
) -> None:
    for id, _, places in _gated(sight, wanted, reserved):
        await gates.confirm(db, choice.gate(id), places, won)
