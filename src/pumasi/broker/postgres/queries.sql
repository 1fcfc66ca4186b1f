-- The queries of the PostgreSQL broker that are no functions of functions.sql, by name, each with its purpose. `pumasi.`
-- stands for the schema that the URL names. Times are Unix seconds.

-- == the server ==

-- hello: when the server began, what time it is, whether it can be written to, and what it does with what is
SELECT extract(epoch FROM pg_postmaster_start_time())::float8, extract(epoch FROM clock_timestamp())::float8,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean,
       current_setting('server_version_num')::int, current_setting('server_encoding'),
       current_setting('transaction_isolation'),
       current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean,
       current_setting('synchronous_commit')

-- tables: how many tables the schema has, and whether it has ours
SELECT (SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = %(schema)s),
       to_regclass(%(meta)s) IS NOT NULL

-- schema_exists: whether there is such a schema
SELECT count(*) FROM pg_namespace WHERE nspname = %(schema)s

-- meta: whose tables these are
SELECT program, version, functions FROM pumasi.meta

-- put_meta: they are ours, and up to date
WITH gone AS (DELETE FROM pumasi.meta)
INSERT INTO pumasi.meta (program, version, functions) VALUES (%(program)s, %(version)s, %(functions)s)

-- notify: ring the bells of all who listen
SELECT pg_notify(%(channel)s, %(payload)s)

-- == jobs ==

-- insert: new jobs, all or none
SELECT * FROM pumasi.insert_jobs(
    %(now)s, %(max_pending)s, %(queue_names)s::text[], %(coming)s::bigint[], %(keyed)s, %(ids)s::text[],
    %(queues)s::text[], %(scripts)s::text[], %(run_ats)s::float8[], %(expires)s::float8[], %(digests)s::uuid[],
    %(parents)s::uuid[], %(uniques)s::uuid[], %(idempotency)s::uuid[], %(hashes)s::text[], %(records)b::bytea[],
    %(job_lanes)s::uuid[], %(label_jobs)s::int[], %(labels)s::uuid[], %(lanes)s::uuid[], %(lane_queues)s::text[],
    %(priorities)s::int[], %(memories)s::bigint[], %(shares)s::uuid[], %(keys)s::uuid[], %(concurrencies)s::bigint[],
    %(counts)s::bigint[], %(periods)s::float8[], %(heads)s::float8[], %(at_once)s::boolean[])

-- adopt: records of another broker, all or none
SELECT * FROM pumasi.adopt_jobs(
    %(ids)s::text[], %(states)s::text[], %(queues)s::text[], %(scripts)s::text[], %(causes)s::text[],
    %(dead)s::boolean[], %(created_ats)s::float8[], %(run_ats)s::float8[], %(started_ats)s::float8[],
    %(ended_ats)s::float8[], %(expires)s::float8[], %(digests)s::uuid[], %(parents)s::uuid[], %(uniques)s::uuid[],
    %(idempotency)s::uuid[], %(hashes)s::text[], %(attempts)s::int[], %(progress)b::bytea[], %(records)b::bytea[],
    %(job_lanes)s::uuid[], %(label_jobs)s::int[], %(labels)s::uuid[], %(lanes)s::uuid[], %(lane_queues)s::text[],
    %(priorities)s::int[], %(memories)s::bigint[], %(shares)s::uuid[], %(keys)s::uuid[], %(concurrencies)s::bigint[],
    %(counts)s::bigint[], %(periods)s::float8[], %(heads)s::float8[], %(at_once)s::boolean[], %(log_jobs)s::int[], %(log_seqs)s::bigint[], %(log_ats)s::float8[], %(log_streams)s::text[],
    %(log_data)b::bytea[])

-- load: the records of these ids
SELECT * FROM pumasi.record WHERE id = ANY (%(ids)s::text[])

