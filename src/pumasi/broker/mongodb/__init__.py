"""MongoDB: the broker over single documents. No transactions, no pipelines in updates, no server-side code.

Theory of operation. The document of a job is the truth about it, and each of its changes is one compare and swap of
that document: so each claim has one winner, each run one ending, whoever crashes when. Whatever else there is may be
wrong for a while in one direction only, or for a bounded time, and says in its module how it is put right:

    board     change numbers: taken before the write, in flight until it is done; readers stop at what is in flight
    batches, staging   several jobs, all or none: staged, then accepted by one insert; who finds them later decides
    keys      unique and idempotency keys: taken before the job is stored, and taken over from who does not need them
    lanes     when a lane of waiting jobs is worth a look: touched before a job waits, so too early but never too late
    gates     limits by key, turns in fair queues: who runs is read from the jobs; a place is reserved while one is won
    logs, blobs   written in pieces that mean nothing until one update says so
    inlet, outlet   documents of other programs: each carries our token while it runs with us, and is told afterwards

A claim surveys (`claims`), chooses (`choice`, `lanes`), wins (`winning`, `gates`); `runs` has what follows.

An announced step that has not come after `times.OVER` seconds will not come (`times`); that is what makes clearing up
after others safe. Time is the server's (`connection`, `board`). Driver errors become ours at one gate (`gate`). Hints
go through a document, too (`bell`).

Round trips: a submit takes two (numbers, the job), a claim five, a settle two, and one more for every hint; more only
for several jobs at once, for keys, for jobs behind a gate, and for documents; none depends on how many jobs there are.
"""

from pumasi.broker.mongodb.address import Address, parsed
from pumasi.broker.mongodb.bell import MongoBell
from pumasi.broker.mongodb.connection import Connection
from pumasi.broker.mongodb.store import MongoStore, create_job

__all__ = ["Address", "Connection", "MongoBell", "MongoStore", "create_job", "parsed"]
