"""Building, keeping, checking and refusing engines, with a stand-in for TensorRT that runs real graphs."""

from __future__ import annotations

import _thread
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engine_stand_in import BUCKETS, DEVICE, STALE, WRONG, StandInBuilder

from sam2_core.backends import engine_cache
from sam2_core.backends.build_progress import BuildCancelledError, BuildProgress
from sam2_core.backends.engines import (
    EngineError,
    EngineResourceError,
    EnginesMissingError,
    TensorRTUnavailableError,
)
from sam2_core.backends.programs import Bucket, Program, Signature
from sam2_core.backends.proven_engines import Again, EngineOutcome, Graph, ProvenEngines
from sam2_core.backends.self_check import SelfCheck, compare_rehearsals
from sam2_core.backends.staged import StagedBackend
from sam2_core.backends.tensorrt_backend import EngineOptions, load_tensorrt
from sam2_core.model import Sam2Network
from sam2_core.tracking.rehearsal import rehearse

NAMES = [bucket.name for bucket in BUCKETS]


class Engines:
    """One cache, as processes that follow each other see it; each `load` is such a process."""

    def __init__(self, folder: Path, graphs: Path, network: Sam2Network, check: SelfCheck) -> None:
        self.cache = engine_cache.EngineCache(folder)
        self.cancelled = threading.Event()
        self.lines: list[str] = []
        self._graphs = graphs
        self._network = network
        self._check = check

    def load(
        self, builder: StandInBuilder, again: Again = "nothing", may_build: bool = True
    ) -> tuple[StagedBackend, EngineOutcome]:
        self.lines.clear()
        proven = ProvenEngines(
            builder,
            self.cache,
            self._graph,
            self._network,
            self._check,
            self.lines.append,
            self.cancelled,
            may_build,
        )
        return proven.load(BUCKETS, "fp16-mixed", again)

    def _graph(self, bucket: Bucket, precision: str) -> Graph:
        # In numbers that a CPU computes with; as far as the cache can see, they differ.
        return Graph(self._graphs / f"{bucket.name}.onnx", f"{bucket.name} {precision}")

    def told(self, *parts: str) -> bool:
        """Whether a line with all these parts was reported."""
        return any(all(part in line for part in parts) for line in self.lines)


@pytest.fixture
def engines(
    tmp_path: Path, engine_graphs: Path, engine_network: Sam2Network, engine_check: SelfCheck
) -> Engines:
    return Engines(tmp_path, engine_graphs, engine_network, engine_check)


def precisions(outcome: EngineOutcome) -> dict[str, str]:
    return {verdict.bucket.name: verdict.precision for verdict in outcome.verdicts}


def test_engines_are_built_checked_and_kept(engines: Engines, engine_network: Sam2Network) -> None:
    first = StandInBuilder()
    backend, outcome = engines.load(first)
    assert first.built == [(name, "fp16-mixed") for name in NAMES]
    assert precisions(outcome) == dict.fromkeys(NAMES, "fp16-mixed")
    assert all(verdict.error is not None and verdict.error < 1e-4 for verdict in outcome.verdicts)
    assert "tracks the reference clip as float32 does" in outcome.tracking
    assert compare_rehearsals(rehearse(backend), rehearse(engine_network)).problem == ""
    # Told before it began.
    assert "5 of 5 engines are to be built" in engines.lines[0]
    assert "3.0 of 4.0 GiB are free" in engines.lines[0]
    assert "the time is unknown" in engines.lines[0]

    second = StandInBuilder()
    backend, again = engines.load(second)
    assert second.built == []
    assert again == outcome
    assert compare_rehearsals(rehearse(backend), rehearse(engine_network)).problem == ""


def test_engines_are_built_anew_when_asked(engines: Engines) -> None:
    engines.load(StandInBuilder())
    builder = StandInBuilder()
    engines.load(builder, again="build")
    assert len(builder.built) == len(BUCKETS)


def test_without_leave_nothing_is_built(engines: Engines, engine_network: Sam2Network) -> None:
    builder = StandInBuilder()
    with pytest.raises(EnginesMissingError, match="none is built"):
        engines.load(builder, may_build=False)
    assert builder.built == []
    engines.load(builder)
    engines.load(StandInBuilder(), may_build=False)
    # What is spoilt, or not there at all, runs in torch meanwhile.
    (spoilt,) = engines.cache.folder.glob(f"*{NAMES[2]}*.plan")
    truncate(spoilt)
    (absent,) = engines.cache.folder.glob(f"*{NAMES[3]}*.json")
    absent.unlink()
    backend, outcome = engines.load(builder, may_build=False)
    assert precisions(outcome) == {
        **{name: "fp16-mixed" for name in NAMES if name != NAMES[3]},
        NAMES[2]: "",
    }
    assert compare_rehearsals(rehearse(backend), rehearse(engine_network)).problem == ""
    assert len(builder.built) == len(BUCKETS)
    engines.load(builder)
    assert builder.built[len(BUCKETS) :] == [(name, "fp16-mixed") for name in (NAMES[2], NAMES[3])]


