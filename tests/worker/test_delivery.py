"""What a broker can never keep ends its job all the same, and says so."""

from pathlib import Path

import pytest

from pumasi.core.job import Cause, Job, State
from pumasi.core.outcome import Completed
from pumasi.errors import Invalid
from pumasi.runner.runner import Finished
from pumasi.worker.delivery import Delivery
from pumasi.worker.spool import Spool
from pumasi.worker.stats import Tally
from tests.harness import System


async def test_a_blob_that_the_broker_refuses(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await system.broker.submit([Job(id="job", script="s")])
    (lease,) = await system.broker.claim("w", ["default"], 1, 1 << 30, 0.0)

    async def refuse(key: str, data: bytes) -> None:
        raise Invalid("this is larger than the broker can keep")

    monkeypatch.setattr(system.broker, "put_blob", refuse)
    spool = Spool(tmp_path / "spool", "w")
    spool.open()
    outcome = Completed(result_blob="result/job/1", result_size=9)
    await Delivery(system.broker, spool, Tally()).deliver(
        Finished(lease=lease, outcome=outcome, blobs={"result/job/1": b"x" * 9})
    )
    await spool.close()
    job = await system.broker.get("job")
    assert (job.state, job.cause, job.error) == (State.FAILED, Cause.OUTPUT, "this is larger than the broker can keep")
    assert list((tmp_path / "spool").iterdir()) == []
