"""The sandbox: one fresh process per attempt, sealed by what the host offers.

Theory of operation. A worker owns *slots*. To each belongs a *keeper* (`keeper.py`), a small process of the standard
library alone that lives as long as the slot and runs one job after another:

    worker ──socket──► keeper ──fork──► set-up, a flat list of calls ──exec──► bootstrap.py ──► the script
       ▲                  │ subreaper: whatever the script leaves behind becomes the keeper's child
       └── ended, warn ◄──┘ watches the tree's memory, CPU, processes and disk, and holds the deadline

The keeper is the script's supervisor, so that a worker which is stopped, blocked or dead changes nothing for the
limits: when the socket closes, the keeper kills everything and goes. The script's output and result come to the worker
over pipes that were opened before; its parameters go in a sealed memory file. A job ends when its main process ends
(pidfd), never when a pipe does; then the keeper kills and reaps all that is left, and only then says `ended`.

`slot.py` is the worker's end of the socket. This is level *basic*: rlimits, a closed environment, the watch and the
kill of the whole tree. What basic does not give is said by `level.py`, and shown by `pumasi doctor`.
"""
