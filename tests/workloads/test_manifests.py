"""Manifests: ours are valid, and a wrong one is told where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import InputError, ManifestError
from shared.workloads import DEFAULT_CATALOGUE, Catalogue, expand, load_workload
from tests.workloads.conftest import write_workload

OURS = Catalogue.load()


def test_the_catalogue_has_every_workload_that_the_project_promises() -> None:
    assert set(OURS) == {
        "wakeup",
        "longtail-compress",
        "longtail-spin",
        "longtail-checksum",
        "longtail-etl",
        "build",
        "hackbench",
        "pulse",
        "chain",
        "training",
        "periodic",
        "redis-batch",
        "nginx-batch",
        "postgres-oltp",
        "postgres-olap",
        "postgres-mixed",
    }


@pytest.mark.parametrize("name", list(OURS))
def test_each_of_ours_explains_every_metric_it_measures(name: str) -> None:
    text = (DEFAULT_CATALOGUE / name / "README.md").read_text()
    for metric in OURS[name].units:
        assert f"`{metric}`" in text, metric


@pytest.mark.parametrize("name", list(OURS))
def test_each_of_ours_watches_somebody_else_too(name: str) -> None:
    assert OURS[name].guardrails
    assert OURS[name].manifest.victim
    assert OURS[name].objective.metric not in [g.metric for g in OURS[name].guardrails]


@pytest.mark.parametrize("name", [name for name in OURS if name.startswith("longtail-")])
def test_a_batch_has_39_short_jobs_and_no_argument_that_tells_them_apart(name: str) -> None:
    command = OURS[name].manifest.command
    assert command[:4] == ["{work}/batch", "{seed}", "39", "{work}"]
    assert not any("short" in argument or "long" in argument for argument in command)


def test_an_unknown_workload_is_told_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"one of build, chain.*got 'nope'"):
        OURS["nope"]
    assert "nope" not in OURS


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('name = "tiny"', 'name = "other"', "its directory's name, 'tiny'"),
        ('name = "tiny"', 'name = "a b"', "name"),
        ('summary = "A test\'s own."', "", "summary"),
        ('class = "mixed"', 'class = "odd"', "class"),
        ('class = "mixed"', 'class = "mixed"\ncolour = "red"', "colour"),
        ("round_s = 0.1", "round_s = 0", "round_s"),
        ("timeout_s = 30.0", "timeout_s = 0.15", "at least twice round_s"),
        ("timeout_s = 30.0", 'timeout_s = "long"', "timeout_s"),
        ("timeout_s = 30.0", "timeout_s = nan", "timeout_s"),
        ('"{seed}"]', '"{sead}"]', "placeholders"),
        ('"{seed}"]', '"{seed!r}"]', "placeholders"),
        ('"{seed}"]', '"{seed:>9}"]', "placeholders"),
        ('"{seed}"]', '"{seed"]', "placeholders"),
        ('"{seed}"]', '"{work.parent}"]', "placeholders"),
        ("setup = []", 'setup = [["echo", "{seed}"]]', "placeholders"),
        ("setup = []", "setup = [[]]", "setup"),
        ('direction = "lower"', 'direction = "down"', "direction"),
        ('metric = "time_s"', 'metric = "Time s"', "lower-case"),
        ('unit = "s"', 'unit = "s"\nleast_effect = 2', "least_effect"),
        (
            'unit = "s"',
            'unit = "s"\n[[guardrail]]\nmetric = "time_s"\ndirection = "lower"',
            "'time_s' twice",
        ),
        ('unit = "s"', 'unit = "s"\n[[metric]]\nmetric = "x_s"', "unit"),
        ('unit = "s"', 'unit = "s"\n[[victim]]\ncomm = "sixteen letters!"\nwhat = "x"', "comm"),
        ("[objective]", "[objective", "Expected ']'"),
    ],
)
def test_a_wrong_manifest_is_told_where(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    path = write_workload(tmp_path) / "tiny" / "workload.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(ManifestError) as raised:
        load_workload(path)
    assert complaint in str(raised.value)
    assert str(path) in str(raised.value)


def test_bytes_that_are_no_text_are_a_manifest_error(tmp_path: Path) -> None:
    path = write_workload(tmp_path) / "tiny" / "workload.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError):
        load_workload(path)


def test_a_directory_without_workloads_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no workload"):
        Catalogue.load(tmp_path)
    with pytest.raises(ManifestError, match="no catalogue"):
        Catalogue.load(tmp_path / "missing")


def test_the_digest_follows_every_file_of_the_workload_and_of_the_common_sources(
    tmp_path: Path,
) -> None:
    path = write_workload(tmp_path)
    seen = {Catalogue.load(path)["tiny"].digest}
    (path / "tiny" / "program.py").write_text("print('changed')\n")
    seen.add(Catalogue.load(path)["tiny"].digest)
    (path / "tiny" / "program.py").chmod(0o755)
    seen.add(Catalogue.load(path)["tiny"].digest)
    (path / "common").mkdir()
    (path / "common" / "a.h").write_text("int a;\n")
    seen.add(Catalogue.load(path)["tiny"].digest)
    assert len(seen) == 4
    assert Catalogue.load(path)["tiny"].digest in seen


def test_placeholders_are_filled_in_and_doubled_braces_are_braces() -> None:
    filled = expand(["{work}/run", "{{a}}", "x{seed}y"], {"work": "/w", "seed": "7"})
    assert filled == ["/w/run", "{a}", "x7y"]
