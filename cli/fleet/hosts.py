"""Lab hosts that belong to this `cox up`: booted by it, gone with it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from cli.fleet.joining import expect_host, forget_host, wait_joined
from cli.fleet.keys import enroll_host
from cli.fleet.state import Member, MemberState
from cli.lab import lab_home, lab_hosts, seen_from_guest
from shared.errors import MachineError
from shared.microvm import Microvm, ensure_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.fleet.roster import Roster
    from shared.bus import Bus

LOOK_S = 1.0


class LabHosts:
    """`lab-1` to `lab-<count>`, as microVMs of this process."""

    def __init__(
        self, count: int, bus: Bus, url: str, roster: Roster, changed: Callable[[], None]
    ) -> None:
        self.names = [f"lab-{number + 1}" for number in range(count)]
        self._bus = bus
        self._url = url
        self._roster = roster
        self._changed = changed
        self._standing: dict[str, tuple[MemberState, str]] = dict.fromkeys(
            self.names, ("starting", "waiting for its turn")
        )

    def members(self) -> list[Member]:
        """Where each of them stands."""
        return [
            Member(name=name, state=state, note=note, log=str(lab_home() / name / "console.log"))
            for name, (state, note) in self._standing.items()
        ]

    async def run(self) -> None:
        """Boot them, wait until they have joined, keep them until cancelled."""
        self._check_free()
        image = await ensure_image(self._on_image)
        async with contextlib.AsyncExitStack() as stack:
            guests: dict[str, Microvm] = {}
            for name in self.names:
                await expect_host(self._bus, name)
                stack.push_async_callback(forget_host, self._bus, name)
                guests[name] = guest = Microvm(
                    image,
                    name=name,
                    settings={
                        "COX_HOST": name,
                        "COX_NATS_URL": seen_from_guest(self._url),
                        "COX_NAMESPACE": self._bus.subjects.namespace,
                    },
                    credentials=enroll_host(name),
                    directory=lab_home() / name,
                )
                self._set(name, "starting", f"booting with {guest.cpus} CPUs")
                # One after the other: emulated guests that boot together starve each other.
                await stack.enter_async_context(guest)
                # Its agent talks to one at a time; leave it to `cox lab shell`.
                await guest.close()
            await asyncio.gather(*(self._join(name) for name in self.names))
            await asyncio.gather(*(self._keep(name, guest) for name, guest in guests.items()))

    def _check_free(self) -> None:
        taken = [host.name for host in lab_hosts() if host.running and host.name in self.names]
        if taken:
            raise MachineError(
                f"{', '.join(taken)} runs already",
                expected="names that no lab host has",
                got="hosts that `cox lab up` has started",
                advice="Stop them with `cox lab down`, or start `cox up` without --hosts.",
            )

    async def _join(self, name: str) -> None:
        def tell(missing: str) -> None:
            self._set(name, "starting", f"waiting for {missing}")

        await wait_joined(self._bus, self._roster, name, tell)
        self._set(name, "ready", "")

    async def _keep(self, name: str, guest: Microvm) -> None:
        while guest.alive:  # noqa: ASYNC110 - the guest's process is nobody's event
            await asyncio.sleep(LOOK_S)
        await forget_host(self._bus, name)
        self._set(name, "stopped", "the guest has ended by itself")

    def _set(self, name: str, state: MemberState, note: str) -> None:
        if self._standing[name] != (state, note):
            self._standing[name] = (state, note)
            self._changed()

    def _on_image(self, stage: str, fraction: float, text: str) -> None:
        for name in self.names:
            self._set(name, "starting", f"image: {stage} {fraction:.0%} {text}".rstrip())
