"""Brokers: where jobs wait, and where the truth about them is kept.

Theory of operation. A broker is what `connect(url)` returns; everybody (gateway, worker, client) speaks to it through
the verbs of `base.Broker`, whatever stands behind. Most are a `StoreBroker`: the verbs written once, over the few
primitives of a `Store` (insert, load, compare-and-swap, take, extend, scan) and a `Bell`. The store is the truth. The
bell carries hints ("queue default has news", "job 0193… changed") so that nobody has to poll tightly; a lost ring
costs latency, never a job, since every wait ends by itself and looks again. Policy lives in `core`; a backend stores,
and compares."""

from pumasi.broker.base import Broker
from pumasi.broker.url import connect, create_job

__all__ = ["Broker", "connect", "create_job"]
