"""`python -m tests.soak BROKER`: exit code 0 when nothing was lost, ended twice or got stuck, else 1."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.faults.places import BACKENDS, batch_of
from tests.faults.stage import all_of
from tests.soak.soak import Plan, Summary, soak


def main() -> int:
    """Parse, run, tell."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    plan = Plan(
        backend=options.broker,
        seed=random.randrange(1 << 32) if options.seed is None else options.seed,
        jobs=options.jobs,
        seconds=options.seconds,
        patience=options.patience,
        every=options.every,
        workers=options.workers,
        batch=options.batch or batch_of(options.broker),
        lease=options.lease,
        calm=options.calm,
        real=options.real,
    )
    print(f"{plan.jobs} jobs on {plan.backend}, seed {plan.seed}", file=sys.stderr, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="pumasi-soak-"))
    folder.chmod(0o755)  # a server of another user finds its folder
    try:
        summary = asyncio.run(soak(plan, folder, lambda text: print(text, file=sys.stderr, flush=True)))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(summary)))
    print(_told(summary))
    return 0 if summary.good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("broker", choices=BACKENDS)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long faults strike")
    parser.add_argument("--patience", type=float, default=180.0, help="how long all may take to end afterwards")
    parser.add_argument("--every", type=float, default=2.0, help="seconds from one fault to the next")
    parser.add_argument("--workers", type=int, default=4, help="worker processes")
    parser.add_argument("--batch", type=int, help="jobs submitted at once; as many as the backend takes well")
    parser.add_argument("--lease", type=float, default=2.0, help="seconds of a lease")
    parser.add_argument("--calm", type=float, help="seconds of calm after a restart, in place of the usual ones")
    parser.add_argument("--seed", type=int, help="of the faults; drawn and shown when left out")
    parser.add_argument("--real", action="store_true", help="with `pumasi worker` processes and a script")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary here")
    parser.add_argument("--keep", action="store_true", help="leave the folder of the run, with all histories")
    return parser


def _verdict(summary: Summary) -> str:
    if summary.broken:
        return "BROKEN"
    return "good" if summary.good else "NOT ALL SUBMITTED"


def _told(summary: Summary) -> str:
    ended = ", ".join(f"{n} {state}" for state, n in summary.ended.items())
    faults = ", ".join(f"{name} {n}" for name, n in summary.faults.items())
    wrong = ", ".join(f"{n} {rule}" for rule, n in summary.broken.items()) or "0 lost, 0 ended twice, 0 stuck"
    lines = [
        f"{summary.plan.backend}: {_verdict(summary)} in {summary.seconds} s, seed {summary.plan.seed}",
        f"  accepted {summary.accepted}; ended: {ended}; {wrong}",
        f"  runs {summary.runs}, endings refused {summary.refused}, workers fallen {summary.fallen}",
        f"  faults {sum(summary.faults.values())}: {faults}",
    ]
    return "\n".join([*lines, *([all_of(summary.found)] if summary.found else [])])


if __name__ == "__main__":
    sys.exit(main())
