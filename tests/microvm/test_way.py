"""A guest's way to the bus: bytes go through, names are looked up anew, ends are passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.bus.server import free_port
from shared.microvm.way import Way
from tests.eventually import eventually


@asynccontextmanager
async def upper_case_server(port: int) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    # Another address of loopback: the way itself has the port on 127.0.0.1.
    server = await asyncio.start_server(answer, "127.0.0.2", port)
    try:
        yield
    finally:
        server.close()


async def until_open(way: Way, count: int) -> None:
    await eventually(lambda: way.open == count, 10)


async def test_bytes_go_both_ways_and_connections_are_counted() -> None:
    port = free_port()
    async with upper_case_server(port), Way("127.0.0.2", port) as way:
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for number, (reader, writer) in enumerate(pairs):
            writer.write(f"hello {number}\n".encode())
            assert await asyncio.wait_for(reader.readline(), 10) == f"HELLO {number}\n".encode()
        assert way.open == 2
        pairs[0][1].close()
        await until_open(way, 1)
        pairs[1][1].close()
        await until_open(way, 0)


async def test_with_nobody_at_the_far_end_the_near_end_is_closed() -> None:
    port = free_port()
    async with Way("127.0.0.2", port) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert way.open == 0
        writer.close()
        # Whoever comes later finds the server that has come meanwhile.
        async with upper_case_server(port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"there\n")
            assert await asyncio.wait_for(reader.readline(), 10) == b"THERE\n"
            writer.close()


async def test_leaving_ends_what_is_open() -> None:
    port = free_port()
    async with upper_case_server(port):
        async with Way("127.0.0.2", port) as way:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await until_open(way, 1)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
