"""What the observer takes for ours is what the executor attaches."""

from __future__ import annotations

from pathlib import Path

from services.executor.host.steering import ops_name
from services.observer.inventory import inventory
from shared.policies import Catalogue


def test_a_policy_of_ours_is_no_obstacle(tmp_path: Path) -> None:
    for policy in Catalogue.load():
        folder = tmp_path / policy / "sys/kernel/sched_ext"
        (folder / "root").mkdir(parents=True)
        (folder / "state").write_text("enabled\n")
        (folder / "root/ops").write_text(f"{ops_name(policy)}\n")
        said = " ".join(inventory("h", tmp_path / policy).obstacles)
        assert "attached" not in said


def test_a_foreign_scheduler_is_an_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "sys/kernel/sched_ext"
    (folder / "root").mkdir(parents=True)
    (folder / "state").write_text("enabled\n")
    (folder / "root/ops").write_text("scx_other\n")
    assert any("scx_other" in obstacle for obstacle in inventory("h", tmp_path).obstacles)
