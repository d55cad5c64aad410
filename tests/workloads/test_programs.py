"""The programs that make the load, compiled here and run small."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
from collections import Counter
from pathlib import Path

import pytest

WORKLOADS = Path(__file__).resolve().parents[2] / "workloads"
COMMON = WORKLOADS / "common"
SHORTS = 5
JOBS = {
    "compress": ("text", ["gzip", "-6", "-n", "-c"]),
    "checksum": ("text", ["gzip", "-t"]),
    "spin": ("source", ["compile"]),
    "etl": ("log", ["etl"]),
}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all our programs, compiled without a warning."""
    directory = tmp_path_factory.mktemp("programs")
    for source in WORKLOADS.glob("*/*.c"):
        compile_c(source, directory / source.stem)
    return directory


def compile_c(source: Path, to: Path) -> None:
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu17", "-pthread", f"-I{COMMON}"]
    subprocess.run(["gcc", *flags, "-o", to, source, "-lm"], check=True)


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def metrics(*argv: str | Path) -> dict[str, float]:
    done = run(*argv)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["metrics"]
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    return found


def prepare(directory: Path, command: list[str], *, short: bytes, long: bytes) -> None:
    """Inputs and expected outputs, as a manifest's set-up makes them."""
    for name, content in (("short", short), ("long", long)):
        (directory / f"{name}.in").write_bytes(content)
        with (directory / f"{name}.in").open() as stdin:
            done = subprocess.run(command, stdin=stdin, capture_output=True, check=True)
        (directory / f"{name}.out").write_bytes(done.stdout)


# --- wakeup ------------------------------------------------------------------------------------


def test_wakebench_measures_wake_ups_requests_and_hogs(programs: Path, tmp_path: Path) -> None:
    calibration = tmp_path / "calibration"
    assert run(programs / "wakebench", "calibrate", calibration).returncode == 0
    found = metrics(programs / "wakebench", "run", calibration, "1", "7", "500")
    for what in ("wakeup", "request"):
        assert found[f"{what}_p50_us"] <= found[f"{what}_p99_us"] <= found[f"{what}_p999_us"]
    assert 0 < found["requests_per_s"] < 1000  # 400 a second arrive
    assert found["hog_work_per_s"] > 0
    assert 0 <= found["hog_least_share"] <= 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "usage"),
        (["run", "/missing", "1", "1", "500"], "/missing holds no calibration"),
        (["run", "{calibration}", "0", "1", "500"], "CPUS: expected a whole number from 1"),
        (["run", "{calibration}", "1", "-1", "500"], "SEED: expected"),
        (["run", "{calibration}", "1", "x", "500"], "got 'x'"),
        (["run", "{calibration}", "1", "1", "99999999"], "MILLISECONDS: expected"),
    ],
)
def test_wakebench_says_what_is_wrong_and_prints_no_number(
    programs: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    calibration = tmp_path / "calibration"
    calibration.write_text("1000\n")
    given = [argument.format(calibration=calibration) for argument in arguments]
    done = run(programs / "wakebench", *given)
    assert done.returncode != 0
    assert done.stdout == ""
    assert complaint in done.stderr


# --- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(JOBS))
def test_a_batch_of_each_kind_measures_makespan_jobs_and_neighbour(
    programs: Path, tmp_path: Path, kind: str
) -> None:
    form, (program, *arguments) = JOBS[kind]
    program = str(programs / program) if (programs / program).exists() else program
    command = ["sh", "-c", f"sleep 0.1; exec {program} {' '.join(arguments)}"]
    made = {
        name: run_bytes(programs / "generate", form, size, seed)
        for name, size, seed in (("short", "20000", "1"), ("long", "200000", "2"))
    }
    if kind == "checksum":
        made = {name: gzip.compress(content) for name, content in made.items()}
    prepare(tmp_path, command, **made)
    found = metrics(programs / "batch", "3", str(SHORTS), tmp_path, *command)
    assert found["makespan_s"] >= found["long_s"] > 0
    assert found["makespan_s"] >= found["short_p95_s"] >= found["short_p50_s"] > 0
    assert found["victim_wait_p99_us"] >= found["victim_wait_p50_us"]


def run_bytes(*argv: str | Path) -> bytes:
    return subprocess.run(argv, capture_output=True, check=True).stdout


def long_position(programs: Path, directory: Path, seed: int) -> int:
    done = run(programs / "batch", str(seed), str(SHORTS), directory, "sh", "-c", "sleep 0.1; cat")
    assert done.returncode == 0, done.stderr
    words = done.stderr.split()
    assert words[-2:] == ["of", str(SHORTS + 1)]
    return int(words[-3])


def test_the_seed_alone_decides_where_the_long_job_stands(programs: Path, tmp_path: Path) -> None:
    prepare(tmp_path, ["cat"], short=b"s", long=b"l" * 50)
    first = [long_position(programs, tmp_path, seed) for seed in range(1, 9)]
    assert first == [long_position(programs, tmp_path, seed) for seed in range(1, 9)]
    assert len(set(first)) > 1


def test_every_position_is_equally_likely(tmp_path: Path) -> None:
    source = tmp_path / "draw.c"
    source.write_text(
        '#include <stdio.h>\n#include "random.h"\n'
        "int main(void) { for (uint64_t i = 0; i < 40000; i++) { uint64_t seed = i;\n"
        '  printf("%d\\n", (int)random_below(&seed, 40)); } return 0; }\n'
    )
    compile_c(source, tmp_path / "draw")
    drawn = Counter(run(tmp_path / "draw").stdout.split())
    assert len(drawn) == 40
    chi_square = sum((count - 1000) ** 2 / 1000 for count in drawn.values())
    assert chi_square < 72.1  # 99.9 % quantile with 39 degrees of freedom; the seeds are fixed


def test_nothing_in_its_command_line_environment_or_name_tells_the_long_job(
    programs: Path, tmp_path: Path
) -> None:
    look = (
        "sleep 0.1; tr '\\0' '\\n' < /proc/$$/cmdline; cat /proc/$$/comm; env | sort;"
        " ls /proc/self/fd"
    )
    prepare(tmp_path, ["sh", "-c", "cat"], short=b"s", long=b"l" * 50)
    done = run(programs / "batch", "1", str(SHORTS), tmp_path, "sh", "-c", look)
    assert done.returncode == 1  # its output is not what `cat` wrote; so make it what is expected
    as_seen = subprocess.run(
        ["sh", "-c", look], stdin=subprocess.DEVNULL, capture_output=True, check=True
    ).stdout
    for name in ("short.out", "long.out"):
        (tmp_path / name).write_bytes(as_seen)
    assert metrics(programs / "batch", "1", str(SHORTS), tmp_path, "sh", "-c", look)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["sh", "-c", "cat; exit 3"], "failed with wait status 0x300"),
        (["sh", "-c", "cat; echo more"], "did wrong work"),
        (["true"], "did wrong work"),
        (["/no/such/program"], "run /no/such/program"),
    ],
)
def test_a_batch_with_a_bad_job_has_no_number(
    programs: Path, tmp_path: Path, command: list[str], complaint: str
) -> None:
    prepare(tmp_path, ["cat"], short=b"s", long=b"l" * 50)
    done = run(programs / "batch", "1", str(SHORTS), tmp_path, *command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert complaint in done.stderr


@pytest.mark.parametrize("kind", ["text", "log", "source"])
def test_generated_input_is_the_same_every_time_and_as_large_as_asked(
    programs: Path, kind: str
) -> None:
    made = run_bytes(programs / "generate", kind, "50000", "1")
    assert made == run_bytes(programs / "generate", kind, "50000", "1")
    assert made != run_bytes(programs / "generate", kind, "50000", "2")
    assert 50000 <= len(made) < 60000


def test_generated_text_compresses_as_prose_does(programs: Path) -> None:
    made = run_bytes(programs / "generate", "text", "500000", "1")
    packed = subprocess.run(["gzip", "-6", "-c"], input=made, capture_output=True, check=True)
    assert 2 < len(made) / len(packed.stdout) < 4


# --- what the jobs do --------------------------------------------------------------------------


def feed(program: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program], input=text, capture_output=True, text=True, check=False)


