"""A profile of wakeup on paper, and what is asked about it."""

from __future__ import annotations

from bench.comparing.hosts import PaperHosts
from bench.comparing.life import Life
from services.planner.minds import Mind, Question
from shared.messages import Budget, Inventory, OptimizeRequest, Profile, Profiled
from shared.policies import Catalogue as Policies
from shared.workloads import Catalogue as Workloads

WORKLOADS, POLICIES = Workloads.load(), Policies.load()
INVENTORY = Inventory(
    host="h1",
    machine_id="m1",
    boot_id="b1",
    kernel="7.3.4",
    arch="x86_64",
    cpus=2,
    cpu_model="paper",
    sched_ext=True,
)
PROFILE = Profile(
    host="h1",
    workload="wakeup",
    features={"hogs": 4.0},
    workload_class="latency-under-load",
    confidence=0.9,
    summary="Short tasks wake beside hogs.",
)
PROFILED = Profiled(optimization="", host="h1", inventory=INVENTORY, profile=PROFILE)


def paper(ratios: dict[str, float], **how: object) -> PaperHosts:
    return PaperHosts(INVENTORY, PROFILE, ratios, **how)  # type: ignore[arg-type]


def life(hosts: PaperHosts, minds: list[Mind], *, rounds: int = 24, made: bool = True) -> Life:
    budget = Budget(rounds=rounds, seconds=86_400)
    request = OptimizeRequest(workload="wakeup", budget=budget, made=made)
    return Life(request, INVENTORY, WORKLOADS, POLICIES, minds, hosts)


def question(*, rounds: int = 24) -> Question:
    return life(paper({}), [], rounds=rounds).first_question(PROFILED)
