"""No token, no load; and what was promoted comes back after a restart only with a new one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from services.executor.gate import requests as gate_requests
from services.executor.gate import tokens as gate_tokens
from services.executor.host import service as host_service
from services.executor.host.books import BOOT_WINDOW_NS, Books, Kept, Redeemed, Reloaded
from services.executor.host.exits import HOTPLUG, RESTART, ExitKind
from services.executor.host.tokens import Errand
from shared.bus import Bus
from shared.bus.provision import provision_host
from shared.errors import TokenError
from shared.messages import (
    DeployCommand,
    Deployed,
    Inventory,
    OptimizeRequest,
    Reverted,
    Signed,
    TokenReply,
    TokenRequest,
    TrialEnded,
)
from tests.eventually import eventually
from tests.executor.host.conftest import HOST, INVENTORY, Rig, deployable, trial_of
from tests.executor.host.test_deployments import placed, said, send
from tests.executor.tokens import here_of, introduce, rebooted, say, tokens_of

HOUR_NS = 3600 * 10**9


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host asks once."""
    monkeypatch.setattr(host_service, "GATE_S", 0.0)


async def test_what_nobody_has_asked_for_is_not_loaded(rig: Rig, deploy: DeployCommand) -> None:
    for request_sha256 in ("", "0" * 64):
        deployed = await placed(rig, replace(deploy, request_sha256=request_sha256))
        assert deployed.problem is not None
        assert deployed.problem.kind == "TokenError"
        assert "nobody has asked" in deployed.problem.what
        await send(rig, "trial", trial_of(deploy, request_sha256=request_sha256))
        ended = (await said(rig, "trial_ended", TrialEnded))[0]
        assert (ended.end, ended.pairs) == ("interrupted", 0)
        assert ended.problem is not None
        assert "nobody has asked" in ended.problem.what
    assert rig.kernel.loads == []


async def test_the_nonce_is_consumed_before_the_load(rig: Rig, deploy: DeployCommand) -> None:
    consumed: list[int] = []
    genuine = rig.kernel.apply

    async def apply(*arguments: object, **options: object) -> object:
        journal = (rig.folder / "journal").read_text()
        consumed.append(journal.count('"redeemed"'))
        return await genuine(*arguments, **options)  # type: ignore[arg-type]

    rig.kernel.apply = apply  # type: ignore[method-assign,assignment]
    assert (await placed(rig, deploy)).problem is None
    assert consumed == [1]


async def test_a_full_disk_loads_nothing(rig: Rig, deploy: DeployCommand) -> None:
    permits = rig.steering

    def full(_: Redeemed) -> None:
        raise OSError("no space left on device")

    permits.write = full  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="no space"):
        await permits.permit(errand(deploy), patience_s=0.0)
    assert rig.kernel.loads == []


def errand(deploy: DeployCommand) -> Errand:
    return Errand(
        purpose="deploy",
        optimization="o1",
        request_sha256=deploy.request_sha256,
        policy=deploy.policy,
        parameters=deploy.parameters,
        artifact=deploy.artifact,
        max_duration_s=60.0,
    )


class Impostor:
    """Somebody who answers in the gate's place with whatever a test says."""

    def __init__(self, rig: Rig, good: TokenReply) -> None:
        self.reply = good
        self._rig = rig

    async def permit(self, deploy: DeployCommand) -> None:
        tokens = tokens_of(self._rig.bus, here_of(INVENTORY), self._rig.signing)

        async def answer(_: TokenRequest) -> TokenReply:
            return self.reply

        tokens._ask = answer
        books = self._rig.steering.books
        await tokens.permit(errand(deploy), books, books.note, patience_s=0.0)


async def captured(rig: Rig, deploy: DeployCommand) -> TokenReply:
    """A token that was good once."""
    seen: list[TokenReply] = []
    tokens = tokens_of(rig.bus, here_of(INVENTORY), rig.signing)
    ask = tokens._ask

    async def listen(request: TokenRequest) -> TokenReply:
        seen.append(await ask(request))
        return seen[-1]

    tokens._ask = listen
    books = Books()
    await tokens.permit(errand(deploy), books, books.note, patience_s=0.0)
    assert len(books.consumed) == 1
    return seen[0]


async def test_a_replayed_token_opens_nothing(rig: Rig, deploy: DeployCommand) -> None:
    old = await captured(rig, deploy)
    with pytest.raises(TokenError, match="another nonce"):
        await Impostor(rig, old).permit(deploy)


