"""`cox policies search`: policies by words, or by an optimization whose workload was like this."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from cli.output import print_json, show
from cli.policies import wording
from cli.policies.known import Answer, ask, ask_on
from cli.report.collect import record_of
from cli.session import connected
from services.learner.repository import Finder
from shared.errors import InputError, RequestError
from shared.repository import PolicyHit, PolicyHits, PolicySearchRequest


async def search(words: str, *, like: str, limit: int, as_json: bool) -> None:
    """What fits, the best first. Raises InputError if nothing is looked for."""
    if not words.strip() and not like:
        raise InputError(
            "nothing is looked for",
            expected="words, or --like with an optimization's id",
            advice="cox policies search wake-up latency",
        )
    if len(words) > 500:
        raise InputError(
            "that is too long", expected="at most 500 characters", got=f"{len(words)} characters"
        )
    known, without = await (_like(words, like, limit) if like else _words(words, limit))
    if as_json:
        print_json({"type": "policy_search", "found": known, "without": without})
        return
    if not known.hits:
        show(Text("No policy is like that."))
    for hit in known.hits:
        show(_hit(hit, outcomes=not without))
    if known.more:
        show(wording.left_out(known.more, "that fit less; see them with --limit"))
    if without:
        show(wording.without(without))


async def _words(words: str, limit: int) -> Answer[PolicyHits]:
    request = PolicySearchRequest(words=words, limit=limit)
    return await ask(
        "search", request, PolicyHits, lambda repository: Finder(repository).find(request)
    )


async def _like(words: str, identity: str, limit: int) -> Answer[PolicyHits]:
    """By an optimization's fingerprint and features: there is none without a bus."""
    async with connected() as bus:
        record = await record_of(bus, identity)
        if record.fingerprint is None or record.profile is None:
            raise RequestError(
                f"{record.id} was never profiled",
                expected="an optimization with a fingerprint",
                advice="`cox optimizations` shows which have one.",
            )
        request = PolicySearchRequest(
            words=words,
            fingerprint=record.fingerprint,
            features=record.profile.features,
            limit=limit,
        )
        return Answer(await ask_on(bus, "search", request, PolicyHits), "")


def _hit(hit: PolicyHit, *, outcomes: bool) -> Group:
    about = hit.about
    head = Text.assemble((about.policy, "bold"), f" {about.version}")
    if hit.words:
        head.append(f"  {', '.join(hit.words)}", "cyan")
    if hit.likeness:
        head.append(f"  {hit.likeness:.2f} alike, {hit.fingerprint}", "cyan")
    lines = [head]
    if about.summary:
        lines.append(Text(f"  {about.summary}"))
    if hit.excerpt and hit.excerpt != about.summary:
        lines.append(Text(f"  “{hit.excerpt}”", "dim"))
    if outcomes:
        lines.append(Text(f"  {wording.tally(about.tally)}", "dim"))
    if about.best is not None:
        lines.append(Text("  ").append_text(wording.best(about.best)))
    return Group(*lines, Text())
