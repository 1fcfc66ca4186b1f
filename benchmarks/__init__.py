"""How fast Pumasi is, beside others, measured in one run on one machine.

    make bench                              scripts, some minutes
    make bench BENCH="peers"                jobs that do nothing, beside other queues on one Redis
    make bench BENCH="submits trips idle"   brokers: jobs taken in; round trips of each verb; what idle workers ask
    make bench BENCH="backlog --jobs 100000 --backends redis,sqlite"
    make bench BENCH="all --quick"          a smoke test of everything, some minutes

Absolute figures belong to the machine; what travels are the ratios.

`scripts`: every system runs the same two scripts (`noop`, and `scrape`: httpx2 and BeautifulSoup over a page of 200
items, without a network) with the same interpreter and the same number of slots, all systems are up at the same time,
and each round asks them one after another. RQ and Celery run a script as people do there: by `subprocess` in a task.
`bare` is that without any queue, the floor.

`peers`: what the others are made for, a function that does nothing in a process that is there already, beside a sealed
process for every job. One system is up at a time, on one Redis, its caller in a process of its own.

`backlog`: jobs claimed and settled in a second while very many wait and while few do, in turns, in one run.

Results go to `benchmarks/results/<time>-<what>.json`.
"""
