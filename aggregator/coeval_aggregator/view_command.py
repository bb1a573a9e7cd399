"""`coeval view`: a session in the terminal, as any subscriber sees it."""

import json
import os
import queue
import threading
import time
from contextlib import suppress
from typing import Annotated, Any

import paho.mqtt.client as mqtt
import typer
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.live import Live

from coeval.broker_address import DEFAULT_BROKER, PASSWORD_VARIABLE, BrokerAddress
from coeval.errors import CoevalError
from coeval.stopping import stop_on_signals
from coeval.topics import DEFAULT_PREFIX, DEFAULT_SESSION, Topics
from coeval_aggregator.board import Board
from coeval_aggregator.board_screen import screen

REFRESH_S = 0.25
CONNECT_S = 10.0
QUEUE_LENGTH = 10_000
"""What waits beyond it is not shown."""

Messages = queue.Queue[tuple[str, bytes]]


def view(
    session: Annotated[str, typer.Argument(help="Session to show.")] = DEFAULT_SESSION,
    broker: Annotated[str, typer.Option(help="Address of the broker.")] = DEFAULT_BROKER,
    prefix: Annotated[str, typer.Option(help="What every topic begins with.")] = DEFAULT_PREFIX,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each message but blocks.")
    ] = False,
    for_s: Annotated[
        float | None, typer.Option(help="End after so long; else Ctrl-C ends it.", min=0.0)
    ] = None,
) -> None:
    """Show a session live: nodes, offset ± 95 %, skew, streams and events."""
    topics = Topics(session=session, prefix=prefix)
    address = BrokerAddress.parse(broker)
    stop = stop_on_signals()
    until_s = float("inf") if for_s is None else time.monotonic() + for_s
    messages: Messages = queue.Queue(QUEUE_LENGTH)
    client = subscribe(address, topics, messages)
    try:
        if as_json:
            print_lines(Board(topics), messages, stop, until_s=until_s)
        else:
            show(Board(topics), messages, stop, title=f"{session} at {address}", until_s=until_s)
    finally:
        client.disconnect()
        client.loop_stop()


def print_lines(board: Board, messages: Messages, stop: threading.Event, *, until_s: float) -> None:
    """Print messages as they come."""
    while not stop.is_set() and time.monotonic() < until_s:
        with suppress(queue.Empty):
            topic, payload = messages.get(timeout=REFRESH_S)
            value = board.take(topic, payload)
            if value is not None:
                print(json.dumps({"topic": topic, "payload": value}), flush=True)


def show(
    board: Board, messages: Messages, stop: threading.Event, *, title: str, until_s: float
) -> None:
    """Show the board until told to stop; without a terminal, once at the end."""
    console = Console()
    with Live(
        screen(board, title=title), console=console, auto_refresh=False, screen=False
    ) as live:
        while not stop.is_set() and time.monotonic() < until_s:
            drawn_s = time.monotonic() + REFRESH_S
            while (left_s := drawn_s - time.monotonic()) > 0 and not stop.is_set():
                with suppress(queue.Empty):
                    board.take(*messages.get(timeout=left_s))
            live.update(screen(board, title=title), refresh=console.is_terminal)


def subscribe(address: BrokerAddress, topics: Topics, messages: Messages) -> mqtt.Client:
    """A client that puts what is said into the queue, and connects again by itself.

    Raises:
        CoevalError: the broker does not answer, or refuses.
    """
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if address.user is not None:
        client.username_pw_set(address.user, os.environ.get(PASSWORD_VARIABLE))
    if address.tls:
        client.tls_set()
    answered = threading.Event()
    refused: list[str] = []

    def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            refused.append(str(reason))
        else:
            client.subscribe(f"{topics.root}/#", 0)
        answered.set()

    def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        with suppress(queue.Full, UnicodeDecodeError):
            messages.put_nowait((message.topic, bytes(message.payload)))

    client.on_connect, client.on_message = on_connect, on_message
    client.connect_timeout = CONNECT_S
    why = "no answer"
    try:
        client.connect(address.host, address.port)
        client.loop_start()
        if answered.wait(CONNECT_S) and not refused:
            return client
        why = refused[0] if refused else why
        client.disconnect()
        client.loop_stop()
    except (OSError, ValueError) as exc:
        why = str(exc)
    raise CoevalError(
        f"no broker at {address}: {why}; start one, as with `mosquitto`, or name it with "
        f"--broker mqtt://HOST:PORT (its password: {PASSWORD_VARIABLE})"
    )
