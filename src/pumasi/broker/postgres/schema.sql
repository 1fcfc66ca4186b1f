-- The tables, as version 1 has them. A change is a new section "-- version: N", run once, in order. A change of
-- functions.sql alone needs none. `pumasi.` stands for the schema that the URL names.
--
-- A job that has not ended has a row in waiting or in run, and in one of them only. Whoever takes that row out, or
-- changes it, is the one who may change the job: the row is its lock, and the two tables stay small and quick to vacuum
-- however many jobs are kept.
--
-- job      what is searched or ordered; written when a job comes, and when it waits again or ends
-- body     the record as JSON, as bytes: text cannot hold every text. Where a column says something else, it is right
-- waiting  jobs that wait;  run: jobs that run, and their leases
-- label    the labels of jobs, as digests: an index takes only short values
-- lane     what a claim chooses among: waiting jobs alike in queue, priority, memory, share and keyed limit, in order of
--          (due time, id). None of its jobs is due before head_at; NULL: it has none. It is closed while its key is not
--          free: until closed_until, 'infinity' until a run under the key ends. head_at may lag behind, never run ahead;
--          a lane may be open although its key is not free: both cost a claim a look, and the claim then puts it right.
-- turn     when those that share a fair queue were last served
-- start    starts under a rate limit;  rate: how far back they are looked at
-- tally    how many jobs there are by queue, state, script and cause, as additions and subtractions: nobody waits for
--          another to count, and somebody sums them up now and then
-- log      records of runs
-- blob     large things, in chunks;  doomed: chunks without a blob, to be removed after a time
-- queue    settings;  worker: those alive;  meta: whose tables these are

-- version: 1
CREATE TABLE pumasi.meta (
    program text NOT NULL,
    version integer NOT NULL,
    functions text NOT NULL
);

CREATE SEQUENCE pumasi.seqs;
-- the order of changes: the first is 1
CREATE SEQUENCE pumasi.changes MINVALUE 0 START 0;
SELECT nextval('pumasi.changes');

