"""Parts of the lab that need no guest."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.lab import seen_from_guest
from shared.errors import InputError, MachineError
from shared.microvm import Guest, Image, Microvm
from shared.microvm import image as image_module
from shared.microvm.guest import EmulationError
from shared.microvm.image import Manifest, _collect_garbage, _PackageCount, _remove_tree
from shared.microvm.machine import environment_file
from shared.microvm.mirror import debian_mirror
from shared.microvm.process import ProcessId, processes_in
from shared.microvm.recipe import Recipe
from shared.microvm.statedisk import have_state_disk
from shared.microvm.tools import require, run_tool

MIRROR = "http://mirror.test/debian"


@pytest.fixture(autouse=True)
def _no_named_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COX_DEBIAN_MIRROR", raising=False)


# Mirror


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "stable"])
def test_the_mirror_is_the_machines_own(suite: str) -> None:
    targets = f"noble|main|http://other.test/ubuntu/\n{suite}|main|{MIRROR}/\n"
    assert debian_mirror(targets) == MIRROR


@pytest.mark.parametrize(
    "targets",
    [
        "",
        "noble|main|http://ubuntu.test/ubuntu/\n",
        "bookworm-security|main|http://mirror.test/debian-security/\n",
        "bookworm|stable|http://docker.test/linux/debian/\n",
        "bookworm-pgdg|main|http://pg.test/debian/\n",
    ],
)
def test_a_source_that_is_no_debian_archive_is_not_taken(targets: str) -> None:
    with pytest.raises(MachineError, match="COX_DEBIAN_MIRROR"):
        debian_mirror(targets)


def test_a_named_mirror_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COX_DEBIAN_MIRROR", "http://mine.test/debian/")
    assert debian_mirror(f"bookworm|main|{MIRROR}/\n") == "http://mine.test/debian"


# Settings


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])),
    )
)
def test_settings_reach_a_shell_as_they_are(settings: dict[str, str]) -> None:
    # systemd's quoting of EnvironmentFile= is a shell's, for what we write.
    wanted = {f"T_{key}": value for key, value in settings.items()}
    script = environment_file(wanted) + "".join(f'printf "%s\\0" "${key}"\n' for key in wanted)
    said = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True).stdout
    assert said.split(b"\0")[:-1] == [value.encode() for value in wanted.values()]


@pytest.mark.parametrize(("key", "value"), [("A B", "x"), ("", "x"), ("A", "x\ny"), ("A", "\0")])
def test_a_setting_that_would_break_the_file_is_refused(key: str, value: str) -> None:
    with pytest.raises(InputError):
        environment_file({key: value})


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("nats://127.0.0.1:4222", "nats://10.0.2.2:4222"),
        ("nats://localhost:1", "nats://10.0.2.2:1"),
        ("tls://u:localhost@127.0.0.1:4222", "tls://u:localhost@10.0.2.2:4222"),
        ("nats://bus.test:4222", "nats://bus.test:4222"),
    ],
)
def test_loopback_is_translated_for_guests(here: str, there: str) -> None:
    assert seen_from_guest(here) == there


# Recipe


def test_every_part_of_the_recipe_names_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.load()
    keys = {recipe.image_key}
    lock = tmp_path / "host.txt"
    lock.write_text("msgspec==0 --hash=sha256:0\n")
    monkeypatch.setattr("shared.microvm.recipe.WHEEL_LOCK", lock)
    keys.add(recipe.image_key)
    unit = tmp_path / "host/units/x.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    (tmp_path / "host/guest.masked").touch()
    monkeypatch.setattr("shared.microvm.recipe.HOST_TREE", tmp_path / "host")
    keys.add(recipe.image_key)
    unit.chmod(0o755)
    keys.add(recipe.image_key)
    assert len(keys) == 4


def test_a_new_size_does_not_download_debian_again() -> None:
    recipe = Recipe.load()
    fields = {name: getattr(recipe, name) for name in recipe.__struct_fields__}
    larger = Recipe(**{**fields, "size_mb": recipe.size_mb + 1})
    assert larger.root_key == recipe.root_key
    assert larger.image_key != recipe.image_key


def test_a_recipe_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.toml"
    path.write_text('suite = "trixie"\nsurprise = 1\n')
    with pytest.raises(MachineError):
        Recipe.load(path)


# Cache


def _fake_image(cache: Path, name: str, at: float) -> image_module.Image:
    directory = cache / "images" / name
    directory.mkdir(parents=True)
    for kind in ("roots", "wheels"):
        (cache / kind / f"{kind}-{name}").mkdir(parents=True)
    manifest = Manifest(
        key=name,
        root_key=f"roots-{name}",
        wheels_key=f"wheels-{name}",
        suite="trixie",
        kernel_release="7",
        built_at=at,
        packages={},
    )
    (directory / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    os.utime(directory, (at, at))
    return image_module.Image(directory, manifest)


def test_the_newest_two_images_are_kept_with_their_stages(tmp_path: Path) -> None:
    images = {name: _fake_image(tmp_path, name, at) for name, at in (("a", 1), ("b", 2), ("c", 3))}
    _collect_garbage(tmp_path, images["a"])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")}
    assert left == {
        *("images/a", "images/c", "roots/roots-a", "roots/roots-c"),
        *("wheels/wheels-a", "wheels/wheels-c"),
    }


def test_nothing_is_removed_through_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tmp_path / "stage"
    (stage / "proc").mkdir(parents=True)
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 2 0:3 / {stage}/proc rw - proc proc rw\n")
    monkeypatch.setattr(image_module, "MOUNTS", mountinfo)
    with pytest.raises(MachineError, match="umount"):
        _remove_tree(stage)
    assert (stage / "proc").is_dir()


def test_the_progress_of_apt_never_goes_back() -> None:
    count = _PackageCount()
    seen = []
    for line in ["0 upgraded, 60 newly installed", *["Unpacking x"] * 200, *["Setting up x"] * 300]:
        count.see(line)
        seen.append(count.fraction)
    assert seen == sorted(seen)
    assert 0.9 < seen[-1] < 1.0


async def test_an_ordinary_user_is_told_to_use_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COX_CACHE", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MachineError, match="sudo"):
        await image_module.ensure_image()


async def test_a_full_disk_is_said_in_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COX_CACHE", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(image_module, "NEEDED_BYTES", 2**60)
    with pytest.raises(MachineError, match=r"expected .* GB free .*; got .* GB"):
        await image_module.ensure_image()


async def test_a_stage_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COX_CACHE", str(tmp_path))
    monkeypatch.setenv("COX_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    with pytest.raises(MachineError, match="apt-get update"):
        await image_module.ensure_image()
    left = [path.name for path in tmp_path.rglob("*")]  # noqa: ASYNC240
    assert sorted(left) == ["build.lock", "roots"]


# Tools and processes


async def test_a_failing_tool_shows_its_last_words() -> None:
    with pytest.raises(MachineError, match="exit code 3: last words"):
        await run_tool(["sh", "-c", "echo last words; exit 3"], what="It failed")


async def test_cancelling_a_tool_ends_its_children_too(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"sleep 1000 & echo $! > {told}.new; mv {told}.new {told}; wait"
    work = asyncio.create_task(run_tool(["sh", "-c", script], what="It failed"))
    while not told.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    child = ProcessId.of(int(told.read_text()))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    while child.alive:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_a_missing_tool_names_its_package() -> None:
    with pytest.raises(MachineError, match="apt-get install no-such-package"):
        require("no-such-tool-here", "no-such-package")


def test_a_recycled_pid_is_neither_alive_nor_killed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        now = ProcessId.of(child.pid)
        before = ProcessId(now.pid, now.start_ticks - 1, now.boot_id)
        other_boot = ProcessId(now.pid, now.start_ticks, "another-boot")
        for stranger in (before, other_boot):
            assert not stranger.alive
            stranger.kill()
        assert now.alive
        now.kill()
        assert child.wait() == -9
        assert not now.alive
    finally:
        child.kill()
        child.communicate()


def test_only_qemu_counts_as_a_guest_of_a_directory(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=tmp_path)
    try:
        assert processes_in(tmp_path) == []
    finally:
        child.kill()
        child.communicate()


# The state disk


async def test_a_state_disk_is_made_once_and_names_its_host(tmp_path: Path) -> None:
    disk = tmp_path / "state.ext4"
    machine_id = await have_state_disk(disk)
    assert re.fullmatch("[0-9a-f]{32}", machine_id)
    made = disk.stat()
    assert await have_state_disk(disk) == machine_id
    assert disk.stat().st_mtime_ns == made.st_mtime_ns
    assert made.st_blocks * 512 < made.st_size
    assert await have_state_disk(tmp_path / "another.ext4") != machine_id


async def test_what_is_no_state_disk_is_not_written_over(tmp_path: Path) -> None:
    disk = tmp_path / "state.ext4"
    disk.write_bytes(b"somebody's letters")
    with pytest.raises(MachineError, match="none"):
        await have_state_disk(disk)
    assert disk.read_bytes() == b"somebody's letters"


async def test_a_kernel_that_ran_stale_code_is_told_from_one_that_died(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    guest = Guest("lost", tmp_path)
    console.write_text("Kernel panic - not syncing: sysrq triggered crash\n")
    with pytest.raises(MachineError, match="sysrq") as died:
        await guest.run("true", timeout_s=1)
    assert not isinstance(died.value, EmulationError)
    console.write_text("[1.2] Oops: int3: 0000 [#1] SMP\n" + "registers\n" * 1000 + "panic\n")
    with pytest.raises(EmulationError, match="Boot it again"):
        await guest.run("true", timeout_s=1)


class Spoilt(Microvm):
    """Its first boots come to nothing."""

    def __init__(self, image: Image, boots: int) -> None:
        super().__init__(image, name="spoilt")
        self.boots, self.did = boots, list[str]()

    async def start(self) -> None:
        self.did.append("start")

    async def wait_ready(self, timeout_s: float = 120.0) -> None:
        assert timeout_s
        self.boots -= 1
        if self.boots >= 0:
            raise EmulationError("its clock is wrong")

    async def stop(self) -> None:
        self.did.append("stop")


async def test_a_boot_that_the_emulator_spoils_is_done_again_but_not_for_ever() -> None:
    image: Image = SimpleNamespace()  # type: ignore[assignment]
    twice = Spoilt(image, boots=2)
    await twice.boot()
    assert twice.did == ["start", "stop", "start", "stop", "start"]
    with pytest.raises(EmulationError):
        await Spoilt(image, boots=9).boot()
