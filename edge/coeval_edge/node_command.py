"""`coeval node`: one node of a session, from flags or a TOML file."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from coeval.errors import BadConfig
from coeval.stopping import stop_on_signals
from coeval_edge.config import NodeConfig, ReplayConfig, load_node_config
from coeval_edge.node import Node


def merge(
    config: NodeConfig | None, *, node_id: str | None, flags: dict[str, Any], replay: dict[str, Any]
) -> NodeConfig:
    """The configuration of file and flags; a flag that was given wins.

    Raises:
        BadConfig: neither says what is needed, or a value is wrong.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    given_replay = {key: value for key, value in replay.items() if value is not None}
    if config is not None:
        if node_id is not None:
            given["id"] = node_id
        if config.replay is not None:
            given["replay"] = replace(config.replay, **given_replay)
        elif given_replay:
            raise BadConfig(
                f"{', '.join(sorted(given_replay))}: this file's node is live (`[node.time]`); "
                "leave out what is about a replay"
            )
        return replace(config, **given)
    if node_id is None or "recording" not in given_replay:
        raise BadConfig("say which node: --replay RECORDING --node ID, or --config FILE")
    return NodeConfig(id=node_id, replay=ReplayConfig(**given_replay), **given)


def node(
    replay: Annotated[
        Path | None, typer.Option(help="Recording to replay.", show_default=False)
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Which node of the recording to be.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file; flags override it.", show_default=False)
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="Address, mqtt://127.0.0.1:1883 by default.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="Session to join.")] = None,
    prefix: Annotated[str | None, typer.Option(help="What every topic begins with.")] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; may be repeated.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="1: real time; 10: ten times; inf: no waiting.")
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(help="Make the clock wrong by so many s at the start; positive: fast."),
    ] = None,
    skew_ppm: Annotated[
        float | None, typer.Option(help="Make the clock's rate wrong; positive: fast.")
    ] = None,
    loop: Annotated[
        bool | None, typer.Option("--loop/--once", help="Begin again at the end, for ever.")
    ] = None,
    spool: Annotated[
        Path | None, typer.Option(help="Folder for unacknowledged blocks; survives a restart.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Be one node: replay a recording, or measure this device's clock.

    A replay ends by itself at its recording's end, when the broker has it all.
    A live node (a file with \\[node.time] or \\[node.sources]) goes on until Ctrl-C.
    """
    merged = merge(
        None if config is None else load_node_config(config),
        node_id=node,
        flags={"broker": broker, "session": session, "prefix": prefix, "spool": spool},
        replay={
            "recording": replay,
            "streams": tuple(stream) if stream else None,
            "speed": speed,
            "offset_s": offset,
            "skew_ppm": skew_ppm,
            "loop": loop,
        },
    )
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    report = Node(merged).run(stop_on_signals())
    typer.echo(
        f"node {merged.id}: {report.num_blocks} messages published, {report.num_dropped} dropped",
        err=True,
    )
