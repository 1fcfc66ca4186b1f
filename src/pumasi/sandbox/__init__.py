"""The sandbox: one fresh process per attempt, sealed by what the host offers.

Theory of operation. What is alike for many jobs is made once, what is a job's own is made for it:

    worker ──socket──► guard / template ──fork──► keeper, process 1 of a slot ──fork──► job
       ▲                                              │
       └──────────────── ended, warn ◄────────────────┘

`templates.py` holds all templates of a worker and finds the level, by running a first program at each; `template.py`
and `slot.py` are the worker's ends of one template and one slot. What runs at the other ends is in `inside/`: standard
library alone, under whatever Python the scripts are to have. `level.py`, `uids.py`, `cgroup.py`, `seccomp.py` are the
parts that levels are made of; `protections.py` says what of them is on.

The keeper is the script's supervisor, so that a worker which is stopped, blocked or dead changes nothing for the
limits. A job is over when its main process is (pidfd), never when a pipe is; then the keeper kills and reaps all that
is left, and only then says `ended`. The worker never follows a path that a job could have made: parameters, output,
result and scratch pass as descriptors.
"""
