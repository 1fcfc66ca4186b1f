"""The law of brokers: what every backend must do, case by case, one module a topic.

A backend joins with a class that says what it can do and how to get a handle:

    class TestMine(Conformance):
        capabilities = EVERYTHING - {"find"}

        @pytest.fixture
        def backend(self, clock: Clock) -> Backend:
            return Backend(clock, lambda **settings: MyBroker(..., clock=clock, **settings))

Each handle that `backend.connect()` gives is a process's view of one and the same store. A case marked `needs(...)`
runs on a backend that cannot do it too: there the verb must refuse with Invalid.
"""

from tests.broker.conformance.adopt import Adopt
from tests.broker.conformance.base import EVERYTHING, Backend, Clock
from tests.broker.conformance.blobs import Blobs
from tests.broker.conformance.cancel import Cancel
from tests.broker.conformance.claim import Claims
from tests.broker.conformance.dead import Dead
from tests.broker.conformance.find import Find
from tests.broker.conformance.heartbeat import Heartbeats
from tests.broker.conformance.limits import Limits
from tests.broker.conformance.lost import Lost
from tests.broker.conformance.order import Order
from tests.broker.conformance.queues import Queues
from tests.broker.conformance.records import Records
from tests.broker.conformance.settle import Settle
from tests.broker.conformance.submit import Submit
from tests.broker.conformance.sweep import Sweep
from tests.broker.conformance.wait import Wait
from tests.broker.conformance.waiting_claim import WaitingClaims
from tests.broker.conformance.watch import Watch


class Conformance(
    Submit,
    Claims,
    Order,
    WaitingClaims,
    Heartbeats,
    Settle,
    Lost,
    Cancel,
    Find,
    Records,
    Blobs,
    Queues,
    Limits,
    Sweep,
    Wait,
    Watch,
    Adopt,
    Dead,
):
    """The whole law."""


__all__ = ["EVERYTHING", "Backend", "Clock", "Conformance"]
