"""`cox hosts probe`: what a person sees of a reading, hostile names included."""

from __future__ import annotations

from shared.bus import Bus
from shared.errors import MachineError
from shared.messages import Deepened, DeepenRequest
from shared.probes import Named, ProbeReading, Spread, Wake
from tests.cli.conftest import Cox, CoxOnBus

SPREAD = Spread(
    count=12, total_us=90.0, mean_us=7.5, p50_us=8.0, p99_us=16.0, most_us=15.0, slots=[2, 0, 8, 2]
)
READING = ProbeReading(
    probe="wakes",
    seconds=3.0,
    spreads={"wait_after_wakeup": SPREAD},
    wakes=[Wake(waker="[bold]evil[/bold]", woken="\x1b[2Jb", count=7, wait_us=41.0)],
    names=[Named(name="sorter", count=3, total_us=4200.0)],
)


async def observer(bus: Bus) -> list[DeepenRequest]:
    """One host's, whose key is stolen: what it says was never cleaned."""
    heard: list[DeepenRequest] = []

    async def answer(request: DeepenRequest) -> Deepened:
        heard.append(request)
        if request.probe == "io":
            raise MachineError("the probe io cannot run on this host", got="this host has no bcc")
        return Deepened(
            optimization="",
            host="h1",
            workload=request.workload,
            reading=READING,
            summary="After a wake-up its tasks waited.",
        )

    await bus.serve(
        bus.subjects.endpoint("observer", "deepen", "h1"), DeepenRequest, answer, queue="h"
    )
    return heard


async def test_a_reading_is_shown_and_no_name_is_obeyed(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    heard = await observer(bus)
    ran = await cox_on_bus("hosts", "probe", "h1", "wakeup", "wakes", "--beside", "build")
    assert ran.code == 0, ran.err
    assert [(r.workload, r.probe, r.beside) for r in heard] == [("wakeup", "wakes", ["build"])]
    assert "After a wake-up its tasks waited." in ran.out
    assert "[bold]evil[/bold] → " in ran.out
    assert "\x1b[2J" not in ran.out
    assert "4 µs" in ran.out
    assert "sorter" in ran.out
    as_json = await cox_on_bus("hosts", "probe", "h1", "wakeup", "wakes", "--json")
    assert as_json.document["reading"]["wakes"][0]["count"] == 7


async def test_a_host_without_bcc_says_so(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    await observer(bus)
    ran = await cox_on_bus("hosts", "probe", "h1", "wakeup", "io")
    assert ran.code == 1
    assert "no bcc" in ran.err


def test_a_probe_that_is_none_is_refused_before_anybody_is_asked(cox: Cox) -> None:
    ran = cox("hosts", "probe", "h1", "wakeup", "everything")
    assert ran.code == 2
    assert "run-queue, cpu-time, wakes, futex, io" in ran.err.replace("\n", " ")
