from __future__ import annotations

import struct
from pathlib import Path

import pytest

from services.executor.gate import Workshop
from services.executor.gate.elf import ObjectFile
from shared.errors import InputError, ManifestError
from shared.policies import FRAME, Catalogue, load_policy, parse_manifest

PLAIN = """
name = "plain"
version = "1.2.3"
summary = "A policy."
good_for = ["cpu-bound"]
[[parameter]]
name = "slice_ns"
summary = "A slice."
unit = "ns"
low = 1
high = 10
default = 5
scale = "log"
"""


def test_every_shipped_policy_has_a_valid_manifest_and_a_readme_of_the_fixed_shape() -> None:
    catalogue = Catalogue.load()
    assert set(catalogue) >= {"fifo", "fair", "latency", "longtail", "throughput"}
    for policy in catalogue.values():
        readme = (policy.directory / "README.md").read_text()
        headings = [line[3:] for line in readme.splitlines() if line.startswith("## ")]
        assert headings == ["Overview", "When to use it", "When not", "Is it ready", "Tunables"]
        for parameter in policy.manifest.parameter:
            assert f"`{parameter.name}`" in readme


def test_the_frame_settings_known_to_user_space_are_those_of_the_frame(tmp_path: Path) -> None:
    frame = ObjectFile(Workshop(cache=tmp_path).frame())
    data = frame.content(".rodata")
    values = {
        symbol.name: struct.unpack_from("<Q", data, symbol.offset)[0]
        for symbol in frame.symbols
        if symbol.name.startswith("frame_")
    }
    assert values == {name: tunable.default for name, tunable in FRAME.items()}


def test_parameters_are_completed_with_defaults() -> None:
    manifest = parse_manifest(PLAIN)
    assert manifest.complete({}) == {"slice_ns": 5}
    assert manifest.complete({"slice_ns": 10}) == {"slice_ns": 10}


@pytest.mark.parametrize(
    ("given", "says"),
    [({"slice_ns": 11}, "out of bounds"), ({"other_ns": 1}, "has no parameter")],
)
def test_unknown_and_extreme_parameters_are_refused(given: dict[str, int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_manifest(PLAIN).complete(given)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("version = ", "release = ", "unknown field"),
        ("1.2.3", "1.2", "version"),
        ("cpu-bound", "fast", "good_for"),
        ("default = 5", "default = 50", "bounds of slice_ns"),
        ("low = 1", "low = 0", "logarithm"),
        ('"slice_ns"', '"frame_slice_ns"', "name is not valid"),
        ('"slice_ns"', '"Slice"', "name is not valid"),
        ('unit = "ns"', 'unit = "s"', "unit"),
        ("scale = ", "[frame]\nframe_warp = 1\n#", "no such setting"),
        ("scale = ", "[frame]\nframe_window_ns = 9000000000\n#", "out of bounds"),
        (
            "scale = ",
            "[frame]\nframe_window_ns = 2500000000\nframe_group_window_ns = 1000000000\n#",
            "wait too long",
        ),
        ("name = ", "name == ", "not a valid policy manifest"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_reason(old: str, new: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        parse_manifest(PLAIN.replace(old, new, 1))


def test_a_parameter_declared_twice_is_refused() -> None:
    twice = PLAIN + PLAIN[PLAIN.index("[[") :]
    with pytest.raises(ManifestError, match="declared twice"):
        parse_manifest(twice)


def test_a_directory_and_its_manifest_agree_on_the_name(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(PLAIN)
    (tmp_path / "hooks.bpf.c").write_text("")
    with pytest.raises(ManifestError, match="names another policy"):
        load_policy(tmp_path)


def test_a_policy_without_hooks_or_a_directory_without_policies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="holds no policy"):
        Catalogue.load(tmp_path)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "policy.toml").write_text(PLAIN)
    with pytest.raises(ManifestError, match="cannot be read"):
        Catalogue.load(tmp_path)


def test_asking_for_a_policy_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InputError, match="latency"):
        Catalogue.load()["nope"]
