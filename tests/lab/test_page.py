"""The page in a real Chromium, beside a real broker and a real aggregator."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NS_PER_S, NodeNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.page import PageConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.store.opening import open_reader
from coeval_lab.broker import RunningBroker, free_port, start_broker
from coeval_lab.chromium import browsing, find_chromium

from .staging import wait_until
from .test_store_outages import aggregating

pytestmark = pytest.mark.broker

TOPICS = Topics(session="s")
needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason="chromium is not installed (make test-page installs it)"
)


class Device:
    """A node as the broker sees it: streams, blocks, and pulses that tie it to UTC."""

    def __init__(self, broker: RunningBroker, node: str, *, boot: int, offset_s: int) -> None:
        self.node, self.boot, self.offset_ns, self._seq = node, boot, offset_s * NS_PER_S, 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(300)

    def describe(self, stream: str, modality: str) -> None:
        told = {
            "modality": modality,
            "boot": f"{self.boot:016x}",
            "hop_ns": HOP_NS,
            "dim": EMBEDDING_DIM,
            "encoder": {"id": modality, "sha256": "0"},
        }
        self.say(TOPICS.descriptor(self.node, stream), json.dumps(told).encode(), retain=True)

    def send(self, stream: str, *, seconds: int) -> None:
        rows = np.random.default_rng(self.boot).normal(size=(20 * seconds, EMBEDDING_DIM))
        block = Block(
            boot_id=self.boot,
            seq=self._seq,
            t0_node_ns=NodeNs(100 * NS_PER_S + self.offset_ns + self._seq * seconds * NS_PER_S),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=rows.astype(np.float32),
        )
        self._seq += 1
        self.say(TOPICS.block(self.node, stream), encode_block(block))

    def pulse(self, seconds: range) -> None:
        samples = [
            {
                "what": "pps",
                "t_node_ns": second * NS_PER_S + self.offset_ns,
                "t_utc_ns": second * NS_PER_S,
                "sigma_ns": 1000,
            }
            for second in seconds
        ]
        told = {"boot": f"{self.boot:016x}", "samples": samples}
        self.say(TOPICS.evidence(self.node), json.dumps(told).encode())


@contextmanager
def serving_page(broker: RunningBroker, url: str = "none", session: str = "s") -> Iterator[str]:
    config = PageConfig(broker=BrokerAddress.parse(broker.url), prefix="coeval", session=session)
    open_it = None if url == "none" else lambda: open_reader(url)
    with (
        aggregating(broker, url, session) as aggregator,
        serving(
            ApiConfig(listen="127.0.0.1:0"), lambda: aggregator.view, open_it, page=config
        ) as address,
    ):
        yield address


@contextmanager
def scene(broker: RunningBroker) -> Iterator[tuple[Device, Device]]:
    """A camera that is heard first, and so is the reference; a wrist of which nothing is known."""
    with (
        Device(broker, "cam", boot=1, offset_s=0) as cam,
        Device(broker, "wrist", boot=2, offset_s=3) as wrist,
    ):
        cam.describe("mic", "audio")
        wrist.describe("imu", "metadata")
        cam.send("mic", seconds=20)
        wrist.send("imu", seconds=20)
        yield cam, wrist


@needs_chromium
@pytest.mark.browser
def test_the_page_shows_what_the_aggregator_knows_and_warns_of_what_it_does_not() -> None:
    with (
        start_broker() as broker,
        serving_page(broker) as address,
        scene(broker) as (cam, wrist),
        browsing(address) as browser,
    ):
        page = browser.page
        page.get_by_role("alert").get_by_text("Not known to be synchronised: wrist/imu").wait_for()
        for device in (cam, wrist):
            device.pulse(range(100, 120))
        row = page.locator("#clocks tr", has_text="wrist")
        row.get_by_text("locked").wait_for()
        assert "+3.000 s" in row.inner_text()
        assert "hardware" in row.inner_text()
        page.get_by_role("alert").wait_for(state="hidden")
        page.locator("#events").get_by_text("is now on the timeline").wait_for()
        page.keyboard.press("a")
        page.get_by_role("radio", name="As stamped", checked=True).wait_for()
        assert browser.errors == []


@needs_chromium
@pytest.mark.browser
def test_the_page_says_that_the_broker_is_gone_and_goes_on_when_it_is_back() -> None:
    port = free_port()
    with ExitStack() as stack:
        first = ExitStack()
        broker = first.enter_context(start_broker(port=port))
        stack.callback(first.close)
        address = stack.enter_context(serving_page(broker))
        with scene(broker):
            page = stack.enter_context(browsing(address)).page
            page.get_by_text("live", exact=True).wait_for()
        first.close()
        page.get_by_role("alert").get_by_text("No connection to the broker.").wait_for()
        stack.enter_context(start_broker(port=port))
        page.get_by_text("live", exact=True).wait_for()
        with Device(broker, "late", boot=3, offset_s=0) as late:
            late.describe("mic", "audio")
            late.send("mic", seconds=5)
            page.locator("#labels").get_by_text("late/mic").wait_for()


def anomaly(state: str, t_s: int, duration_s: int | None) -> bytes:
    told = {
        "event": "anomaly",
        "node": "cam",
        "stream": "mic",
        "state": state,
        "streams": ["cam/mic"],
        "once_in_days": 2.0,
        "t_ref_ns": t_s * NS_PER_S,
        "duration_s": duration_s,
    }
    return json.dumps(told).encode()


@needs_chromium
@pytest.mark.browser
def test_an_anomaly_is_told_with_its_begin_and_end() -> None:
    with (
        start_broker() as broker,
        serving_page(broker) as address,
        scene(broker) as (cam, _),
        browsing(address) as browser,
    ):
        browser.page.locator("#labels").get_by_text("cam/mic").wait_for()
        topic = TOPICS.event("anomaly", "cam", "mic")
        cam.say(topic, anomaly("begin", 110, None))
        events = browser.page.locator("#events")
        events.get_by_text("begins, once in 2 d").wait_for()
        cam.say(topic, anomaly("end", 114, 4))
        events.get_by_text("ended, lasted 4 s, once in 2 d").wait_for()
        assert browser.errors == []


@needs_chromium
@pytest.mark.browser
def test_the_past_is_there_when_the_page_opens_and_can_be_gone_back_to(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with (
        start_broker() as broker,
        serving_page(broker, url) as address,
        scene(broker) as (cam, wrist),
    ):
        for device in (cam, wrist):
            device.pulse(range(100, 120))
        wait_until(lambda: num_told(url, "synchronised") >= 1, "an event in the store")
        with browsing(address) as browser:
            page = browser.page
            told = page.locator("#events li", has_text="is now on the timeline").first
            told.wait_for()
            asked = page.wait_for_event("response", lambda answer: "/activity?" in answer.url)
            assert asked.status == 200
            told.get_by_role("button").click()
            page.get_by_text("stands at").wait_for()
            page.keyboard.press("ArrowLeft")
            assert browser.errors == []


@needs_chromium
@pytest.mark.browser
def test_a_session_that_is_over_is_shown_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with start_broker() as broker, serving_page(broker, url), scene(broker) as devices:
        for device in devices:
            device.pulse(range(100, 120))
        wait_until(lambda: num_told(url, "synchronised") >= 1, "an event in the store")
    with (
        start_broker() as broker,
        serving_page(broker, url, session="new") as address,
        browsing(f"{address}/page/#s") as browser,
    ):
        page = browser.page
        page.locator("#labels").get_by_text("wrist/imu").wait_for()
        page.locator("#clocks tr", has_text="wrist").get_by_text("locked").wait_for()
        page.get_by_text("This session is over. · stands at").wait_for()
        assert browser.errors == []


def num_told(url: str, word: str) -> int:
    """Stored events that say a word."""
    reader = open_reader(url)
    found = [reader.events(session, limit=100) for session in reader.sessions()]
    reader.close()
    return sum(each.get("state") == word for rows in found for each in rows)


@pytest.fixture
def address() -> Iterator[str]:
    with start_broker() as broker, serving_page(broker) as address:
        yield address


def test_the_page_is_served_and_loads_nothing_from_elsewhere(address: str) -> None:
    answer = httpx.get(address, follow_redirects=True, timeout=300.0)
    assert answer.status_code == 200
    assert "Coeval" in answer.text
    assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("origin", "says", "is_served"),
    [
        ("http://elsewhere.example", b"", False),
        (None, b"\xc0\x00", False),
        (None, b"\x10\x10\x00\x04MQTT\x04\x02\x00\x14\x00\x04evil", True),
    ],
    ids=["another site", "no connect", "a reader"],
)
def test_only_readers_and_own_pages_are_passed_on(
    address: str, origin: str | None, says: bytes, is_served: bool
) -> None:
    assert reply_to(address, [says], origin=origin).startswith(b"\x20\x02\x00\x00") == is_served


def test_a_page_that_publishes_is_cut_off(address: str) -> None:
    connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x14\x00\x04page"
    assert reply_to(address, [connect, b"\x30\x05\x00\x01ahi"], replies=2) == b"1008"


def reply_to(
    address: str, says: list[bytes], *, origin: str | None = None, replies: int = 1
) -> bytes:
    """The last reply to what a client says, or the code with which it was cut off."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    url = address.replace("http", "ws") + "/mqtt"
    said = b""
    try:
        with connect(url, origin=origin, subprotocols=["mqtt"], open_timeout=300) as socket:  # type: ignore[arg-type, list-item]
            for each in says:
                socket.send(each)
            for _ in range(replies):
                got = socket.recv(timeout=300)
                said = got if isinstance(got, bytes) else got.encode()
    except InvalidStatus as exc:
        return str(exc.response.status_code).encode()
    except ConnectionClosed as exc:
        return b"" if exc.rcvd is None else str(exc.rcvd.code).encode()
    return said
