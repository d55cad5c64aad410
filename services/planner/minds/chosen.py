"""Which minds are asked, in which order: what the environment says, and nothing else.

COX_MIND           auto: the model if there is a key, and the embedded mind after it; embedded: that
                   one alone; llm: the same as auto, but to have no key is an error (auto)
COX_MODEL          the model's name (claude-sonnet-4-6)
COX_MODEL_PRICE    dollars for a million tokens of input,output, for models that we know no price of
COX_MODEL_TOKENS   the most that one optimization's plan may use (200000)
COX_MODEL_DOLLARS  and may cost (0.50)
ANTHROPIC_API_KEY  the key; never logged, in no message and no span
ANTHROPIC_BASE_URL another server that speaks the Messages API
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.llm.meter import Price, price_of
from shared.errors import InputError, MachineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from services.planner.minds.llm.mind import Check, Deepen
    from services.planner.minds.question import Mind
    from shared.telemetry import Telemetry

_log = structlog.get_logger(__name__)

_KINDS: Final = ("auto", "embedded", "llm")
_MOST_TOKENS: Final = 10_000_000
_MOST_DOLLARS: Final = 1000.0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The settings above. The key is not among them: a struct is easily shown."""

    llm: bool
    model: str
    price: Price
    tokens: int
    dollars: float
    base_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Choice:
        """Read them. Raises InputError."""
        kind = environment.get("COX_MIND", "") or "auto"
        if kind not in _KINDS:
            raise InputError(
                "COX_MIND is not valid", expected=" or ".join(_KINDS), got=repr(kind)[:40]
            )
        keyed = bool(environment.get("ANTHROPIC_API_KEY", "").strip())
        if kind == "llm" and not keyed:
            raise InputError(
                "COX_MIND is llm, and there is no key",
                expected="ANTHROPIC_API_KEY",
                advice="Set it, or leave COX_MIND at auto: the embedded mind needs none.",
            )
        model = environment.get("COX_MODEL", "") or "claude-sonnet-4-6"
        return cls(
            llm=keyed and kind != "embedded",
            model=model,
            price=price_of(model, environment.get("COX_MODEL_PRICE", "")),
            tokens=int(_number(environment, "COX_MODEL_TOKENS", 200_000, _MOST_TOKENS)),
            dollars=_number(environment, "COX_MODEL_DOLLARS", 0.50, _MOST_DOLLARS),
            base_url=environment.get("ANTHROPIC_BASE_URL", ""),
        )


def _number(environment: Mapping[str, str], variable: str, default: float, most: float) -> float:
    text = environment.get(variable, "")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number <= most:
        raise InputError(
            f"{variable} is not valid",
            expected=f"a number above 0, at most {most:g}",
            got=repr(text)[:40],
        )
    return number


@contextlib.asynccontextmanager
async def chosen_minds(
    telemetry: Telemetry,
    check: Check,
    environment: Mapping[str, str] = os.environ,
    deepen: Deepen | None = None,
) -> AsyncIterator[list[Mind]]:
    """The minds, the first one to be asked first; `check` asks the gate about hooks.

    `deepen` has a host look at its workload with a probe.

    Raises InputError and MachineError.
    """
    choice = Choice.from_environment(environment)
    _log.info("minds.chosen", first=choice.model if choice.llm else EmbeddedMind.name)
    if not choice.llm:
        yield [EmbeddedMind()]
        return
    try:
        # Two seconds and 40 MB that who has no key does not pay.
        from services.planner.minds.llm.mind import LlmMind  # noqa: PLC0415
        from services.planner.minds.llm.model import Model  # noqa: PLC0415
    except ImportError as error:
        raise MachineError(
            "there is a key for a model, and no SDK to ask it with",
            expected="the package anthropic",
            got=str(error),
            advice="Install coxswain[planner], or set COX_MIND=embedded.",
        ) from error
    model = Model(choice.model, environment["ANTHROPIC_API_KEY"].strip(), choice.base_url)
    try:
        yield [
            LlmMind(
                model,
                telemetry,
                choice.price,
                choice.tokens,
                choice.dollars,
                check,
                deepen=deepen,
            ),
            EmbeddedMind(),
        ]
    finally:
        await model.close()
