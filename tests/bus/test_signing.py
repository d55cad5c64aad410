"""The gate's keys: made once, kept to itself, replaced with an overlap."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import InputError, TokenError
from shared.settings import Settings
from shared.signing import KEYS, SEEDS, Signer, SigningKeys, Trusted, read_keys


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    keys = SigningKeys(tmp_path / "gate" / SEEDS, tmp_path / KEYS)
    assert keys.ensure()
    return keys


def test_the_seed_is_the_gates_alone_and_made_once(keys: SigningKeys) -> None:
    assert keys.seeds.stat().st_mode & 0o777 == 0o600
    before = keys.seeds.read_bytes()
    assert not keys.ensure()
    assert keys.seeds.read_bytes() == before
    seed, public = read_keys(keys.seeds, "seeds")[0], read_keys(keys.keys, "keys")[0]
    assert seed.public == public
    assert seed.raw.hex() not in keys.keys.read_text()


def test_in_a_rotation_the_newest_key_that_a_host_knows_signs(keys: SigningKeys) -> None:
    old = Trusted.read(keys.keys)
    assert keys.rotate() == 2
    new, signer = Trusted.read(keys.keys), Signer.read(keys.seeds)
    assert len(new.ids) == 2
    assert old.check(signer.sign(b"x", signer.newest(old.ids))) == 1
    assert new.check(signer.sign(b"x", signer.newest(new.ids))) == 2
    assert signer.newest().epoch == 2
    with pytest.raises(TokenError, match="knows none"):
        signer.newest([])


def test_retiring_leaves_the_newest(keys: SigningKeys) -> None:
    old = Trusted.read(keys.keys)
    keys.rotate()
    keys.rotate()
    assert keys.retire() == 2
    signer = Signer.read(keys.seeds)
    assert signer.newest().epoch == 3
    assert signer.trusted.ids == Trusted.read(keys.keys).ids
    with pytest.raises(TokenError, match="unknown key"):
        old.check(signer.sign(b"x", signer.newest()))


def test_a_lost_seed_is_replaced_under_a_higher_epoch(keys: SigningKeys) -> None:
    keys.seeds.unlink()
    assert keys.ensure()
    assert [key.epoch for key in read_keys(keys.keys, "keys")] == [2]
    keys.keys.unlink()
    assert keys.ensure()
    assert Signer.read(keys.seeds).trusted.ids == Trusted.read(keys.keys).ids


@pytest.mark.parametrize("text", ["", "1 abc\n", "x\n", f"0 {'a' * 64}\n", f"1 {'a' * 64}\nmore\n"])
def test_a_file_that_holds_anything_else_is_refused_and_not_quoted(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / SEEDS
    file.write_text(text)
    with pytest.raises(InputError, match="not valid") as refused:
        Signer.read(file)
    assert "aaaa" not in str(refused.value)
    with pytest.raises(InputError, match="cannot be read"):
        Trusted.read(tmp_path / "nowhere")


def test_both_are_found_as_systemd_gives_them(tmp_path: Path) -> None:
    given = Settings.from_environment({"CREDENTIALS_DIRECTORY": str(tmp_path), "COX_HOST": "h"})
    assert (given.signing_seeds, given.trusted_keys) == (tmp_path / SEEDS, tmp_path / KEYS)
    named = Settings.from_environment({"COX_TRUSTED_KEYS": "/etc/keys", "COX_HOST": "h"})
    assert named.trusted_keys == Path("/etc/keys")
