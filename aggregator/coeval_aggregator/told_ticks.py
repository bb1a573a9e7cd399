"""Ticks as they are told and kept: aligned, fused, with anomalies that begin or end in them."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence

from coeval.time import RefNs
from coeval_aggregator.aligned import AlignedStream, TickSource
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.fusing import AnomalyChange, LiveFusion
from coeval_aggregator.fusion import Fusion
from coeval_aggregator.store.records import TickRecord, Timeline
from coeval_aggregator.told import Told

logger = logging.getLogger(__name__)

TOLD_AT_ONCE = 16
"""Ticks: those of an outage are made up in parts, between which other sessions have their turn."""


class ToldTicks:
    """The ticks of one session."""

    def __init__(
        self, told: Told, config: AggregatorConfig, *, load_fusion: Callable[[], Fusion]
    ) -> None:
        """Prepare.

        Args:
            told: takes what is said and kept.
            config: the rhythm, and how ticks are fused.
            load_fusion: opens the fusion network, when the first tick is due.
        """
        self._told = told
        self._false_alarms_per_day = config.false_alarms_per_day
        self.source = TickSource(tick_s=config.tick_s, wait_s=config.tick_wait_s)
        """Which instants are due."""
        self._fusing = LiveFusion(
            mode=config.fusion, per_day=config.false_alarms_per_day, load=load_fusion
        )

    def tell(self, aligned: Sequence[AlignedStream], *, timeline: Timeline | None) -> None:
        """Tell of the rows that are due, TOLD_AT_ONCE at most."""
        ticks = self.source.due(aligned, most=TOLD_AT_ONCE)
        for change in self._fusing.fuse(ticks, aligned):
            self._tell_anomaly(change)
        for tick in ticks:
            self._told.say(self._told.topics.aligned, tick, qos=0)
            self._keep(tick, timeline)

    def restart(self) -> None:
        """Begin anew: the timeline is another one."""
        self.source.restart()
        self._fusing.restart()

    def _tell_anomaly(self, change: AnomalyChange) -> None:
        """Tell of an anomaly that begins or ends, at the stream that is least as it should be."""
        logger.warning(
            "anomaly state=%s suspect=%s streams=%s once_in_days=%.3g",
            change.state,
            change.suspect,
            ",".join(change.streams),
            10**change.anomaly,
        )
        self._told.event(
            "anomaly",
            *change.suspect.split("/", 1),
            state=change.state,
            streams=list(change.streams),
            anomaly=round(change.anomaly, 3),
            once_in_days=float(f"{10**change.anomaly:.3g}"),
            false_alarms_per_day=self._false_alarms_per_day,
            guaranteed_per_day=change.guaranteed_per_day,
            t_ref_ns=int(change.t_ref_ns),
            duration_s=change.duration_s,
        )

    def _keep(self, tick: Mapping[str, object], timeline: Timeline | None) -> None:
        """Keep what was fused; the streams' own rows are kept as blocks."""
        t_ref_ns, anomaly = tick.get("t_ref_ns"), tick.get("anomaly")
        if timeline is None or not isinstance(t_ref_ns, int):
            return
        fused = {k: v for k, v in tick.items() if k not in ("streams", "t_ref", "t_ref_ns")}
        self._told.keep(
            TickRecord(
                timeline=timeline,
                t_ref_ns=RefNs(t_ref_ns),
                anomaly=float(anomaly) if isinstance(anomaly, int | float) else None,
                payload=json.dumps(fused, allow_nan=False),
            )
        )
