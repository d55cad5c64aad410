"""Guests for sieges: one is booted and frozen, and each siege has its own that goes on there."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Final, Self

import msgspec
import structlog

from services.executor.gate.sandbox.judge import judged, void
from services.executor.gate.sandbox.verdicts import Verdicts
from services.executor.gate.stage import Finding
from services.executor.siege import Measured, Orders
from shared.errors import MachineError
from shared.microvm import Microvm
from shared.microvm.image import cached_image
from shared.microvm.recipe import Recipe
from shared.microvm.tools import require
from shared.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from shared.microvm import Image
    from shared.policies import Manifest

CPUS: Final = (2,)
ATTEMPTS: Final = 3
"""How often a siege is laid that the machine has spoiled."""
_SPARE_S: Final = 300.0
"""For loading, and for coming up where CPUs are emulated and shared."""

log = structlog.get_logger(__name__)


def sandbox_image() -> Image:
    """What guests are made of. Raises MachineError where no guest can run."""
    require("qemu-system-x86_64", "qemu-system-x86")
    require("qemu-img", "qemu-utils")
    image = cached_image(Recipe.load())
    if image is None:
        raise MachineError(
            "the sandbox has no lab image",
            expected="the image of this checkout's recipe in the cache",
            got="none",
            advice="Build it with `cox lab up 1`, or do without: COX_SANDBOX=off.",
        )
    return image


class Sandbox:
    """Besieges objects, one after another, in a guest for each number of CPUs.

    A context manager: guests boot when they are first needed and are gone at the end. No siege
    finds anything that another has left. `wait_for` is for threads other than the loop's.
    `verdicts` is where findings are kept; `kernel` is the release that the guests run.
    """

    def __init__(
        self,
        image: Image,
        *,
        cpus: tuple[int, ...] = CPUS,
        orders: Orders | None = None,
        verdicts: Path | None = None,
    ) -> None:
        self.kernel = image.manifest.kernel_release
        self._image = image
        self._cpus = cpus
        self._orders = orders
        self._verdicts = Verdicts(verdicts)
        self._frozen: dict[int, Microvm] = {}
        self._turn = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._going: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await end(list(self._going))
        for guest in self._frozen.values():
            await guest.stop()
        self._frozen.clear()

    def wait_for(self, artifact: bytes, manifest: Manifest) -> Finding:
        """As `judge`, from a thread beside the loop's."""
        assert self._loop is not None
        asked = asyncio.run_coroutine_threadsafe(self._noted(artifact, manifest), self._loop)
        try:
            return asked.result()
        except CancelledError as error:
            raise MachineError(
                "the sandbox was closed", expected="a verdict", got="the end of its owner"
            ) from error

    async def _noted(self, artifact: bytes, manifest: Manifest) -> Finding:
        task = asyncio.current_task()
        assert task is not None
        self._going.add(task)
        try:
            return await self.judge(artifact, manifest)
        finally:
            self._going.discard(task)

    async def judge(self, artifact: bytes, manifest: Manifest) -> Finding:
        """Besiege it on every number of CPUs until one says no. Raises MachineError."""
        orders = self._orders or orders_for(manifest)
        key = self._verdicts.key(artifact, manifest, self.kernel, self._cpus, orders)
        async with self._turn:
            if known := self._verdicts.find(key):
                return Finding(
                    reasons=known.reasons, evidence=known.evidence | {"sandbox_cached": 1.0}
                )
            found = Finding(evidence={"sandbox_cached": 0.0})
            for cpus in self._cpus:
                one = await self._judge_on(cpus, artifact, manifest, orders)
                found.reasons += one.reasons
                found.evidence |= _of_cpus(one.evidence, cpus, alone=len(self._cpus) == 1)
                if found.reasons:
                    break
            self._verdicts.keep(key, found)
            return found

    async def _judge_on(
        self, cpus: int, artifact: bytes, manifest: Manifest, orders: Orders
    ) -> Finding:
        measured = await self.measure(artifact, orders, cpus=cpus, good=lambda m: not void(m))
        finding = judged(measured, orders, manifest.wait_bound_ns)
        log.info("sandbox.besieged", policy=manifest.name, cpus=cpus, passed=not finding.reasons)
        return finding

    async def measure(
        self,
        artifact: bytes,
        orders: Orders,
        *,
        cpus: int,
        good: Callable[[Measured], bool] = lambda _measured: True,
    ) -> Measured:
        """What a siege sees; laid again if it is not good. Raises MachineError."""
        for _ in range(ATTEMPTS):
            measured = await self._siege(artifact, orders, cpus)
            if good(measured):
                return measured
            log.info("sandbox.void", cpus=cpus)
        raise MachineError(
            "the sandbox could not measure",
            expected="a machine that lets its guest run",
            got=f"{ATTEMPTS} sieges in which it stood still for more than a second",
            advice="Try again when the machine is less busy.",
        )

    async def _siege(self, artifact: bytes, orders: Orders, cpus: int) -> Measured:
        place = f"/tmp/siege-{hashlib.sha256(artifact).hexdigest()[:16]}.o"  # noqa: S108  the guest's
        words = ["python3", "-m", "services.executor.siege", place]
        frozen = await self._booted(cpus)
        try:
            async with frozen.again() as guest:
                await guest.put(place, artifact)
                code, output = await guest.run(
                    [*words, msgspec.json.encode(orders).decode()],
                    timeout_s=_SPARE_S + 4 * orders.seconds + orders.watchdog_ms / 500,
                )
        except TimeoutError as error:
            raise MachineError(
                "a siege did not end", expected="what it has measured", got=str(error)
            ) from error
        return _told(code, output)

    async def _booted(self, cpus: int) -> Microvm:
        """The frozen guest that others go on from."""
        if cpus in self._frozen:
            return self._frozen[cpus]
        guest = Microvm(
            self._image, name=f"sandbox-{cpus}", cpus=cpus, network=False, boot_s=_SPARE_S
        )
        try:
            await guest.boot()
            await guest.freeze()
        except BaseException as error:
            await guest.stop()
            if isinstance(error, TimeoutError):
                raise MachineError(
                    "the sandbox's guest did not come up",
                    expected=f"it within {_SPARE_S:.0f} s",
                    got=str(error),
                    advice="Try again when the machine is less busy.",
                ) from error
            raise
        self._frozen[cpus] = guest
        return guest


def orders_for(manifest: Manifest) -> Orders:
    """A siege that outlasts the longest wait which the manifest allows."""
    return Orders(
        seconds=max(Orders().seconds, 2 * manifest.wait_bound_ns / 1e9), values=manifest.defaults
    )


def _told(code: int, output: str) -> Measured:
    last = output.rstrip().rpartition("\n")[2]
    try:
        if not code:
            return msgspec.json.decode(last, type=Measured)
    except msgspec.DecodeError:
        pass
    raise MachineError(
        "a siege failed in its guest", expected="what it has measured", got=output[-2000:]
    )


def _of_cpus(evidence: dict[str, float], cpus: int, *, alone: bool) -> dict[str, float]:
    """Told apart by the number of CPUs where there are several."""
    if alone:
        return evidence
    return {f"{name}_{cpus}cpu": value for name, value in evidence.items()}
