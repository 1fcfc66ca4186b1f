-- The queries of the SQLite broker, by name, each with its purpose. Times are Unix seconds; lists are JSON arrays.

-- == jobs ==

-- record: records of jobs; the condition is put behind
SELECT body.record, job.state, job.attempt, job.worker, job.claim_id, job.token, job.lease_until, job.claimed_at,
       job.started_at, job.cancel_requested, job.progress, job.created_at, job.run_at, job.revision, job.change
FROM job JOIN body ON body.job = job.seq

-- by_idempotency: who holds this idempotency key
SELECT seq FROM job INDEXED BY job_idempotency WHERE idempotency_key IS NOT NULL AND idempotency_key = :key

-- by_unique: who holds this unique key
SELECT seq FROM job INDEXED BY job_unique
WHERE unique_key IS NOT NULL AND state IN ('pending', 'running') AND unique_key = :key

-- queue_bound: how many jobs may wait in a queue, and how many do
SELECT (SELECT max_pending FROM queue WHERE name = :queue),
       (SELECT sum(n) FROM tally WHERE queue = :queue AND state = 'pending')

-- next_change: take the next positions in the order of changes; the last of them
UPDATE counter SET change = change + :n RETURNING change

-- position: the latest change
SELECT change FROM counter

-- insert_job: a new job
INSERT INTO job (id, state, queue, script, memory, created_at, run_at, expires_at, cause, digest, parent, unique_key,
                 idempotency_key, limit_key, lane, share, attempt, cancel_requested, revision, change)
VALUES (:id, 'pending', :queue, :script, :memory, :created_at, :run_at, :expires_at, '', :digest, :parent, :unique_key,
        :idempotency_key, :limit_key, :lane, :share, 0, 0, 1, :change)
RETURNING seq

-- adopt_job: a job of another broker, as it stands
INSERT INTO job (id, state, queue, script, memory, created_at, run_at, expires_at, ended_at, cause, digest, parent,
                 unique_key, idempotency_key, limit_key, lane, share, worker, claim_id, token, attempt, lease_until,
                 claimed_at, started_at, cancel_requested, progress, resolved, log_bytes, revision, change)
VALUES (:id, :state, :queue, :script, :memory, :created_at, :run_at, :expires_at, :ended_at, :cause, :digest, :parent,
        :unique_key, :idempotency_key, :limit_key, :lane, :share, :worker, :claim_id, :token, :attempt, :lease_until,
        :claimed_at, :started_at, :cancel_requested, :progress, :resolved, :log_bytes, 1, :change)
RETURNING seq

-- insert_body: the text of a new job
INSERT INTO body (job, record) VALUES (:job, :record)

-- insert_label: a label of a new job
INSERT INTO label (name, value, job) VALUES (:name, :value, :job)

-- swap: the next state of a job, if nobody changed it and, with :same_lease, nobody extended its lease
UPDATE job SET state = :state, run_at = :run_at, ended_at = :ended_at, cause = :cause, lane = :lane, worker = :worker,
       claim_id = :claim_id, token = :token, attempt = :attempt, lease_until = :lease_until, claimed_at = :claimed_at,
       started_at = coalesce(started_at, :started_at), cancel_requested = :cancel_requested, resolved = :resolved,
       revision = revision + 1, change = (SELECT change + 1 FROM counter)
WHERE id = :id AND revision = :revision AND (NOT :same_lease OR lease_until IS :old_lease)
RETURNING seq, started_at, progress, revision, change

-- rewrite: the text of a job that changed
UPDATE body SET record = :record WHERE job = :seq

-- == claims ==

-- held: the leases that a claim id still holds
SELECT seq FROM job INDEXED BY job_claim
WHERE state = 'running' AND claim_id = :claim_id AND worker = :worker AND lease_until > :now
ORDER BY id

-- open_queues: those of the queues that hand jobs out
SELECT value FROM json_each(:queues) WHERE value NOT IN (SELECT name FROM queue WHERE paused = 1)