-- swap: the next state of each job, where the old one still stands
SELECT * FROM pumasi.swap_jobs(
    %(same_lease)s, %(ids)s::text[], %(old_states)s::text[], %(revisions)s::bigint[], %(old_leases)s::float8[],
    %(states)s::text[], %(causes)s::text[], %(dead)s::boolean[], %(run_ats)s::float8[], %(started_ats)s::float8[],
    %(ended_ats)s::float8[], %(attempts)s::int[], %(cancels)s::boolean[], %(records)b::bytea[], %(expires)s::float8[],
    %(job_lanes)s::uuid[], %(job_keys)s::uuid[], %(lanes)s::uuid[], %(lane_queues)s::text[], %(priorities)s::int[],
    %(memories)s::bigint[], %(shares)s::uuid[], %(keys)s::uuid[], %(concurrencies)s::bigint[], %(counts)s::bigint[],
    %(periods)s::float8[], %(heads)s::float8[], %(at_once)s::boolean[])

-- position: the latest change, as far as none is still to come before it
SELECT pumasi.position()

-- == claims ==

-- take: leases for a claim
SELECT * FROM pumasi.take_jobs(
    %(now)s, %(worker)s, %(claim)s::uuid, %(claim_id)s, %(queues)s::text[], %(slots)s, %(memory)s, %(lease)s,
    %(tokens)s::text[], %(calm)s, %(locks)s::int[], %(patient)s)

-- lapsed: jobs that waited too long, then runs that have outlived their leases, of each the longest first
SELECT * FROM (
    (SELECT known.* FROM (
        SELECT waiting.job FROM pumasi.waiting
        WHERE %(queues)s::text[] IS NULL AND expires_at IS NOT NULL AND expires_at <= pumasi.moment(%(now)s)
        ORDER BY expires_at LIMIT %(limit)s) AS old
     JOIN pumasi.record AS known ON known.seq = old.job
     ORDER BY (SELECT expires_at FROM pumasi.waiting WHERE job = known.seq))
    UNION ALL
    (SELECT known.* FROM (
        SELECT run.job FROM pumasi.run
        WHERE NOT %(calm)s AND lease_until <= pumasi.moment(%(now)s)
          AND (%(queues)s::text[] IS NULL OR queue = ANY (%(queues)s::text[]))
          AND (%(memory)s::bigint IS NULL OR memory <= %(memory)s::bigint)
        ORDER BY lease_until LIMIT %(limit)s) AS old
     JOIN pumasi.record AS known ON known.seq = old.job
     ORDER BY known.lease_until)) AS stale
LIMIT %(limit)s

-- extend: the leases of a worker go on, and the worker is seen
SELECT * FROM pumasi.extend_leases(
    %(now)s, %(hash)s::uuid, %(worker)s, %(record)b, %(stopped)s, %(ids)s::text[], %(tokens)s::text[],
    %(started)s::boolean[], %(lease)s)

-- acquire: starts under a rate limit
SELECT pumasi.acquire(%(now)s, %(key)s::uuid, %(count)s, %(period)s, %(n)s)

-- == logs ==

-- append: records of a run
SELECT pumasi.append_log(
    %(id)s, %(token)s, %(seqs)s::bigint[], %(ats)s::float8[], %(streams)s::text[], %(data)b::bytea[], %(progress)b,
    %(weight)s, %(head)s, %(tail)s, %(slack)s)

-- read: records of a log after a seq; one row without a record when there are none, no row when there is no such job
SELECT found.seq, found.at, found.stream, found.data
FROM pumasi.job LEFT JOIN LATERAL (
    SELECT * FROM pumasi.log WHERE log.job = job.seq AND log.seq > %(after)s ORDER BY log.seq LIMIT %(limit)s) AS found
    ON true
WHERE job.id = %(id)s
ORDER BY found.seq

-- == blobs ==

-- put_chunk: a part of a blob
SELECT pumasi.put_chunk(
    %(now)s, %(version)s::uuid, %(number)s, %(data)b, %(patience)s, %(last)s, %(hash)s::uuid, %(key)s, %(job)s,
    %(digest)s::uuid, %(size)s)

-- get_blob: a blob, and its first parts
SELECT blob.version, blob.size, chunk.data
FROM pumasi.blob LEFT JOIN pumasi.chunk ON chunk.version = blob.version AND chunk.number < %(limit)s
WHERE blob.hash = %(hash)s::uuid
ORDER BY chunk.number

