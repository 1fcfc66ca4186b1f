"""`pumasi retry ID…`: ask again for what ended jobs were asked for; each is a new job, and the old one its parent."""

import asyncio
import sys

from pumasi.cli.cancel import for_each
from pumasi.cli.options import Ids, Json, Url
from pumasi.core.job import Job
from pumasi.locale import gettext as _


def command(ids: Ids, json: Json = False, url: Url = None) -> int:
    terminal = sys.stdout.isatty()

    def told(job: Job) -> str:
        return _("{id}: a new job, in place of {parent}").format(id=job.id, parent=job.parent) if terminal else job.id

    return asyncio.run(for_each(ids, lambda client, id: client.retry(id), told, as_json=json, url=url))
