"""The loader and the host's scheduler control on a real kernel, in a lab guest."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_asyncio

from services.executor.host.exits import HOTPLUG, RESTART, ExitKind
from tests.executor.loader.conftest import Scenario

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.asyncio(loop_scope="session"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def life(scenario: Scenario) -> dict[str, Any]:
    """One scheduler's whole life, which several tests look at."""
    return await scenario("life")


async def test_a_scheduler_lives_and_leaves_nothing_behind(life: dict[str, Any]) -> None:
    assert life["during"]["state"] == "enabled"
    assert life["during"]["ops"] == "cox_probe"
    assert life["during"]["enable_seq"] == life["facts"]["enable_seq"]
    assert life["attached_during"] is True
    assert life["record_during"] is None
    assert life["record"]["kind"] == ExitKind.UNREG
    assert life["record_again"] == life["record"]
    assert life["after"]["state"] == "disabled"
    assert life["after"]["ops"] is None
    assert life["attached_after"] is False
    assert life["nothing_left"] is True
    assert "is closed" in life["closed"]["what"]
    assert "was attached before" in life["attached_twice"]["what"]


async def test_parameters_of_every_width_reach_the_kernel(life: dict[str, Any]) -> None:
    counters = life["counters"]
    assert counters["seen_bias"] == (1 << 64) - 7  # a negative s32, widened by the program
    assert counters["seen_small"] == 9
    assert counters["enqueues"] > 0
    assert counters["marks"] == 5 * counters["enqueues"]
    assert set(counters) == {"enqueues", "marks", "seen_bias", "seen_small", "slice_max_ns"}


async def test_of_a_maximum_the_largest_cpu_counts_and_not_the_sum(life: dict[str, Any]) -> None:
    assert life["counters"]["slice_max_ns"] == 3_000_000


async def test_the_wait_histogram_is_summed_over_cpus(life: dict[str, Any]) -> None:
    assert len(life["histogram"]) == 40
    assert life["histogram"][3] == sum(life["histogram"]) == life["counters"]["enqueues"]


async def test_leaving_the_context_by_an_exception_detaches(scenario: Scenario) -> None:
    seen = await scenario("context_manager")
    assert seen["during"] == "cox_with"
    assert seen["after"] == "disabled"


async def test_what_cannot_be_set_is_refused_by_name(scenario: Scenario) -> None:
    seen = await scenario("settings")
    assert seen["fits"] is None
    assert "misbehave" in seen["unknown"]["expected"]
    assert seen["unknown"]["got"] == "no_such"
    for case in ("too_big", "too_small", "negative", "narrow"):
        assert seen[case]["kind"] == "InputError", case
        assert "does not fit" in seen[case]["what"], case
    for case in ("bad_name", "long_name", "no_timeout", "long_timeout", "garbage"):
        assert seen[case]["kind"] == "InputError", case
    assert "configure" in seen["unnamed"]["advice"]
    assert "outlive" in seen["no_link"]["what"]
    assert "other_ops" in seen["two_ops"]["got"]
    assert seen["after"] == "disabled"


async def test_without_the_right_to_load_it_says_which_is_missing(scenario: Scenario) -> None:
    seen = await scenario("unprivileged")
    assert seen["problem"]["kind"] == "MachineError"
    assert "root" in seen["problem"]["expected"]
    assert seen["after"] == "disabled"


async def test_the_verifiers_log_is_trimmed_and_stays_off_the_terminal(scenario: Scenario) -> None:
    seen = await scenario("rejected")
    problem = seen["problem"]
    assert problem["kind"] == "VerifierError"
    assert "probe_init" in problem["got"]
    log = problem["log"].splitlines()
    assert any("lines left out" in line for line in log)
    assert any("invalid access to map value" in line for line in log)
    assert len(log) < 70
    # Asked for figures it says the same, without the way there.
    assert (seen["of_verify"]["kind"], seen["of_verify"]["got"]) == (
        problem["kind"],
        problem["got"],
    )
    assert "invalid access to map value" in seen["of_verify"]["log"]
    assert seen["after"] == "disabled"
    assert len(seen["output"].splitlines()) == 1


async def test_an_attach_that_only_seemed_to_work_is_found_out(scenario: Scenario) -> None:
    seen = await scenario("fail_init")
    assert seen["problem"]["kind"] == "EnableFailedError"
    assert seen["record"]["kind"] == ExitKind.ERROR
    assert "init" in seen["record"]["msg"]
    assert seen["record"]["msg"] in seen["problem"]["got"]
    assert seen["after"] == "disabled"


async def test_a_killed_loader_takes_everything_with_it(scenario: Scenario) -> None:
    seen = await scenario("killed")
    assert seen["during"] == "cox_killed"
    assert seen["back_s"] is not None
    assert seen["freed_s"] is not None
    assert seen["ops"] is None


