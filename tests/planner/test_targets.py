from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.planner.targets import (
    MAX_HOSTS,
    MAX_KINDS,
    Choice,
    Fleet,
    check_free,
    choose,
    why_not_selected,
)
from shared.errors import RequestError
from shared.fingerprint import hardware, key
from shared.messages import Fingerprint, Inventory, OptimizeRequest, Selector
from tests.planner.world import inventory

ASK = OptimizeRequest(workload="wakeup")
KNOWN = {name: inventory(name) for name in ("h1", "h2", "h3")}


def ask(*hosts: str, **select: object) -> OptimizeRequest:
    return replace(ASK, hosts=list(hosts), select=Selector(**select))  # type: ignore[arg-type]


def chosen(request: OptimizeRequest, known: dict[str, Inventory], **fleet: object) -> Choice:
    return choose(request, Fleet(known=known, **fleet))  # type: ignore[arg-type]


def hosts(choice: Choice) -> list[list[str]]:
    return [group.hosts for group in choice.groups]


def test_no_host_named_means_all_that_are_ready() -> None:
    known = {**KNOWN, "h2": replace(KNOWN["h2"], obstacles=["no sched_ext"])}
    choice = chosen(ASK, known)
    assert hosts(choice) == [["h1", "h3"]]
    assert choice.left_out == {"h2": "no sched_ext"}


def test_the_first_host_named_is_the_canary() -> None:
    assert hosts(chosen(ask("h2", "h1", "h2"), KNOWN)) == [["h2", "h1"]]


@pytest.mark.parametrize(
    "other",
    [
        {"kernel": "6.12.0"},
        {"cpus": 64},
        {"llcs": 4},
        {"cpu_model": "another"},
        {"virtualization": "kvm"},
    ],
    ids=str,
)
@pytest.mark.parametrize("names", [(), ("h1", "h3", "h2")], ids=["all", "named"])
def test_each_kind_is_a_group_of_its_own_the_largest_first(
    other: dict[str, object], names: tuple[str, ...]
) -> None:
    known = {**KNOWN, "h1": replace(KNOWN["h1"], **other)}  # type: ignore[arg-type]
    choice = chosen(ask(*names), known)
    assert hosts(choice) == [["h3", "h2"] if names else ["h2", "h3"], ["h1"]]
    assert choice.left_out == {}


def test_how_firmware_writes_a_model_s_name_makes_no_kind() -> None:
    padded = replace(KNOWN["h1"], cpu_model="  " + KNOWN["h1"].cpu_model + "   ")
    assert len(chosen(ASK, {**KNOWN, "h1": padded}).groups) == 1


def test_of_hosts_that_nobody_named_the_free_ones_are_taken() -> None:
    choice = chosen(ASK, KNOWN, busy={"h1": "o9"})
    assert hosts(choice) == [["h2", "h3"]]
    assert choice.left_out == {"h1": "busy with o9"}
    assert not choice.groups[0].waits_for


def test_where_all_are_busy_it_is_told_for_whom_to_wait() -> None:
    fleet = Fleet(known=KNOWN, busy={"h1": "o8", "h2": "o9", "h3": "o9"})
    (targets,) = choose(ASK, fleet).groups
    assert targets.hosts == ["h1", "h2", "h3"]
    assert targets.waits_for == ["o8", "o9"]
    with pytest.raises(RequestError, match="o8"):
        check_free(targets.hosts, fleet)


def test_each_kind_has_its_free_hosts_or_waits_for_itself() -> None:
    known = {
        **KNOWN,
        **{name: replace(inventory(name), cpus=64) for name in ("x1", "x2")},
    }
    choice = chosen(ASK, known, busy={"h1": "o7", "x1": "o8", "x2": "o9"})
    assert [(group.hosts, group.waits_for) for group in choice.groups] == [
        (["h2", "h3"], []),
        (["x1", "x2"], ["o8", "o9"]),
    ]
    assert choice.left_out == {"h1": "busy with o7"}


def test_the_kind_with_the_most_hosts_that_take_part_comes_first() -> None:
    known = {**KNOWN, **{name: replace(inventory(name), cpus=64) for name in ("x1", "x2")}}
    choice = chosen(ASK, known, busy={"h1": "o7", "h2": "o7"})
    assert hosts(choice) == [["x1", "x2"], ["h3"]]


def test_a_named_host_that_is_busy_is_waited_for_or_refused_with_the_reason() -> None:
    fleet = Fleet(known=KNOWN, busy={"h1": "o9"})
    (targets,) = choose(ask("h1"), fleet).groups
    assert targets.waits_for == ["o9"]
    with pytest.raises(RequestError, match="cox cancel o9"):
        check_free(targets.hosts, fleet)


def of_kinds(count: int) -> dict[str, Inventory]:
    return {f"k{n:02}": replace(inventory(f"k{n:02}"), cpus=n + 1) for n in range(count)}


def test_a_request_has_so_many_kinds_at_the_most() -> None:
    assert len(chosen(ASK, of_kinds(MAX_KINDS)).groups) == MAX_KINDS
    known = of_kinds(MAX_KINDS + 1)
    for request in (ASK, ask(*known)):
        with pytest.raises(RequestError) as caught:
            chosen(request, known)
        assert str(MAX_KINDS) in caught.value.expected
        assert f"{MAX_KINDS + 1}: 1 of " in caught.value.got
        assert "17 CPUs" in caught.value.got
        assert "label" in caught.value.advice


