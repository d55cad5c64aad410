"""What to try next, out of all policies and parameters: Optuna, told what was tried so far.

A study lives as long as one question. What is known comes with the question, trials of this
optimization and remembered ones alike, so nothing is kept between two plans, and any planner
comes to the same suggestions from the same question.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from shared.statistics import worsening

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optuna.distributions import BaseDistribution

    from services.planner.minds.question import Question
    from shared.parameters import Parameter
    from shared.policies import Policy

    Point = tuple[str, dict[str, int]]
    """A policy's name and all of its parameters."""

HARM: Final = 1.0
"""What is added to the log ratio of a candidate that did harm: worse than whatever did none."""

WITHOUT_KNOWLEDGE: Final = 3
"""Points that are known before the sampler draws from them; the first ones are by lot."""

_TRIES: Final = 32
_POLICY: Final = "policy"


def suggestions(question: Question, policies: Sequence[Policy], count: int) -> list[Point]:
    """Up to `count` points of these policies that nobody has tried; fewer where all are known.

    Tree-structured Parzen estimators (Bergstra et al., NIPS 2011), over the policy and, for each
    policy, over its own parameters.
    """
    # A second of imports, for who searches alone.
    import optuna  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = list(_known(question, policies))
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(
            seed=_seed(question, len(known)), n_startup_trials=WITHOUT_KNOWLEDGE
        )
    )
    spaces = {each.name: _space(each) for each in policies}
    choice = optuna.distributions.CategoricalDistribution(sorted(spaces))
    for (policy, values), loss in known:
        study.add_trial(
            optuna.trial.create_trial(
                params={_POLICY: policy, **_qualified(policy, values)},
                distributions={_POLICY: choice, **spaces[policy]},
                value=loss,
            )
        )
    taken = [point for point, _ in known]
    found: list[Point] = []
    for _ in range(_TRIES):
        if len(found) == count:
            break
        trial = study.ask()
        policy = str(trial.suggest_categorical(_POLICY, sorted(spaces)))
        point = (
            policy,
            {
                name.partition(".")[2]: _asked(trial, name, space)
                for name, space in spaces[policy].items()
            },
        )
        if point not in taken:
            taken.append(point)
            found.append(point)
    return found


def _asked(trial: Any, name: str, space: Any) -> int:
    return int(trial.suggest_int(name, space.low, space.high, log=space.log))


def _space(policy: Policy) -> dict[str, BaseDistribution]:
    return {f"{policy.name}.{each.name}": _range(each) for each in policy.manifest.parameter}


def _range(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import IntDistribution  # noqa: PLC0415

    log = parameter.scale == "log" and parameter.low > 0
    return IntDistribution(parameter.low, parameter.high, log=log)


def _qualified(policy: str, values: dict[str, int]) -> dict[str, int]:
    return {f"{policy}.{name}": value for name, value in values.items()}


def _known(question: Question, policies: Sequence[Policy]) -> Iterator[tuple[Point, float]]:
    """Points with their log ratios, below 0 is better; each once, of now before of then."""
    manifests = {each.name: each.manifest for each in policies}
    direction = question.objective.direction
    told = [
        (each.candidate.policy, each.candidate.parameters, each.ratio, each.harmful)
        for each in question.tried
    ]
    told += [
        (each.policy, each.parameters, each.ratio, each.verdict == "revert")
        for each in question.recollection.exact
    ]
    seen: list[Point] = []
    for policy, values, ratio, harmful in told:
        point = policy, dict(values)
        manifest = manifests.get(policy)
        if manifest is None or point in seen or not manifest.is_whole(values):
            continue
        seen.append(point)
        loss = worsening(max(ratio, 1e-9), direction)
        yield point, max(loss, 0.0) + HARM if harmful else loss


def _seed(question: Question, known: int) -> int:
    """The same for the same question: a plan that is asked for twice is one plan."""
    fingerprint = question.fingerprint
    text = f"{fingerprint}/{question.request.seed}/{question.optimization}/{known}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
