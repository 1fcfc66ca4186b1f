-- What one round trip does. `pumasi.` stands for the schema that the URL names, also in the names of locks.
--
-- Locks. Whoever waits for one holds none that comes later in this order, and takes those of a kind in order, so that
-- no two ever wait for each other:
--   1. a claim id; fair queues; stripes of keys that jobs hold (unique, idempotency); queues that are nearly full
--   2. keys of keyed limits
--   3. rows of waiting and run, by id of the job; ids of jobs that are being stored
--   4. rows of lane, by id
-- A claim waits for locks of the first two kinds only, and only as long as it holds no row; what else it cannot have at
-- once it leaves alone (SKIP LOCKED), or starts over with the keys it needs locked first (error PU001).
-- A lane's stripe is held in common by whoever puts a job into the lane, and alone by a claim that says where the lane
-- begins now, or that it is empty; a claim never waits for it.
--
-- Times are Unix seconds; `moment` is the server's clock unless a test sends another time. A plan made while a table was
-- empty would be wrong a second later, so plans here never look through a whole table.

-- == the clock, changes, locks ==

CREATE FUNCTION pumasi.moment(_now float8) RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(_now, extract(epoch FROM clock_timestamp())::float8)
$$;

-- Before the first change of a transaction: from here on its changes come after all that have been told. Positions are
-- told up to the earliest such mark of a transaction that has not ended; one that commits late is thus never passed over.
CREATE FUNCTION pumasi.begin_changes() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared((hashtext('pumasi.changes')::bigint & 1048575) << 43 | last_value)
    FROM pumasi.changes;
END $$;

-- the last change before which all have been committed, or never will be
CREATE FUNCTION pumasi.position() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    begun bigint;
BEGIN
    SELECT min((classid::bigint & 2047) << 32 | objid::bigint) INTO begun
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint >> 11 = hashtext('pumasi.changes')::bigint & 1048575;
    RETURN least(begun, (SELECT last_value FROM pumasi.changes));
END $$;

CREATE FUNCTION pumasi.stripe(_lane uuid) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT get_byte(uuid_send(_lane), 0)
$$;

CREATE FUNCTION pumasi.share_lanes(_lanes uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('pumasi.lane'), stripe)
    FROM (SELECT DISTINCT pumasi.stripe(id) AS stripe FROM unnest(_lanes) AS id ORDER BY 1) AS stripes;
END $$;

CREATE FUNCTION pumasi.lock_keys(_locks integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('pumasi.key'), key)
    FROM (SELECT DISTINCT key FROM unnest(_locks) AS key WHERE key IS NOT NULL ORDER BY 1) AS keys;
END $$;

-- == records ==

-- the record of a job: its text, and what overrules it
CREATE VIEW pumasi.record AS
SELECT job.seq, job.id, body.record,
       CASE WHEN run.job IS NULL THEN job.state ELSE 'running' END AS state,
       coalesce(run.attempt, job.attempt) AS attempt, run.worker, run.claim_id, run.token, run.lease_until,
       run.claimed_at, CASE WHEN run.job IS NULL THEN job.started_at ELSE run.started_at END AS started_at,
       CASE WHEN run.job IS NULL THEN job.progress ELSE run.progress END AS progress, job.created_at, job.run_at,
       coalesce(run.revision, job.revision) AS revision, coalesce(run.change, job.change) AS change
FROM pumasi.job JOIN pumasi.body ON body.job = job.seq LEFT JOIN pumasi.run ON run.job = job.seq;

-- == counts ==

