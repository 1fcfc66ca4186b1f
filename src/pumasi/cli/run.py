"""`pumasi run FILE.py`: any Python file as one job, with a broker in memory and a worker in this process.

Standard output carries the result and nothing else, standard error the log as it comes. Exit codes: 0 completed, 1 not,
2 asked wrongly, 130 interrupted.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from pumasi.cli import FAILED, OK, request
from pumasi.cli.options import Cpu, Disk, Memory, OpenFiles, Param, Params, Processes, Result, Timeout
from pumasi.cli.output import print_json
from pumasi.errors import Invalid
from pumasi.locale import gettext as _

DETAILS = _(
    "Everything after -- is handed to the script as its arguments. The result is printed on standard output as JSON, "
    "the log on standard error. Exit code: 0 completed, 1 failed, 2 wrong usage."
)


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("A Python file, or a folder with a script in it."))],
    args: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGS…", help=_("Arguments of the script."), show_default=False)
    ] = None,
    param: Param = None,
    params: Params = None,
    timeout: Timeout = None,
    memory: Memory = None,
    cpu: Cpu = None,
    processes: Processes = None,
    open_files: OpenFiles = None,
    disk: Disk = None,
    result: Result = None,
    python: Annotated[
        str | None, typer.Option("--python", metavar="PATH", help=_("Python interpreter that runs the script."))
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=_("Print the whole record of the job instead."))] = False,
) -> int:
    if not file.exists():
        raise Invalid("there is no file {path}", path=str(file))
    limits = request.limits(memory=memory, cpu=cpu, processes=processes, open_files=open_files, disk=disk)
    options: dict[str, Any] = {
        "parameters": request.parameters(param, params),
        "args": args or None,
        "timeout": request.duration("--timeout", timeout),
        "limits": limits,
        "result": result,
    }
    return asyncio.run(_run(file, options, python=python, as_json=json))


async def _run(file: Path, options: dict[str, Any], *, python: str | None, as_json: bool) -> int:
    from pumasi.cli.alone import Alone
    from pumasi.cli.report import tell_ending
    from pumasi.cli.target import load
    from pumasi.core.job import State
    from pumasi.views import job_view

    with tempfile.TemporaryDirectory(prefix="pumasi-run-") as folder:
        settings = load(slots=1, data_dir=folder, python=python, queues=(), max_runs=0, worker_id="run")
        alone = Alone(settings)
        job = await alone.execute(file, options)
    if as_json:
        print_json(job_view(job))
    else:
        tell_ending(job, lines=alone.lines)
    if alone.interrupted:
        return 128 + alone.interrupted
    return OK if job.state is State.COMPLETED else FAILED