async def test_a_forged_or_rewritten_token_opens_nothing(rig: Rig, deploy: DeployCommand) -> None:
    old = await captured(rig, deploy)
    assert old.token is not None
    rewritten = msgspec.json.encode(msgspec.json.decode(old.token.payload), order="sorted")
    for signed in (
        Signed(payload=old.token.payload, signature=bytes(64), key=old.token.key),
        Signed(payload=rewritten, signature=old.token.signature, key=old.token.key),
        Signed(payload=old.token.payload, signature=old.token.signature, key="0" * 16),
    ):
        with pytest.raises(TokenError):
            await Impostor(rig, TokenReply(token=signed)).permit(deploy)


async def test_only_the_host_itself_is_answered(rig: Rig, deploy: DeployCommand) -> None:
    """On another's subject, or as a machine that its inventory does not know."""
    other = replace(here_of(INVENTORY), host="h2")
    asked: list[TokenRequest] = []

    async def ask(request: TokenRequest) -> TokenReply:
        asked.append(request)
        subject = rig.bus.subjects.endpoint("executor", "token", HOST)
        return await rig.bus.ask(subject, request, TokenReply, timeout_s=10)

    tokens = tokens_of(rig.bus, other, rig.signing)
    tokens._ask = ask
    books = Books()
    with pytest.raises(TokenError, match="another host's name"):
        await tokens.permit(errand(deploy), books, books.note, patience_s=0.0)
    assert len(asked) == 1
    moved = tokens_of(rig.bus, replace(here_of(INVENTORY), boot_id="stolen"), rig.signing)
    with pytest.raises(TokenError, match="another boot-id"):
        await moved.permit(errand(deploy), books, books.note, patience_s=0.0)


async def test_a_trials_token_lasts_for_its_pairs(rig: Rig, deploy: DeployCommand) -> None:
    token = (await captured(rig, deploy)).token
    assert token is not None
    permit = await rig.steering.permit(
        msgspec.structs.replace(errand(deploy), purpose="trial", loads=2), patience_s=0.0
    )
    for _ in range(2):
        await rig.steering.load(permit, OBJECT, deploy.policy, deploy.parameters, "trial", "o1")
        await rig.steering.clear("next")
    with pytest.raises(TokenError, match="used up"):
        await rig.steering.load(permit, OBJECT, deploy.policy, deploy.parameters, "trial", "o1")
    assert rig.kernel.loads == ["coxswain_latency"] * 2


OBJECT = b"an object that only its hash is known of"


# A gate that is away ---------------------------------------------------------------------------


@pytest.fixture
async def alone(bus: Bus, tmp_path: Path) -> AsyncIterator[Rig]:
    """A host whose gate has not started yet."""
    await provision_host(bus.js, bus.subjects, HOST)
    rig = Rig(bus, tmp_path)
    await introduce(bus, INVENTORY)
    await rig.start(gate=False)
    yield rig
    await rig.stop()


async def without_a_desk(rig: Rig) -> DeployCommand:
    """What a gate has built that is away now."""
    await rig.desk.open()
    return await deployable(rig)


async def test_a_gate_that_is_away_is_waited_for(alone: Rig) -> None:
    deploy = await without_a_desk(alone)
    await send(alone, "deploy", deploy)
    await eventually(lambda: alone.executor._placing)
    assert alone.kernel.loads == []
    await alone.desk.serve()
    assert (await said(alone, "deployed", Deployed))[0].problem is None
    assert alone.kernel.loads == ["coxswain_latency"]


async def test_a_gate_that_stays_away_means_no_load(alone: Rig, impatient: None) -> None:
    deploy = await without_a_desk(alone)
    deployed = await placed(alone, deploy)
    assert deployed.problem is not None
    assert deployed.problem.kind == "TokenPendingError"
    assert "nobody answers" in deployed.problem.what
    await send(alone, "trial", trial_of(deploy))
    ended = (await said(alone, "trial_ended", TrialEnded))[0]
    assert ended.end == "interrupted"
    assert alone.kernel.loads == []


async def test_a_stop_while_the_gate_is_asked_ends_the_trial(alone: Rig) -> None:
    deploy = await without_a_desk(alone)
    await send(alone, "trial", trial_of(deploy))
    await eventually(lambda: alone.executor._running)
    await alone.executor.take_back("", "an operator", cause="operator")
    await alone.desk.serve()
    assert (await said(alone, "trial_ended", TrialEnded))[0].end == "stopped"
    assert alone.kernel.loads == []


# Clocks that differ ----------------------------------------------------------------------------


class GatesClock:
    """The time as a gate sees it; the host's own is right."""

    def __init__(self) -> None:
        self.ahead_ns = 0
        self.looks = 0

    def time_ns(self) -> int:
        self.looks += 1
        return time.time_ns() + self.ahead_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> GatesClock:
    clock = GatesClock()
    monkeypatch.setattr(gate_tokens, "time", clock)
    return clock


