-- The tables, as user_version 1 has them. A change is a new section "-- version: N", run once, in order.
--
-- job      one small row a job: what is searched, ordered or changed often; its text stands in body
-- body     the record as JSON; where a column of job says something else, the column is right
-- label    the labels of jobs, for search
-- lane     what a claim chooses among: pending jobs alike in queue, priority, memory, share and limit, in order of
--          (due time, id). A lane is ready when its first job is due and its key is free; ready_at says when it may be
--          (NULL: when a running job of its key ends). So a claim reads the best lanes, never the jobs behind them.
-- start    starts under a rate limit;  rate: how far back they are looked at
-- tally    how many jobs there are by queue, state, script and cause; kept by triggers
-- log      records of runs
-- blob     large things, in chunks;  doomed: chunks without a blob, to be removed after a time
-- served   the change of the last claim of each share, while its queue is fair
-- queue    settings;  worker: those alive;  counter: the latest change

-- version: 1
CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    script TEXT NOT NULL,
    memory INTEGER NOT NULL,
    created_at REAL NOT NULL,
    run_at REAL NOT NULL,
    expires_at REAL,
    ended_at REAL,
    cause TEXT NOT NULL,
    digest TEXT,
    parent TEXT,
    unique_key TEXT,
    idempotency_key TEXT,
    limit_key TEXT,
    lane INTEGER,
    worker TEXT,
    claim_id TEXT,
    token TEXT,
    attempt INTEGER NOT NULL,
    lease_until REAL,
    claimed_at REAL,
    started_at REAL,
    cancel_requested INTEGER NOT NULL,
    progress BLOB,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL,
    change INTEGER NOT NULL
) STRICT;

CREATE INDEX job_state ON job (state, created_at, id);
CREATE INDEX job_script ON job (script, state, created_at, id);
CREATE INDEX job_queue ON job (queue, state, created_at, id);
CREATE INDEX job_parent ON job (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_digest ON job (digest) WHERE digest IS NOT NULL;
CREATE INDEX job_change ON job (change);
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX job_pending ON job (lane, run_at, id) WHERE state = 'pending';
CREATE INDEX job_expires ON job (expires_at) WHERE state = 'pending' AND expires_at IS NOT NULL;
CREATE INDEX job_lease ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_claim ON job (claim_id) WHERE state = 'running';
CREATE INDEX job_key ON job (limit_key) WHERE state = 'running' AND limit_key IS NOT NULL;
CREATE UNIQUE INDEX job_unique ON job (unique_key) WHERE unique_key IS NOT NULL AND state IN ('pending', 'running');
CREATE UNIQUE INDEX job_idempotency ON job (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE body (
    job INTEGER PRIMARY KEY REFERENCES job (seq) ON DELETE CASCADE,
    record BLOB NOT NULL
) STRICT;

CREATE TABLE label (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    PRIMARY KEY (name, value, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_job ON label (job);

CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    keyed TEXT NOT NULL,
    limit_key TEXT,
    head_at REAL,
    head_id TEXT,
    ready INTEGER NOT NULL DEFAULT 0,
    ready_at REAL,
    UNIQUE (queue, priority, memory, keyed)
) STRICT;
CREATE INDEX lane_ready ON lane (queue, priority DESC, head_at, head_id, memory) WHERE ready = 1;
CREATE INDEX lane_later ON lane (queue, ready_at) WHERE ready = 0 AND ready_at IS NOT NULL;
CREATE INDEX lane_key ON lane (limit_key) WHERE limit_key IS NOT NULL;
CREATE INDEX lane_empty ON lane (id) WHERE head_at IS NULL;

CREATE TABLE rate (
    key TEXT PRIMARY KEY,
    period REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE start (
    key TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX start_key ON start (key, at);

CREATE TABLE tally (
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    script TEXT NOT NULL,
    cause TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, state, script, cause)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
    INSERT INTO tally VALUES (new.queue, new.state, new.script, new.cause, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF state, cause ON job WHEN old.state <> new.state OR old.cause <> new.cause BEGIN
    UPDATE tally SET n = n - 1
        WHERE queue = old.queue AND state = old.state AND script = old.script AND cause = old.cause;
    INSERT INTO tally VALUES (new.queue, new.state, new.script, new.cause, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER job_gone AFTER DELETE ON job BEGIN
    UPDATE tally SET n = n - 1
        WHERE queue = old.queue AND state = old.state AND script = old.script AND cause = old.cause;
END;

CREATE TABLE log (
    job INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    stream TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (job, seq)
) STRICT;

CREATE TABLE blob (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL UNIQUE,
    job TEXT,
    digest TEXT,
    size INTEGER NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX blob_job ON blob (job) WHERE job IS NOT NULL;
CREATE INDEX blob_at ON blob (at);
CREATE TABLE chunk (
    version INTEGER NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (version, number)
) STRICT;
CREATE TABLE doomed (
    version INTEGER PRIMARY KEY,
    after REAL NOT NULL
) STRICT;
CREATE TRIGGER blob_gone AFTER DELETE ON blob BEGIN
    INSERT OR REPLACE INTO doomed VALUES (old.version, 0);
END;

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    max_pending INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE worker (
    id TEXT PRIMARY KEY,
    record BLOB NOT NULL,
    seen_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE counter (
    change INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (0);

-- version: 2
ALTER TABLE job ADD COLUMN share TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN resolved TEXT;
CREATE INDEX job_dead ON job (created_at, id) WHERE state = 'failed' AND resolved IS NULL;
DROP INDEX job_ended;
CREATE INDEX job_ended ON job (state, ended_at) WHERE ended_at IS NOT NULL;

ALTER TABLE lane RENAME TO lane_1;
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    share TEXT NOT NULL,
    keyed TEXT NOT NULL,
    limit_key TEXT,
    head_at REAL,
    head_id TEXT,
    ready INTEGER NOT NULL DEFAULT 0,
    ready_at REAL,
    UNIQUE (queue, priority, memory, share, keyed)
) STRICT;
INSERT INTO lane SELECT id, queue, priority, memory, '', keyed, limit_key, head_at, head_id, ready, ready_at FROM lane_1;
DROP TABLE lane_1;
CREATE INDEX lane_ready ON lane (queue, priority DESC, head_at, head_id, memory) WHERE ready = 1;
CREATE INDEX lane_later ON lane (queue, ready_at) WHERE ready = 0 AND ready_at IS NOT NULL;
CREATE INDEX lane_key ON lane (limit_key) WHERE limit_key IS NOT NULL;
CREATE INDEX lane_empty ON lane (id) WHERE head_at IS NULL;

ALTER TABLE queue ADD COLUMN ageing REAL;
ALTER TABLE queue ADD COLUMN fair INTEGER NOT NULL DEFAULT 0;
CREATE TABLE served (
    queue TEXT NOT NULL,
    share TEXT NOT NULL,
    change INTEGER NOT NULL,
    PRIMARY KEY (queue, share)
) STRICT, WITHOUT ROWID;
