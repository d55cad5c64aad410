from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.planner.targets import Fleet, Targets, check_free, choose, why_not_selected
from shared.errors import RequestError
from shared.messages import Inventory, OptimizeRequest, Selector
from tests.planner.world import inventory

ASK = OptimizeRequest(workload="wakeup")
KNOWN = {name: inventory(name) for name in ("h1", "h2", "h3")}


def ask(*hosts: str, **select: object) -> OptimizeRequest:
    return replace(ASK, hosts=list(hosts), select=Selector(**select))  # type: ignore[arg-type]


def chosen(request: OptimizeRequest, known: dict[str, Inventory], **fleet: object) -> Targets:
    return choose(request, Fleet(known=known, **fleet))  # type: ignore[arg-type]


def test_no_host_named_means_all_that_are_ready() -> None:
    known = {**KNOWN, "h2": replace(KNOWN["h2"], obstacles=["no sched_ext"])}
    targets = chosen(ASK, known)
    assert targets.hosts == ["h1", "h3"]
    assert targets.left_out == {"h2": "no sched_ext"}


def test_the_first_host_named_is_the_canary() -> None:
    assert chosen(ask("h2", "h1", "h2"), KNOWN).hosts == ["h2", "h1"]


def test_the_largest_group_of_equal_hosts_is_taken_and_the_rest_is_told() -> None:
    known = {**KNOWN, "h1": replace(KNOWN["h1"], kernel="6.12.0")}
    targets = chosen(ASK, known)
    assert targets.hosts == ["h2", "h3"]
    assert "another kind" in targets.left_out["h1"]
    assert "6.12.0" in targets.left_out["h1"]


def test_of_hosts_that_nobody_named_the_free_ones_are_taken() -> None:
    targets = chosen(ASK, KNOWN, busy={"h1": "o9"})
    assert targets.hosts == ["h2", "h3"]
    assert targets.left_out == {"h1": "busy with o9"}
    assert not targets.waits_for


def test_where_all_are_busy_it_is_told_for_whom_to_wait() -> None:
    fleet = Fleet(known=KNOWN, busy={"h1": "o8", "h2": "o9", "h3": "o9"})
    targets = choose(ASK, fleet)
    assert targets.hosts == ["h1", "h2", "h3"]
    assert targets.waits_for == ["o8", "o9"]
    with pytest.raises(RequestError, match="o8"):
        check_free(targets, fleet)


def test_a_named_host_that_is_busy_is_waited_for_or_refused_with_the_reason() -> None:
    fleet = Fleet(known=KNOWN, busy={"h1": "o9"})
    targets = choose(ask("h1"), fleet)
    assert targets.waits_for == ["o9"]
    with pytest.raises(RequestError, match="cox cancel o9"):
        check_free(targets, fleet)


@pytest.mark.parametrize(
    ("hosts", "fleet", "words"),
    [
        (("nope",), {}, "h1, h2, h3"),
        (("h1",), {"silent": {"h1": ["executor"]}}, "executor"),
        (("h1",), {"drained": {"h1": "new memory"}}, "new memory"),
        ((), {"silent": {"h1": ["observer"], "h2": ["observer"], "h3": ["observer"]}}, "observer"),
        ((), {"drained": {"h1": "", "h2": "", "h3": "rack moves"}}, "rack moves"),
    ],
)
def test_a_host_that_cannot_take_part_is_named_with_the_reason(
    hosts: tuple[str, ...], fleet: dict[str, object], words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        chosen(ask(*hosts), KNOWN, **fleet)
    assert words in str(caught.value)
    assert caught.value.advice


def test_a_drained_host_is_left_out_where_nobody_named_it() -> None:
    targets = chosen(ASK, KNOWN, drained={"h2": "new memory"})
    assert targets.hosts == ["h1", "h3"]
    assert targets.left_out == {"h2": "drained: new memory"}


def test_hosts_of_different_kinds_are_refused_with_the_requests_to_make() -> None:
    known = {**KNOWN, "h1": replace(KNOWN["h1"], cpus=64)}
    with pytest.raises(RequestError) as caught:
        chosen(ask("h1", "h2", "h3"), known)
    assert "64 CPUs" in caught.value.got
    assert "--hosts h2,h3" in caught.value.advice
    assert "--hosts h1" in caught.value.advice


def test_what_tells_two_kinds_apart_is_in_the_words() -> None:
    known = {**KNOWN, "h1": replace(KNOWN["h1"], llcs=4)}
    with pytest.raises(RequestError) as caught:
        chosen(ask("h1", "h2"), known)
    assert "4 caches" in caught.value.got
    assert "1 caches" in caught.value.got


def test_an_obstacle_is_told() -> None:
    known = {"h1": replace(KNOWN["h1"], obstacles=["scheduler scx_other is attached"])}
    with pytest.raises(RequestError, match="scx_other"):
        chosen(ask("h1"), known)


def test_nobody_there_says_how_to_get_hosts() -> None:
    with pytest.raises(RequestError, match="cox lab up"):
        chosen(ASK, {})


def test_a_request_takes_no_more_hosts_than_its_record_can_hold() -> None:
    known = {f"h{number:04}": inventory(f"h{number:04}") for number in range(700)}
    targets = chosen(ASK, known)
    assert len(targets.hosts) == 600
    assert len(targets.left_out) == 100
    assert "600 hosts" in targets.left_out["h0699"]
    with pytest.raises(RequestError, match="at most 600"):
        chosen(ask(*known), known)


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


def test_a_selection_of_hosts_leaves_the_others_out() -> None:
    known = {**KNOWN, "h2": replace(KNOWN["h2"], labels={"role": "web"})}
    targets = chosen(ask(labels={"role": "web"}), known)
    assert targets.hosts == ["h2"]
    assert set(targets.left_out) == {"h1", "h3"}


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        chosen(ask(kernel="9.*"), KNOWN)
    assert "selected" in caught.value.expected
    assert "7.3.4" in caught.value.got


def test_a_host_that_is_named_against_the_selector_is_a_contradiction() -> None:
    with pytest.raises(RequestError, match="named but not selected"):
        chosen(ask("h1", kernel="6.*"), KNOWN)
