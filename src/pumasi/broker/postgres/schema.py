"""The schema: made where there is none, brought up to date by whoever comes first, refused when it is not ours."""

import psycopg

from pumasi.broker.postgres import gate
from pumasi.broker.postgres.connection import Connection, Row
from pumasi.broker.postgres.queries import Queries
from pumasi.broker.postgres.target import DEADLINE, Target
from pumasi.errors import Error, Invalid

PROGRAM = "pumasi"
#: seconds that a step of a migration may take, whatever a question may
PATIENCE = 3600.0

_DROP_FUNCTIONS = """
DO $$
DECLARE
    known record;
BEGIN
    FOR known IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = '"{schema}"'::regnamespace LOOP
        EXECUTE 'DROP FUNCTION IF EXISTS ' || known.name || ' CASCADE';
    END LOOP;
    DROP VIEW IF EXISTS "{schema}".record CASCADE;
END $$
"""


async def prepare(connection: Connection, queries: Queries, target: Target) -> None:
    """Bring the schema up to date. Raises: Invalid, Unavailable."""
    try:
        if not await _is_current(connection, queries, target):
            connection.deadline = PATIENCE
            async with connection.transaction():
                await _migrate(connection, queries, target)
    except (psycopg.Error, TimeoutError) as error:
        raise _refused(error, target) from error
    finally:
        connection.deadline = DEADLINE


async def _is_current(connection: Connection, queries: Queries, target: Target) -> bool:
    version, fingerprint = await _found(connection, queries, target)
    if version > len(queries.migrations):
        raise Invalid(
            "the schema {schema} at {place} was written by a newer Pumasi (schema version {version}, this one knows "
            "{known}); update Pumasi",
            place=target.name,
            schema=target.schema,
            version=version,
            known=len(queries.migrations),
        )
    return (version, fingerprint) == (len(queries.migrations), queries.fingerprint)


async def _found(connection: Connection, queries: Queries, target: Target) -> tuple[int, str]:
    """The version of the schema there is, and the fingerprint of its functions; (0, '') where there is none."""
    names = {"schema": target.schema, "meta": f'"{target.schema}".meta'}
    tables, meta = await _row(connection, queries["tables"], names)
    if not tables:
        return 0, ""
    row: Row = await _row(connection, queries["meta"]) if meta else ("", 0, "")
    if row[0] != PROGRAM:
        text = "the schema {schema} at {place} belongs to another program; add another name to the URL: ?schema=NAME"
        raise Invalid(text, place=target.name, schema=target.schema)
    return int(row[1]), str(row[2])


async def _migrate(connection: Connection, queries: Queries, target: Target) -> None:
    """Do what is left to do; several who come at once take turns, and the first does it for all."""
    schema = target.schema
    await connection.execute("SET LOCAL statement_timeout = 0")
    await connection.execute("SET LOCAL lock_timeout = '10s'")
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{PROGRAM}/{schema}",))
    if await _is_current(connection, queries, target):
        return
    version, _ = await _found(connection, queries, target)
    (exists,) = await _row(connection, queries["schema_exists"], {"schema": schema})
    if not exists:
        await connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
    for step in queries.migrations[version:]:
        await connection.execute(step.encode())
    await connection.execute(_DROP_FUNCTIONS.format(schema=schema).encode())
    await connection.execute(queries.functions.encode())
    ours = {"program": PROGRAM, "version": len(queries.migrations), "functions": queries.fingerprint}
    await connection.execute(queries["put_meta"].encode(), ours)


def _refused(error: BaseException, target: Target) -> Error:
    if not isinstance(error, psycopg.errors.InsufficientPrivilege):
        return gate.translated(error, target)
    return Invalid(
        "this user may not make the schema {schema} at {place}; as a superuser or the database's owner run: "
        "CREATE SCHEMA {schema} AUTHORIZATION {user}",
        place=target.name,
        schema=target.schema,
        user=target.parameters.get("user", "USER"),
    )


async def _row(connection: Connection, query: str, values: dict[str, str] | None = None) -> Row:
    cursor = await connection.execute(query.encode(), values)
    return await cursor.fetchone() or ("", 0, "")
