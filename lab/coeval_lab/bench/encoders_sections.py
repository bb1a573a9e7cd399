"""Parts of `coeval bench encoders` that have modules of their own: their rows, and bars on them."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from scipy.stats import poisson

from coeval_lab.bench.bars import Bar, every
from coeval_lab.bench.encoders_plan import Plan, Row
from coeval_lab.bench.report import text

RECOGNISED = 99.0
LEAST_AUROC = 0.98
LATEST_S, SOON = 2.0, 95.0
ALARMS_A_DAY = 1.0
CHANCE = 0.95
"""So many calm sessions of the promised rate have no more alarms than are let pass."""
NO_RECORDINGS = Path("no recordings")
LOST = 1.0
"""A precision that is offered may cost so many points of trials within 40 ms: one trial is 0.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part."""

    name: str
    """`section` of its rows."""
    title: str
    """Above its table."""
    module: str
    """Where it is made."""
    measure: Callable[[ModuleType, Plan], Iterable[Row]]
    """Its rows, by that module."""
    bars: Callable[[Sequence[Row]], list[Bar]] = lambda _: []
    """How its promises stand, by its rows."""

    @property
    def is_there(self) -> bool:
        """Whether this version has it."""
        return importlib.util.find_spec(self.module) is not None


def rows_of_section(name: str, plan: Plan) -> list[Row]:
    """Measure one part, by its name."""
    section = next(section for section in SECTIONS if section.name == name)
    rows = section.measure(importlib.import_module(section.module), plan)
    return [{"section": name, **row} for row in rows]


def with_scenes(plan: Plan, full: int, quick: int = 1) -> Plan:
    """The plan with as many scenes as a part is to have."""
    return replace(plan, num_scenes=quick if plan.is_quick else full)


def precision(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """Bytes, time and accuracy of the encoders in other precisions."""
    rows: Iterable[Row] = module.precision_rows(is_quick=plan.is_quick, seed=plan.seed)
    return rows


def precision_bars(rows: Sequence[Row]) -> list[Bar]:
    """What is offered costs no accuracy."""
    within = {row["method"]: row["within_40ms"] for row in rows if "within_40ms" in row}
    exact = within.get("fp32")
    bars = []
    for how in ("fp16", "int8", "fp32 beside int8"):
        got = within.get(how)
        bars.append(
            Bar(
                name=f"{how}, which is offered: all pairs within 40 ms",
                wanted=f"≥ fp32's {exact}% − {LOST:g}",
                got=f"{got}%",
                met=exact is not None and got is not None and got >= exact - LOST,
            )
        )
    return bars


def ablation(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """Every step of preprocessing on and off."""
    rows: Iterable[Row] = module.ablation_rows(with_scenes(plan, 60))
    return rows


def anomaly(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """Injected faults found in scenes and recordings."""
    found = module.AnomalyPlan(
        num_scenes=2 if plan.is_quick else 24,
        recordings=None if plan.is_quick else plan.recordings,
        seed=plan.seed,
    )
    rows: Iterable[Row] = module.anomaly_rows(found)
    return rows


def anomaly_bars(rows: Sequence[Row]) -> list[Bar]:
    """Faults told from calm, soon, and calm let be: hybrid, all streams of a session."""
    own = [
        {**row, "pair": row["fault"]}
        for row in rows
        if row["method"] == "hybrid"
        and row["pair"] == "all streams"
        and row["in_bar"]
        and row["source"] in ("held-out scenes", "held-out recordings")
    ]
    calm = {row["source"]: (row["calm_alarms"], row["calm_hours"]) for row in own}
    alarms = sum(alarm for alarm, _ in calm.values())
    hours = sum(hour for _, hour in calm.values())
    let_pass = int(poisson.ppf(CHANCE, ALARMS_A_DAY * hours / 24)) if hours else 0
    typical = ", ".join(
        f"{row['pair']} ({row['source']}) {text(row['median_delay_s'])} s"
        f" of the {row['detected']}% found at all"
        for row in own
    )
    soon = every(
        f"anomalies, hybrid: found within {LATEST_S:g} s, at one false alarm a day",
        own,
        "within_2s",
        f"≥ {SOON:g}% of the faults",
        lambda value: value >= SOON,
    )
    return [
        every(
            "anomalies, hybrid, all streams: AUROC",
            own,
            "auroc",
            f"≥ {LEAST_AUROC:g}",
            lambda value: value >= LEAST_AUROC,
        ),
        replace(soon, got=f"{soon.got}; median: {typical}"),
        Bar(
            name="anomalies, hybrid: false alarms of calm sessions",
            wanted=f"≤ {ALARMS_A_DAY:g} a day: at most {let_pass} in {hours:g} h but by chance",
            got=f"{alarms} in {hours:g} h",
            met=hours > 0 and alarms <= let_pass,
        ),
    ]


def fusion(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """Early, late and hybrid fusion."""
    rows: Iterable[Row] = module.fusion_rows(
        module.FusionPlan(num_scenes=2 if plan.is_quick else 24)
    )
    return rows


def fusion_bars(rows: Sequence[Row]) -> list[Bar]:
    """Hybrid at least as good as early and late: every task of every combination."""
    own = [row for row in rows if row["method"] == "hybrid"]
    behind = [f"{row['pair']}: {row['behind']}" for row in own if row["behind"]]
    chance = sum(row["behind_by_chance"].count(":") for row in own)
    return [
        Bar(
            name="hybrid ≥ early and ≥ late, every combination and every modality dropped",
            wanted=f"every task of {len(own)} combinations, but for 95 % intervals that hold 0",
            got=("; ".join(behind) if behind else "none behind") + f"; by chance: {chance}"
            if own
            else "not measured",
            met=bool(own) and not behind,
        )
    ]


def folds(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """Recordings that are trained on, by encoders that never saw them."""
    rows: Iterable[Row] = module.fold_rows(plan)
    return rows


def relevance(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """What carries nothing, found and named."""
    own = with_scenes(plan, 12)
    if plan.is_quick:
        own = replace(own, recordings=NO_RECORDINGS)
    rows: Iterable[Row] = module.relevance_rows(own)
    return rows


def recognition(module: ModuleType, plan: Plan) -> Iterable[Row]:
    """Unlabelled streams, recognised."""
    rows: Iterable[Row] = module.recognition_rows(with_scenes(plan, 20))
    return rows


def recognition_bars(rows: Sequence[Row]) -> list[Bar]:
    """Windows of held-out recordings that are told right."""
    own = [
        row | {"pair": "all modalities"}
        for row in rows
        if row.get("modality") == "all" and str(row["source"]).startswith("held-out recordings")
    ]
    return [
        every(
            "unlabelled windows of held-out recordings recognised",
            own,
            "right",
            f"≥ {RECOGNISED:g}%",
            lambda value: value >= RECOGNISED,
        )
    ]


SECTIONS: tuple[Section, ...] = (
    Section(
        name="anomaly",
        title="Anomalies: injected faults",
        module="coeval_lab.bench.anomaly",
        measure=anomaly,
        bars=anomaly_bars,
    ),
    Section(
        name="fusion",
        title="Early, late and hybrid fusion",
        module="coeval_lab.bench.fusion",
        measure=fusion,
        bars=fusion_bars,
    ),
    Section(
        name="ablation",
        title="Preprocessing, each step on and off",
        module="coeval_lab.bench.ablation",
        measure=ablation,
    ),
    Section(
        name="folds",
        title="Recordings left out of a training, one at a time",
        module="coeval_lab.bench.encoders_folds",
        measure=folds,
    ),
    Section(
        name="relevance",
        title="What carries nothing",
        module="coeval_lab.bench.relevance",
        measure=relevance,
    ),
    Section(
        name="recognition",
        title="Unlabelled streams recognised",
        module="coeval_lab.bench.recognition",
        measure=recognition,
        bars=recognition_bars,
    ),
    Section(
        name="precision",
        title="Precisions of the encoders",
        module="coeval_lab.bench.precision",
        measure=precision,
        bars=precision_bars,
    ),
)
