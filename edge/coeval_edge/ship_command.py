"""`coeval ship`: give a session's nodes a set of encoders over MQTT, or take it back."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coeval.broker_address import DEFAULT_BROKER, BrokerAddress
from coeval.errors import CoevalError
from coeval.topics import DEFAULT_PREFIX, DEFAULT_SESSION, Topics
from coeval_edge.ship import ANSWERS_S, EncoderSet, check_source, read_set, ship, withdraw
from coeval_edge.ship_answers import NodeAnswer


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
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait for what the nodes make of it.")
    ] = ANSWERS_S,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Give a session's nodes a set of encoders; those with accept_models = true take it.

    Ends with code 1 where a node refuses it or does not answer in time.
    """
    source = check_source(folder, is_withdrawn=withdrawn)
    address, topics = BrokerAddress.parse(broker), Topics(session=session, prefix=prefix)
    console = Console(stderr=True)
    if source is None:
        was_there = withdraw(address=address, topics=topics)
        what = "withdrawn; nodes go back" if was_there else "nothing was announced"
        console.print(f"session {session}: {what}", highlight=False)
        if as_json:
            typer.echo(json.dumps({"session": session, "withdrawn": was_there}))
        return
    found = read_set(source, made=f"coeval ship {source.name}")
    ship_and_tell(
        found, address=address, topics=topics, wait_s=wait, as_json=as_json, console=console
    )


def ship_and_tell(
    found: EncoderSet,
    *,
    address: BrokerAddress,
    topics: Topics,
    wait_s: float,
    as_json: bool,
    console: Console,
) -> None:
    """Publish a set, and say what became of it on every node.

    Raises:
        CoevalError: the broker does not take it, or a node that was asked does not use it.
    """
    notice = found.notice
    num_bytes = sum(file.num_bytes for file in notice.files.values())

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def announced() -> None:
        then = f"; waiting up to {wait_s:g} s for its nodes" if wait_s else ""
        say(
            f"session {topics.session}: set {notice.encoder_set} announced, "
            f"{num_bytes / 1e3:.0f} kB{then}"
        )

    answers = ship(found, address=address, topics=topics, wait_s=wait_s, announced=announced)
    if as_json:
        told = {name: asdict(answer) for name, answer in answers.items()}
        typer.echo(
            json.dumps(
                {"session": topics.session, "encoder_set": notice.encoder_set, "nodes": told}
            )
        )
    if wait_s:
        for line in outcome(answers):
            say(line)
        failed = [name for name, one in answers.items() if one.what in FAILURES]
        if failed:
            raise CoevalError(
                f"{', '.join(failed)} of session {topics.session} will not be compared with nodes "
                "that use the new set; to go back: coeval ship --withdraw "
                f"--session {topics.session}"
            )


FAILURES = ("refused", "rolled_back", "no answer")


def outcome(answers: Mapping[str, NodeAnswer]) -> list[str]:
    """What became of a set, a line a node."""
    if not answers:
        return ["no node is online; those that come, and accept encoders, take it"]
    return [
        f"{name}: {one.what.replace('_', ' ')}" + (f": {one.reason}" if one.reason else "")
        for name, one in answers.items()
    ]
