"""`coeval ship`: give a session's nodes a set of encoders over MQTT, or take it back."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coeval.broker_address import DEFAULT_BROKER, BrokerAddress
from coeval.topics import DEFAULT_PREFIX, DEFAULT_SESSION, Topics
from coeval_edge.ship import check_source, read_set, ship, withdraw


def ship_encoders(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Holds <modality>.onnx of every modality.", show_default=False),
    ] = None,
    withdrawn: Annotated[
        bool, typer.Option("--withdraw", help="Nodes go back to what is installed on them.")
    ] = False,
    broker: Annotated[str, typer.Option(help="Address.")] = DEFAULT_BROKER,
    session: Annotated[str, typer.Option(help="Whose nodes.")] = DEFAULT_SESSION,
    prefix: Annotated[str, typer.Option(help="What every topic begins with.")] = DEFAULT_PREFIX,
) -> None:
    """Give a session's nodes a set of encoders; those with accept_models = true take it."""
    source = check_source(folder, is_withdrawn=withdrawn)
    address, topics = BrokerAddress.parse(broker), Topics(session=session, prefix=prefix)
    console = Console(stderr=True)
    if source is None:
        was_there = withdraw(address=address, topics=topics)
        what = "withdrawn; nodes go back" if was_there else "nothing was announced"
        console.print(f"session {session}: {what}", highlight=False)
        return
    found = read_set(source, made=f"coeval ship {source.name}")
    ship(found, address=address, topics=topics)
    num_bytes = sum(file.num_bytes for file in found.notice.files.values())
    console.print(
        f"session {session}: set {found.notice.encoder_set} announced, {num_bytes / 1e3:.0f} kB; "
        f"watch event/model/# for what the nodes make of it",
        highlight=False,
    )
