"""Taking jobs in: from what somebody asks for to a record that a broker keeps.

Theory of operation. A *request* is what people and programs write. The intake checks all of it at once and names each
bad field; resolves the script, so that the job is bound to one exact content from then on; takes from the script's
manifest what the request leaves open; holds the parameters against the manifest's schema; fills in the keys of limits;
stores the bundle where workers find it; and submits. The gateway and a client that speaks to a broker directly share
it, so a job is the same whichever door it came in by. What it leaves open (time limit, memory), the worker that runs
it fills in.
"""

from pumasi.intake.intake import Intake, Taken
from pumasi.intake.lookup import locate
from pumasi.intake.request import JobRequest, LimitsRequest, RetryRequest

__all__ = ["Intake", "JobRequest", "LimitsRequest", "RetryRequest", "Taken", "locate"]