@pytest.mark.parametrize("ahead_ns", [HOUR_NS, -HOUR_NS])
async def test_with_a_wrong_clock_nothing_is_loaded_and_the_reason_says_so(
    rig: Rig, deploy: DeployCommand, impatient: None, clock: GatesClock, ahead_ns: int
) -> None:
    clock.ahead_ns = ahead_ns
    deployed = await placed(rig, deploy)
    assert deployed.problem is not None
    assert "Look at the clocks" in deployed.problem.advice
    await send(rig, "trial", trial_of(deploy))
    ended = (await said(rig, "trial_ended", TrialEnded))[0]
    assert ended.end == "interrupted"
    assert rig.kernel.loads == []
    assert not rig.steering.books.consumed


async def test_a_gate_whose_clock_was_far_ahead_knows_its_requests_still(
    rig: Rig, deploy: DeployCommand, clock: GatesClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_requests, "time", clock)
    await rig.steering.permit(errand(deploy), patience_s=0.0)
    clock.ahead_ns = 24 * 365 * HOUR_NS
    with pytest.raises(TokenError, match="hours old"):
        await rig.steering.permit(errand(deploy), patience_s=0.0)
    clock.ahead_ns = 0
    await rig.steering.permit(errand(deploy), patience_s=0.0)


async def test_a_clock_that_is_set_right_in_time_costs_nothing(
    rig: Rig, deploy: DeployCommand, clock: GatesClock
) -> None:
    clock.ahead_ns = HOUR_NS
    await send(rig, "deploy", deploy)
    await eventually(lambda: clock.looks)
    clock.ahead_ns = 0
    assert (await said(rig, "deployed", Deployed))[0].problem is None
    assert rig.kernel.loads == ["coxswain_latency"]


async def test_a_host_that_starts_with_a_wrong_clock_loses_no_promotion(
    rig: Rig, deploy: DeployCommand, tmp_path: Path, clock: GatesClock
) -> None:
    """As one does that boots and has not found its time server yet."""
    assert (await placed(rig, deploy)).problem is None
    clock.ahead_ns = HOUR_NS
    fresh = await again(rig, tmp_path, INVENTORY)
    assert fresh.kernel.loads == []
    assert fresh.steering.kept == deploy.optimization
    clock.ahead_ns = 0
    await eventually(lambda: fresh.kernel.loads)
    await fresh.stop()


# After a restart -------------------------------------------------------------------------------


async def again(rig: Rig, tmp_path: Path, inventory: Inventory, *, gate: bool = True) -> Rig:
    """The host's executor once more, with its journal: restarted, or after a boot."""
    await rig.stop()
    fresh = Rig(rig.bus, tmp_path, inventory)
    await introduce(rig.bus, inventory)
    await fresh.start(gate=gate)
    return fresh


