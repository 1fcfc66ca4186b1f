"""Jobs as values: there and back through JSON, and what may be submitted at all."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pumasi.core import lifecycle
from pumasi.core.bounds import checked
from pumasi.core.job import ENDED, LIVE, Job, Record, State
from pumasi.core.outcome import Outcome
from pumasi.errors import Invalid
from tests.core.made import chances, jobs, outcomes


@given(jobs, outcomes, chances)
def test_a_record_survives_json(job: Job, outcome: Outcome, chance: float) -> None:
    job = lifecycle.submitted(job, 5.0)
    for stage in (job, lifecycle.claimed(job, worker="w", claim_id="c", token="t", now=6.0, lease=30.0)):
        assert msgspec.json.decode(msgspec.json.encode(stage), type=Job) == stage
    after = lifecycle.settled(stage, "t", outcome, 7.0, chance)
    assert msgspec.json.decode(msgspec.json.encode(after), type=Job) == after


@given(outcomes)
def test_an_outcome_survives_json(outcome: Outcome) -> None:
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome


@given(jobs)
def test_a_decent_job_may_be_submitted(job: Job) -> None:
    assert checked(job) is job


#: what each of these fields may not be
BAD = {
    "id": st.sampled_from(["", "a/b", "x" * 129, "a\tb", "\x7f", "\u202e"]),
    "queue": st.sampled_from(["", "q" * 129, "a\nb"]),
    "script": st.just(""),
    "priority": st.integers(max_value=-1) | st.integers(min_value=10),
    "run_at": st.sampled_from([-1.0, math.nan, math.inf, -math.inf]),
    "expires_at": st.sampled_from([-1.0, math.nan, math.inf]),
    "timeout": st.sampled_from([0.0, -1.0, math.nan, math.inf]),
    "required_memory": st.integers(max_value=-1) | st.integers(min_value=2**63),
    "labels": st.sampled_from([{"\udcff": "x"}, {"x": "\udcff"}]),
}


@given(jobs, st.data())
def test_a_job_no_store_can_keep_is_refused(job: Job, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(BAD)))
    with pytest.raises(Invalid) as refused:
        checked(replace(job, **{name: data.draw(BAD[name])}))
    assert str(refused.value)


def test_states() -> None:
    assert set(State) == ENDED | LIVE
    assert not ENDED & LIVE
    assert [state for state in State if state.ended] == ["completed", "failed", "cancelled"]


def test_words_for_a_job() -> None:
    job = Job(id="a", script="catalogue", version="1.2", parameters='{"page":3}')
    assert (job.reference, replace(job, version=None).reference) == ("catalogue@1.2", "catalogue")
    assert (job.parameter_values, replace(job, parameters=None).parameter_values) == ({"page": 3}, {})
    assert Record(3 << 32 | 5, 0.0, "stdout", b"").attempt == 3
