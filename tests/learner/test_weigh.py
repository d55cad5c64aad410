from __future__ import annotations

import random

import pytest

from services.learner.weigh import ALPHA, weigh
from shared.messages import HostUsage, Usage, WeighCommand


def usage(waiting: float, load: float = 1.0, seconds: float = 600.0) -> Usage:
    return Usage(seconds=seconds, run_s=load * seconds, wait_s=waiting * load * seconds)


def hosts(name: str, count: int, change: float, *, dice: random.Random) -> list[HostUsage]:
    """Hosts of very different loads whose waiting changes by a factor, give or take 10 %."""
    found = []
    for number in range(count):
        before = dice.uniform(0.2, 2.0)
        after = before * change * dice.uniform(0.9, 1.1)
        load = dice.uniform(0.2, 8.0)
        found.append(
            HostUsage(
                host=f"{name}{number}", before=usage(before, load), soaking=usage(after, load)
            )
        )
    return found


def asked(treated: list[HostUsage], control: list[HostUsage], comparisons: int = 1) -> WeighCommand:
    return WeighCommand(
        optimization="o1", cohort=1, treated=treated, control=control, comparisons=comparisons
    )


@pytest.mark.parametrize("size", [6, 60])
def test_twice_the_waiting_is_seen_whatever_the_loads(size: int) -> None:
    dice = random.Random(1)
    command = asked(hosts("t", size, 2.0, dice=dice), hosts("c", size, 1.0, dice=dice))
    word = weigh(command)
    assert word.verdict == "worse"
    assert 1.7 < word.ratio < 2.2
    assert word.chance <= ALPHA
    assert f"{size} of {size} hosts" in word.reasons[-1]


@pytest.mark.parametrize("change", [0.5, 1.0, 3.0])
def test_what_happens_to_all_hosts_is_nobody_s_fault(change: float) -> None:
    dice = random.Random(2)
    command = asked(hosts("t", 20, change, dice=dice), hosts("c", 10, change, dice=dice))
    assert weigh(command).verdict == "not-worse"


def test_a_small_harm_is_not_what_halts_however_sure_it_is() -> None:
    dice = random.Random(3)
    word = weigh(asked(hosts("t", 60, 1.15, dice=dice), hosts("c", 60, 1.0, dice=dice)))
    assert word.chance <= ALPHA
    assert word.verdict == "not-worse"


def test_a_few_hosts_cannot_tell_and_that_is_said() -> None:
    dice = random.Random(4)
    word = weigh(asked(hosts("t", 3, 5.0, dice=dice), hosts("c", 2, 1.0, dice=dice)))
    assert word.verdict == "untold"
    assert "too few" in word.reasons[0]


def test_idle_hosts_do_not_count() -> None:
    dice = random.Random(5)
    idle = HostUsage(host="idle", before=usage(0.1, 0.001), soaking=usage(90.0, 0.001))
    command = asked([idle] * 30, hosts("c", 30, 1.0, dice=dice))
    word = weigh(command)
    assert word.verdict == "untold"
    assert "0 of 30 hosts with it" in word.reasons[0]


def test_hardly_any_waiting_may_double() -> None:
    """2 ms for each second of work, then 4: nobody is hurt."""
    few = [HostUsage(host=f"t{n}", before=usage(0.002), soaking=usage(0.004)) for n in range(20)]
    same = [HostUsage(host=f"c{n}", before=usage(0.002), soaking=usage(0.002)) for n in range(20)]
    assert weigh(asked(few, same)).verdict == "not-worse"


def test_no_hosts_at_all_is_no_error() -> None:
    assert weigh(asked([], [])).verdict == "untold"


def test_a_harmless_candidate_is_rarely_halted() -> None:
    """400 rollouts in which nothing differs: at ALPHA no more than a few are called worse."""
    dice = random.Random(6)
    halted = 0
    for _ in range(400):
        treated = hosts("t", 6, 1.0, dice=dice)
        # Heavy noise, so that the least harm is often exceeded by luck.
        shaken = [
            HostUsage(
                host=each.host,
                before=each.before,
                soaking=usage(each.soaking.wait_s / each.soaking.run_s * dice.lognormvariate(0, 1)),
            )
            for each in (*treated, *hosts("c", 6, 1.0, dice=dice))
        ]
        halted += weigh(asked(shaken[:6], shaken[6:])).verdict == "worse"
    assert halted <= 12


def test_the_same_counters_give_the_same_verdict() -> None:
    dice = random.Random(7)
    command = asked(hosts("t", 40, 1.3, dice=dice), hosts("c", 12, 1.0, dice=dice))
    assert weigh(command) == weigh(command)