async def test_a_promotion_comes_back_after_a_restart_with_a_new_token(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    assert (await placed(rig, deploy)).problem is None
    fresh = await again(rig, tmp_path, INVENTORY)
    assert fresh.kernel.loads == ["coxswain_latency"]
    assert len(fresh.steering.books.consumed) == 2
    await fresh.stop()


async def test_a_promotion_comes_back_after_a_boot_with_a_new_token(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    assert (await placed(rig, deploy)).problem is None
    fresh = await again(rig, tmp_path, rebooted(INVENTORY))
    assert fresh.kernel.loads == ["coxswain_latency"]
    state = await fresh.steering.state()
    assert (state.boot_id, state.purpose, state.optimization) == ("another-boot", "deployed", "o1")
    await fresh.stop()


async def test_after_a_boot_the_default_runs_until_gate_and_observer_are_there(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    assert (await placed(rig, deploy)).problem is None
    await rig.stop()
    fresh = Rig(rig.bus, tmp_path, rebooted(INVENTORY))
    # The inventory is still of the boot before: its observer comes later.
    await fresh.desk.start()
    await fresh.start(gate=False)
    assert fresh.kernel.loads == []
    assert fresh.steering.due == "the host has booted"
    await introduce(rig.bus, rebooted(INVENTORY))
    await eventually(lambda: fresh.kernel.loads)
    assert not fresh.steering.due or await fresh.steering.state()
    await fresh.stop()


async def test_a_boot_into_another_kernel_ends_a_promotion(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    assert (await placed(rig, deploy)).problem is None
    fresh = await again(rig, tmp_path, replace(rebooted(INVENTORY), kernel="7.4.0"))
    assert fresh.kernel.loads == []
    assert fresh.steering.books.kept is None
    assert "another kernel" in (await said(rig, "reverted", Reverted))[0].reason
    await fresh.stop()


async def test_what_the_gate_does_not_sign_any_more_does_not_come_back(
    rig: Rig, deploy: DeployCommand, tmp_path: Path
) -> None:
    """Its artifact was taken out of the store: that is how a bad one is withdrawn for good."""
    assert (await placed(rig, deploy)).problem is None
    store = await rig.bus.js.object_store(rig.bus.subjects.bucket("artifacts"))
    await store.delete(deploy.artifact.sha256)
    fresh = await again(rig, tmp_path, rebooted(INVENTORY))
    assert fresh.kernel.loads == []
    assert fresh.steering.books.kept is None
    assert "not in the store" in (await said(rig, "reverted", Reverted))[0].reason
    await fresh.stop()


def test_a_host_that_boots_again_and_again_is_left_alone() -> None:
    hour = BOOT_WINDOW_NS // 24
    books = Books()
    now = time.time_ns()
    command = msgspec.json.decode(
        b'{"type":"deploy","optimization":"o1","policy":"p","version":"1","parameters":{},'
        b'"artifact":{"sha256":"%b","size_bytes":1,"policy":"p","version":"1","source_sha256":"%b",'
        b'"toolchain":"c"}}' % (b"a" * 64, b"b" * 64),
        type=DeployCommand,
    )
    books.note(Kept(command, "boot-0", now))
    for number in range(1, 4):
        assert books.may_reload(now + number * hour, f"boot-{number}")
        books.note(Reloaded(now + number * hour, f"boot-{number}"))
    assert not books.may_reload(now + 4 * hour, "boot-4")
    assert books.may_reload(now + 26 * hour, "boot-4")


async def test_a_benign_departure_while_the_gate_is_away_is_mended_when_it_is_back(
    alone: Rig,
) -> None:
    deploy = await without_a_desk(alone)
    await alone.desk.serve()
    assert (await placed(alone, deploy)).problem is None
    await alone.desk.leave()
    alone.kernel.lose(ExitKind.UNREG_KERN, RESTART | HOTPLUG)
    await eventually(lambda: alone.steering.due)
    assert (await alone.kernel.state()).ours is None
    await alone.desk.serve()
    await eventually(lambda: len(alone.kernel.loads) == 2)
    assert alone.steering.books.kept is not None


# Rotation --------------------------------------------------------------------------------------


async def test_both_keys_count_until_a_host_has_seen_the_new_one(
    rig: Rig, deploy: DeployCommand
) -> None:
    first = await captured(rig, deploy)
    assert (await placed(rig, deploy)).problem is None
    assert rig.steering.books.epoch == 1
    old_keys = rig.signing.keys.keys.read_bytes()
    rig.signing.keys.rotate()
    new_keys = rig.signing.keys.keys.read_bytes()
    # A host that has not got the new file yet is served with the old key.
    rig.signing.keys.keys.write_bytes(old_keys)
    await rig.steering.permit(errand(deploy), patience_s=0.0)
    assert rig.steering.books.epoch == 1
    rig.signing.keys.keys.write_bytes(new_keys)
    await rig.steering.permit(errand(deploy), patience_s=0.0)
    assert rig.steering.books.epoch == 2
    # From then on what the old key has signed is refused, though the key is still in the file.
    with pytest.raises(TokenError, match="replaced"):
        await Impostor(rig, first).permit(deploy)


async def test_a_retired_key_signs_nothing_and_what_it_vouched_for_is_built_again(
    rig: Rig, deploy: DeployCommand
) -> None:
    rig.signing.keys.rotate()
    old = rig.signing.keys.keys.read_bytes().splitlines()[0] + b"\n"
    assert rig.signing.keys.retire() == 1
    with pytest.raises(TokenError, match="unknown key"):
        await rig.steering.permit(errand(deploy), patience_s=0.0)
    await rig.desk.store(OBJECT, "latency")
    await rig.steering.permit(errand(deploy), patience_s=0.0)
    rig.signing.keys.keys.write_bytes(old)
    with pytest.raises(TokenError, match="knows none of the gate's keys"):
        await rig.steering.permit(errand(deploy), patience_s=0.0)


async def test_the_same_words_said_again_are_a_request_of_now(
    rig: Rig, deploy: DeployCommand
) -> None:
    desk = rig.desk.desk
    request = OptimizeRequest(workload="pulse", hosts=[HOST])
    await rig.steering.permit(errand(deploy), patience_s=0.0)
    known = desk._requests._known
    days = 86_400 * 1_000_000_000
    long_ago = replace(known[deploy.request_sha256], unix_ns=time.time_ns() - 10 * days)
    known[deploy.request_sha256] = long_ago
    with pytest.raises(TokenError, match="hours old"):
        await rig.steering.permit(errand(deploy), patience_s=0.0)
    assert await say(rig.bus, request) == deploy.request_sha256
    await rig.steering.permit(errand(deploy), patience_s=0.0)