def test_engines_are_checked_again_when_asked(engines: Engines) -> None:
    engines.load(StandInBuilder())
    # It may be another now: a new driver, say.
    builder = StandInBuilder(faults={(NAMES[4], "fp16-mixed"): WRONG["wrong"]})
    assert precisions(engines.load(builder)[1])[NAMES[4]] == "fp16-mixed"
    assert precisions(engines.load(builder, again="check")[1])[NAMES[4]] == "bf16"
    assert builder.built == [(NAMES[4], "bf16")]


def test_another_gpu_or_version_has_engines_of_its_own(engines: Engines) -> None:
    engines.load(StandInBuilder())
    for other in (replace(DEVICE, gpu="another"), replace(DEVICE, tensorrt="10.13.3.9")):
        builder = StandInBuilder(other)
        engines.load(builder)
        assert len(builder.built) == len(BUCKETS)
    builder = StandInBuilder()
    engines.load(builder)
    assert builder.built == []


@pytest.mark.parametrize("bucket", [BUCKETS[1], BUCKETS[4]], ids=lambda bucket: bucket.stage)
def test_a_stage_that_fails_is_raised_to_the_next_precision(engines: Engines, bucket: Bucket) -> None:
    faults = {(bucket.name, "fp16-mixed"): WRONG["NaN"], (bucket.name, "bf16"): WRONG["shifted"]}
    builder = StandInBuilder(faults=faults)
    _, outcome = engines.load(builder)
    assert precisions(outcome) == {**dict.fromkeys(NAMES, "fp16-mixed"), bucket.name: "fp32"}
    verdict = outcome.verdicts[BUCKETS.index(bucket)]
    assert [precision for precision, _ in verdict.refused] == ["fp16-mixed", "bf16"]
    assert "NaN" in verdict.refused[0][1]
    assert "off by" in verdict.refused[1][1]
    assert engines.told(bucket.name, "fp16-mixed is refused", "NaN")
    assert "bf16 refused" in outcome.diagnostics()[f"engine {bucket.name}"]

    # What was refused is remembered, and told again, but not built again.
    builder = StandInBuilder(faults=faults)
    _, again = engines.load(builder)
    assert builder.built == []
    assert again == outcome


def test_a_stage_that_fails_in_every_precision_runs_in_torch(
    engines: Engines, engine_network: Sam2Network
) -> None:
    name = NAMES[3]
    faults = {(name, precision): WRONG["permuted"] for precision in ("fp16-mixed", "bf16", "fp32")}
    backend, outcome = engines.load(StandInBuilder(faults=faults))
    assert precisions(outcome) == {**dict.fromkeys(NAMES, "fp16-mixed"), name: ""}
    assert engines.told(name, "runs in torch")
    assert "1 in torch" in str(outcome)
    assert compare_rehearsals(rehearse(backend), rehearse(engine_network)).problem == ""


def test_what_only_the_tracker_shows_is_found_and_raised(engines: Engines) -> None:
    name = NAMES[1]
    _, outcome = engines.load(StandInBuilder(faults={(name, "fp16-mixed"): STALE}))
    assert precisions(outcome) == {**dict.fromkeys(NAMES, "fp16-mixed"), name: "bf16"}
    assert engines.told("the tracker fails its check")
    assert "with it the tracker fails" in outcome.verdicts[1].refused[0][1]


def test_an_engine_that_cannot_be_built_is_raised(engines: Engines) -> None:
    class Limited(StandInBuilder):
        def build(self, graph: Path, precision: str, progress: BuildProgress) -> bytes:
            if precision == "fp16-mixed" and graph.stem == NAMES[0]:
                raise EngineError("no tactic was found")
            return super().build(graph, precision, progress)

    _, outcome = engines.load(Limited())
    assert precisions(outcome)[NAMES[0]] == "bf16"
    assert outcome.verdicts[0].refused == (("fp16-mixed", "no tactic was found"),)


def truncate(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-1])


def alter(plan: Path) -> None:
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)


def damage_record(plan: Path) -> None:
    plan.with_suffix(".json").write_text("{")


def take_from_another_gpu(plan: Path) -> None:
    record = json.loads(plan.with_suffix(".json").read_text())
    record["key"]["device"]["gpu"] = "Orin"
    plan.with_suffix(".json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "is truncated"),
        (alter, "was altered"),
        (Path.unlink, "cannot be read"),
        (damage_record, "is damaged"),
        (take_from_another_gpu, "is the record of another engine (TensorRT 10.3.0 on Orin"),
    ],
)
def test_a_spoilt_engine_is_refused_and_built_anew(
    engines: Engines, spoil: Callable[[Path], None], reason: str
) -> None:
    engines.load(StandInBuilder())
    (plan,) = engines.cache.folder.glob(f"*{NAMES[2]}*.plan")
    spoil(plan)
    builder = StandInBuilder()
    _, outcome = engines.load(builder)
    assert builder.built == [(NAMES[2], "fp16-mixed")]
    assert engines.told(NAMES[2], "is built anew", reason)
    assert precisions(outcome)[NAMES[2]] == "fp16-mixed"


