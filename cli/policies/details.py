"""`cox policies show`: one version of a policy, where it is from, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.follow.narrate import parameters
from cli.output import plain_table, print_json, show
from cli.policies import wording
from cli.policies.known import Answer, ask, standing_orders
from services.learner.repository import Repository
from services.learner.repository import policy as answer
from shared.errors import RemoteError
from shared.fleet import said_of
from shared.policies import Catalogue, Policy
from shared.repository import PolicyRecord, PolicyRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from shared.messages import Fingerprint
    from shared.parameters import Parameter
    from shared.repository import BuiltArtifact, FingerprintRecord, Tried


async def show_policy(name: str, version: str, *, as_json: bool) -> None:
    """One version: its manifest, its hooks, its record. Raises InputError for an unknown one."""
    catalogue = Catalogue.load()
    known, without = await _told(PolicyRequest(policy=name, version=version), catalogue)
    here = {(each.name, each.manifest.version): each for each in catalogue.values()}
    orders = await standing_orders()
    which = known.about.policy, known.about.version
    policy = here.get(which)
    if as_json:
        print_json(
            {
                "type": "policy",
                "manifest": known.manifest if policy is None else policy.manifest,
                "source": policy.source if policy is not None else _source(known),
                "record": known,
                "retired": said_of(orders.retired, *which),
                "preferred": said_of(orders.preferred, *which),
                "without": without,
            }
        )
        return
    show(_details(policy) if policy is not None else _head(known))
    if said := wording.ordered(orders, *which):
        show(said)
    if known.made is not None:
        show(wording.hooks(known.made))
    if without:
        show(wording.without(without))
    else:
        show(Group(*_record(known)))


async def _told(request: PolicyRequest, catalogue: Catalogue) -> Answer[PolicyRecord]:
    def shipped(repository: Repository) -> PolicyRecord:
        return answer(repository, request)

    try:
        return await ask("policy", request, PolicyRecord, shipped)
    except RemoteError as error:
        # The learner's catalogue may be another one than this machine's.
        if request.policy not in catalogue:
            raise
        return Answer(shipped(Repository(catalogue)), error.problem.what)


# What it is ---------------------------------------------------------------------------------


def _details(policy: Policy) -> Group:
    manifest = policy.manifest
    head = Text.assemble((manifest.name, "bold"), f" {manifest.version}\n{manifest.summary}\n")
    facts = Table.grid(padding=(0, 2, 0, 0))
    good_for = ", ".join(manifest.good_for) or "nothing by itself: a reference"
    for label, text in (
        ("good for", good_for),
        ("kernel", f"{manifest.kernel_min} or later"),
        ("longest wait", f"{manifest.wait_bound_ns / 1e9:.1f} s with 1000 tasks in a queue"),
        ("hooks", str(policy.directory / "hooks.bpf.c")),
    ):
        facts.add_row(Text(label, style="dim"), text)
    table = plain_table()
    for column in ("tunable", "default", "from", "to", "unit", "what it does"):
        table.add_column(column, overflow="fold")
    for parameter in manifest.parameter:
        table.add_row(*_cells(parameter))
    return Group(head, facts, Text(), table) if manifest.parameter else Group(head, facts)


def _source(known: PolicyRecord) -> str | None:
    return None if known.made is None else known.made.source


def _head(known: PolicyRecord) -> Text:
    """Of a version that is not in this machine's catalogue."""
    about = known.about
    if known.made is not None:
        text = f" {about.version}\n{about.summary}\n{wording.origin(known.made)}\n"
        return Text.assemble((about.policy, "bold"), text)
    said = about.summary or "Its source does not ship here; what is known is its record."
    return Text.assemble((about.policy, "bold"), f" {about.version}\n{said}")


def _cells(parameter: Parameter) -> tuple[str, ...]:
    return (
        parameter.name,
        f"{parameter.default:_}",
        f"{parameter.low:_}",
        f"{parameter.high:_}",
        parameter.unit,
        parameter.summary,
    )


# What came of it ----------------------------------------------------------------------------


def _record(known: PolicyRecord) -> Iterator[RenderableType]:
    facts = Table.grid(padding=(0, 2, 0, 0))
    versions = ", ".join(known.versions)
    more = f" and {known.versions_more} older ones" if known.versions_more else ""
    facts.add_row(Text("versions", "dim"), Text(versions + more))
    facts.add_row(Text("record", "dim"), Text(wording.tally(known.about.tally)))
    if known.about.best is not None:
        facts.add_row("", wording.best(known.about.best))
    if known.rejected:
        facts.add_row(Text("rejected", "dim"), Text(f"{known.rejected} times, by the gate"))
    for built in known.artifacts:
        facts.add_row(Text("built", "dim"), _artifact(built))
    yield Text()
    yield facts
    if known.artifacts_more:
        yield wording.left_out(known.artifacts_more, "older artifacts")
    for record in known.records:
        yield Text()
        yield from _under(record)
    if known.records_more:
        yield wording.left_out(known.records_more, "fingerprints that were tried longer ago")


def _artifact(built: BuiltArtifact) -> Text:
    artifact = built.artifact
    source = "the source that ships" if built.shipped else "another source than ships here"
    times = "once" if built.builds == 1 else f"{built.builds} times"
    figures_told = ", ".join(
        f"{name} {figures.number(value)}" for name, value in sorted(artifact.evidence.items())
    )
    return Text.assemble(
        f"{times}, last {wording.moment(built.unix_ns)} for {built.optimization}\n",
        (f"object {artifact.sha256[:16]} of {artifact.size_bytes} bytes\n", "dim"),
        (f"source {artifact.source_sha256[:16]}, {source}; {artifact.toolchain}\n", "dim"),
        (f"proven {figures_told or 'nothing that is told'}", "dim"),
    )


def _under(record: FingerprintRecord) -> Iterator[RenderableType]:
    under = record.fingerprint
    yield Text.assemble(
        (", ".join(record.workloads), "bold"),
        f"  {wording.objective(under.objective)}",
        (f"  {record.key}\n", "dim"),
        (f"{_where(under)}\n", "dim"),
        wording.tally(record.tally),
    )
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 2))
    table.add_column("newest", no_wrap=True)
    table.add_column("all its trials", no_wrap=True)
    table.add_column("parameters, hosts", overflow="fold")
    for tried in record.tried:
        table.add_row(*_candidate(tried))
    yield table
    if record.tried_more:
        yield wording.left_out(record.tried_more, "candidates with fewer pairs")


def _where(under: Fingerprint) -> str:
    machine = under.hardware
    company = f"beside {', '.join(under.beside)}" if under.beside else "alone"
    against = f", against {under.against}" if under.against else ""
    return (
        f"{under.workload_class}, {machine.cpus} CPUs of {machine.cpu_model}, "
        f"kernel {under.kernel}, {company}{against}"
    )


def _candidate(tried: Tried) -> tuple[Text, Text, Text]:
    newest, combined = tried.newest, tried.combined
    latest = wording.verdict(newest.verdict).append(f"\n{wording.ratio(newest)}", "default")
    latest.append(f"\n{wording.moment(newest.unix_ns)}", "dim")
    together = Text(wording.ratio(combined) if combined is not None else "no interval")
    if tried.conflicting:
        together.append("\nconflicting", wording.CONFLICT)
    together.append(f"\n{tried.pairs} pairs", "dim")
    hosts = ", ".join(tried.hosts)
    more = f" and {tried.hosts_more} more" if tried.hosts_more else ""
    said = f"\n{hosts}{more}\n{wording.tally(tried.tally)}"
    return latest, together, Text(parameters(tried.parameters)).append(said, "dim")
