"""Raw figures as readings: percentiles, and names that anybody has chosen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.host.probing.known import KNOWN, sources
from services.executor.host.probing.reading import FIGURES, Raw, Ready, reading, spread, task_name
from services.executor.host.probing.scope import Scope, scope_of
from services.observer.deepening import group_path, reading_in_words
from shared.errors import InputError
from shared.plain import is_plain
from shared.probes import MOST_NAMES, MOST_WAKES, NAME_CHARS, PROBES, SLOTS, ProbeReading

READY = Ready(programs=[1], maps=[2], compile_s=2.0, cpu_s=1.5)


def counted(slots: dict[int, int], total_ns: int, most_ns: int) -> list[int]:
    """One spread's figures, as a probe's table has them."""
    figures = [0] * FIGURES
    for slot, count in slots.items():
        figures[slot] = count
    figures[SLOTS : SLOTS + 3] = [sum(slots.values()), total_ns, most_ns]
    return figures


def raw(figures: list[int], **others: object) -> Raw:
    given = {"seconds": 2.0, "lost": 0, "edges": [], "names": [], "runs": 100, "run_ns": 40_000_000}
    padded = figures + [0] * (6 * FIGURES - len(figures))
    return msgspec.convert({**given, "cpu_s": 1.6, "figures": padded, **others}, Raw)


def test_a_spread_has_bounds_for_its_percentiles() -> None:
    seen = spread(counted({0: 50, 4: 48, 10: 2}, total_ns=4_000_000, most_ns=1_500_000))
    assert seen.count == 100
    assert seen.mean_us == pytest.approx(40.0)
    assert seen.p50_us == 2.0
    assert seen.p99_us == 1500.0  # its slot ends at 2048, and nothing took longer than this
    assert seen.slots == [50, 0, 0, 0, 48, 0, 0, 0, 0, 0, 2]


def test_of_nothing_there_is_no_spread_and_the_cost_is_a_share_of_all_cpus() -> None:
    figures = counted({3: 5}, 50_000, 12_000) + counted({}, 0, 0)
    seen = reading("run-queue", raw(figures), READY, cpus=2)
    assert list(seen.spreads) == ["wait_after_wakeup"]
    assert seen.cost.kernel_share == pytest.approx(0.01)
    assert (seen.cost.compile_s, seen.cost.cpu_s, seen.cost.runs) == (2.0, 1.6, 100)


def test_the_heaviest_edges_and_names_are_kept() -> None:
    edges = [("61", f"{n:04x}", n, 5000 * n) for n in range(1, 100)]
    names = [(f"{n:04x}", 1, n) for n in range(1, 100)]
    seen = reading("wakes", raw([], edges=edges, names=names), READY, cpus=1)
    assert len(seen.wakes) == MOST_WAKES
    assert (seen.wakes[0].waker, seen.wakes[0].count, seen.wakes[0].wait_us) == ("a", 99, 5.0)
    assert len(seen.names) == MOST_NAMES
    assert seen.names[0].total_us == pytest.approx(0.099)


@given(st.binary(max_size=16))
def test_no_name_of_a_task_hides_anything(name: bytes) -> None:
    shown = task_name(name.partition(b"\0")[0].hex())
    assert is_plain(shown)
    assert len(shown) <= NAME_CHARS
    # And it goes over the bus as what it is.
    seen = reading("wakes", raw([], edges=[(name.hex(), name.hex(), 1, 1)]), READY, cpus=1)
    assert msgspec.json.decode(msgspec.json.encode(seen), type=ProbeReading) == seen


def test_a_hostile_name_is_told_in_quotation_marks() -> None:
    evil = b"\x1b[2J\xff\xe2\x80\xaeevil".hex()
    seen = reading("wakes", raw([], edges=[(evil, "61", 3, 3_000_000)]), READY, cpus=1)
    words = reading_in_words(seen)
    assert "'\\x1b[2J\\xff\\u202eevil' wakes 'a' 3 times, which waits 1 ms" in words
    assert is_plain(words)


@given(st.lists(st.integers(0, 2**40), min_size=SLOTS, max_size=SLOTS), st.integers(0, 2**50))
def test_percentiles_are_in_order_whatever_was_counted(slots: list[int], most_ns: int) -> None:
    seen = spread([*slots, sum(slots), sum(slots) * 1000, most_ns, 0])
    assert 0 <= seen.p50_us <= seen.p99_us <= seen.most_us
    assert sum(seen.slots) == seen.count


def test_every_probe_has_a_source_with_the_functions_that_are_attached() -> None:
    assert tuple(KNOWN) == PROBES
    for name, known in KNOWN.items():
        text = "\n".join(sources(name))
        assert text.startswith("/* SPDX-License-Identifier: GPL-2.0-only */")
        for tracepoint, function in known.attach:
            event = tracepoint.replace(":", "__")
            assert f"int {function}(struct tracepoint__{event} *args)" in text


def test_every_spread_can_be_said_in_words() -> None:
    for name, known in KNOWN.items():
        figures = [f for _ in known.spreads for f in counted({3: 5}, 50_000, 12_000)]
        words = reading_in_words(reading(name, raw(figures, lost=2), READY, cpus=1))
        assert not any(spread in words for spread in known.spreads)
        assert "2 events found no room" in words


def test_a_control_group_is_named_by_its_path(tmp_path: Path) -> None:
    below = tmp_path / "a.slice/b.service"
    below.mkdir(parents=True)
    for folder, threads in ((tmp_path / "a.slice", ""), (below, "7\n9\n")):
        (folder / "cgroup.procs").write_text("")
        (folder / "cgroup.threads").write_text(threads)
    (tmp_path / "link").symlink_to(below)
    (tmp_path / "no-group").mkdir()
    assert scope_of("/", tmp_path) == Scope()
    seen = scope_of("/a.slice", tmp_path)
    assert seen == Scope(group=(tmp_path / "a.slice").stat().st_ino, level=1, tids=(7, 9))
    assert scope_of("/a.slice/b.service", tmp_path).level == 2
    for wrong in ("", "a.slice", "/..", "/a.slice/../a.slice", "/link", "/no-group", "/gone"):
        with pytest.raises(InputError, match="no such control group"):
            scope_of(wrong, tmp_path)
    assert group_path(below, tmp_path) == "/a.slice/b.service"
    assert group_path(None) == group_path(Path("/elsewhere")) == "/"