def test_a_plan_that_tensorrt_does_not_load_is_built_anew(engines: Engines) -> None:
    engines.load(StandInBuilder())

    class Strict(StandInBuilder):
        """Refuses the first plan that it is given, as TensorRT refuses those of another version."""

        refused = False

        def load(self, plan: bytes, signature: Signature) -> Program:
            if not self.refused:
                self.refused = True
                raise EngineError("TensorRT cannot load the plan: version mismatch")
            return super().load(plan, signature)

    builder = Strict()
    engines.load(builder)
    assert builder.built == [(NAMES[0], "fp16-mixed")]
    assert engines.told(NAMES[0], "is built anew", "version mismatch")


class Full(StandInBuilder):
    """On a GPU whose memory others have taken, as far as one engine is concerned."""

    def build(self, graph: Path, precision: str, progress: BuildProgress) -> bytes:
        plan = super().build(graph, precision, progress)
        if graph.stem == NAMES[1]:
            raise EngineResourceError("out of memory")
        return plan

    def load(self, plan: bytes, signature: Signature) -> Program:
        if "rows" in signature.inputs:
            raise EngineResourceError("out of memory")
        return super().load(plan, signature)


def test_a_gpu_that_is_full_for_a_moment_costs_no_engine(
    engines: Engines, engine_network: Sam2Network
) -> None:
    _, first = engines.load(StandInBuilder())
    kept = {path: path.read_bytes() for path in engines.cache.folder.iterdir()}
    full = Full()
    backend, outcome = engines.load(full)
    assert full.built == []
    assert precisions(outcome) == {**dict.fromkeys(NAMES, "fp16-mixed"), NAMES[1]: ""}
    assert engines.told(NAMES[1], "fp16-mixed is not used: out of memory", "again at the next start")
    assert "out of memory" in outcome.diagnostics()[f"engine {NAMES[1]}"]
    assert compare_rehearsals(rehearse(backend), rehearse(engine_network)).problem == ""
    assert {path: path.read_bytes() for path in kept} == kept

    builder = StandInBuilder()
    assert engines.load(builder)[1] == first
    assert builder.built == []


def test_an_engine_for_whose_building_the_memory_lacks_is_built_at_the_next_start(engines: Engines) -> None:
    full = Full()
    _, outcome = engines.load(full)
    assert full.built == [(name, "fp16-mixed") for name in NAMES]  # a higher precision would take more
    assert precisions(outcome)[NAMES[1]] == ""
    builder = StandInBuilder()
    _, outcome = engines.load(builder)
    assert builder.built == [(NAMES[1], "fp16-mixed")]
    assert precisions(outcome) == dict.fromkeys(NAMES, "fp16-mixed")


def test_whatever_decides_an_engine_is_in_its_name() -> None:
    key = engine_cache.EngineKey(DEVICE, "m", "b", "bf16", "g")
    assert key.name != replace(key, device=replace(DEVICE, capability="9.0")).name
    assert key.name != replace(key, graph="h").name
    assert key.name != replace(key, precision="fp32").name


def test_building_shows_progress_and_can_be_cancelled(engines: Engines) -> None:
    builder = StandInBuilder()
    steps = []

    def cancel_in_the_third_engine() -> None:
        steps.append(builder.built[-1])
        if len(builder.built) == 3:
            engines.cancelled.set()

    builder.at_step = cancel_in_the_third_engine
    with pytest.raises(BuildCancelledError):
        engines.load(builder)
    assert len(steps) == 4 + 4 + 1
    # What was finished before stays; nothing is left of what was not.
    assert len(list(engines.cache.folder.glob("*.plan"))) == 2
    engines.cancelled.clear()
    builder = StandInBuilder()
    engines.load(builder)
    assert len(builder.built) == len(BUCKETS) - 2


def test_ctrl_c_ends_the_building(engines: Engines) -> None:
    builder = StandInBuilder()
    builder.at_step = _thread.interrupt_main  # in the builder's thread; Ctrl-C goes to the main one
    with pytest.raises(KeyboardInterrupt):
        engines.load(builder)
    assert engines.cancelled.is_set()
    assert len(builder.built) == 1
    assert not list(engines.cache.folder.glob("*.plan"))


def test_what_later_buildings_take_is_told(engines: Engines) -> None:
    engines.load(StandInBuilder())
    (plan,) = engines.cache.folder.glob(f"*{NAMES[2]}*.plan")
    plan.unlink()
    for record in engines.cache.folder.glob(f"*{NAMES[2]}*.json"):
        content = json.loads(record.read_text())
        record.rename(record.with_name("earlier.json"))
        assert content["seconds"] > 0
    engines.load(StandInBuilder())
    assert "1 of 5 engines are to be built" in engines.lines[0]
    assert "as the last time" in engines.lines[0]


def test_tensorrt_where_there_is_no_gpu(engine_network: Sam2Network, tmp_path: Path) -> None:
    with pytest.raises(TensorRTUnavailableError, match=r"no NVIDIA GPU|the device is cpu"):
        load_tensorrt(engine_network, EngineOptions(folder=tmp_path), rehearse, print, threading.Event())
    assert not list(tmp_path.iterdir())