async def test_a_foreign_scheduler_is_refused_and_untouched(scenario: Scenario) -> None:
    seen = await scenario("foreign")
    for refusal in (seen["refused"], seen["refused_late"]):
        assert refusal["kind"] == "ForeignSchedulerError"
        assert refusal["got"] == "somebody_elses"
    assert seen["departure"] is None
    assert seen["still"]["state"] == "enabled"
    assert seen["still"]["ops"] == "somebody_elses"


async def test_one_of_ours_replaces_another_and_a_rejected_one_disturbs_nobody(
    scenario: Scenario,
) -> None:
    seen = await scenario("replace")
    assert seen["first"]["gap_ns"] == 0
    assert seen["second"]["gap_ns"] > 0
    assert seen["second"]["enable_seq"] == seen["first"]["enable_seq"] + 1
    assert seen["state"]["kernel"]["ops"] == "cox_second"
    assert seen["state"]["ours"] == seen["second"]
    assert seen["state"]["last"]["attached"] == seen["first"]
    assert seen["state"]["last"]["diagnosis"]["exit_class"] == "requested"
    assert seen["rejected"]["kind"] == "VerifierError"
    assert seen["undisturbed"]["ours"] == seen["second"]
    assert seen["undisturbed"]["kernel"]["enable_seq"] == seen["second"]["enable_seq"]
    assert seen["counters"]["seen_bias"] == 1
    assert len(seen["histogram"]) == 40
    assert "frame_mark" in seen["mixed_up"]["got"]
    assert seen["departure"]["attached"] == seen["second"]
    assert seen["departure"]["why"] == "the end"
    assert seen["departure"]["counters"]["seen_bias"] == 1
    assert seen["none_left"] is None
    assert seen["after"]["ours"] is None
    assert seen["after"]["kernel"]["state"] == "disabled"


@pytest.mark.parametrize(
    ("name", "kind", "exit_class", "said"),
    [
        # The kernel's words differ with who notices first: its worker, or a tick that misses it.
        ("stall", ExitKind.STALL, "fault", r"failed to (run|check in) for"),
        ("error", ExitKind.ERROR_BPF, "fault", "raised on purpose"),
        ("sysrq", ExitKind.SYSRQ, "foreign", "SysRq"),
        ("hotplug", ExitKind.UNREG_KERN, "benign", "going offline"),
    ],
)
async def test_a_scheduler_that_leaves_by_itself_is_noticed_and_diagnosed(
    scenario: Scenario, name: str, kind: ExitKind, exit_class: str, said: str
) -> None:
    seen = await scenario(name)
    departure = seen["departure"]
    assert departure["attached"] == seen["attached"]
    assert departure["requested"] is False
    assert departure["exit_record"]["kind"] == kind
    assert departure["diagnosis"]["exit_class"] == exit_class
    assert re.search(said, departure["diagnosis"]["words"])
    if kind >= ExitKind.ERROR:
        assert "cox_leaving" in departure["exit_record"]["dump"]
    if exit_class == "benign":
        assert departure["exit_record"]["exit_code"] & (RESTART | HOTPLUG) == RESTART | HOTPLUG
    assert seen["state"]["ours"] is None
    assert seen["state"]["last"] == departure
    assert seen["state"]["kernel"]["state"] == "disabled"
    # The host can be given a scheduler again.
    assert seen["again"]["enable_seq"] == seen["attached"]["enable_seq"] + 1
    assert seen["after"] == "disabled"


async def test_what_comes_with_a_load_is_the_schedulers_own_and_goes_with_it(
    scenario: Scenario,
) -> None:
    seen = await scenario("ids")
    assert seen["programs"] > 0
    assert seen["maps"] > 0
    assert seen["links"] == 1
    assert seen["appeared"] == seen["ours"]
    assert seen["left"] == seen["still"] == "nothing"


async def test_a_stowaway_ends_a_load_and_another_programs_map_does_not(
    scenario: Scenario,
) -> None:
    seen = await scenario("stowaway")
    for moment in ("load", "attach"):
        assert seen[moment]["kind"] == "StowawayError", moment
        assert "maps" in seen[moment]["got"]
        assert seen[f"{moment}_after"] == "disabled"
    assert seen["beside"] is None


async def test_a_cancelled_apply_takes_its_scheduler_back(scenario: Scenario) -> None:
    seen = await scenario("cancelled")
    assert seen["outcome"] == "cancelled"
    assert seen["state"]["ours"] is None
    assert seen["state"]["kernel"]["state"] == "disabled"
    assert seen["state"]["last"]["attached"]["name"] == "cox_cancelled"
