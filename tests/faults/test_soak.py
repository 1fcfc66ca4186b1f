"""A short soak of every backend: everything fails at random for ten seconds. `make soak` is the long form."""

import pytest

from tests.faults.places import BACKENDS, batch_of, open_to_all
from tests.faults.stage import all_of
from tests.soak.soak import Plan, soak

#: another than in the last release finds other things
SEED = 20


@pytest.mark.timeout(110)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_short_soak(backend: str) -> None:
    plan = Plan(
        backend=backend, seed=SEED, jobs=600, seconds=10.0, patience=60.0, every=1.0, batch=batch_of(backend),
        lease=1.0, calm=2.0,
    )  # fmt: skip
    with open_to_all() as folder:
        summary = await soak(plan, folder)
    assert summary.good, f"{all_of(summary.found)}\n{summary}"
    assert summary.faults
