"""Conversations with models of four kinds, as scripts: good, clumsy, wrong and hostile ones.

No model was asked to make them: they are what one could say, drawn from a seed. A session is the
list of answers that the Messages API gives, one for each request, the last one over and over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from shared.messages import Made
from shared.policies import Catalogue, made_name
from tests.planner.messages_api import Turn, events_of, failure, message, streamed, text, use

Kind = Literal["good", "clumsy", "wrong", "hostile"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CATALOGUE = Catalogue.load()
Script = Callable[[random.Random], list[Turn]]


class Session(NamedTuple):
    number: int
    kind: Kind
    name: str
    turns: list[Turn]


def session(number: int) -> Session:
    """Session 1, 2, 3 …: kinds in turn, each kind's scripts in turn, details by chance."""
    kind = KINDS[(number - 1) % len(KINDS)]
    scripts = SCRIPTS[kind]
    script = scripts[(number - 1) // len(KINDS) % len(scripts)]
    return Session(number, kind, script.__name__.strip("_"), script(random.Random(number)))


# What is said -------------------------------------------------------------------------------


def hooks(rng: random.Random) -> str:
    """Hooks that nobody wrote before and that the gate passes."""
    short_us, boost_ms = rng.randrange(500, 9000), rng.randrange(5, 180)
    slice_us = rng.randrange(800, 15_000)
    order = rng.choice(
        [
            "task->lag_ns / 2",
            "task->lag_ns + (s64)cox_min_u64(task->avg_run_ns, 20000000)",
            "(s64)cox_min_u64(task->attained_ns / 8, 150000000)",
            "task->last_wait_ns > 10000000 ? -1000000 : task->lag_ns",
        ]
    )
    place = rng.choice(
        ["COX_PLACE_SHARED", "cpu->nr_queued > 1 ? COX_PLACE_SHARED : COX_PLACE_CPU"]
    )
    patience = rng.choice(["cpu->nr_shared > 2 ? slice_ns / 2 : slice_ns", "slice_ns"])
    return f"""/* Drawn: who runs briefly goes first, all others by {order}. */
#include "cox/hooks.h"

const volatile u64 slice_ns = {slice_us * 1000};

COX_INLINE bool is_brief(const struct cox_task *task)
{{
\treturn cox_max_u64(task->avg_run_ns, task->run_ns) <= {short_us * 1000}ULL;
}}

s64 cox_rank(const struct cox_task *task, const struct cox_cpu *cpu)
{{
\tif (is_brief(task))
\t\treturn -{boost_ms * 1_000_000}LL;
\treturn {order};
}}

u64 cox_slice(const struct cox_task *task, const struct cox_cpu *cpu)
{{
\treturn {patience};
}}

u32 cox_place(const struct cox_task *task, const struct cox_cpu *cpu)
{{
\treturn {place};
}}

u32 cox_preempt(const struct cox_task *task, const struct cox_cpu *cpu)
{{
\treturn is_brief(task) && cpu->running.run_ns > {short_us * 1000}ULL;
}}
"""


def slice_parameter(source: str) -> dict[str, Any]:
    default = int(source.partition("slice_ns = ")[2].partition(";")[0])
    return {
        "name": "slice_ns",
        "summary": "slice of those that compute",
        "unit": "ns",
        "low": 500_000,
        "high": 20_000_000,
        "default": default,
        "scale": "log",
    }


def writing(source: str, *, parent: str = "latency", **other: Any) -> dict[str, Any]:
    """The call that has hooks checked."""
    given = {
        "parent": parent,
        "summary": "who runs briefly goes first",
        "source": source,
        "parameters": [slice_parameter(source)] if "slice_ns = " in source else [],
    }
    return use("write_hooks", **(given | other))


def name_of(call: dict[str, Any]) -> str:
    """What hooks will be called, if they pass: a model is told, a script has to know."""
    given = call["input"]
    return made_name(
        msgspec.convert(
            {
                "parent": given["parent"],
                "source": given["source"],
                "summary": given["summary"],
                "parameter": given["parameters"],
            },
            Made,
        )
    )


def proposing(*policies: str, **other: Any) -> dict[str, Any]:
    """The last call: these policies."""
    candidates = [
        {
            "policy": policy,
            "why": "workers wake beside hogs",
            "predicted_low": 0.2,
            "predicted_ratio": 0.5,
            "predicted_high": 0.9,
        }
        for policy in policies
    ]
    given: dict[str, Any] = {
        "why": "who sleeps soon waits behind who computes",
        "candidates": candidates,
        "considered": [
            {"policy": "fair", "score": 0.1, "reason": "it is close to the default"},
            *(
                {"policy": policy, "score": 0.8, "reason": "it fits"}
                for policy in dict.fromkeys(policies)
                if policy != "fair"
            ),
        ],
    }
    return use("propose_plan", **(given | other))


def looking(rng: random.Random) -> list[Turn]:
    """Some questions first."""
    calls = [
        use("read_profile", part="features"),
        use("read_profile", part="machine"),
        use("recall", of="this"),
        use("recall", of="similar"),
        use("list_policies"),
        use("read_policy", name="latency", part="manifest"),
        use("read_policy", name="longtail", part="hooks"),
        use("read_guide"),
    ]
    asked = rng.sample(calls, rng.randrange(1, 4))
    return [message(*({**each, "id": f"toolu_{n}"} for n, each in enumerate(asked)))]


# Good ones ----------------------------------------------------------------------------------


def _reconfigures(rng: random.Random) -> list[Turn]:
    parameters = {"slice_ns": rng.randrange(1_000_000, 20_000_000)}
    candidate = {
        "policy": "latency",
        "why": "it fits",
        "predicted_low": 0.3,
        "predicted_ratio": 0.5,
        "predicted_high": 0.8,
        "parameters": parameters,
    }
    return [*looking(rng), message(proposing(candidates=[candidate]))]


def _writes_and_proposes(rng: random.Random) -> list[Turn]:
    wrote = writing(hooks(rng), parent=rng.choice(["latency", "throughput", "fair", "longtail"]))
    return [
        *looking(rng),
        message(use("read_guide")),
        message(wrote),
        message(proposing(name_of(wrote))),
    ]


def _writes_beside_a_proven_one(rng: random.Random) -> list[Turn]:
    wrote = writing(hooks(rng), revises="latency")
    return [message(wrote), message(proposing("latency", name_of(wrote)))]


def _keeps_the_default(rng: random.Random) -> list[Turn]:
    return [*looking(rng), message(proposing())]


# Clumsy ones: they get there ----------------------------------------------------------------


def _mends_what_does_not_compile(rng: random.Random) -> list[Turn]:
    good = hooks(rng)
    bad = good.replace("cpu->running.run_ns", rng.choice(["cpu->runing.run_ns", "running"]))
    wrote = writing(good)
    return [
        message(text("First the hooks."), writing(bad)),
        message(text("Ah."), wrote),
        message(proposing(name_of(wrote))),
    ]


def _forgets_the_schema(rng: random.Random) -> list[Turn]:
    return [
        message(use("propose_plan", plan="latency")),
        message(use("read_polcy", name="latency")),
        message(proposing("latency")),
    ]


def _talks_first(rng: random.Random) -> list[Turn]:
    return [
        message(text("I think that latency would be best here."), stop="end_turn"),
        *looking(rng),
        message(proposing("latency")),
    ]


def _proposes_before_it_is_checked(rng: random.Random) -> list[Turn]:
    wrote = writing(hooks(rng))
    name = name_of(wrote)
    return [message(proposing(name)), message(wrote), message(proposing(name))]


def _goes_out_of_bounds(rng: random.Random) -> list[Turn]:
    wrote = writing(hooks(rng))
    wild = dict(proposing(name_of(wrote))["input"]["candidates"][0], parameters={"slice_ns": 1})
    return [message(wrote), message(proposing(candidates=[wild])), message(proposing("latency"))]


# Wrong ones: somebody else must go on -------------------------------------------------------


def _never_compiles(rng: random.Random) -> list[Turn]:
    return [message(writing(hooks(rng).replace("return", "retrun")))]


def _asks_without_end(rng: random.Random) -> list[Turn]:
    return [message(use("read_guide"))]


def _is_refused(rng: random.Random) -> list[Turn]:
    return [message(text("I cannot help with that."), stop="refusal")]


def _breaks_off(rng: random.Random) -> list[Turn]:
    whole = streamed(events_of(writing(hooks(rng)))).body
    half = whole[: rng.randrange(200, len(whole) - 100)]
    return [Turn(half, headers={"content-type": "text/event-stream"})]


def _is_overloaded(rng: random.Random) -> list[Turn]:
    return [failure(*rng.choice([(429, "rate_limit_error"), (529, "overloaded_error")]))]


def _proposes_what_does_not_exist(rng: random.Random) -> list[Turn]:
    return [message(proposing(rng.choice(["turbo", "latency-made-0123456789abcdef"])))]


# Hostile ones -------------------------------------------------------------------------------

EVIL = (
    ("return cox_evil(task);", "a call to nobody knows what"),
    ("((void (*)(void))6)(); return 0;", "a call to a kernel helper by its number"),
    ("for (;;) { } return 0;", "a loop without end"),
    ("*(volatile u64 *)0xffff888000000000 = 1; return 0;", "a write to the kernel"),
    ("return *(volatile s64 *)(task + 4096);", "a read beyond the task"),
    ("return *(volatile s64 *)((char *)cpu - 8);", "a read before the CPU"),
    ("((struct cox_task *)task)->weight = 10000; return 0;", "a write to what is read only"),
    ('__asm__ volatile("r0 = 1"); return 0;', "assembly"),
)


def _writes_evil(rng: random.Random) -> list[Turn]:
    body, _ = rng.choice(EVIL)
    source = hooks(rng).replace("return -", f"{{ {body} }} return -", 1)
    wrote = writing(source)
    return [message(wrote), message(proposing(name_of(wrote)))]


def _reads_a_file(rng: random.Random) -> list[Turn]:
    path = rng.choice(["/etc/shadow", "/proc/self/environ", "../../../etc/passwd"])
    wrote = writing(hooks(rng).replace("cox/hooks.h", path))
    return [message(wrote), message(proposing(name_of(wrote)))]


def _brings_a_scheduler(rng: random.Random) -> list[Turn]:
    source = hooks(rng) + 'struct sched_ext_ops evil __attribute__((section(".struct_ops"))) = {};'
    return [message(writing(source)), message(proposing("latency", optimization="another"))]


def _hides_in_text(rng: random.Random) -> list[Turn]:
    hidden = rng.choice(["\x1b]0;owned\x07", "\u202egnp.exe", "\U000e0041\U000e0042"])
    return [message(proposing("latency", why=f"because{hidden}"))]


def _makes_things_up(rng: random.Random) -> list[Turn]:
    return [
        message(proposing("latency", recalled="o-that-never-was")),
        message(proposing("latency", evidence=["loved_by_all"])),
        message(proposing("latency", "latency")),
    ]


def _swaps_after_the_check(rng: random.Random) -> list[Turn]:
    good, evil = (
        writing(hooks(rng)),
        writing(hooks(rng).replace("return -", "for (;;) { } return -")),
    )
    return [message(good), message(proposing(name_of(evil)))]


def _floods(rng: random.Random) -> list[Turn]:
    calls = [use("read_guide", id=f"toolu_{n}") for n in range(40)]
    return [message(*calls)]


def _is_dear(rng: random.Random) -> list[Turn]:
    usage = {"input_tokens": rng.randrange(15_000, 30_000), "output_tokens": 4000}
    return [message(use("read_guide"), usage=usage)]


def _writes_a_book(rng: random.Random) -> list[Turn]:
    return [message(writing(hooks(rng) + "/*" + "x" * 9000 + "*/"))]


SCRIPTS: dict[Kind, tuple[Script, ...]] = {
    "good": (
        _reconfigures,
        _writes_and_proposes,
        _writes_beside_a_proven_one,
        _writes_and_proposes,
        _keeps_the_default,
    ),
    "clumsy": (
        _mends_what_does_not_compile,
        _forgets_the_schema,
        _talks_first,
        _proposes_before_it_is_checked,
        _goes_out_of_bounds,
    ),
    "wrong": (
        _never_compiles,
        _asks_without_end,
        _is_refused,
        _breaks_off,
        _is_overloaded,
        _proposes_what_does_not_exist,
    ),
    "hostile": (
        _writes_evil,
        _reads_a_file,
        _brings_a_scheduler,
        _hides_in_text,
        _makes_things_up,
        _swaps_after_the_check,
        _writes_evil,
        _floods,
        _is_dear,
        _writes_a_book,
        _writes_evil,
    ),
}
