"""Network paths: our filter and the baselines on the same exchanges, node n against the server."""

from collections.abc import Iterator

import numpy as np

from coeval.evidence import SERVER
from coeval.network import ExchangeFilter
from coeval.oscillators import CLASSES
from coeval.session_clocks import SessionClocks
from coeval_lab.bench.clock_plan import WARM_UP_S
from coeval_lab.bench.clock_runs import error_columns, share
from coeval_lab.bench.rows import Row
from coeval_lab.bench.time_baselines import BASELINES
from coeval_lab.simulation.crystal import PI
from coeval_lab.simulation.scenario import Scenario, SimulatedSession
from coeval_lab.simulation.stamps import Path


def path_rows(path: Path, runs: int, first_seed: int) -> list[Row]:
    """One network path: our filter and the baselines on the same exchanges, node against server."""
    scenario = Scenario(name=f"path {path.name}", path=path)
    errors: dict[str, list[float]] = {name: [] for name in ("coeval", *BASELINES)}
    inside: list[bool] = []
    for seed in range(first_seed, first_seed + runs):
        for name, error, is_inside in follow(SimulatedSession(scenario, seed=seed)):
            errors[name].append(error)
            if is_inside is not None:
                inside.append(is_inside)
    return [
        {
            "scenario": scenario.name,
            "source": f"network: {name}",
            **error_columns(np.array(found)),
            "coverage95": share(np.array(inside)) if name == "coeval" else None,
            "runs": runs,
        }
        for name, found in errors.items()
    ]


def follow(session: SimulatedSession) -> Iterator[tuple[str, float, bool | None]]:
    """Estimates of node n against the server, every five seconds: method, error, inside."""
    exchanges = session.exchanges("n")
    filter_ = ExchangeFilter(node="n", other=SERVER)
    oscillator = CLASSES[session.scenario.crystal.name]
    clocks = SessionClocks(
        reference=SERVER, oscillators={"n": oscillator, SERVER: CLASSES[PI.name]}
    )
    others = {name: make() for name, make in BASELINES.items()}
    upcoming = 0
    t_s = np.arange(WARM_UP_S, session.scenario.seconds, 5.0)
    readings = zip(t_s, session.reads(SERVER, t_s), session.reads("n", t_s), strict=True)
    for second, server_ns, n_ns in readings:
        while upcoming < len(exchanges) and exchanges[upcoming][0] <= second:
            exchange = exchanges[upcoming][1]
            evidence = filter_.push(exchange)
            if evidence is not None:
                clocks.push(evidence)
            for other in others.values():
                other.push(exchange)
            upcoming += 1
        truth_ns = n_ns - server_ns
        state = clocks.at("n", server_ns)
        if state is not None:
            error = float(state.offset_ns - truth_ns)
            yield "coeval", error, abs(error) <= state.ci95_ns
        for name, other in others.items():
            found = other.at(n_ns)
            if found is not None:
                yield name, found - truth_ns, None
