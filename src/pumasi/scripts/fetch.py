"""A script for a run: from the cache, else from the broker's blobs, whose word is not taken for it."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from pumasi.errors import FetchFault, Invalid
from pumasi.scripts import bundle
from pumasi.scripts.cache import Cache, Cached

#: where a bundle lies in the blob store: BLOB + digest
BLOB = "script/"

_under_way: WeakValueDictionary[tuple[int, str, str], asyncio.Lock] = WeakValueDictionary()


async def fetch(digest: str, name: str, cache: Cache, get_blob: Callable[[str], Awaitable[bytes | None]]) -> Cached:
    """The script of this content, ready to run; slots that want the same one at once fetch it once.

    Raises:
        FetchFault: it is in neither place, is damaged, or cannot be written here; `name` is for the message.
        Unavailable: the broker did not answer.
    """
    key = (id(asyncio.get_running_loop()), str(cache.folder), digest)
    lock = _under_way.setdefault(key, asyncio.Lock())
    async with lock:
        try:
            return await cache.get(digest) or await cache.put(await _download(digest, name, get_blob))
        except OSError as error:
            raise FetchFault(
                "script {name!r} cannot be kept in the cache: {problem}", name=name, problem=str(error)
            ) from error
        except Invalid as error:
            raise FetchFault("script {name!r} cannot be used: {problem}", name=name, problem=str(error)) from error


async def _download(digest: str, name: str, get_blob: Callable[[str], Awaitable[bytes | None]]) -> dict[str, bytes]:
    data = await get_blob(f"{BLOB}{digest}")
    if data is None:
        raise FetchFault("the files of script {name!r} are no longer in the store; submit it again", name=name)
    files = await asyncio.to_thread(bundle.unpack, data)
    if await asyncio.to_thread(bundle.digest, files) != digest:
        raise FetchFault("the files of script {name!r} are not those that were submitted", name=name)
    return files
