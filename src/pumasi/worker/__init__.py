"""The worker: claims jobs while it has room, runs each in a slot, settles its lease.

    claim loop ──lease──► run (slot) ──finished──► spool ──► deliver: blobs, records, settle
        ▲ room                                                  │ answered: dropped from the spool
        └───────────────────────────────────────────────────────┘
    pulse (a thread with a connection of its own): one heartbeat for all leases, tells which runs to stop

A worker keeps nothing that its death would lose: leases lapse, finished outcomes are in the spool until the broker has
answered, and the keepers kill what they run when their worker is gone. It knows no broker by name.
"""

from pumasi.worker.worker import Worker

__all__ = ["Worker"]
