"""A real guest, on a real kernel."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shared.errors import InputError, MachineError
from shared.microvm import Guest, Image, Microvm
from shared.microvm.sockets import open_socket

pytestmark = [pytest.mark.kernel, pytest.mark.asyncio(loop_scope="session")]


async def test_its_kernel_has_sched_ext(guest: Microvm, image: Image) -> None:
    code, output = await guest.run("uname -r; cat /sys/kernel/sched_ext/state", timeout_s=30)
    assert (code, output) == (0, f"{image.manifest.kernel_release}\ndisabled\n")


async def test_everything_started_without_a_failure(guest: Microvm) -> None:
    # The two services have no bus here: they may fail, and are tried again.
    command = "systemctl list-units --failed --plain --no-legend"
    _, output = await guest.run(command, timeout_s=30)
    assert [line for line in output.splitlines() if "cox-observer" not in line] == []


async def test_a_command_has_its_exit_code_and_both_streams(guest: Microvm) -> None:
    finished = await guest.run("echo out; echo err >&2; exit 7", timeout_s=30)
    assert finished.exit_code == 7
    assert sorted(finished.output.split()) == ["err", "out"]


async def test_words_are_not_split(guest: Microvm) -> None:
    _, output = await guest.run(["printf", "%s|", "a b", "$HOME", "*"], timeout_s=30)
    assert output == "a b|$HOME|*|"


async def test_commands_run_side_by_side(guest: Microvm) -> None:
    # Each waits for the other: one after the other they would never end.
    results = await asyncio.gather(
        guest.run("mkfifo -m 600 /tmp/meet; echo hello > /tmp/meet", timeout_s=30),
        guest.run("until [ -p /tmp/meet ]; do sleep 0.1; done; cat /tmp/meet", timeout_s=30),
    )
    assert results[1].output == "hello\n"


async def test_a_late_command_is_killed_with_its_children(guest: Microvm) -> None:
    with pytest.raises(TimeoutError, match="1234"):
        await guest.run("sleep 1234 & sleep 1234", timeout_s=1)
    command = "for i in $(seq 100); do pgrep -f 'slee[p] 1234' || exit 0; sleep 0.1; done; exit 1"
    assert (await guest.run(command, timeout_s=60)).exit_code == 0


async def test_files_go_in_and_out_byte_by_byte(guest: Microvm) -> None:
    content = bytes(range(256)) * 4096
    await guest.put("/tmp/with a space/file", content, mode=0o750)
    assert await guest.get("/tmp/with a space/file") == content
    _, mode = await guest.run(["stat", "-c", "%a", "/tmp/with a space/file"], timeout_s=30)
    assert mode == "750\n"


async def test_a_file_that_is_not_there_is_an_error(guest: Microvm) -> None:
    with pytest.raises(MachineError, match="/nowhere"):
        await guest.get("/nowhere")


async def test_settings_are_there_for_units(guest: Microvm) -> None:
    unit = (
        "[Service]\nType=oneshot\nEnvironmentFile=/run/coxswain/host.env\n"
        "StandardOutput=file:/run/said\nExecStart=printenv COX_TEST\n"
    )
    await guest.put("/run/systemd/system/settings-test.service", unit.encode())
    code, output = await guest.run(["systemctl", "start", "settings-test"], timeout_s=60)
    assert code == 0, output
    assert await guest.get("/run/said") == b'a "quoted" $value\n'


async def test_the_checkouts_code_is_there_and_compiled(guest: Microvm) -> None:
    code, output = await guest.run(
        "cd /opt/coxswain/src && python3 tests/extra/extra.py && "
        "python3 -c 'import shared.messages as m; print(m.__cached__)' && "
        "ls /opt/coxswain/src/shared/__pycache__/messages.cpython-313.pyc && "
        "! touch /opt/coxswain/src/x 2>/dev/null && ls",
        timeout_s=60,
    )
    assert code == 0, output
    assert {"shared", "services", "bpf", "workloads", "tests"} <= set(output.split())


async def test_the_locked_packages_import(guest: Microvm) -> None:
    code, output = await guest.run(
        [
            "python3",
            "-W",
            "error",
            "-c",
            "import nats, msgspec, structlog, opentelemetry.sdk.trace",
        ],
        timeout_s=60,
    )
    assert code == 0, output


async def test_this_machines_loopback_is_reached(guest: Microvm) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello from outside")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, output = await guest.run(f"cat < /dev/tcp/10.0.2.2/{port}", timeout_s=30)
    assert output == "hello from outside"


async def test_the_observer_is_unprivileged_and_owns_its_cgroup(guest: Microvm) -> None:
    command = (
        "systemctl show cox-observer -p User -p Delegate -p NoNewPrivileges; "
        "systemctl show cox-executor -p User -p Delegate; id cox-observer"
    )
    code, output = await guest.run(command, timeout_s=30)
    assert code == 0
    observer = {"User=cox-observer", "NoNewPrivileges=yes", "Delegate=yes"}
    assert observer <= set(output.splitlines())
    assert "Delegate=no" in output


async def test_workloads_find_their_tools(guest: Microvm) -> None:
    command = (
        "for tool in hackbench stress-ng gcc make gzip bzip2 xz zstd sha256sum; do "
        "command -v $tool > /dev/null || echo missing: $tool; done; "
        "test -f /usr/share/coxswain/sources/lua5.4/src/lua.c || echo missing: lua"
    )
    assert (await guest.run(command, timeout_s=30)).output == ""


async def test_the_clock_is_read_without_leaving_the_cpu(guest: Microvm) -> None:
    source = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    assert await guest.get(source) in {b"tsc\n", b"kvm-clock\n"}


async def test_another_client_attaches_after_the_first_let_go(guest: Microvm) -> None:
    await guest.close()
    other = Guest.attach(guest.directory)
    assert (await other.run("hostname", timeout_s=30)).output == "under-test\n"
    await other.close()
    assert (await guest.run("hostname", timeout_s=30)).output == "under-test\n"


async def test_a_caller_that_gave_up_does_not_confuse_the_next(guest: Microvm) -> None:
    for _ in range(20):
        work = asyncio.create_task(guest.run("echo wrong", timeout_s=30))
        await asyncio.sleep(0.003)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    assert (await guest.run("echo right", timeout_s=30)).output == "right\n"


async def test_the_console_has_a_root_shell(guest: Microvm) -> None:
    reader, writer = await open_socket(guest.directory / "shell.sock")
    try:
        said = b""
        async with asyncio.timeout(60):
            while b"uid=0(root) gid=0" not in said:
                # The shell may only be starting.
                writer.write(b" id\r")
                await asyncio.sleep(0.2)
                said += await reader.read(65536)
    finally:
        writer.close()


async def test_a_second_guest_in_the_same_place_is_refused(guest: Microvm, image: Image) -> None:
    second = Microvm(image, name="second", directory=guest.directory)
    with pytest.raises(MachineError, match="no other guest"):
        await second.start()
    assert guest.alive


async def test_a_kernel_that_dies_is_reported_with_its_last_words(image: Image) -> None:
    async with Microvm(image, name="dying", network=False) as dying:
        with pytest.raises(MachineError, match=r"(?s)is gone.*sysrq triggered crash"):
            await dying.run("echo c > /proc/sysrq-trigger; sleep 60", timeout_s=60)


async def test_a_guest_that_ended_answers_with_an_error(image: Image) -> None:
    gone = Microvm(image, name="gone", network=False)
    await gone.start()
    directory = gone.directory
    await gone.stop()
    with pytest.raises(MachineError, match="is gone"):
        await gone.run("true", timeout_s=5)
    await gone.stop()
    assert not directory.exists()


@pytest.mark.parametrize("name", ["", "Lab", "a_b", "-a", "a" * 64, "a b"])
async def test_a_name_that_is_no_host_name_is_refused(image: Image, name: str) -> None:
    with pytest.raises(InputError):
        Microvm(image, name=name)


@pytest.mark.parametrize("place", ["../outside", "/etc/passwd", "."])
async def test_a_file_outside_the_code_disk_is_refused(image: Image, place: str) -> None:
    guest = Microvm(image, files={place: Path(__file__)})
    try:
        with pytest.raises(InputError, match="outside"):
            await guest.start()
    finally:
        await guest.stop()


async def test_who_was_frozen_goes_on_several_times_and_each_by_itself(image: Image) -> None:
    async with Microvm(image, name="cold", network=False) as frozen:
        task = "sleep 9999 > /dev/null 2>&1 &"
        await frozen.run(f"echo before | tee /tmp/mark /var/tmp/mark; {task}", timeout_s=60)
        await frozen.freeze()
        assert not frozen.alive
        async with frozen.again() as one, frozen.again() as other:
            await one.run("echo one | tee /tmp/mark /var/tmp/mark; pkill sleep; sync", timeout_s=60)
            seen = await other.run("cat /tmp/mark /var/tmp/mark; pgrep -c sleep", timeout_s=60)
            assert seen.output.split() == ["before", "before", "1"]
            assert (await one.run("cat /tmp/mark", timeout_s=60)).output.strip() == "one"
            went_on = other.directory
        assert not went_on.exists()
    assert not frozen.directory.exists()


async def test_who_has_a_network_is_not_frozen(guest: Microvm) -> None:
    with pytest.raises(InputError, match="without a network"):
        await guest.freeze()
    assert guest.alive