-- any_lapsed: whether a run in these queues, small enough, has outlived its lease
SELECT 1 FROM job INDEXED BY job_lease
WHERE state = 'running' AND lease_until <= :now AND memory <= :memory
  AND queue IN (SELECT value FROM json_each(:queues))
LIMIT 1

-- next_lapse: when the first lease in these queues runs out, unless it is extended
SELECT lease_until FROM job INDEXED BY job_lease
WHERE state = 'running' AND lease_until > :now AND queue IN (SELECT value FROM json_each(:queues))
ORDER BY lease_until LIMIT 1

-- lapsed: runs that have outlived their leases, longest first
SELECT seq FROM job INDEXED BY job_lease
WHERE state = 'running' AND lease_until <= :now AND (:memory IS NULL OR memory <= :memory)
  AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
ORDER BY lease_until, id
LIMIT :limit

-- expired: jobs that waited too long
SELECT seq FROM job INDEXED BY job_expires
WHERE state = 'pending' AND expires_at IS NOT NULL AND expires_at <= :now
ORDER BY expires_at
LIMIT :limit

-- claimed: a job goes to a worker
UPDATE job SET state = 'running', lane = NULL, worker = :worker, claim_id = :claim_id, token = :token,
       attempt = :attempt, lease_until = :lease_until, claimed_at = :claimed_at, started_at = NULL, progress = NULL,
       revision = revision + 1, change = :change
WHERE seq = :seq

-- extend: a lease whose token holds goes on; whether its job was cancelled
UPDATE job SET lease_until = :until, started_at = coalesce(started_at, :started_at)
WHERE id = :id AND token = :token AND state = 'running'
RETURNING cancel_requested

-- note_served: a share was served; in a fair queue that is kept
INSERT INTO served (queue, share, change)
SELECT name, :share, :change FROM queue WHERE name = :queue AND fair
ON CONFLICT DO UPDATE SET change = excluded.change

-- put_worker: a worker as it says it is
INSERT INTO worker (id, record, seen_at) VALUES (:id, :record, :now)
ON CONFLICT DO UPDATE SET record = excluded.record, seen_at = excluded.seen_at

-- drop_worker: a worker says goodbye
DELETE FROM worker WHERE id = :id

-- == lanes ==

-- find_lane: the lane of jobs alike
SELECT id FROM lane
WHERE queue = :queue AND priority = :priority AND memory = :memory AND share = :share AND keyed = :keyed

-- add_lane: a lane for jobs alike
INSERT INTO lane (queue, priority, memory, share, keyed, limit_key)
VALUES (:queue, :priority, :memory, :share, :keyed, :limit_key)
RETURNING id

-- lane: what is known of a lane, and its first job
SELECT lane.keyed, lane.head_at, lane.head_id, lane.ready, lane.ready_at, job.run_at, job.id
FROM lane LEFT JOIN job ON job.seq = (
    SELECT seq FROM job INDEXED BY job_pending WHERE state = 'pending' AND job.lane = lane.id
    ORDER BY run_at, id LIMIT 1)
WHERE lane.id = :id

-- set_lane: what is known of a lane
UPDATE lane SET head_at = :head_at, head_id = :head_id, ready = :ready, ready_at = :ready_at WHERE id = :id

-- lanes_of_key: lanes whose jobs share this key
SELECT id FROM lane INDEXED BY lane_key WHERE limit_key IS NOT NULL AND limit_key = :key

-- lanes_due: lanes of these queues that may have become ready
SELECT lane.id FROM json_each(:queues) AS wanted CROSS JOIN lane INDEXED BY lane_later ON lane.queue = wanted.value
WHERE lane.ready = 0 AND lane.ready_at IS NOT NULL AND lane.ready_at <= :now

-- next_ready: when the next lane of these queues may become ready
SELECT min((SELECT ready_at FROM lane INDEXED BY lane_later
            WHERE ready = 0 AND ready_at IS NOT NULL AND queue = wanted.value ORDER BY ready_at LIMIT 1))
