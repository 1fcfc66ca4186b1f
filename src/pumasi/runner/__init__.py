"""The runner: one attempt of one job, from its lease to its outcome.

    fetch ─► prepare ─► cage ─► collect ─► Outcome

What a script does is a value (`core.outcome`), never an exception here; exceptions are for our own faults, and become
outcomes too: `fetch`, `invalid`, or a release when the sandbox failed. Output is read as bytes and bounded everywhere;
nothing a script prints can make us hold more than a few buffers, wait for a line, or take its word for a result.
"""
