"""SQLite: the broker that needs nothing installed. One file, safe for all processes of one host.

Theory of operation. Each process has one connection, owned by one thread (`desk`); callers, on whatever event loop,
hand it closures and await their answers. The thread takes all that have come in and runs them in one transaction, so
that many share one write to the disk (group commit). What the closures do stands in `jobs`, `claims`, `lanes`, `logs`,
`blobs`, `search` and `keeping`, in the words of `queries.sql` over the tables of `schema.sql`. Driver errors become
ours at one gate (`gate`). Other processes are woken by the bell, not by looking at the file.
"""

from pumasi.broker.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
