"""Messages of an MQTT topic as a stream: their own stamps where their clock is known, else arrival.

A payload is a line of text, a number, or JSON: an object's numbers are channels by name.
"""

import json
import logging
import math
import os
import queue
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import DEFAULT_BROKER, PASSWORD_VARIABLE, BrokerAddress
from coeval.errors import BadConfig
from coeval.recognition import Recognition
from coeval.samples import MetadataBlock, Sample, TextLine
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.sources.first_lines import FirstLines, taken_as
from coeval_edge.sources.line_modality import LineModality, check_line_modality
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 10_000
KEEPALIVE_S = 15
ARRIVAL_NS = 20e6
"""A message through a broker on the same network is some ms old, with a long tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTopicConfig:
    """A topic to listen to."""

    topic: str
    """The topic, wildcards allowed."""
    broker: str = DEFAULT_BROKER
    """Address of its broker, which may be another than the session's."""
    modality: LineModality | None = None
    """`text`: every payload is an event; `metadata`: its numbers are channels; None: the first ones
    tell."""

    def __post_init__(self) -> None:
        BrokerAddress.parse(self.broker)
        if not self.topic or "\0" in self.topic:
            raise BadConfig(f"topic must be an MQTT topic, got {self.topic!r}")
        check_line_modality(self.modality)


class MqttTopic:
    """Listens to one topic; the client library reconnects by itself."""

    def __init__(
        self, config: MqttTopicConfig, *, clock_ns: Callable[[], NodeNs] = read_node_clock
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Messages: used, no_numbers, other_channels, overflow, backwards."""
        self.timing = Timing(
            origin="arrival",
            latency_ns=0.0,
            sigma_ns=ARRIVAL_NS,
            how="when a message arrived from the broker",
        )
        self.modality = config.modality
        """What payloads are read as; None: not known yet."""
        self.recognition: Recognition | None = None
        """What the first payloads were found to be, where nobody said."""
        self._first = FirstLines() if config.modality is None else None
        self._config, self._clock_ns = config, clock_ns
        self._messages: queue.Queue[tuple[int, bytes]] = queue.Queue(QUEUE_LENGTH)
        self._channels: tuple[str, ...] | None = None
        self._last_ns = -math.inf
        address = BrokerAddress.parse(config.broker)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 30)
        if address.user is not None:
            self._client.username_pw_set(address.user, os.environ.get(PASSWORD_VARIABLE))
        if address.tls:
            self._client.tls_set()

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                logger.warning("topic refused topic=%s reason=%s", config.topic, reason)
                return
            client.subscribe(config.topic, qos=1)

        def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            if message.retain:
                return  # said long ago
            try:
                self._messages.put_nowait((self._clock_ns(), bytes(message.payload)))
            except queue.Full:
                self.counts["overflow"] += 1

        self._client.on_connect, self._client.on_message = on_connect, on_message
        self._client.connect_async(address.host, address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return bool(self._client.is_connected())

    def read(self, timeout_s: float) -> list[Sample]:
        """What arrived, waiting up to `timeout_s` for anything."""
        samples: list[Sample] = []
        try:
            item: tuple[int, bytes] | None = self._messages.get(timeout=timeout_s)
            while item is not None:
                samples += self._take(item[1].decode("utf-8", "replace").strip(), item[0])
                item = self._messages.get_nowait()
        except queue.Empty:
            pass
        return samples + self._settle(self._clock_ns())

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, text: str, t_node_ns: int) -> list[Sample]:
        if self._first is not None:
            self._first.add(text, t_node_ns)
            return self._settle(t_node_ns)
        sample = self._sample(text, t_node_ns)
        return [] if sample is None else [sample]

    def _settle(self, t_node_ns: int) -> list[Sample]:
        """What was kept back, once it is known what it is."""
        if self._first is None or not self._first.is_enough(t_node_ns):
            return []
        self.recognition = self._first.recognise()
        self.modality = taken_as(self.recognition)
        kept, self._first = self._first.lines, None
        found = [self._sample(text, t_ns) for text, t_ns in kept]
        return [sample for sample in found if sample is not None]

    def _sample(self, text: str, t_node_ns: int) -> Sample | None:
        if self.modality == "text":
            if not text:
                return None
            self.counts["used"] += 1
            return TextLine(t_node_ns=NodeNs(t_node_ns), t_end_node_ns=None, text=text)
        numbers = numbers_of(text)
        if not numbers:
            self.counts["no_numbers"] += 1
            return None
        if self._channels is None:
            self._channels = tuple(numbers)
        if set(numbers) != set(self._channels):
            self.counts["other_channels"] += 1
            return None
        if t_node_ns <= self._last_ns:
            self.counts["backwards"] += 1
            return None
        self._last_ns = t_node_ns
        self.counts["used"] += 1
        values = np.array([[numbers[name] for name in self._channels]], np.float64)
        return MetadataBlock(t_node_ns=np.array([t_node_ns], np.int64), values=values)


def numbers_of(text: str) -> dict[str, float]:
    """The numbers of a payload by name; none where it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    items = value.items() if isinstance(value, dict) else [("value", value)]
    return {
        str(name): float(number)
        for name, number in items
        if isinstance(number, int | float)
        and not isinstance(number, bool)
        and math.isfinite(number)
    }
