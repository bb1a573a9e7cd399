"""What Prometheus scrapes: counts and states of the aggregator, taken when it asks."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from coeval_aggregator.view import View

Family = CounterMetricFamily | GaugeMetricFamily


class AggregatorCollector(Collector):
    """Makes metrics of a view."""

    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view

    def collect(self) -> Iterator[Family]:
        """The metrics now."""
        view = self._view()
        yield gauge("coeval_broker_connected", "1: the broker delivers", view.is_connected)
        yield gauge("coeval_degraded", "1: something is wrong", bool(view.all_problems()))
        yield gauge("coeval_sessions", "Sessions served", len(view.sessions))
        yield counter(
            "coeval_estimating_cpu_seconds", "Spent on estimates of clocks", view.estimating_cpu_s
        )
        if view.store is not None:
            store = view.store
            yield gauge("coeval_store_available", "1: it takes data", store.problem is None)
            yield gauge("coeval_store_waiting", "Messages not yet durable", store.num_waiting)
            yield counter("coeval_store_blocks", "Blocks written", store.num_blocks)
            yield counter("coeval_store_known", "Blocks that came again", store.num_known)
            yield counter("coeval_store_held_back", "Messages not taken", store.num_held_back)
            yield counter("coeval_store_refused", "Records left out", store.num_refused)
            yield counter("coeval_store_lost", "Clocks, ticks, events dropped", store.num_lost)
        yield from self._streams(view)
        yield from self._clocks(view)

    @staticmethod
    def _streams(view: View) -> Iterator[Family]:
        labels = ["session", "stream"]
        for name, what in (
            ("blocks", "Blocks used"),
            ("duplicates", "Blocks that came again"),
            ("late", "Blocks older than what is kept in memory"),
            ("lost", "Blocks that never came"),
        ):
            family = CounterMetricFamily(f"coeval_stream_{name}", what, labels=labels)
            for session, each in view.sessions.items():
                for stream, counts in each.facts["streams"].items():
                    family.add_metric([session, stream], counts[name])
            yield family

    @staticmethod
    def _clocks(view: View) -> Iterator[Family]:
        labels = ["session", "node"]
        locked = GaugeMetricFamily(
            "coeval_clock_locked", "1: the node's clock is known", labels=labels
        )
        known = {
            "offset_s": GaugeMetricFamily(
                "coeval_clock_offset_seconds", "node - reference; positive: fast", labels=labels
            ),
            "ci95_s": GaugeMetricFamily(
                "coeval_clock_ci95_seconds", "Half-width of the 95 % interval", labels=labels
            ),
            "holdover_s": GaugeMetricFamily(
                "coeval_clock_holdover_seconds", "Since it was last confirmed", labels=labels
            ),
        }
        for session, each in view.sessions.items():
            for node, clock in each.clocks.items():
                locked.add_metric([session, node], clock["status"] in ("locked", "reference"))
                for key, family in known.items():
                    if clock.get(key) is not None:  # unknown is not zero
                        family.add_metric([session, node], clock[key])
        yield locked
        yield from known.values()


def gauge(name: str, what: str, value: float) -> Family:
    """A number that goes up and down."""
    return GaugeMetricFamily(name, what, value=float(value))


def counter(name: str, what: str, value: float) -> Family:
    """A number that goes up."""
    return CounterMetricFamily(name, what, value=float(value))


def make_registry(view: Callable[[], View]) -> CollectorRegistry:
    """A registry of an aggregator and its process."""
    registry = CollectorRegistry()
    registry.register(AggregatorCollector(view))
    ProcessCollector(registry=registry)
    return registry


def scrape(registry: Any) -> bytes:
    """The metrics as text."""
    return generate_latest(registry)