-- sum up what was added and subtracted, unless somebody else is at it
CREATE FUNCTION pumasi.sum_up(_queue text, _state text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(hashtext('pumasi.tally'), hashtext(_queue || '/' || _state)) THEN
        WITH gone AS (
            DELETE FROM pumasi.tally WHERE queue = _queue AND state = _state RETURNING script, cause, n)
        INSERT INTO pumasi.tally (queue, state, script, cause, n)
        SELECT _queue, _state, script, cause, sum(n) FROM gone GROUP BY script, cause HAVING sum(n) <> 0;
    END IF;
END $$;

CREATE FUNCTION pumasi.count_pending(_queue text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    pending bigint;
    pieces bigint;
BEGIN
    SELECT sum(n), count(*) INTO pending, pieces FROM pumasi.tally WHERE queue = _queue AND state = 'pending';
    IF pieces > 200 THEN
        PERFORM pumasi.sum_up(_queue, 'pending');
    END IF;
    RETURN coalesce(pending, 0);
END $$;

-- The first of the queues that has no room for so many more, and its bound. Far from the bound nobody is held up;
-- near it, those who submit to a queue take turns, and the bound is exact.
CREATE FUNCTION pumasi.full_queue(_queues text[], _coming bigint[], _max_pending bigint, OUT name text, OUT most bigint)
LANGUAGE plpgsql AS $$
DECLARE
    asked record;
    exact boolean := false;
BEGIN
    LOOP
        FOR asked IN
            SELECT coming.name, coming.n, coalesce(queue.max_pending, _max_pending) AS bound
            FROM unnest(_queues, _coming) WITH ORDINALITY AS coming (name, n, place)
            LEFT JOIN pumasi.queue ON queue.name = coming.name
            ORDER BY coming.place
        LOOP
            name := asked.name;
            most := asked.bound;
            IF asked.n + pumasi.count_pending(name) + (CASE WHEN exact THEN 0 ELSE 1000 + most / 10 END) > most THEN
                EXIT WHEN NOT exact;
                RETURN;
            END IF;
            name := NULL;
        END LOOP;
        EXIT WHEN exact OR name IS NULL;
        PERFORM pg_advisory_xact_lock(hashtext('pumasi.full'), lock)
        FROM (SELECT DISTINCT hashtext(queue) AS lock FROM unnest(_queues) AS queue ORDER BY 1) AS locks;
        exact := true;
    END LOOP;
    name := NULL;
    most := NULL;
END $$;

-- == in ==

-- Which of some jobs are to be stored (true), which are there under their own id or a key (false: `holder` says under
-- which id), and which key belongs to another request. Whoever asks for a key holds its stripe until the end.
CREATE FUNCTION pumasi.sort_out(
    _ids text[], _unique uuid[], _idempotency uuid[], _hashes text[], _any_holder boolean,
    OUT fresh boolean[], OUT holders text[], OUT conflict integer, OUT conflict_kind text
) LANGUAGE plpgsql AS $$
DECLARE
    keys uuid[] := '{}';
    owners integer[] := '{}';
    kind text;
    key uuid;
    owner integer;
    holder text;
    hash text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('pumasi.held'), stripe)
    FROM (SELECT DISTINCT pumasi.stripe(id) AS stripe
          FROM unnest(_unique || _idempotency) AS id WHERE id IS NOT NULL ORDER BY 1) AS stripes;
    fresh := array_fill(true, ARRAY[cardinality(_ids)]);
    holders := _ids;
    FOR n IN 1 .. cardinality(_ids) LOOP
        IF EXISTS (SELECT FROM pumasi.job WHERE id = _ids[n]) OR array_position(_ids[: n - 1], _ids[n]) IS NOT NULL THEN
            fresh[n] := false;
            CONTINUE;
        END IF;
        FOREACH kind IN ARRAY ARRAY['idempotency', 'unique'] LOOP
            key := CASE kind WHEN 'unique' THEN _unique[n] ELSE _idempotency[n] END;
            CONTINUE WHEN key IS NULL;
            holder := NULL;
            owner := owners[array_position(keys, key)];
            IF owner IS NOT NULL THEN
                holder := _ids[owner];
                hash := _hashes[owner];
            ELSIF kind = 'unique' THEN
                SELECT id, body_hash INTO holder, hash FROM pumasi.job
                WHERE unique_key IS NOT NULL AND state = 'pending' AND unique_key = key;
            ELSE
                SELECT id, body_hash INTO holder, hash FROM pumasi.job
                WHERE idempotency_key IS NOT NULL AND idempotency_key = key;
            END IF;
            IF holder IS NOT NULL THEN
                fresh[n] := false;
                holders[n] := holder;
                IF _any_holder OR hash IS DISTINCT FROM _hashes[n] THEN
                    conflict := n;
                    conflict_kind := kind;
                    RETURN;
                END IF;
                EXIT;
            END IF;
        END LOOP;
        IF fresh[n] THEN
            keys := keys || array_remove(ARRAY[_unique[n], _idempotency[n]], NULL);
            owners := owners || array_fill(n, ARRAY[num_nonnulls(_unique[n], _idempotency[n])]);
        END IF;
    END LOOP;
END $$;

-- Let lanes begin where their new jobs say, or at once; make those that are missing, and open those of keys that have
-- come free. Each lane is given once.
CREATE FUNCTION pumasi.extend_lanes(
    _lanes uuid[], _queues text[], _priorities integer[], _memories bigint[], _shares uuid[], _keys uuid[],
    _concurrencies bigint[], _counts bigint[], _periods float8[], _heads float8[], _now float8, _at_once boolean[],
    _freed uuid[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(_freed) = 0 AND NOT EXISTS (
        SELECT FROM unnest(_lanes, _heads, _at_once) AS new (id, head_at, at_once)
        LEFT JOIN pumasi.lane ON lane.id = new.id
        WHERE lane.head_at IS NULL OR lane.head_at > least(new.head_at, CASE WHEN at_once THEN _now END)) THEN
        RETURN;
    END IF;
    INSERT INTO pumasi.lane AS known
        (id, queue, priority, memory, share, key, concurrency, count, period, head_at)
    SELECT * FROM (
        SELECT new.id, new.queue, new.priority, new.memory, new.share, new.key, new.concurrency, new.count, new.period,
               least(new.head_at, CASE WHEN at_once THEN _now END)
        FROM unnest(_lanes, _queues, _priorities, _memories, _shares, _keys, _concurrencies, _counts, _periods, _heads,
                    _at_once)
             AS new (id, queue, priority, memory, share, key, concurrency, count, period, head_at, at_once)
        LEFT JOIN pumasi.lane ON lane.id = new.id
        WHERE lane.head_at IS NULL OR lane.head_at > least(new.head_at, CASE WHEN at_once THEN _now END)
           OR new.key = ANY (_freed)
        UNION ALL
        SELECT id, queue, priority, memory, share, key, concurrency, count, period, NULL::float8
        FROM pumasi.lane
        WHERE closed_until IS NOT NULL AND key = ANY (_freed) AND NOT id = ANY (_lanes)
        ORDER BY 1
    ) AS lanes
    ON CONFLICT (id) DO UPDATE SET
        head_at = least(known.head_at, excluded.head_at),
        closed_until = CASE WHEN known.key = ANY (_freed) THEN NULL ELSE known.closed_until END;
END $$;

-- Store new jobs: all but those that are there, or none. One row of answer for each that was asked for:
-- ('fresh', its place, …), ('known', its place, …, the record), or one row ('conflict', its place, the kind of the key,
-- …, the holder's record), ('full', 0, queue, bound).
CREATE FUNCTION pumasi.insert_jobs(
    _now float8, _max_pending bigint, _queue_names text[], _coming bigint[], _keyed boolean, _ids text[],
    _queues text[], _scripts text[], _run_ats float8[], _expires float8[], _digests uuid[], _parents uuid[],
    _unique uuid[], _idempotency uuid[], _hashes text[], _records bytea[], _job_lanes uuid[], _label_jobs integer[],
    _labels uuid[], _lanes uuid[], _lane_queues text[], _priorities integer[], _memories bigint[], _shares uuid[],
    _keys uuid[], _concurrencies bigint[], _counts bigint[], _periods float8[], _heads float8[], _at_once boolean[]
) RETURNS TABLE (
    kind text, place integer, detail text, bound bigint, at float8, "seq" bigint, "id" text, "record" bytea,
    "state" text, "attempt" integer, "worker" text, "claim_id" text, "token" text, "lease_until" float8,
    "claimed_at" float8, "started_at" float8, "progress" bytea, "created_at" float8, "run_at" float8,
    "revision" bigint, "change" bigint
) LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    moment float8 := pumasi.moment(_now);
    fresh boolean[];
    holders text[] := _ids;
    conflict integer;
    full_name text;
    full_bound bigint;
    seqs bigint[];
    changes bigint[];
    stored bigint;
BEGIN
    IF _keyed THEN
        SELECT s.fresh, s.holders, s.conflict, s.conflict_kind INTO fresh, holders, conflict, detail
        FROM pumasi.sort_out(_ids, _unique, _idempotency, _hashes, false) AS s;
        IF conflict IS NOT NULL THEN
            RETURN QUERY SELECT 'conflict', conflict, detail, array_position(_ids, holders[conflict])::bigint, moment,
                                known.*
            FROM (SELECT) AS one LEFT JOIN pumasi.record AS known ON known.id = holders[conflict];
            RETURN;
        END IF;
    END IF;
    SELECT f.name, f.most INTO full_name, full_bound
    FROM pumasi.full_queue(_queue_names, _coming, _max_pending) AS f;
    IF full_name IS NOT NULL THEN
        -- those that are there need no room
        SELECT f.name, f.most INTO full_name, full_bound
        FROM (SELECT array_agg(queue) AS queues, array_agg(n) AS n
              FROM (SELECT queue, count(*) AS n
                    FROM unnest(_ids, _queues, fresh) WITH ORDINALITY AS new (id, queue, fresh, place)
                    WHERE fresh IS NOT false AND NOT EXISTS (SELECT FROM pumasi.job WHERE job.id = new.id)
                    GROUP BY queue ORDER BY min(new.place)) AS coming) AS coming
        CROSS JOIN LATERAL pumasi.full_queue(coming.queues, coming.n, _max_pending) AS f;
    END IF;
    IF full_name IS NOT NULL THEN
        RETURN QUERY SELECT 'full', 0, full_name, full_bound, moment, known.*
        FROM (SELECT) AS one LEFT JOIN pumasi.record AS known ON false;
        RETURN;
    END IF;
    PERFORM pumasi.begin_changes();
    PERFORM pumasi.share_lanes(_lanes);
    SELECT array_agg(given.seq), array_agg(given.change) INTO seqs, changes
    FROM (SELECT CASE WHEN new.fresh THEN nextval('pumasi.seqs') END AS seq,
                 CASE WHEN new.fresh THEN nextval('pumasi.changes') END AS change
          FROM (SELECT given.fresh IS NOT false AND job.seq IS NULL AS fresh
                FROM unnest(_ids, fresh) WITH ORDINALITY AS given (id, fresh, place)
                LEFT JOIN pumasi.job ON job.id = given.id
                ORDER BY given.place) AS new) AS given;
    INSERT INTO pumasi.job (seq, id, state, queue, script, cause, dead, created_at, run_at, digest, parent, unique_key,
                            idempotency_key, body_hash, attempt, revision, change)
    SELECT new.seq, new.id, 'pending', new.queue, new.script, '', false, moment, coalesce(new.run_at, moment), new.digest,
           new.parent, new.unique_key, new.idempotency_key, new.body_hash, 0, 1, new.change
    FROM unnest(seqs, changes, _ids, _queues, _scripts, _run_ats, _digests, _parents, _unique, _idempotency, _hashes)
         AS new (seq, change, id, queue, script, run_at, digest, parent, unique_key, idempotency_key, body_hash)
    WHERE new.seq IS NOT NULL
    ORDER BY new.id
    ON CONFLICT (id) DO NOTHING;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored < num_nonnulls(VARIADIC seqs) THEN
        -- somebody else has just stored one of these
        SELECT array_agg(job.seq ORDER BY given.place),
               array_agg(CASE WHEN job.seq IS NOT NULL THEN given.change END ORDER BY given.place) INTO seqs, changes
        FROM unnest(seqs, changes) WITH ORDINALITY AS given (seq, change, place)
        LEFT JOIN pumasi.job ON job.seq = given.seq;
    END IF;
    INSERT INTO pumasi.body (job, record)
    SELECT new.seq, new.record FROM unnest(seqs, _records) AS new (seq, record) WHERE new.seq IS NOT NULL;
    INSERT INTO pumasi.waiting (job, lane, run_at, id, expires_at)
    SELECT new.seq, new.lane, coalesce(new.run_at, moment), new.id, new.expires_at
    FROM unnest(seqs, _job_lanes, _run_ats, _ids, _expires) AS new (seq, lane, run_at, id, expires_at)
    WHERE new.seq IS NOT NULL;
    IF cardinality(_labels) > 0 THEN
        INSERT INTO pumasi.label (label, job)
        SELECT DISTINCT label, seqs[place] FROM unnest(_label_jobs, _labels) AS labels (place, label)
        WHERE seqs[place] IS NOT NULL;
    END IF;
    INSERT INTO pumasi.tally (queue, state, script, cause, n)
    SELECT new.queue, 'pending', new.script, '', count(*)
    FROM unnest(seqs, _queues, _scripts) AS new (seq, queue, script) WHERE new.seq IS NOT NULL GROUP BY 1, 3;
    PERFORM pumasi.extend_lanes(_lanes, _lane_queues, _priorities, _memories, _shares, _keys, _concurrencies, _counts,
                                _periods, _heads, moment, _at_once, '{}');
    IF num_nonnulls(VARIADIC seqs) = cardinality(seqs) THEN
        RETURN QUERY
        SELECT 'fresh', given.place::integer, NULL::text, NULL::bigint, moment, given.seq, NULL::text, NULL::bytea,
               NULL::text, NULL::integer, NULL::text, NULL::text, NULL::text, NULL::float8, NULL::float8, NULL::float8,
               NULL::bytea, NULL::float8, NULL::float8, 1::bigint, given.change
        FROM unnest(seqs, changes) WITH ORDINALITY AS given (seq, change, place);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT CASE WHEN given.change IS NULL THEN 'known' ELSE 'fresh' END, given.place::integer, NULL::text, NULL::bigint,
           moment, known.seq, known.id, known.record, known.state, known.attempt, known.worker, known.claim_id,
           known.token, known.lease_until, known.claimed_at, known.started_at, known.progress, known.created_at,
           known.run_at, known.revision, coalesce(given.change, known.change)
    FROM unnest(holders, changes) WITH ORDINALITY AS given (id, change, place)
    LEFT JOIN pumasi.record AS known ON known.id = given.id
    ORDER BY given.place;
END $$;

-- Records of another broker, as they stand: jobs that wait (with a lane) or have ended. How many were new; or a key that
-- another job holds: then nothing is stored.
CREATE FUNCTION pumasi.adopt_jobs(
    _ids text[], _states text[], _queues text[], _scripts text[], _causes text[], _dead boolean[], _created_ats float8[],
    _run_ats float8[], _started_ats float8[], _ended_ats float8[], _expires float8[], _digests uuid[], _parents uuid[],
    _unique uuid[], _idempotency uuid[], _hashes text[], _attempts integer[], _progress bytea[], _records bytea[],
    _job_lanes uuid[], _label_jobs integer[], _labels uuid[], _lanes uuid[], _lane_queues text[], _priorities integer[],
    _memories bigint[], _shares uuid[], _keys uuid[], _concurrencies bigint[], _counts bigint[], _periods float8[],
    _heads float8[], _at_once boolean[], _log_jobs integer[], _log_seqs bigint[], _log_ats float8[], _log_streams text[],
    _log_data bytea[],
    OUT new bigint, OUT conflict integer, OUT conflict_kind text, OUT holder text
) LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    fresh boolean[];
    holders text[];
BEGIN
    SELECT s.fresh, s.holders, s.conflict, s.conflict_kind INTO fresh, holders, conflict, conflict_kind
    FROM pumasi.sort_out(
        _ids, ARRAY(SELECT CASE state WHEN 'pending' THEN key END FROM unnest(_states, _unique) AS held (state, key)),
        _idempotency, _hashes, true) AS s;
    IF conflict IS NOT NULL THEN
        new := 0;
        holder := holders[conflict];
        RETURN;
    END IF;
    PERFORM pumasi.begin_changes();
    PERFORM pumasi.share_lanes(_lanes);
    WITH new AS MATERIALIZED (
        SELECT nextval('pumasi.changes') AS change, nextval('pumasi.seqs') AS seq, given.*
        FROM (SELECT * FROM unnest(_ids, _states, _queues, _scripts, _causes, _dead, _created_ats, _run_ats, _started_ats,
                                   _ended_ats, _expires, _digests, _parents, _unique, _idempotency, _hashes, _attempts,
                                   _progress, _records, _job_lanes, fresh) WITH ORDINALITY
                  AS given (id, state, queue, script, cause, dead, created_at, run_at, started_at, ended_at, expires_at,
                            digest, parent, unique_key, idempotency_key, body_hash, attempt, progress, record, lane,
                            fresh, place)
              WHERE given.fresh
              ORDER BY place) AS given
    ), added AS (
        INSERT INTO pumasi.job (seq, id, state, queue, script, cause, dead, created_at, run_at, started_at, ended_at,
                                digest, parent, unique_key, idempotency_key, body_hash, progress, attempt, revision,
                                change)
        SELECT seq, id, state, queue, script, cause, dead, created_at, run_at, started_at, ended_at, digest, parent,
               unique_key, idempotency_key, body_hash, progress, attempt, 1, change
        FROM new ORDER BY id
        ON CONFLICT (id) DO NOTHING
        RETURNING seq, id, state, queue, script, cause
    ), texts AS (
        INSERT INTO pumasi.body (job, record) SELECT seq, record FROM new JOIN added USING (seq)
    ), lines AS (
        INSERT INTO pumasi.waiting (job, lane, run_at, id, expires_at)
        SELECT seq, lane, run_at, new.id, expires_at FROM new JOIN added USING (seq) WHERE added.state = 'pending'
    ), marks AS (
        INSERT INTO pumasi.label (label, job)
        SELECT DISTINCT label, seq
        FROM unnest(_label_jobs, _labels) AS labels (place, label) JOIN new USING (place) JOIN added USING (seq)
    ), logs AS (
        INSERT INTO pumasi.log (job, seq, at, stream, data)
        SELECT new.seq, logs.seq, at, stream, data
        FROM unnest(_log_jobs, _log_seqs, _log_ats, _log_streams, _log_data) AS logs (place, seq, at, stream, data)
        JOIN new USING (place) JOIN added ON added.seq = new.seq
        ON CONFLICT DO NOTHING
    ), counted AS (
        INSERT INTO pumasi.tally (queue, state, script, cause, n)
        SELECT queue, state, script, cause, count(*) FROM added GROUP BY queue, state, script, cause
    )
    SELECT count(*) INTO new FROM added;
    PERFORM pumasi.extend_lanes(_lanes, _lane_queues, _priorities, _memories, _shares, _keys, _concurrencies, _counts,
                                _periods, _heads, 0, _at_once, '{}');
END $$;

-- == compare and swap ==

-- For each pair: the next state of a job, if nobody changed it and, with _same_lease, nobody extended its lease. The
-- pairs come in order of id. A lane is given with each job that is to wait; _locks are those of the keys of its jobs.
CREATE FUNCTION pumasi.swap_jobs(
    _same_lease boolean, _ids text[], _old_states text[], _revisions bigint[], _old_leases float8[], _states text[],
    _causes text[], _dead boolean[], _run_ats float8[], _started_ats float8[], _ended_ats float8[], _attempts integer[],
    _cancels boolean[], _records bytea[], _expires float8[], _job_lanes uuid[], _job_keys uuid[], _lanes uuid[],
    _lane_queues text[], _priorities integer[], _memories bigint[], _shares uuid[], _keys uuid[],
    _concurrencies bigint[], _counts bigint[], _periods float8[], _heads float8[], _at_once boolean[]
) RETURNS TABLE (place integer, started_at float8, progress bytea, revision bigint, change bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    known record;
    before record;
    next_change bigint;
    swapped boolean[] := array_fill(false, ARRAY[cardinality(_ids)]);
BEGIN
    PERFORM pumasi.lock_keys(ARRAY(SELECT uuid_hash(key) FROM unnest(_job_keys) AS key WHERE key IS NOT NULL));
    PERFORM pumasi.begin_changes();
    PERFORM pumasi.share_lanes(_lanes);
    FOR n IN 1 .. cardinality(_ids) LOOP
        SELECT seq, queue, script, cause INTO known FROM pumasi.job WHERE id = _ids[n];
        CONTINUE WHEN NOT FOUND;
        IF _old_states[n] = 'running' AND _states[n] = 'running' THEN
            UPDATE pumasi.run
            SET revision = run.revision + 1, change = nextval('pumasi.changes'), cancel_requested = _cancels[n],
                started_at = coalesce(run.started_at, _started_ats[n])
            WHERE job = known.seq AND revision = _revisions[n] AND (NOT _same_lease OR lease_until = _old_leases[n])
            RETURNING run.started_at, run.progress, run.change INTO before;
        ELSIF _old_states[n] = 'running' THEN
            DELETE FROM pumasi.run
            WHERE job = known.seq AND revision = _revisions[n] AND (NOT _same_lease OR lease_until = _old_leases[n])
            RETURNING run.started_at, run.progress INTO before;
        ELSIF _old_states[n] = 'pending' THEN
            DELETE FROM pumasi.waiting USING pumasi.job
            WHERE waiting.job = known.seq AND job.seq = known.seq AND job.revision = _revisions[n]
            RETURNING job.started_at, job.progress INTO before;
        ELSE
            SELECT job.started_at, job.progress INTO before FROM pumasi.job
            WHERE seq = known.seq AND revision = _revisions[n] AND state = _old_states[n] FOR UPDATE;
        END IF;
        CONTINUE WHEN NOT FOUND;
        IF _states[n] = 'running' THEN
            next_change := before.change;
        ELSE
            next_change := nextval('pumasi.changes');
            UPDATE pumasi.job
            SET state = _states[n], cause = _causes[n], dead = _dead[n], run_at = _run_ats[n],
                started_at = coalesce(before.started_at, _started_ats[n]), ended_at = _ended_ats[n],
                progress = before.progress, attempt = _attempts[n], revision = _revisions[n] + 1, change = next_change
            WHERE seq = known.seq;
        END IF;
        UPDATE pumasi.body SET record = _records[n] WHERE job = known.seq;
        IF _states[n] = 'pending' THEN
            INSERT INTO pumasi.waiting (job, lane, run_at, id, expires_at)
            VALUES (known.seq, _job_lanes[n], _run_ats[n], _ids[n], _expires[n]);
        END IF;
        IF _old_states[n] <> _states[n] OR known.cause <> _causes[n] THEN
            INSERT INTO pumasi.tally (queue, state, script, cause, n)
            VALUES (known.queue, _old_states[n], known.script, known.cause, -1),
                   (known.queue, _states[n], known.script, _causes[n], 1);
        END IF;
        swapped[n] := true;
        place := n;
        started_at := coalesce(before.started_at, _started_ats[n]);
        progress := before.progress;
        revision := _revisions[n] + 1;
        change := next_change;
        RETURN NEXT;
    END LOOP;
    IF cardinality(_lanes) > 0 OR num_nonnulls(VARIADIC _job_keys) > 0 THEN
        PERFORM pumasi.extend_lanes(
            _lanes, _lane_queues, _priorities, _memories, _shares, _keys, _concurrencies, _counts, _periods, _heads, 0, _at_once,
            ARRAY(SELECT DISTINCT key FROM unnest(_job_keys, _states, swapped) AS keys (key, state, done)
                  WHERE key IS NOT NULL AND done AND state <> 'running'));
    END IF;
END $$;

-- == claims ==

-- when one more may start under a limit: now or earlier means at once, NULL when a run under its key has ended
CREATE FUNCTION pumasi.free_at(
    _key uuid, _concurrency bigint, _count bigint, _period float8, _added bigint, _now float8, OUT free float8,
    OUT room bigint
) LANGUAGE plpgsql AS $$
DECLARE
    starts bigint;
BEGIN
    free := _now;
    room := 9223372036854775807;
    IF _concurrency IS NOT NULL THEN
        room := _concurrency - _added - (SELECT count(*) FROM pumasi.run WHERE key IS NOT NULL AND key = _key);
        IF room <= 0 THEN
            free := NULL;
            RETURN;
        END IF;
    END IF;
    IF _count IS NOT NULL THEN
        SELECT count(*) INTO starts FROM pumasi.start WHERE key = _key AND at > _now - _period;
        room := least(room, _count - _added - starts);
        IF room <= 0 AND _added >= _count THEN
            free := _now + _period;
        ELSIF room <= 0 THEN
            SELECT at + _period INTO free FROM pumasi.start WHERE key = _key AND at > _now - _period
            ORDER BY at DESC OFFSET _count - _added - 1 LIMIT 1;
        END IF;
    END IF;
END $$;

-- Hold the lock of a key. A claim that holds no row may wait for it; one that does must not, and starts over (PU001).
-- One that has lost its patience does without; whether it is held.
CREATE FUNCTION pumasi.hold_key(_key uuid, _patient boolean, _may_wait boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF _may_wait THEN
        PERFORM pg_advisory_xact_lock(hashtext('pumasi.key'), uuid_hash(_key));
    ELSIF NOT pg_try_advisory_xact_lock(hashtext('pumasi.key'), uuid_hash(_key)) THEN
        IF _patient THEN
            RAISE EXCEPTION 'another is at this key' USING ERRCODE = 'PU001', DETAIL = uuid_hash(_key)::text;
        END IF;
        RETURN false;
    END IF;
    RETURN true;
END $$;

-- The lanes that a claim looks into first: of each ordinary queue and priority the best, of a fair queue all.
CREATE FUNCTION pumasi.first_lanes(_queues text[], _memory bigint, _now float8) RETURNS pumasi.candidate[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT (lane.id, lane.queue, asked.fair, asked.ageing, lane.priority, lane.memory, lane.share, lane.key,
                lane.concurrency, lane.count, lane.period, lane.head_at,
                CASE WHEN asked.fair THEN (
                    SELECT count(*) FROM pumasi.run WHERE run.queue = lane.queue AND run.share = lane.share) ELSE 0 END,
                CASE WHEN asked.fair THEN coalesce((
                    SELECT served FROM pumasi.turn WHERE turn.queue = lane.queue AND turn.share = lane.share), 0) ELSE 0
                END,
                false, lane.priority + coalesce(floor(greatest(0, _now - lane.head_at) / asked.ageing), 0), lane.head_at,
                '')::pumasi.candidate
        FROM (SELECT name, coalesce(queue.fair, false) AS fair, queue.ageing
              FROM unnest(_queues) AS name LEFT JOIN pumasi.queue USING (name)) AS asked
        CROSS JOIN generate_series(0, 9) AS level
        CROSS JOIN LATERAL (
            SELECT * FROM pumasi.lane
            WHERE lane.queue = asked.name AND lane.priority = level AND head_at IS NOT NULL AND closed_until IS NULL
              AND head_at <= _now AND lane.memory <= _memory
            ORDER BY head_at, id LIMIT CASE WHEN asked.fair THEN NULL ELSE 1 END) AS lane);
END $$;

-- the lane that comes after one of an ordinary queue
CREATE FUNCTION pumasi.next_lane(_after pumasi.candidate, _memory bigint, _now float8, OUT lane pumasi.candidate)
LANGUAGE plpgsql AS $$
DECLARE
    found record;
BEGIN
    SELECT * INTO found FROM pumasi.lane AS l
    WHERE l.queue = _after.queue AND l.priority = _after.priority AND l.head_at IS NOT NULL AND l.closed_until IS NULL
      AND (l.head_at, l.id) > (_after.head_at, _after.lane) AND l.head_at <= _now AND l.memory <= _memory
    ORDER BY l.head_at, l.id LIMIT 1;
    IF found.id IS NOT NULL THEN
        lane := (found.id, found.queue, false, _after.ageing, found.priority, found.memory, found.share, found.key,
                 found.concurrency, found.count, found.period, found.head_at, 0, 0, false,
                 found.priority + coalesce(floor(greatest(0, _now - found.head_at) / _after.ageing), 0), found.head_at,
                 '')::pumasi.candidate;
    END IF;
END $$;

-- Which of the lanes in play has the job that comes next, and which would come after it. A fair queue offers one, the
-- first by turn; what the queues offer goes by level, due time, id.
CREATE FUNCTION pumasi.best_two(_pool pumasi.candidate[], OUT best integer, OUT rival integer) LANGUAGE plpgsql AS $$
DECLARE
    places bigint[];
BEGIN
    IF cardinality(_pool) = 1 THEN
        best := 1;
        RETURN;
    END IF;
    places := ARRAY(
        SELECT place FROM (
            SELECT DISTINCT ON (line) place, level, at, id
            FROM (SELECT *, CASE WHEN fair THEN queue ELSE lane::text END AS line
                  FROM unnest(_pool) WITH ORDINALITY AS c (
                      lane, queue, fair, ageing, priority, memory, share, key, concurrency, count, period, head_at,
                      running, served, opened, level, at, id, place)) AS lines
            ORDER BY line, level DESC, running, served, at, id COLLATE "C") AS offers
        ORDER BY level DESC, at, id COLLATE "C" LIMIT 2);
    best := places[1];
    rival := places[2];
END $$;

-- The lanes in play once some jobs of a share were chosen: it has more that run, and was served last.
CREATE FUNCTION pumasi.served(_pool pumasi.candidate[], _queue text, _share uuid, _n integer, _served bigint)
RETURNS pumasi.candidate[] LANGUAGE plpgsql AS $$
DECLARE
    c pumasi.candidate;
BEGIN
    FOR n IN 1 .. cardinality(_pool) LOOP
        c := _pool[n];
        IF c.queue = _queue AND c.share = _share THEN
            c.running := c.running + _n;
            c.served := _served;
            _pool[n] := c;
        END IF;
    END LOOP;
    RETURN _pool;
END $$;

-- The jobs that a claim gets, best first, as `core.order` has it: a merge of lanes. When the turn of a lane comes, its
-- jobs are taken as far as they come before the best of any other lane; rows that others hold are passed over.
-- Looked at: lanes whose beginning may have moved. Blocked: lanes whose key is not free, and until when.
CREATE FUNCTION pumasi.choose(
    _queues text[], _slots integer, _memory bigint, _now float8, _patient boolean, _may_wait boolean,
    OUT jobs bigint[], OUT looked_at uuid[], OUT blocked uuid[], OUT blocked_until float8[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    pool pumasi.candidate[] := pumasi.first_lanes(_queues, _memory, _now);
    c pumasi.candidate;
    rival pumasi.candidate;
    best integer;
    second integer;
    keys uuid[] := '{}';
    served bigint := 4611686018427387904;
    most bigint;
    key_free float8;
    key_room bigint;
    upto_at float8;
    upto_id text;
    found bigint[];
    ats float8[];
    ids text[];
BEGIN
    jobs := '{}';
    looked_at := '{}';
    blocked := '{}';
    blocked_until := '{}';
    WHILE cardinality(pool) > 0 AND cardinality(jobs) < _slots LOOP
        SELECT b.best, b.rival INTO best, second FROM pumasi.best_two(pool) AS b;
        c := pool[best];
        IF NOT c.opened AND NOT c.fair THEN
            rival := pumasi.next_lane(c, _memory, _now);
            IF rival.lane IS NOT NULL THEN
                pool := pool || rival;
            END IF;
        END IF;
        most := least(_slots - cardinality(jobs), CASE WHEN c.memory > 0 THEN _memory / c.memory END);
        IF most > 0 AND c.key IS NOT NULL THEN
            IF pumasi.hold_key(c.key, _patient, _may_wait AND cardinality(jobs) = 0) THEN
                _may_wait := false;
                SELECT f.free, f.room INTO key_free, key_room
                FROM pumasi.free_at(c.key, c.concurrency, c.count, c.period,
                                    cardinality(array_positions(keys, c.key)), _now) AS f;
            ELSE
                key_free := _now + 0.05;
                key_room := 0;
            END IF;
            most := least(most, key_room);
            IF most <= 0 THEN
                blocked := blocked || c.lane;
                blocked_until := blocked_until || coalesce(key_free, 'infinity');
            END IF;
        END IF;
        IF most <= 0 THEN
            pool := pool[: best - 1] || pool[best + 1 :];
            CONTINUE;
        END IF;
        IF NOT c.opened THEN
            looked_at := looked_at || c.lane;
            c.opened := true;
            SELECT w.run_at, w.id INTO c.at, c.id FROM pumasi.waiting AS w
            WHERE w.lane = c.lane AND w.run_at >= c.head_at AND w.run_at <= _now
              AND (w.expires_at IS NULL OR w.expires_at > _now)
            ORDER BY w.run_at, w.id LIMIT 1;
        ELSE
            upto_at := 'infinity';
            upto_id := '';
            IF cardinality(pool) > 1 AND (c.fair OR c.ageing IS NOT NULL) THEN
                most := 1;
                upto_at := c.at;
                upto_id := c.id;
            ELSIF second IS NOT NULL THEN
                rival := pool[second];
                IF rival.level >= c.level THEN
                    upto_at := rival.at;
                    upto_id := rival.id;
                END IF;
            END IF;
            SELECT array_agg(f.job), array_agg(f.run_at), array_agg(f.id) INTO found, ats, ids FROM (
                SELECT w.job, w.run_at, w.id FROM pumasi.waiting AS w
                WHERE w.lane = c.lane AND (w.run_at, w.id) >= (c.at, c.id) AND w.run_at <= _now
                  AND (w.run_at, w.id) <= (upto_at, upto_id) AND (w.expires_at IS NULL OR w.expires_at > _now)
                ORDER BY w.run_at, w.id LIMIT most FOR UPDATE SKIP LOCKED) AS f;
            found := coalesce(found, '{}');
            jobs := jobs || found;
            _memory := _memory - cardinality(found) * c.memory;
            IF c.key IS NOT NULL THEN
                keys := keys || array_fill(c.key, ARRAY[cardinality(found)]);
            END IF;
            IF c.fair THEN
                served := served + 1;
                pool := pumasi.served(pool, c.queue, c.share, cardinality(found), served);
                c := pool[best];
            END IF;
            EXIT WHEN cardinality(jobs) = _slots;
            IF cardinality(found) = most THEN
                upto_at := ats[most];
                upto_id := ids[most];
            END IF;
            SELECT w.run_at, w.id INTO c.at, c.id FROM pumasi.waiting AS w
            WHERE w.lane = c.lane AND (w.run_at, w.id) > (upto_at, upto_id) AND w.run_at <= _now
              AND (w.expires_at IS NULL OR w.expires_at > _now)
            ORDER BY w.run_at, w.id LIMIT 1;
        END IF;
        IF c.at IS NULL THEN
            pool := pool[: best - 1] || pool[best + 1 :];
        ELSE
            c.level := c.priority + coalesce(floor(greatest(0, _now - c.at) / c.ageing), 0);
            pool[best] := c;
        END IF;
    END LOOP;
END $$;

-- Say of lanes that were looked at where they begin now, and which are closed: of those nobody else is at. A lane that
-- many put jobs into is left alone while it is at most a second behind.
CREATE FUNCTION pumasi.mark_lanes(_looked_at uuid[], _blocked uuid[], _until float8[], _now float8) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    mine uuid[];
BEGIN
    mine := ARRAY(
        SELECT id FROM pumasi.lane
        WHERE id = ANY (_looked_at) AND CASE
            WHEN (key IS NOT NULL OR share <> '00000000-0000-0000-0000-000000000000' OR head_at < _now - 1)
                 AND NOT EXISTS (SELECT FROM pumasi.waiting
                                 WHERE lane = lane.id AND run_at >= head_at AND run_at <= head_at + 1)
            THEN pg_try_advisory_xact_lock(hashtext('pumasi.lane'), pumasi.stripe(id)) ELSE false END
        FOR UPDATE SKIP LOCKED);
    IF cardinality(mine) > 0 THEN
        UPDATE pumasi.lane
        SET head_at = (SELECT run_at FROM pumasi.waiting WHERE waiting.lane = lane.id ORDER BY run_at, id LIMIT 1)
        WHERE id = ANY (mine);
    END IF;
    IF cardinality(_blocked) > 0 THEN
        mine := ARRAY(SELECT id FROM pumasi.lane WHERE id = ANY (_blocked) FOR UPDATE SKIP LOCKED);
        UPDATE pumasi.lane SET closed_until = blocked.until
        FROM unnest(_blocked, _until) AS blocked (lane, until) WHERE id = blocked.lane AND id = ANY (mine);
    END IF;
END $$;

-- when these queues may have something that they have not now
CREATE FUNCTION pumasi.next_at(_queues text[], _looked_at uuid[], _until float8[], _now float8) RETURNS float8
LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT nullif(least(
        (SELECT min(at) FROM unnest(_until) AS at),
        (SELECT min((SELECT run_at FROM pumasi.waiting WHERE lane = seen AND run_at > _now ORDER BY run_at LIMIT 1))
         FROM unnest(_looked_at) AS seen),
        (SELECT min((SELECT min(first.head_at) FROM generate_series(0, 9) AS level CROSS JOIN LATERAL (
                         SELECT head_at FROM pumasi.lane
                         WHERE lane.queue = name AND lane.priority = level AND head_at IS NOT NULL
                           AND closed_until IS NULL AND head_at > _now
                         ORDER BY head_at LIMIT 1) AS first))
         FROM unnest(_queues) AS name),
        (SELECT min((SELECT closed_until FROM pumasi.lane
                     WHERE lane.queue = name AND closed_until IS NOT NULL AND closed_until > _now
                     ORDER BY closed_until LIMIT 1))
         FROM unnest(_queues) AS name),
        (SELECT lease_until FROM pumasi.run WHERE lease_until > _now AND queue = ANY (_queues)
         ORDER BY lease_until LIMIT 1)), 'infinity'));
END $$;

-- Hand the chosen jobs out: they leave the line, and run.
CREATE FUNCTION pumasi.lease_jobs(
    _jobs bigint[], _worker text, _claim uuid, _claim_id text, _tokens text[], _lease float8, _now float8
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pumasi.begin_changes();
    WITH gone AS (
        DELETE FROM pumasi.waiting WHERE job = ANY (_jobs)
    ), chosen AS MATERIALIZED (
        SELECT chosen.place, job.seq, job.id, job.queue, job.script, job.cause, job.attempt, job.revision, lane.memory,
               lane.share, lane.key, lane.count, lane.period
        FROM unnest(_jobs) WITH ORDINALITY AS chosen (seq, place)
        JOIN pumasi.job ON job.seq = chosen.seq
        JOIN pumasi.waiting ON waiting.job = chosen.seq
        JOIN pumasi.lane ON lane.id = waiting.lane
        ORDER BY place
    ), taken AS (
        INSERT INTO pumasi.run (job, id, queue, memory, share, key, worker, claim, claim_id, token, attempt, lease_until,
                                claimed_at, cancel_requested, revision, change)
        SELECT seq, id, queue, memory, share, key, _worker, _claim, _claim_id, _tokens[place], attempt + 1,
               _now + _lease, _now, false, revision + 1, nextval('pumasi.changes')
        FROM chosen
        RETURNING queue, share, change
    ), counted AS (
        INSERT INTO pumasi.tally (queue, state, script, cause, n)
        SELECT queue, state, script, cause, sum(n)
        FROM chosen CROSS JOIN (VALUES ('pending', -1), ('running', 1)) AS sides (state, n)
        GROUP BY queue, state, script, cause
    ), rates AS (
        INSERT INTO pumasi.rate AS known (key, period)
        SELECT key, max(period) FROM chosen WHERE count IS NOT NULL GROUP BY key
        ON CONFLICT (key) DO UPDATE SET period = greatest(known.period, excluded.period)
    ), starts AS (
        INSERT INTO pumasi.start (key, at) SELECT key, _now FROM chosen WHERE count IS NOT NULL
    )
    INSERT INTO pumasi.turn AS known (queue, share, served)
    SELECT taken.queue, taken.share, max(taken.change)
    FROM taken JOIN pumasi.queue ON queue.name = taken.queue AND queue.fair
    GROUP BY 1, 2
    ON CONFLICT (queue, share) DO UPDATE SET served = excluded.served;
END $$;

-- Take: the leases that a claim id still holds, else new ones. A row for each; or one without a job: whether a run that
-- this claim could have has lapsed, and when something is next due.
CREATE FUNCTION pumasi.take_jobs(
    _now float8, _worker text, _claim uuid, _claim_id text, _queues text[], _slots integer, _memory bigint, _lease float8,
    _tokens text[], _calm boolean, _locks integer[], _patient boolean
) RETURNS TABLE (
    moment float8, lapsed boolean, next_at float8, "seq" bigint, "id" text, "record" bytea, "state" text,
    "attempt" integer, "worker" text, "claim_id" text, "token" text, "lease_until" float8, "claimed_at" float8,
    "started_at" float8, "progress" bytea, "created_at" float8, "run_at" float8, "revision" bigint, "change" bigint
) LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    jobs bigint[];
    looked_at uuid[] := '{}';
    blocked uuid[] := '{}';
    blocked_until float8[];
    woken bigint;
BEGIN
    moment := pumasi.moment(_now);
    PERFORM pg_advisory_xact_lock(hashtext('pumasi.claim'), uuid_hash(_claim));
    jobs := ARRAY(SELECT job FROM pumasi.run
                  WHERE claim = _claim AND claim_id = _claim_id AND worker = _worker AND lease_until > moment
                  ORDER BY id);
    lapsed := false;
    IF cardinality(jobs) = 0 AND _slots > 0 THEN
        _queues := ARRAY(SELECT name FROM unnest(_queues) AS name
                         WHERE NOT EXISTS (SELECT FROM pumasi.queue WHERE queue.name = name.name AND paused));
        lapsed := NOT _calm AND EXISTS (
            SELECT FROM pumasi.run WHERE lease_until <= moment AND memory <= _memory AND queue = ANY (_queues));
        IF NOT lapsed THEN
            PERFORM pg_advisory_xact_lock(hashtext('pumasi.fair'), lock)
            FROM (SELECT DISTINCT hashtext(name) AS lock FROM pumasi.queue
                  WHERE name = ANY (_queues) AND fair ORDER BY 1) AS locks;
            PERFORM pumasi.lock_keys(_locks);
            UPDATE pumasi.lane SET closed_until = NULL
            WHERE id IN (SELECT id FROM pumasi.lane
                         WHERE queue = ANY (_queues) AND closed_until IS NOT NULL AND closed_until <= moment
                         FOR UPDATE SKIP LOCKED);
            GET DIAGNOSTICS woken = ROW_COUNT;
            SELECT c.jobs, c.looked_at, c.blocked, c.blocked_until INTO jobs, looked_at, blocked, blocked_until
            FROM pumasi.choose(_queues, _slots, _memory, moment, _patient,
                               woken = 0 AND cardinality(_locks) = 0) AS c;
            IF cardinality(jobs) > 0 THEN
                PERFORM pumasi.lease_jobs(jobs, _worker, _claim, _claim_id, _tokens, _lease, moment);
            END IF;
            IF cardinality(looked_at || blocked) > 0 THEN
                PERFORM pumasi.mark_lanes(looked_at, blocked, blocked_until, moment);
            END IF;
        END IF;
    END IF;
    IF cardinality(jobs) = 0 AND NOT lapsed AND _slots > 0 THEN
        next_at := pumasi.next_at(_queues, looked_at, blocked_until, moment);
    END IF;
    RETURN QUERY
    SELECT moment, lapsed, next_at, known.*
    FROM unnest(CASE WHEN cardinality(jobs) = 0 THEN '{NULL}' ELSE jobs END) WITH ORDINALITY AS given (seq, place)
    LEFT JOIN pumasi.record AS known ON known.seq = given.seq
    ORDER BY given.place;
END $$;

-- Extend the leases whose token holds, and mark those sent as started; the worker is stored, or forgotten. First a row
-- that tells the time, then one for each lease that goes on, and whether its job was cancelled.
CREATE FUNCTION pumasi.extend_leases(
    _now float8, _hash uuid, _worker text, _record bytea, _stopped boolean, _ids text[], _tokens text[],
    _started boolean[], _lease float8
) RETURNS TABLE (moment float8, place integer, cancelled boolean) LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    moment := pumasi.moment(_now);
    RETURN NEXT;
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT run.job, given.started, given.place
        FROM unnest(_ids, _tokens, _started) WITH ORDINALITY AS given (id, token, started, place)
        JOIN pumasi.job ON job.id = given.id
        JOIN pumasi.run ON run.job = job.seq AND run.token = given.token
        ORDER BY run.id
        FOR UPDATE OF run
    )
    UPDATE pumasi.run
    SET lease_until = moment + _lease,
        started_at = coalesce(run.started_at, CASE WHEN held.started THEN moment END)
    FROM held WHERE run.job = held.job
    RETURNING moment, held.place::integer, run.cancel_requested;
    IF _stopped THEN
        DELETE FROM pumasi.worker WHERE hash = _hash;
    ELSE
        INSERT INTO pumasi.worker (hash, id, record, seen_at) VALUES (_hash, _worker, _record, moment)
        ON CONFLICT (hash) DO UPDATE SET record = excluded.record, seen_at = excluded.seen_at;
    END IF;
END $$;

-- take starts under a rate limit: 0, or seconds until there is room (then nothing is taken)
CREATE FUNCTION pumasi.acquire(_now float8, _key uuid, _count bigint, _period float8, _n bigint) RETURNS float8
LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moment float8;
    free float8;
    room bigint;
BEGIN
    PERFORM pumasi.lock_keys(ARRAY[uuid_hash(_key)]);
    moment := pumasi.moment(_now);
    SELECT f.free, f.room INTO free, room FROM pumasi.free_at(_key, NULL, _count, _period, _n - 1, moment) AS f;
    IF room <= 0 THEN
        RETURN free - moment;
    END IF;
    INSERT INTO pumasi.rate AS known (key, period) VALUES (_key, _period)
    ON CONFLICT (key) DO UPDATE SET period = greatest(known.period, excluded.period);
    INSERT INTO pumasi.start (key, at) SELECT _key, moment FROM generate_series(1, _n);
    RETURN 0;
END $$;

-- == logs ==

-- Add to the log of a run whose token holds, and drop what is between its first and its last bytes; false: it does not.
CREATE FUNCTION pumasi.append_log(
    _id text, _token text, _seqs bigint[], _ats float8[], _streams text[], _data bytea[], _progress bytea, _weight bigint,
    _head bigint, _tail bigint, _slack bigint
) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    mine bigint;
    bytes bigint;
    added bigint;
BEGIN
    SELECT run.job, run.log_bytes INTO mine, bytes
    FROM pumasi.job JOIN pumasi.run ON run.job = job.seq AND run.token = _token
    WHERE job.id = _id FOR UPDATE OF run;
    IF mine IS NULL THEN
        RETURN false;
    END IF;
    IF bytes IS NULL THEN
        SELECT coalesce(sum(length(data) + _weight), 0) INTO bytes FROM pumasi.log WHERE job = mine;
    END IF;
    WITH new AS (
        INSERT INTO pumasi.log (job, seq, at, stream, data)
        SELECT mine, seq, at, stream, data
        FROM unnest(_seqs, _ats, _streams, _data) AS records (seq, at, stream, data)
        ON CONFLICT (job, seq) DO NOTHING
        RETURNING length(data) + _weight AS size)
    SELECT coalesce(sum(size), 0) INTO added FROM new;
    bytes := bytes + added;
    IF bytes > _head + _tail + _slack THEN
        bytes := bytes - pumasi.trim_log(mine, _weight, _head, _tail);
    END IF;
    IF _progress IS NOT NULL THEN
        PERFORM pumasi.begin_changes();
        UPDATE pumasi.run SET log_bytes = bytes, progress = _progress, change = nextval('pumasi.changes')
        WHERE job = mine;
    ELSE
        UPDATE pumasi.run SET log_bytes = bytes WHERE job = mine;
    END IF;
    RETURN true;
END $$;

-- as `core.logbook.dropped` has it; how much was dropped
CREATE FUNCTION pumasi.trim_log(_job bigint, _weight bigint, _head bigint, _tail bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH sizes AS (
        SELECT seq, length(data) + _weight AS size, sum(length(data) + _weight) OVER (ORDER BY seq) AS upto
        FROM pumasi.log WHERE job = _job
    ), rest AS (
        SELECT seq, size, sum(size) OVER (ORDER BY seq) - size AS before, sum(size) OVER () - _tail AS excess
        FROM sizes WHERE upto > _head
    ), gone AS (
        DELETE FROM pumasi.log USING rest
        WHERE log.job = _job AND log.seq = rest.seq AND rest.before < rest.excess
        RETURNING rest.size
    )
    SELECT coalesce(sum(size), 0)::bigint FROM gone
$$;

-- == finding ==

-- Jobs changed after a position, in order of change: up to the position that nobody can still fall behind.
CREATE FUNCTION pumasi.changed(
    _after bigint, _limit bigint, _states text[], _queue text, _script text, _parent uuid, _since float8, _prefix text,
    _ids text[], _labels uuid[], _dead boolean
) RETURNS SETOF pumasi.record LANGUAGE plpgsql
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    last bigint := pumasi.position();
BEGIN
    RETURN QUERY
    SELECT known.* FROM (
        SELECT seq, change FROM (
            (SELECT job.seq, job.change FROM pumasi.job
             WHERE job.change > _after AND job.change <= last
               AND NOT EXISTS (SELECT FROM pumasi.run WHERE run.job = job.seq)
               AND (_ids IS NULL OR id = ANY (_ids)) AND (_queue IS NULL OR queue = _queue)
               AND (_script IS NULL OR script = _script) AND (_parent IS NULL OR parent = _parent)
               AND (_since IS NULL OR created_at >= _since) AND (_prefix IS NULL OR starts_with(id, _prefix))
               AND (_dead IS NOT true OR dead) AND (_states IS NULL OR state = ANY (_states))
               AND (_labels IS NULL OR _labels <@ ARRAY(SELECT label FROM pumasi.label WHERE label.job = job.seq))
             ORDER BY job.change LIMIT _limit)
            UNION ALL
            (SELECT job.seq, run.change FROM pumasi.run JOIN pumasi.job ON job.seq = run.job
             WHERE run.change > _after AND run.change <= last
               AND (_ids IS NULL OR job.id = ANY (_ids)) AND (_queue IS NULL OR job.queue = _queue)
               AND (_script IS NULL OR script = _script) AND (_parent IS NULL OR parent = _parent)
               AND (_since IS NULL OR created_at >= _since) AND (_prefix IS NULL OR starts_with(job.id, _prefix))
               AND _dead IS NOT true AND (_states IS NULL OR 'running' = ANY (_states))
               AND (_labels IS NULL OR _labels <@ ARRAY(SELECT label FROM pumasi.label WHERE label.job = job.seq))
             ORDER BY run.change LIMIT _limit)) AS changes
        ORDER BY change LIMIT _limit) AS found
    JOIN pumasi.record AS known ON known.seq = found.seq
    ORDER BY found.change;
END $$;

-- == keeping ==

-- Forget some jobs that ended before, each ending by its own time, with all that hangs on them; how many.
CREATE FUNCTION pumasi.forget_jobs(_states text[], _before float8[], _limit bigint) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    gone bigint[];
    forgotten bigint;
BEGIN
    gone := ARRAY(
        SELECT seq FROM pumasi.job
        WHERE seq IN (SELECT old.seq FROM unnest(_states, _before) AS ended (state, before) CROSS JOIN LATERAL (
                          SELECT seq FROM pumasi.job
                          WHERE job.state = ended.state AND ended_at IS NOT NULL AND ended_at < ended.before
                          ORDER BY ended_at LIMIT _limit) AS old)
        ORDER BY id LIMIT _limit FOR UPDATE SKIP LOCKED);
    IF cardinality(gone) = 0 THEN
        RETURN 0;
    END IF;
    DELETE FROM pumasi.body WHERE job = ANY (gone);
    DELETE FROM pumasi.log WHERE job = ANY (gone);
    DELETE FROM pumasi.label WHERE job = ANY (gone);
    WITH dropped AS (
        DELETE FROM pumasi.blob USING pumasi.job
        WHERE job.seq = ANY (gone) AND blob.job IS NOT NULL AND blob.job = job.id
        RETURNING version)
    INSERT INTO pumasi.doomed (version, after) SELECT version, 0 FROM dropped;
    WITH dropped AS (
        DELETE FROM pumasi.job WHERE seq = ANY (gone) RETURNING queue, state, script, cause
    ), counted AS (
        INSERT INTO pumasi.tally (queue, state, script, cause, n)
        SELECT queue, state, script, cause, -count(*) FROM dropped GROUP BY queue, state, script, cause)
    SELECT count(*) INTO forgotten FROM dropped;
    RETURN forgotten;
END $$;

-- Forget some bundles that no job refers to, and some blobs of jobs that are gone; how many of these there were at most.
CREATE FUNCTION pumasi.forget_blobs(_scripts_before float8, _strays_before float8, _limit bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    scripts bigint;
    strays bigint;
BEGIN
    WITH dropped AS (
        DELETE FROM pumasi.blob WHERE hash IN (
            SELECT hash FROM pumasi.blob
            WHERE at < _scripts_before AND digest IS NOT NULL
              AND NOT EXISTS (SELECT FROM pumasi.job WHERE job.digest IS NOT NULL AND job.digest = blob.digest)
            LIMIT _limit FOR UPDATE SKIP LOCKED)
        RETURNING version
    ), doomed AS (
        INSERT INTO pumasi.doomed (version, after) SELECT version, 0 FROM dropped)
    SELECT count(*) INTO scripts FROM dropped;
    WITH dropped AS (
        DELETE FROM pumasi.blob WHERE hash IN (
            SELECT hash FROM pumasi.blob
            WHERE at < _strays_before AND job IS NOT NULL
              AND NOT EXISTS (SELECT FROM pumasi.job WHERE job.id = blob.job)
            LIMIT _limit FOR UPDATE SKIP LOCKED)
        RETURNING version
    ), doomed AS (
        INSERT INTO pumasi.doomed (version, after) SELECT version, 0 FROM dropped)
    SELECT count(*) INTO strays FROM dropped;
    RETURN greatest(scripts, strays);
END $$;

-- Remove some chunks that belong to no blob; whether there may be more.
CREATE FUNCTION pumasi.remove_doomed(_now float8, _limit bigint) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    gone uuid;
    removed bigint;
BEGIN
    SELECT version INTO gone FROM pumasi.doomed WHERE after <= pumasi.moment(_now)
    ORDER BY after LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF gone IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM pumasi.chunk WHERE version = gone AND number IN (
        SELECT number FROM pumasi.chunk WHERE version = gone ORDER BY number LIMIT _limit);
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed < _limit THEN
        DELETE FROM pumasi.doomed WHERE version = gone;
    END IF;
    RETURN true;
END $$;

-- A part of a blob. The chunks of a new version are doomed from the start, and spared with the last, when the blob comes
-- to point to them: who dies between leaves nothing that will not be found.
CREATE FUNCTION pumasi.put_chunk(
    _now float8, _version uuid, _number integer, _data bytea, _patience float8, _last boolean, _hash uuid, _key text,
    _job text, _digest uuid, _size bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    earlier uuid;
BEGIN
    IF _data IS NOT NULL THEN
        INSERT INTO pumasi.chunk (version, number, data) VALUES (_version, _number, _data)
        ON CONFLICT (version, number) DO NOTHING;
    END IF;
    IF NOT _last THEN
        INSERT INTO pumasi.doomed (version, after) VALUES (_version, pumasi.moment(_now) + _patience)
        ON CONFLICT (version) DO UPDATE SET after = excluded.after;
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('pumasi.blob'), uuid_hash(_hash));
    SELECT version INTO earlier FROM pumasi.blob WHERE hash = _hash;
    IF earlier IS DISTINCT FROM _version THEN
        INSERT INTO pumasi.doomed (version, after) SELECT earlier, 0 WHERE earlier IS NOT NULL;
        INSERT INTO pumasi.blob (hash, key, version, job, digest, size, at)
        VALUES (_hash, _key, _version, _job, _digest, _size, pumasi.moment(_now))
        ON CONFLICT (hash) DO UPDATE SET version = excluded.version, size = excluded.size, at = excluded.at;
    END IF;
    DELETE FROM pumasi.doomed WHERE version = _version;
END $$;

-- Drop bookkeeping that has become empty, and sum up the counts.
CREATE FUNCTION pumasi.tidy(_now float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moment float8 := pumasi.moment(_now);
    empty uuid[];
    counted record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('pumasi.tidy'), 0) THEN
        RETURN;
    END IF;
    DELETE FROM pumasi.start USING pumasi.rate WHERE start.key = rate.key AND start.at <= moment - rate.period;
    DELETE FROM pumasi.turn
    WHERE NOT EXISTS (SELECT FROM pumasi.run WHERE run.queue = turn.queue AND run.share = turn.share)
      AND NOT EXISTS (SELECT FROM pumasi.lane JOIN pumasi.waiting ON waiting.lane = lane.id
                      WHERE lane.queue = turn.queue AND lane.share = turn.share);
    empty := ARRAY(
        SELECT key FROM pumasi.rate
        WHERE NOT EXISTS (SELECT FROM pumasi.start WHERE start.key = rate.key)
          AND pg_try_advisory_xact_lock(hashtext('pumasi.key'), uuid_hash(key))
        LIMIT 200);
    DELETE FROM pumasi.rate
    WHERE key = ANY (empty) AND NOT EXISTS (SELECT FROM pumasi.start WHERE start.key = rate.key);
    empty := ARRAY(
        SELECT id FROM pumasi.lane
        WHERE head_at IS NULL AND pg_try_advisory_xact_lock(hashtext('pumasi.lane'), pumasi.stripe(id))
        FOR UPDATE SKIP LOCKED);
    DELETE FROM pumasi.lane
    WHERE id = ANY (empty) AND NOT EXISTS (SELECT FROM pumasi.waiting WHERE waiting.lane = lane.id);
    FOR counted IN SELECT queue, state FROM pumasi.tally GROUP BY queue, state HAVING count(*) > 20 OR sum(n) = 0 LOOP
        PERFORM pumasi.sum_up(counted.queue, counted.state);
    END LOOP;
END $$;
