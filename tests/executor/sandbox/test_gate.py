"""The sandbox's place in the gate: asked last, asked once, and no record without its yes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace

from cli.checking import check
from services.executor.gate import Workshop
from services.executor.gate.leave import why_not_built
from services.executor.gate.pipeline import Accepted, BuildRequest, Rejected, build
from services.executor.gate.sandbox import pool
from services.executor.gate.sandbox.pool import orders_for, sandbox_image
from services.executor.gate.sandbox.verdicts import Verdicts
from services.executor.gate.service import Gate
from services.executor.gate.stage import Finding, Work, reason
from services.executor.token import Provenance, decode_signed
from shared import attributes as names
from shared.bus import Bus
from shared.errors import CoxswainError, InputError, MachineError
from shared.messages import BuildCommand, Signed
from shared.metrics import Metrics
from shared.policies import Catalogue
from shared.settings import Settings
from tests.bpf.fixtures.policies import hooks, manifest
from tests.executor.gate.test_leave import POLICY, PROVENANCE, TOOLS, WANTED
from tests.executor.tokens import Desk, Signing


class Siege:
    """A sandbox's stage whose verdict is given."""

    name = "sandbox"

    def __init__(self, *, passes: bool) -> None:
        self.passes = passes
        self.seen: list[bytes] = []

    def __call__(self, work: Work) -> Finding:
        self.seen.append(work.object)
        reasons = [] if self.passes else [reason(self.name, "starved", "hog-a got nothing")]
        return Finding(reasons=reasons, evidence={"sandbox_cpus": 2.0})


def built_of(policy: str) -> str:
    return hashlib.sha256(Catalogue.load()[policy].source.encode()).hexdigest()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(cache=tmp_path_factory.mktemp("gate"))


def test_the_finished_object_is_besieged_and_the_evidence_says_so(workshop: Workshop) -> None:
    request = BuildRequest.of(Catalogue.load()["fifo"])
    siege = Siege(passes=True)
    built = build(request, workshop, sandbox=siege)
    assert isinstance(built, Accepted)
    assert siege.seen == [built.object]
    assert built.verdicts[-1].stage == "sandbox"
    assert built.artifact.evidence["sandboxed"] == 1
    without = build(request, workshop)
    assert isinstance(without, Accepted)
    assert without.artifact.evidence["sandboxed"] == 0


def test_what_earlier_stages_refuse_never_gets_there(workshop: Workshop) -> None:
    siege = Siege(passes=True)
    request = BuildRequest(manifest=manifest("tried"), source=hooks(rank="*(s64 *)8"))
    assert isinstance(build(request, workshop, sandbox=siege), Rejected)
    assert not siege.seen


@pytest.mark.parametrize("passes", [True, False])
async def test_nothing_is_stored_or_signed_before_it_has_passed(
    bus: Bus,
    tmp_path: Path,
    workshop: Workshop,
    passes: bool,  # noqa: FBT001
) -> None:
    desk = Desk(bus, Signing(tmp_path))
    await desk.open()
    siege, said = Siege(passes=passes), dict[str, object]()
    telemetry = SimpleNamespace(metrics=Metrics())
    span = SimpleNamespace(event=lambda *_: None, set=said.update)
    gate = Gate(bus, telemetry, workshop, Catalogue.load(), desk.desk, siege)  # type: ignore[arg-type]
    command = BuildCommand(optimization="o1", policy="fifo")
    built = await gate._made(command, span, 0.0)  # type: ignore[arg-type]
    (data,) = siege.seen
    sha256 = hashlib.sha256(data).hexdigest()
    assert await bus.has_artifact(sha256) is passes
    assert said[names.GATE_SANDBOXED] is True
    assert (built.artifact is not None) is passes
    if not passes:
        with pytest.raises(CoxswainError):
            await bus.get_provenance(sha256, built_of("fifo"))
    else:
        record = await bus.get_provenance(sha256, built_of("fifo"))
        assert decode_signed(msgspec.json.decode(record, type=Signed), Provenance).sandboxed
    assert {each.stage for each in built.reasons} == (set() if passes else {"sandbox"})


def test_a_gate_with_a_sandbox_signs_nothing_that_was_not_besieged() -> None:
    def why(*, besieged: bool, sandbox: bool) -> str:
        record = replace(PROVENANCE, sandboxed=besieged)
        return why_not_built(WANTED, record, POLICY, TOOLS, sandbox=sandbox)

    assert "without a sandbox" in why(besieged=False, sandbox=True)
    assert why(besieged=True, sandbox=True) == ""
    assert why(besieged=False, sandbox=False) == ""


def test_a_verdict_is_remembered_yes_or_no_and_for_nothing_else(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path)
    declared = manifest("tried")

    def key(data: bytes = b"a", kernel: str = "7.3", cpus: tuple[int, ...] = (2,)) -> str:
        return verdicts.key(data, declared, kernel, cpus, orders_for(declared))

    assert len({key(), key(b"b"), key(kernel="7.4"), key(cpus=(1, 2))}) == 4
    assert verdicts.find(key()) is None
    no = Finding(reasons=[reason("sandbox", "idle", "CPU 1")], evidence={"sandbox_cpus": 2.0})
    verdicts.keep(key(), no)
    assert Verdicts(tmp_path).find(key()) == no
    assert verdicts.find(key(b"b")) is None
    assert Verdicts(None).find(key()) is None


def test_without_an_image_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pool, "require", lambda *_: "")
    monkeypatch.setenv("COX_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match="cox lab up") as error:
        sandbox_image()
    assert "COX_SANDBOX=off" in error.value.advice


def test_cox_gate_check_says_so_instead_of_leaving_the_sandbox_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hooks_of = Catalogue.load()["fifo"].directory / "hooks.bpf.c"
    monkeypatch.setattr(pool, "require", lambda *_: "")
    monkeypatch.setenv("COX_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match="lab image"):
        check(hooks_of, None, as_json=True, sandbox=True)
    for wrong in ("0", "2,", "two", "1,99"):
        with pytest.raises(InputError, match="numbers of CPUs"):
            check(hooks_of, None, as_json=True, sandbox=True, cpus=wrong)


def test_the_setting_is_on_or_off() -> None:
    assert not Settings.from_environment({}).sandbox
    assert Settings.from_environment({"COX_SANDBOX": "on"}).sandbox
    assert not Settings.from_environment({"COX_SANDBOX": "off"}).sandbox
    with pytest.raises(InputError, match="COX_SANDBOX"):
        Settings.from_environment({"COX_SANDBOX": "yes"})
