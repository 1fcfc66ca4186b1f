"""PostgreSQL: a broker for a fleet, in a schema of its own in a database you already run.

Theory of operation. Each primitive of the store is one statement, most of them a call of a function that stands in
`functions.sql`, over the tables of `schema.sql`; what is only read stands in `queries.sql`. A job that waits has a row
in one small table, one that runs in another; to take that row is to own the next step of the job, so claims pass over
what others hold (`SKIP LOCKED`) and nobody waits for a row that many want. Every function locks in one order, said at
the top of `functions.sql`.

Each event loop has a few connections of its own (`pool`), made when they are needed, with deadlines on everything
(`connection`); driver errors become ours at one gate (`gate`). Others are woken by LISTEN and NOTIFY (`bell`): a hint,
never needed. Nothing rests on the state of a session, so a pooler that shares sessions out (PgBouncer in transaction
mode) may stand between; LISTEN is then found to be deaf, and everybody looks again by themselves.
"""

from pumasi.broker.postgres.bell import PostgresBell
from pumasi.broker.postgres.store import PostgresStore
from pumasi.broker.postgres.target import Target, parsed

__all__ = ["PostgresBell", "PostgresStore", "Target", "parsed"]
