"""Scripts: from a name that people write to files that a worker can run.

    reference ──resolve──► script (files + manifest, checked) ──pack──► bundle in the broker's blobs
    digest ──fetch──► unpack, verified ──► cache, read only ──► a run's private copy

At submit a name becomes a digest, and from there on nothing else counts. Everything that is read, whether a folder of
the administrator's or an archive from a store, is taken as if somebody had made it to hurt us: bounded before memory is
spent, checked before it is believed, never executed to be understood.
"""
