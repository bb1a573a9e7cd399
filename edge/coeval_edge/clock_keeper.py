"""Everything a live node can measure of its clock, gathered and handed on as it comes.

One thread a line that blocks (PPS, GPIO), one each for what is asked now and then (chrony, ptp4l).
A line that is lost is opened again; what a line says of itself is logged when it changes. Two-way
exchanges have a connection of their own (`time_exchange`).
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from coeval.broker_address import BrokerAddress
from coeval.errors import BadConfig
from coeval.evidence_wire import TimeSample
from coeval.pulse_names import PulseNames
from coeval.topics import Topics, check_node_id
from coeval_edge.chrony import ask_chrony, statement_of
from coeval_edge.ptp import SOCKET, AskPtp, PtpStatements, ask_ptp
from coeval_edge.sources.errors import SourceSilent, SourceUnusable
from coeval_edge.sources.gpio import GpioConfig, open_gpio
from coeval_edge.sources.pps import PpsConfig, open_pps
from coeval_edge.sources.pulse_stamps import PulseStamps
from coeval_edge.time_exchange import TimeExchange

logger = logging.getLogger(__name__)

READ_TIMEOUT_S = 2.0
REOPEN_S = 5.0
CHRONY_EVERY_S = 16.0
PTP_EVERY_S = 2.0

Hand = Callable[[Sequence[TimeSample]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeConfig:
    """What a live node measures of its clock."""

    oscillator: Literal["usb", "pi", "tcxo", "unknown"] = "unknown"
    """What kind of clock the device has: how fast it may wander while nothing is measured."""
    exchange: bool = True
    """Whether to exchange time with the aggregator over MQTT."""
    every_s: float = 1.0
    """Time between exchanges."""
    peers: tuple[str, ...] = ()
    """Other nodes to exchange time with."""
    chrony: bool = True
    """Whether to take what chrony says of UTC, where one answers."""
    ptp: bool = True
    """Whether to take what ptp4l measures, where one answers."""
    ptp_socket: str = str(SOCKET)
    """Where ptp4l is asked."""
    pps: Mapping[str, PpsConfig] = field(default_factory=dict)
    """PPS lines by a name of one's own."""
    gpio: Mapping[str, GpioConfig] = field(default_factory=dict)
    """GPIO lines that other nodes see, too."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.every_s <= 3600:
            raise BadConfig(f"every_s must lie within 0.05…3600, got {self.every_s}")
        for peer in self.peers:
            check_node_id(peer)
        receivers = [line.nmea for line in self.pps.values() if line.nmea is not None]
        if len(set(receivers)) < len(receivers):
            raise BadConfig(f"pps: {receivers[0]!r} names the pulses of one line only")


class ClockKeeper:
    """Measures until closed."""

    def __init__(
        self,
        config: TimeConfig,
        *,
        address: BrokerAddress,
        topics: Topics,
        node: str,
        boot_id: int,
        hand: Hand,
        names: Mapping[str, PulseNames] | None = None,
        stamps: Mapping[str, PulseStamps] | None = None,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            config: what to measure.
            address: the broker, for exchanges.
            topics: the session's topics.
            node: this node's id.
            boot_id: number of this run of the node.
            hand: takes what was measured; called from several threads.
            names: what GNSS receivers tell of their pulses, by stream.
            stamps: where to leave the good pulses of lines that probes see, too, by line.
        """
        self._hand, self._node, self._names = hand, node, names or {}
        self._stamps = stamps or {}
        self._stop = threading.Event()
        self._exchange: TimeExchange | None = None
        if config.exchange:
            self._exchange = TimeExchange(
                address=address,
                topics=topics,
                node=node,
                boot_id=boot_id,
                peers=config.peers,
                every_s=config.every_s,
            )
        self._threads = [
            self._thread(f"pps.{name}", partial(self._follow_pps, line, self._stamps.get(name)))
            for name, line in config.pps.items()
        ]
        self._threads += [
            self._thread(f"gpio.{name}", partial(self._follow_gpio, line))
            for name, line in config.gpio.items()
        ]
        if config.chrony:
            self._threads.append(self._thread("chrony", self._follow_chrony))
        if config.ptp:
            ask = partial(ask_ptp, socket=Path(config.ptp_socket))
            self._threads.append(self._thread("ptp", partial(self._follow_ptp, ask)))

    def start(self) -> None:
        """Begin to measure."""
        for thread in self._threads:
            thread.start()
        if self._exchange is not None:
            self._exchange.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        if self._exchange is not None:
            self._exchange.close()
        for thread in self._threads:
            thread.join()

    def _thread(self, name: str, follow: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=follow, name=f"coeval[{self._node}].{name}")

    def _follow_pps(self, config: PpsConfig, stamps: PulseStamps | None) -> None:
        names = None if config.nmea is None else self._names[config.nmea]
        said = ""
        while not self._stop.is_set():
            try:
                source = open_pps(config, names=names)
                with source.device:
                    while not self._stop.is_set():
                        try:
                            reading = source.read(READ_TIMEOUT_S)
                        except SourceSilent as exc:
                            logger.debug("no pulse node=%s reason=%s", self._node, exc)
                            continue
                        if (
                            reading is not None
                            and stamps is not None
                            and reading.judged.verdict == "good"
                        ):
                            stamps.push(reading.judged.t_node_ns)
                        if reading is not None and reading.sample is not None:
                            self._hand([reading.sample])
                        if source.state != said:
                            said = source.state
                            logger.info(
                                "pps node=%s device=%s state=%s", self._node, config.device, said
                            )
            except SourceUnusable as exc:
                logger.warning("pps not used node=%s reason=%s", self._node, exc)
                self._stop.wait(REOPEN_S)

    def _follow_gpio(self, config: GpioConfig) -> None:
        while not self._stop.is_set():
            try:
                with open_gpio(config) as source:
                    while not self._stop.is_set():
                        edges = source.read(READ_TIMEOUT_S)
                        if edges:
                            self._hand([edge.sample for edge in edges])
            except SourceUnusable as exc:
                logger.warning("gpio line not used node=%s reason=%s", self._node, exc)
                self._stop.wait(REOPEN_S)

    def _follow_chrony(self) -> None:
        said: str | None = None
        while not self._stop.is_set():
            tracking = ask_chrony()
            now = "no chrony answers" if tracking is None else tracking.unusable or "synchronised"
            if now != said:
                said = now
                logger.info("chrony node=%s state=%s", self._node, now)
            statement = None if tracking is None else statement_of(tracking)
            if statement is not None:
                self._hand([statement])
            self._stop.wait(CHRONY_EVERY_S)

    def _follow_ptp(self, ask: AskPtp) -> None:
        said: str | None = None
        statements = PtpStatements()
        while not self._stop.is_set():
            state = ask()
            now = "no ptp4l answers"
            if state is not None:
                now = state.unusable or f"follows {state.grandmaster}"
            if now != said:
                said = now
                logger.info("ptp node=%s state=%s", self._node, now)
            statement = None if state is None else statements.statement_of(state)
            if statement is not None:
                self._hand([statement])
            self._stop.wait(PTP_EVERY_S)
