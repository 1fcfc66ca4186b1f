"""Redis, or Valkey: one Lua script per step, all keys under one prefix.

    store.py      what is asked, one script each          lua/      the scripts
    server.py     the server: scripts by name, what it is checked for at the start
    connection.py one connection an event loop, many questions on their way at a time     wire.py   its protocol
    address.py    where the server is: named, by sentinels, or by a cluster               gate.py   its errors
    jobs.py claims.py search.py logs.py blobs.py keeping.py    what goes into a script, and what comes back
    bell.py       hints by publish and subscribe

Keys, all behind `{prefix}:`, so that a cluster keeps them on one node:

    job:ID text:ID log:ID                   where a job stands and what it is found by; its record as JSON; its log
    line:N                                  the jobs of a lane, by due time
    lane:N lanes lanes-of: lanes-under: sharing: idle                       what is known of lanes (lua/lanes.lua)
    ready:QUEUE later:QUEUE rising:QUEUE    lanes as a claim sees them
    queue:QUEUE settings                    how many wait, and how the queue is set; which queues are set
    leases:QUEUE running runs:WORKER        what runs, until when, by whose claim
    expires ended:STATE                     what may wait until when; what has ended, and when
    shelf:… tally ids changes children: label:                              where jobs are found (lua/shelves.lua)
    keys starts:KEY periods                 runs and starts under keyed limits
    running:QUEUE served:QUEUE              how many of each share run, and when it was last served
    unique idempotency digests              who holds a key; which scripts are in use
    blob: blobs blobs-of: bundles strays chunk: doomed removed              large things, in parts
    workers seen                            who is alive
"""

from pumasi.broker.redis.address import Address, parsed
from pumasi.broker.redis.bell import RedisBell
from pumasi.broker.redis.server import Server
from pumasi.broker.redis.store import RedisStore

__all__ = ["Address", "RedisBell", "RedisStore", "Server", "parsed"]
