"""How fast Pumasi is, beside others, measured in one run on one machine.

    make bench                        everything, some minutes
    make bench BENCH=--quick          a smoke test, under a minute

Absolute figures belong to the machine; what travels are the ratios. Therefore every system runs the same two scripts
(`noop`, and `scrape`: httpx2 and BeautifulSoup over a page of 200 items, without a network) with the same interpreter
and the same number of slots, all systems are up at the same time, and each round asks them one after another. RQ and
Celery run a script as people do there: by `subprocess` in a task. `bare` is that without any queue, the floor.

Results go to `benchmarks/results/<time>.json`.
"""
