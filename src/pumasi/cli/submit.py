"""`pumasi submit SCRIPT`: hand in a job; with `--wait`, see it through as `pumasi run` does."""

import asyncio
from typing import Annotated, Any

import typer

from pumasi.cli import FAILED, OK, request
from pumasi.cli.options import (
    LIMITS,
    Cpu,
    Disk,
    Json,
    Memory,
    OpenFiles,
    Param,
    Params,
    Processes,
    Result,
    Timeout,
    Url,
)
from pumasi.cli.output import print_json, write
from pumasi.locale import gettext as _

_WHEN = _("When and where")
_RULES = _("Rules")
DETAILS = _(
    "The id of the job is printed on standard output. With --wait, its log is shown on standard error as it comes, and "
    "its result is printed instead of the id. Exit code: 0 submitted or completed, 1 failed, 2 wrong usage."
)


def command(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help=_("NAME or NAME@VERSION."))],
    args: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGS…", help=_("Arguments of the script."), show_default=False)
    ] = None,
    param: Param = None,
    params: Params = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help=_("Wait for the end, and print the result."))] = False,
    wait_timeout: Annotated[
        str | None,
        typer.Option("--wait-timeout", metavar="TIME", help=_("How long to wait; the job goes on after it.")),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option("--queue", "-q", metavar="NAME", help=_("The queue it goes to."), rich_help_panel=_WHEN),
    ] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="0-9", help=_("9 is most urgent."), rich_help_panel=_WHEN)
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            "--delay", metavar="TIME", help=_("Not before this long from now, such as 10m."), rich_help_panel=_WHEN
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="WHEN",
            help=_("Not before this time, such as 2030-01-31T08:00:00+09:00."),
            rich_help_panel=_WHEN,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="TIME", help=_("Not started later than this after it was due."), rich_help_panel=_WHEN
        ),
    ] = None,
    unique: Annotated[
        str | None,
        typer.Option(
            "--unique", metavar="KEY", help=_("No other job with this key until it has ended."), rich_help_panel=_RULES
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help=_("A label to find it by."))
    ] = None,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry", metavar="N", help=_("Try again up to so many times when it fails."), rich_help_panel=_RULES
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help=_("Jobs with this key share --concurrency and --rate."), rich_help_panel=_RULES
        ),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency", metavar="N", help=_("Most jobs of the key that run at one time."), rich_help_panel=_RULES
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate", metavar="RATE", help=_("Most jobs of the key that start, such as 10/min."), rich_help_panel=_RULES
        ),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            "--share",
            metavar="NAME",
            help=_("For whom it is; a fair queue serves these in turn."),
            rich_help_panel=_RULES,
        ),
    ] = None,
    on_lost: Annotated[
        str | None,
        typer.Option(
            "--on-lost",
            metavar="retry|fail",
            help=_("What happens when its worker dies under it."),
            rich_help_panel=_RULES,
        ),
    ] = None,
    required_memory: Annotated[
        str | None,
        typer.Option(
            "--required-memory",
            metavar="SIZE",
            help=_("Memory a worker must have free to take it."),
            rich_help_panel=LIMITS,
        ),
    ] = None,
    timeout: Timeout = None,
    memory: Memory = None,
    cpu: Cpu = None,
    processes: Processes = None,
    open_files: OpenFiles = None,
    disk: Disk = None,
    result: Result = None,
    json: Json = False,
    url: Url = None,
) -> int:
    options = {
        "args": args or None,
        "queue": queue,
        "priority": request.number("--priority", priority),
        "delay": request.duration("--delay", delay),
        "run_at": request.moment("--at", at),
        "expires": request.duration("--expires", expires),
        "unique": unique,
        "labels": request.labels(label) or None,
        "retry": request.number("--retry", retry),
        "key": key,
        "concurrency": request.number("--concurrency", concurrency),
        "rate": rate,
        "share": share,
        "on_lost": on_lost,
        "required_memory": required_memory,
        "timeout": request.duration("--timeout", timeout),
        "limits": request.limits(memory=memory, cpu=cpu, processes=processes, open_files=open_files, disk=disk) or None,
        "result": result,
    }
    given = {name: value for name, value in options.items() if value is not None}
    patience = request.duration("--wait-timeout", wait_timeout)
    body = request.parameters(param, params)
    return asyncio.run(_submit(script, body, given, wait=wait, patience=patience, as_json=json, url=url))


async def _submit(
    script: str,
    body: dict[str, Any] | None,
    options: dict[str, Any],
    *,
    wait: bool,
    patience: float | None,
    as_json: bool,
    url: str | None,
) -> int:
    from pumasi.cli.follow import show_log
    from pumasi.cli.report import tell_ending
    from pumasi.cli.target import connected, load
    from pumasi.core.job import State
    from pumasi.errors import WaitTimeout
    from pumasi.views import job_view

    settings = load()
    async with connected(settings, url) as client:
        job = await client.submit(script, body, **options)
        if not wait:
            if as_json:
                print_json(job_view(job))
            else:
                write(job.id)
            return OK
        seconds = settings.wait_timeout if patience is None else patience
        try:
            async with asyncio.timeout(seconds):
                lines = await show_log(client.logs(job.id, follow=True))
        except TimeoutError:
            raise WaitTimeout(id=job.id, timeout=f"{seconds:g}") from None
        job = await client.wait(job.id, seconds)
    if as_json:
        print_json(job_view(job))
    else:
        tell_ending(job, lines=lines)
    return OK if job.state is State.COMPLETED else FAILED
