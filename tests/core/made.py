"""Jobs and outcomes of all kinds, for the property tests."""

from hypothesis import strategies as st

from pumasi.core.job import Cause, Job, KeyLimit, Limits, Retry
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released, Report

texts = st.text(max_size=20)
times = st.floats(0, 1e10)
sizes = st.none() | st.integers(0, 2**53)
limits = st.builds(
    Limits, memory=sizes, cpu=st.none() | times, processes=sizes, open_files=sizes, disk=sizes, output=sizes
)
retries = st.builds(
    Retry,
    max_attempts=st.integers(1, 10),
    delay=st.floats(0, 1000),
    factor=st.floats(0, 100),
    max_delay=st.floats(0, 10_000),
    on=st.lists(st.sampled_from(Cause), max_size=4).map(tuple),
)
key_limits = st.builds(
    KeyLimit,
    key=st.text(min_size=1, max_size=10),
    concurrency=st.none() | st.integers(1, 9),
    count=st.none() | st.integers(1, 9),
    period=st.floats(0.001, 1e6),
)
jobs = st.builds(
    Job,
    id=st.uuids().map(str),
    script=st.text(min_size=1, max_size=20),
    version=st.none() | texts,
    digest=st.none() | texts,
    parameters=st.none() | texts,
    args=st.none() | st.lists(texts, max_size=3).map(tuple),
    priority=st.integers(0, 9),
    run_at=times,
    expires_at=st.none() | times,
    timeout=st.none() | st.floats(0.001, 1e6),
    limits=limits,
    required_memory=st.integers(0, 2**40),
    result_mode=st.sampled_from([None, "json", "json-lenient", "return", "none"]),
    retry=retries,
    on_lost=st.sampled_from(["retry", "fail"]),
    limit=st.none() | key_limits,
    unique=st.none() | texts,
    idempotency_key=st.none() | texts,
    body_hash=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    parent=st.none() | texts,
    external_id=st.none() | texts,
)
reports = st.builds(
    Report,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    peaks=limits,
    enforced=limits,
    isolation=st.none() | texts,
    phases=st.dictionaries(texts, times, max_size=3),
    log_tail=texts,
    warnings=st.lists(texts, max_size=2).map(tuple),
    artifacts=st.lists(texts, max_size=2).map(tuple),
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Completed, result=st.none() | texts, result_size=st.integers(0, 100), report=reports),
    st.builds(Failed, cause=st.sampled_from(Cause), error=texts, retryable=st.booleans(), report=reports),
    st.builds(Cancelled, report=reports),
    st.builds(Released, reason=st.sampled_from(["drain", "sandbox"]), error=texts, report=reports),
)
chances = st.floats(0, 1, exclude_max=True)
