"""To a gateway, over HTTP.

Answers above 399 carry an error by its class name, and are raised as that error. No answer at all is `Unavailable`.
Streams that break are resumed where they broke, for as long as the gateway can be reached again.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
from msgspec import UNSET, Raw, convert
from msgspec.structs import asdict

from pumasi.client.backoff import Backoff
from pumasi.client.transport import Transport
from pumasi.closing import closing
from pumasi.core.job import Event, Job, Page, Query, Queue, QueueSettings, Record, Stats, Worker
from pumasi.errors import Error, Invalid, Unavailable
from pumasi.intake import JobRequest
from pumasi.scripts.base import ScriptInfo
from pumasi.views import (
    job_from_view,
    record_from_view,
    stats_from_view,
    worker_from_view,
)

#: seconds to connect, and to be answered where nothing is waited for
_CONNECT = 5.0
_ANSWER = 30.0
#: seconds of one wait, so that a dead connection is noticed
_ONE_WAIT = 30.0
#: seconds without a sign of life after which a stream counts as broken; a gateway gives one every 15 s
_SILENCE = 40.0
#: seconds to find a gateway again for a stream that broke
_RESUME = 60.0
_CONNECTIONS = 256

_view = msgspec.json.Decoder(dict[str, Raw])
_views = msgspec.json.Decoder(list[dict[str, Raw]])


class HttpTransport(Transport):
    """A gateway behind a URL. `token` is asked for at each call, so that a new one is taken up."""

    def __init__(self, url: str, token: Callable[[], str | None]) -> None:
        parts = urlsplit(url)
        if not parts.hostname:
            raise Invalid("{url!r} is no URL of a gateway; use http://HOST:PORT", url=url)
        self._token = token
        self._local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        self._base = url.rstrip("/")
        self._http: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        self._http = httpx2.AsyncClient(
            base_url=self._base,
            timeout=httpx2.Timeout(_ANSWER, connect=_CONNECT, pool=None),
            limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            trust_env=not self._local,  # no proxy stands between a machine and itself
            verify=self._base.startswith("https:"),  # without TLS there is nothing to verify, and to load for it
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def submit(self, request: JobRequest, key: str) -> Job:
        answer = await self._call("POST", "/v1/jobs", json=_body(request), headers={"Idempotency-Key": key})
        return _job(answer)

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Job]:
        answer = await self._call("POST", "/v1/jobs/batch", json={"jobs": [_body(request) for request in requests]})
        return [job_from_view(view) for view in _views.decode(_view.decode(answer)["jobs"])]

    async def get(self, id: str) -> Job:
        return _job(await self._call("GET", _path(id)))

    async def wait(self, id: str, seconds: float) -> Job:
        wait = max(0.0, min(seconds, _ONE_WAIT))
        timeout = httpx2.Timeout(wait + _ANSWER, connect=_CONNECT, pool=None)
        return _job(await self._call("GET", _path(id), params={"wait": f"{wait:.3f}"}, timeout=timeout))

    async def find(self, query: Query) -> Page:
        page = _view.decode(await self._call("GET", "/v1/jobs", params=_filters(query)))
        jobs = tuple(job_from_view(view) for view in _views.decode(page["jobs"]))
        return Page(jobs, msgspec.json.decode(page["cursor"]), msgspec.json.decode(page["totals"]))

    async def cancel(self, id: str) -> Job:
        return _job(await self._call("POST", _path(id, "cancel")))

    async def retry(self, id: str, key: str, parameters: Mapping[str, Any] | None) -> Job:
        body, headers = {"parameters": parameters}, {"Idempotency-Key": key}
        return _job(await self._call("POST", _path(id, "retry"), json=body, headers=headers))

    async def requeue(self, id: str, parameters: Mapping[str, Any] | None) -> Job:
        return _job(await self._call("POST", _path(id, "requeue"), json={"parameters": parameters}))

    async def discard(self, id: str) -> Job:
        return _job(await self._call("POST", _path(id, "discard")))

    async def logs(self, id: str, follow: bool, after: int) -> AsyncIterator[Record]:
        if follow:
            async with closing(self._stream(_path(id, "logs"), {"follow": "1"}, after)) as events:
                async for _, data in events:
                    if data is not None:
                        yield record_from_view(_plain(data))
            return
        while views := _plain(await self._call("GET", _path(id, "logs"), params={"after": after})):
            for view in views:
                yield record_from_view(view)
            after = views[-1]["seq"]

    async def full_log(self, id: str) -> bytes:
        return await self._call("GET", _path(id, "logs"), params={"full": "1"})

    async def watch(self, job: str | None, queue: str | None, after: int | None) -> AsyncIterator[Event]:
        about = {name: value for name, value in (("job", job), ("queue", queue)) if value is not None}
        async with closing(self._stream("/v1/events", about, after)) as events:
            async for id, data in events:
                if data is None:
                    continue
                event = Event(id, job_from_view(_view.decode(data["job"])))
                yield event
                if job is not None and event.job.ended:
                    return

    async def artifacts(self, id: str) -> dict[str, int]:
        found = _plain(await self._call("GET", _path(id, "artifacts")))
        return {artifact["name"]: artifact["size"] for artifact in found}

    async def artifact(self, id: str, name: str) -> bytes:
        return await self._call("GET", _path(id, "artifacts", name))

    async def scripts(self) -> list[ScriptInfo]:
        return convert(_plain(await self._call("GET", "/v1/scripts")), list[ScriptInfo])

    async def workers(self) -> list[Worker]:
        return [worker_from_view(view) for view in _plain(await self._call("GET", "/v1/workers"))]

    async def queues(self) -> list[Queue]:
        return convert(_plain(await self._call("GET", "/v1/queues")), list[Queue])

    async def set_queue(self, name: str, settings: QueueSettings) -> Queue:
        body = {key: value for key, value in asdict(settings).items() if value is not UNSET}
        return convert(_plain(await self._call("PUT", f"/v1/queues/{quote(name, safe='')}", json=body)), Queue)

    async def stats(self) -> Stats:
        return stats_from_view(_plain(await self._call("GET", "/v1/stats")))

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> bytes:
        """The body of an answer. Raises: Unavailable, and what the gateway says."""
        try:
            answer = await self._client.request(
                method, path, headers={**self._credentials(), **(headers or {})}, **options
            )
        except httpx2.TransportError as error:
            raise self._unavailable(error) from error
        if answer.status_code >= 400:
            raise _error(answer.status_code, answer.content)
        return answer.content

    async def _stream(
        self, path: str, about: Mapping[str, str], after: int | None
    ) -> AsyncIterator[tuple[int, dict[str, Raw] | None]]:
        """Events as (id, data), until the gateway ends the stream for good; resumed where it breaks."""
        backoff = Backoff(_RESUME)
        while True:
            cut: Unavailable = Unavailable("the gateway at {url} goes on ending the stream", url=self._base)
            try:
                async with closing(self._events(path, about, after)) as events:
                    async for id, data, end in events:
                        if end:
                            return
                        backoff, after = Backoff(_RESUME), id
                        yield id, data
            except Unavailable as error:
                cut = error
            if not await backoff.pause():
                raise cut

    async def _events(
        self, path: str, about: Mapping[str, str], after: int | None
    ) -> AsyncIterator[tuple[int, dict[str, Raw] | None, bool]]:
        headers = self._credentials() | ({} if after is None else {"Last-Event-ID": str(after)})
        timeout = httpx2.Timeout(_SILENCE, connect=_CONNECT, pool=None)
        try:
            async with self._client.sse(path, params=about, headers=headers, timeout=timeout) as source:
                if source.response.status_code == 204:
                    yield after or 0, None, True
                    return
                if source.response.status_code >= 400:
                    raise _error(source.response.status_code, await source.response.aread())
                async for event in source:
                    data = _view.decode(event.data) if event.data else None
                    yield int(event.id or after or 0), data, event.event == "end"
        except httpx2.TransportError as error:
            raise self._unavailable(error) from error

    @property
    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            raise RuntimeError("this client is closed")
        return self._http

    def _credentials(self) -> dict[str, str]:
        token = self._token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _unavailable(self, error: Exception) -> Unavailable:
        why = str(error) or type(error).__name__
        return Unavailable("the gateway at {url} does not answer: {why}", url=self._base, why=why)


def _error(status: int, content: bytes) -> Error:
    """The error that an answer tells of; one that is none of ours comes from something in between."""
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        body = None
    if isinstance(body, dict) and "error" in body:
        return Error.from_wire(body)
    text = "the answer was {status}, and not from a gateway of Pumasi"
    return Unavailable(text, status=status) if status >= 500 else Error(text, status=status)


def _body(request: JobRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_unset=True)


def _filters(query: Query) -> dict[str, Any]:
    filters: dict[str, Any] = {
        "state": [state.value for state in query.states],
        "label": [f"{name}:{value}" for name, value in query.labels.items()],
        "script": query.script,
        "queue": query.queue,
        "parent": query.parent,
        "prefix": query.prefix,
        "since": None if query.since is None else repr(query.since),
        "dead": "1" if query.dead else None,
        "cursor": query.cursor,
        "limit": query.limit,
    }
    return {name: value for name, value in filters.items() if value}


def _job(content: bytes) -> Job:
    return job_from_view(_view.decode(content))


def _plain(content: bytes | dict[str, Raw]) -> Any:
    if isinstance(content, dict):
        return {name: msgspec.json.decode(value) for name, value in content.items()}
    return msgspec.json.decode(content)


def _path(id: str, *rest: str) -> str:
    return "/v1/jobs/" + "/".join(quote(part, safe="/" if n else "") for n, part in enumerate((id, *rest)))