@pytest.mark.parametrize(
    ("names", "fleet", "words"),
    [
        (("nope",), {}, "h1, h2, h3"),
        (("h1",), {"silent": {"h1": ["executor"]}}, "executor"),
        (("h1",), {"drained": {"h1": "new memory"}}, "new memory"),
        (("h1",), {"held_back": {"h1": "it has no guard"}}, "no guard"),
        ((), {"silent": {"h1": ["observer"], "h2": ["observer"], "h3": ["observer"]}}, "observer"),
        ((), {"drained": {"h1": "", "h2": "", "h3": "rack moves"}}, "rack moves"),
    ],
)
def test_a_host_that_cannot_take_part_is_named_with_the_reason(
    names: tuple[str, ...], fleet: dict[str, object], words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        chosen(ask(*names), KNOWN, **fleet)
    assert words in str(caught.value)
    assert caught.value.advice


def test_a_drained_host_is_left_out_where_nobody_named_it() -> None:
    choice = chosen(ASK, KNOWN, drained={"h2": "new memory"})
    assert hosts(choice) == [["h1", "h3"]]
    assert choice.left_out == {"h2": "drained: new memory"}


def test_a_host_that_would_load_nothing_is_left_out_where_nobody_named_it() -> None:
    choice = chosen(ASK, KNOWN, held_back={"h1": "it has no guard"})
    assert hosts(choice) == [["h2", "h3"]]
    assert choice.left_out == {"h1": "it has no guard"}


def test_an_obstacle_is_told() -> None:
    known = {"h1": replace(KNOWN["h1"], obstacles=["scheduler scx_other is attached"])}
    with pytest.raises(RequestError, match="scx_other"):
        chosen(ask("h1"), known)


def test_nobody_there_says_how_to_get_hosts() -> None:
    with pytest.raises(RequestError, match="cox lab up"):
        chosen(ASK, {})


def test_a_part_takes_no_more_hosts_than_its_record_can_hold() -> None:
    known = {f"h{number:04}": inventory(f"h{number:04}") for number in range(700)}
    few = {f"x{number}": replace(inventory(f"x{number}"), cpus=64) for number in range(9)}
    choice = chosen(ASK, known | few)
    assert [len(group.hosts) for group in choice.groups] == [MAX_HOSTS, 9]
    assert len(choice.left_out) == 700 - MAX_HOSTS
    assert "600 hosts of a kind" in choice.left_out["h0699"]
    with pytest.raises(RequestError, match="at most 600"):
        chosen(ask(*known), known)
    named = [*list(known)[:MAX_HOSTS], *few]
    assert [len(group.hosts) for group in chosen(ask(*named), known | few).groups] == [600, 9]


# --- Selectors ---------------------------------------------------------------------------------

WEB = replace(
    KNOWN["h1"],
    labels={"rack": "a1", "role": "web"},
    cpu_model="AMD EPYC 9654",
    kernel="7.3.4-cloud",
)


@pytest.mark.parametrize(
    "select",
    [
        {},
        {"labels": {"rack": "a1"}},
        {"labels": {"rack": "a*", "role": "WEB"}},
        {"kernel": "7.3*"},
        {"cpu_model": "*epyc*"},
        {"arch": "x86_64", "virtualization": ""},
    ],
)
def test_a_host_that_matches_all_is_in(select: dict[str, object]) -> None:
    assert why_not_selected(Selector(**select), WEB) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"labels": {"zone": "*"}}, "no label zone"),
        ({"labels": {"rack": "a1", "role": "db"}}, "role is 'web'"),
        ({"kernel": "6.*"}, "kernel is '7.3.4-cloud'"),
        ({"cpu_model": "EPYC"}, "CPU model is 'AMD EPYC 9654'"),
        ({"arch": "aarch64"}, "architecture"),
        ({"virtualization": "none"}, "virtualization"),
    ],
)
def test_a_host_that_misses_one_is_out_and_told_by_what(
    select: dict[str, object], words: str
) -> None:
    assert words in why_not_selected(Selector(**select), WEB)  # type: ignore[arg-type]


def test_a_fingerprint_selects_hosts_of_its_hardware_and_kernel() -> None:
    known = {
        **KNOWN,
        "h2": replace(KNOWN["h2"], cpus=64),
        "h3": replace(KNOWN["h3"], kernel="6.12.0"),
        "h4": replace(inventory("h4"), cpu_model=f"  {KNOWN['h1'].cpu_model} ", memory_bytes=5),
    }
    meant = Fingerprint(
        workload_class="idle",
        objective="p99:lower",
        hardware=hardware(KNOWN["h1"]),
        kernel=KNOWN["h1"].kernel,
    )
    select = {"fingerprint": key(meant)}
    choice = chosen(ask(**select), known, meant=meant)
    assert hosts(choice) == [["h1", "h4"]]
    assert "64 CPUs" in choice.left_out["h2"]
    assert "6.12.0" in choice.left_out["h3"]
    assert key(meant) in choice.left_out["h3"]
    with pytest.raises(RequestError, match="named but not selected"):
        chosen(ask("h2", **select), known, meant=meant)


def test_a_selection_of_hosts_leaves_the_others_out() -> None:
    known = {**KNOWN, "h2": replace(KNOWN["h2"], labels={"role": "web"})}
    choice = chosen(ask(labels={"role": "web"}), known)
    assert hosts(choice) == [["h2"]]
    assert set(choice.left_out) == {"h1", "h3"}


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        chosen(ask(kernel="9.*"), KNOWN)
    assert "selected" in caught.value.expected
    assert "7.3.4" in caught.value.got


def test_a_host_that_is_named_against_the_selector_is_a_contradiction() -> None:
    with pytest.raises(RequestError, match="named but not selected"):
        chosen(ask("h1", kernel="6.*"), KNOWN)