-- chunks: more parts of a blob, in order
SELECT data FROM pumasi.chunk WHERE version = %(version)s AND number >= %(first)s AND number < %(first)s + %(limit)s
ORDER BY number

-- list_blobs: blobs whose key begins so
SELECT key, size FROM pumasi.blob
WHERE "left"(key, 400) >= "left"(%(prefix)s, 400) AND "left"(key, 400) <= "left"(%(prefix)s, 400) || chr(1114111)
  AND starts_with(key, %(prefix)s)
ORDER BY key

-- == keeping ==

-- forget_jobs: some jobs that ended before, with all that hangs on them
SELECT pumasi.forget_jobs(%(states)s::text[], %(before)s::float8[], %(limit)s)

-- forget_blobs: some bundles and blobs that nobody needs
SELECT pumasi.forget_blobs(%(scripts_before)s, %(strays_before)s, %(limit)s)

-- remove_doomed: some chunks that belong to no blob
SELECT pumasi.remove_doomed(%(now)s, %(limit)s)

-- forget_workers: workers silent for too long
DELETE FROM pumasi.worker WHERE seen_at < %(before)s

-- tidy: drop bookkeeping that has become empty
SELECT pumasi.tidy(%(now)s)

-- queues: all that hold a job or have settings
WITH settings AS (
    SELECT name, paused, max_pending, ageing, fair FROM pumasi.queue
), counted AS (
    SELECT queue AS name, sum(n) FILTER (WHERE state = 'pending') AS pending,
           sum(n) FILTER (WHERE state = 'running') AS running
    FROM pumasi.tally GROUP BY queue HAVING sum(n) > 0
), waiting AS (
    SELECT queue AS name, sum(later) AS later, min(first) AS first
    FROM (SELECT queue,
                 (SELECT count(*) FROM pumasi.waiting WHERE lane = lane.id AND run_at > moment.now) AS later,
                 (SELECT run_at FROM pumasi.waiting WHERE lane = lane.id ORDER BY run_at, id LIMIT 1) AS first
          FROM pumasi.lane CROSS JOIN (SELECT pumasi.moment(%(now)s) AS now) AS moment
          WHERE head_at IS NOT NULL) AS lanes
    GROUP BY queue
)
SELECT name, coalesce(paused, false), max_pending, ageing, coalesce(fair, false), coalesce(pending, 0)::bigint,
       coalesce(running, 0)::bigint, coalesce(later, 0)::bigint, first, pumasi.moment(%(now)s)
FROM settings FULL JOIN counted USING (name) LEFT JOIN waiting USING (name)
ORDER BY name

-- set_queue: settings of one queue; those that are not meant stay
INSERT INTO pumasi.queue AS known (name, paused, max_pending, ageing, fair)
VALUES (%(name)s, coalesce(%(paused)s, false), %(max_pending)s, %(ageing)s, coalesce(%(fair)s, false))
ON CONFLICT (name) DO UPDATE SET
    paused = CASE WHEN %(set_paused)s THEN excluded.paused ELSE known.paused END,
    max_pending = CASE WHEN %(set_max_pending)s THEN excluded.max_pending ELSE known.max_pending END,
    ageing = CASE WHEN %(set_ageing)s THEN excluded.ageing ELSE known.ageing END,
    fair = CASE WHEN %(set_fair)s THEN excluded.fair ELSE known.fair END

-- workers: all, as they said they are
SELECT record, seen_at FROM pumasi.worker ORDER BY id

-- counts: how many jobs there are by state, script and cause
SELECT state, script, cause, sum(n)::bigint FROM pumasi.tally GROUP BY state, script, cause HAVING sum(n) > 0
ORDER BY state, script, cause

-- == finding ==

-- changed: jobs changed after a position, in order of change
SELECT * FROM pumasi.changed(
    %(after)s, %(limit)s, %(states)s::text[], %(queue)s, %(script)s, %(parent)s::uuid, %(since)s, %(prefix)s,
    %(ids)s::text[], %(labels)s::uuid[], %(dead)s)