CREATE TABLE pumasi.job (
    seq bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    state text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    script text COLLATE "C" NOT NULL,
    cause text COLLATE "C" NOT NULL,
    dead boolean NOT NULL,
    created_at double precision NOT NULL,
    run_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    digest uuid,
    parent uuid,
    unique_key uuid,
    idempotency_key uuid,
    body_hash text,
    progress bytea,
    attempt integer NOT NULL,
    revision bigint NOT NULL,
    change bigint NOT NULL
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX job_state ON pumasi.job (state, created_at, id);
CREATE INDEX job_script ON pumasi.job ("left"(script, 100), state, created_at, id);
CREATE INDEX job_queue ON pumasi.job (queue, state, created_at, id);
CREATE INDEX job_change ON pumasi.job (change);
CREATE INDEX job_parent ON pumasi.job (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_digest ON pumasi.job (digest) WHERE digest IS NOT NULL;
CREATE INDEX job_ended ON pumasi.job (state, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX job_dead ON pumasi.job (created_at, id) WHERE dead;
CREATE UNIQUE INDEX job_unique ON pumasi.job (unique_key) WHERE unique_key IS NOT NULL AND state = 'pending';
CREATE UNIQUE INDEX job_idempotency ON pumasi.job (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE pumasi.body (
    job bigint PRIMARY KEY,
    record bytea NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE TABLE pumasi.waiting (
    job bigint PRIMARY KEY,
    lane uuid NOT NULL,
    run_at double precision NOT NULL,
    id text COLLATE "C" NOT NULL,
    expires_at double precision
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 1000);
CREATE INDEX waiting_line ON pumasi.waiting (lane, run_at, id);
CREATE INDEX waiting_expires ON pumasi.waiting (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE pumasi.run (
    job bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    memory bigint NOT NULL,
    share uuid NOT NULL,
    key uuid,
    worker text NOT NULL,
    claim uuid NOT NULL,
    claim_id text NOT NULL,
    token text NOT NULL,
    attempt integer NOT NULL,
    lease_until double precision NOT NULL,
    claimed_at double precision NOT NULL,
    started_at double precision,
    cancel_requested boolean NOT NULL,
    progress bytea,
    log_bytes bigint,
    revision bigint NOT NULL,
    change bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 1000);
CREATE INDEX run_lease ON pumasi.run (lease_until);
CREATE INDEX run_claim ON pumasi.run (claim);
CREATE INDEX run_share ON pumasi.run (queue, share);
CREATE INDEX run_change ON pumasi.run (change);
CREATE INDEX run_key ON pumasi.run (key) WHERE key IS NOT NULL;

CREATE TABLE pumasi.label (
    label uuid NOT NULL,
    job bigint NOT NULL,
    PRIMARY KEY (label, job)
);
CREATE INDEX label_job ON pumasi.label (job);

CREATE TABLE pumasi.lane (
    id uuid PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    memory bigint NOT NULL,
    share uuid NOT NULL,
    key uuid,
    concurrency bigint,
    count bigint,
    period double precision,
    head_at double precision,
    closed_until double precision
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX lane_open ON pumasi.lane (queue, priority, head_at, id)
    WHERE head_at IS NOT NULL AND closed_until IS NULL;
CREATE INDEX lane_closed ON pumasi.lane (queue, closed_until) WHERE closed_until IS NOT NULL;
CREATE INDEX lane_key ON pumasi.lane (key) WHERE closed_until IS NOT NULL;
CREATE INDEX lane_share ON pumasi.lane (queue, share);
CREATE INDEX lane_empty ON pumasi.lane (id) WHERE head_at IS NULL;

CREATE TABLE pumasi.turn (
    queue text COLLATE "C" NOT NULL,
    share uuid NOT NULL,
    served bigint NOT NULL,
    PRIMARY KEY (queue, share)
);

CREATE TABLE pumasi.rate (
    key uuid PRIMARY KEY,
    period double precision NOT NULL
);
CREATE TABLE pumasi.start (
    key uuid NOT NULL,
    at double precision NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX start_key ON pumasi.start (key, at);

CREATE TABLE pumasi.tally (
    queue text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    script text COLLATE "C" NOT NULL,
    cause text COLLATE "C" NOT NULL,
    n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 5000);
CREATE INDEX tally_queue ON pumasi.tally (queue, state);

CREATE TABLE pumasi.log (
    job bigint NOT NULL,
    seq bigint NOT NULL,
    at double precision NOT NULL,
    stream text NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (job, seq)
);

CREATE TABLE pumasi.blob (
    hash uuid PRIMARY KEY,
    key text COLLATE "C" NOT NULL,
    version uuid NOT NULL UNIQUE,
    job text COLLATE "C",
    digest uuid,
    size bigint NOT NULL,
    at double precision NOT NULL
);
CREATE INDEX blob_key ON pumasi.blob ("left"(key, 400));
CREATE INDEX blob_job ON pumasi.blob (job) WHERE job IS NOT NULL;
CREATE INDEX blob_at ON pumasi.blob (at);
CREATE TABLE pumasi.chunk (
    version uuid NOT NULL,
    number integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (version, number)
);
-- packing costs time, and what is large is mostly packed already
ALTER TABLE pumasi.chunk ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE pumasi.doomed (
    version uuid PRIMARY KEY,
    after double precision NOT NULL
);
CREATE INDEX doomed_after ON pumasi.doomed (after);

CREATE TABLE pumasi.queue (
    name text COLLATE "C" PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    max_pending bigint,
    ageing double precision,
    fair boolean NOT NULL DEFAULT false
);
CREATE TABLE pumasi.worker (
    hash uuid PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    record bytea NOT NULL,
    seen_at double precision NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);

-- a lane that a claim looks into; less by (-level, running, served, at, id) comes first
CREATE TYPE pumasi.candidate AS (
    lane uuid,
    queue text,
    fair boolean,
    ageing double precision,
    priority integer,
    memory bigint,
    share uuid,
    key uuid,
    concurrency bigint,
    count bigint,
    period double precision,
    head_at double precision,
    running bigint,
    served bigint,
    opened boolean,
    level double precision,
    at double precision,
    id text
);