FROM json_each(:queues) AS wanted

-- ready_lanes: the lanes of a queue that may be had, best first
SELECT id, priority, memory, share, keyed, queue, head_at, head_id FROM lane INDEXED BY lane_ready
WHERE ready = 1 AND queue = :queue AND memory <= :memory
ORDER BY priority DESC, head_at, head_id

-- ready_lanes_of: those of one priority
SELECT id, priority, memory, share, keyed, queue, head_at, head_id FROM lane INDEXED BY lane_ready
WHERE ready = 1 AND queue = :queue AND priority = :priority AND memory <= :memory
ORDER BY head_at, head_id

-- order_of: how a queue orders its jobs
SELECT ageing, fair FROM queue WHERE name = :queue

-- running_of_shares: how many run of each share of a queue; looks at all that run
SELECT share, count(*) FROM job INDEXED BY job_lease WHERE state = 'running' AND queue = :queue GROUP BY share

-- served: the latest claim of each share of a fair queue
SELECT share, change FROM served WHERE queue = :queue

-- lane_jobs: the jobs of a lane that may be had, in order
SELECT seq, run_at, id FROM job INDEXED BY job_pending
WHERE state = 'pending' AND lane = :lane AND run_at <= :now AND (expires_at IS NULL OR expires_at > :now)
ORDER BY run_at, id

-- lane_next: when the next job of a lane is due
SELECT run_at FROM job INDEXED BY job_pending
WHERE state = 'pending' AND lane = :lane AND run_at > :now
ORDER BY run_at LIMIT 1

-- running_of_key: how many run under a key
SELECT count(*) FROM job INDEXED BY job_key WHERE state = 'running' AND limit_key IS NOT NULL AND limit_key = :key

-- last_starts: the last starts under a key, latest first
SELECT at FROM start INDEXED BY start_key WHERE key = :key AND at > :since ORDER BY at DESC LIMIT :count

-- note_start: a start under a key
INSERT INTO start (key, at) VALUES (:key, :now)

-- note_period: how far back starts under a key are looked at
INSERT INTO rate (key, period) VALUES (:key, :period)
ON CONFLICT DO UPDATE SET period = max(period, excluded.period)

-- == logs ==

-- writable: the row of a job that this token may write to, and the size of its log
SELECT seq, log_bytes FROM job WHERE id = :id AND token = :token AND state = 'running'

-- add_record: a record of a run, unless it is there already
INSERT INTO log (job, seq, at, stream, data) VALUES (:job, :seq, :at, :stream, :data)
ON CONFLICT DO NOTHING
RETURNING length(data)

-- log_sizes: the records of a log, and their sizes
SELECT seq, length(data) FROM log WHERE job = :job ORDER BY seq

-- drop_records: cut records out of a log
DELETE FROM log WHERE job = :job AND seq IN (SELECT value FROM json_each(:seqs))

-- set_log_bytes: the size of a log
UPDATE job SET log_bytes = :bytes WHERE seq = :job

-- set_progress: how far a run is
UPDATE job SET progress = :progress, change = :change WHERE seq = :job

-- row_of: the row of a job
SELECT seq FROM job WHERE id = :id

-- read: records of a log after a seq
SELECT seq, at, stream, data FROM log WHERE job = :job AND seq > :after ORDER BY seq LIMIT :limit

-- == blobs ==

-- blob: where a blob lies
SELECT version, size FROM blob WHERE key = :key

-- put_blob: a blob is complete
INSERT INTO blob (key, version, job, digest, size, at) VALUES (:key, :version, :job, :digest, :size, :now)

-- drop_blob: a blob is gone
DELETE FROM blob WHERE key = :key

-- put_chunk: a part of a blob
INSERT INTO chunk (version, number, data) VALUES (:version, :number, :data)

-- chunks: parts of a blob, in order
SELECT number, data FROM chunk WHERE version = :version AND number >= :first ORDER BY number LIMIT :limit