def test_the_compiler_finds_redundancy_loops_and_spills(programs: Path) -> None:
    source = "fn f0\nv1 = v2 + v3\nv4 = v2 + v3\nif v4 < v1 goto 0\nend\n"
    done = feed(programs / "compile", source)
    assert done.stdout == "f0: 3 lines, 1 redundant, 3 passes, 0 spills\n"


@pytest.mark.parametrize("source", ["v1 = 2\n", "fn f0\nv1 ? 2\nend\n", "fn f0\nv1 = 2\n"])
def test_the_compiler_refuses_what_is_no_source(programs: Path, source: str) -> None:
    done = feed(programs / "compile", source)
    assert done.returncode == 1
    assert "expected" in done.stderr


def test_the_report_groups_and_sorts(programs: Path) -> None:
    line = "2025-11-01T0{}:00:00.001Z web-01 GET /api/users/{} 200 10 {}\n"
    log = "".join(line.format(i, i * 7, 100 * (i + 1)) for i in range(4))
    done = feed(programs / "etl", log)
    assert " ".join(done.stdout.split()) == (
        "GET /api/users/# 200 4 requests 40 bytes 4 hours p50 200 p95 400 p99 400 us"
    )


def test_the_report_refuses_what_is_no_log(programs: Path) -> None:
    done = feed(programs / "etl", "hello\n")
    assert done.returncode == 1
    assert "not a line of an access log: hello" in done.stderr


# --- timed commands ----------------------------------------------------------------------------


def test_a_timed_command_gives_its_time_its_rate_and_the_neighbours_wait(programs: Path) -> None:
    found = metrics(programs / "timed", "build_s", "builds_per_hour", "--", "sleep", "0.2")
    assert found["build_s"] >= 0.2
    assert found["builds_per_hour"] == pytest.approx(3600 / found["build_s"], rel=0.01)
    only = metrics(programs / "timed", "time_s", "--", "sh", "-c", "echo loud; sleep 0.1")
    assert set(only) == {"time_s", "victim_wait_p50_us", "victim_wait_p99_us"}


@pytest.mark.parametrize(
    "arguments", [[], ["--", "true"], ["time_s"], ["time_s", "--"], ["time_s", "--", "false"]]
)
def test_a_command_that_fails_or_is_missing_has_no_time(
    programs: Path, arguments: list[str]
) -> None:
    done = run(programs / "timed", *arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr
