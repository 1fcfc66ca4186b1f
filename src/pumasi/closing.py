"""Leaving a stream half-way: what it holds (a connection, a place among the listeners) is let go at once."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closing(source: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """`async with closing(stream) as items: async for item in items: …`"""
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