-- doom: chunks to remove after a time, unless their blob becomes complete
INSERT OR REPLACE INTO doomed (version, after) VALUES (:version, :after)

-- spare: chunks that belong to a blob
DELETE FROM doomed WHERE version = :version

-- doomed: chunks that are to go now
SELECT version FROM doomed WHERE after <= :now LIMIT 1

-- drop_chunks: remove some of the chunks of no blob; one row for each
DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE version = :version LIMIT :limit) RETURNING 1

-- list_blobs: blobs whose key begins so
SELECT key, size FROM blob WHERE key >= :first AND key <= :last ORDER BY key

-- == keeping ==

-- ended_before: jobs to forget
SELECT seq, id FROM job INDEXED BY job_ended WHERE state = :state AND ended_at IS NOT NULL AND ended_at < :before
ORDER BY ended_at LIMIT :limit

-- forget: a job, with all that hangs on it
DELETE FROM job WHERE seq = :seq

-- forget_blobs: the blobs of a job
DELETE FROM blob WHERE job IS NOT NULL AND job = :id

-- forget_scripts: bundles that no job refers to; one row for each
DELETE FROM blob WHERE key IN (
    SELECT key FROM blob WHERE at < :before AND digest IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM job WHERE job.digest = blob.digest)
    LIMIT :limit)
RETURNING 1

-- forget_strays: blobs of jobs that are gone; one row for each
DELETE FROM blob WHERE key IN (
    SELECT key FROM blob WHERE at < :before AND job IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = blob.job)
    LIMIT :limit)
RETURNING 1

-- forget_workers: workers silent for too long
DELETE FROM worker WHERE seen_at < :before

-- forget_served: shares that nobody waits or runs for
DELETE FROM served
WHERE (queue, share) NOT IN (SELECT queue, share FROM lane WHERE head_at IS NOT NULL)
  AND (queue, share) NOT IN (SELECT queue, share FROM job INDEXED BY job_lease WHERE state = 'running')

-- forget_starts: starts that no rate limit looks at any more
DELETE FROM start WHERE rowid IN (
    SELECT start.rowid FROM rate JOIN start ON start.key = rate.key AND start.at <= :now - rate.period)

-- forget_rates: keys without starts
DELETE FROM rate WHERE NOT EXISTS (SELECT 1 FROM start WHERE start.key = rate.key)

-- forget_lanes: lanes without jobs
DELETE FROM lane WHERE head_at IS NULL

-- forget_tallies: counts of nothing
DELETE FROM tally WHERE n = 0

-- tally: how many jobs there are by queue and state
SELECT queue, state, sum(n) FROM tally GROUP BY queue, state HAVING sum(n) > 0

-- waiting: of the queues, how many jobs are not due yet, and when the first is or was
SELECT lane.queue,
       sum((SELECT count(*) FROM job INDEXED BY job_pending
            WHERE state = 'pending' AND job.lane = lane.id AND run_at > :now)),
       min(head_at)
FROM lane WHERE head_at IS NOT NULL GROUP BY lane.queue

-- counts: how many jobs there are by state, script and cause
SELECT state, script, cause, sum(n) FROM tally GROUP BY state, script, cause HAVING sum(n) > 0
ORDER BY state, script, cause

-- settings: of all queues that have some
SELECT name, paused, max_pending, ageing, fair FROM queue

-- put_settings: of one queue
INSERT INTO queue (name, paused, max_pending, ageing, fair) VALUES (:name, :paused, :max_pending, :ageing, :fair)
ON CONFLICT DO UPDATE SET paused = excluded.paused, max_pending = excluded.max_pending, ageing = excluded.ageing,
    fair = excluded.fair

-- settings_of: one queue
SELECT name, paused, max_pending, ageing, fair FROM queue WHERE name = :name

-- workers: all, as they said they are
SELECT record, seen_at FROM worker ORDER BY id
