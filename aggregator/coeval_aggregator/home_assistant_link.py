"""Keeps Home Assistant's discovery as it is to be: announces devices, or removes those left over.

It has a connection of its own: a broker that forbids Home Assistant's topics must not disturb the
aggregator's. Switched off, it looks for what an earlier run left, clears it and disconnects.
"""

import logging
import os
import threading
from collections.abc import Collection, Mapping
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval.topics import Topics
from coeval_aggregator.home_assistant import (
    DISCOVERY,
    announce_aggregator,
    announce_node,
    is_ours,
)
from coeval_aggregator.outgoing import Outgoing

logger = logging.getLogger(__name__)

SWEEP_S = 10.0
"""What is retained comes at once after subscribing; so long is waited for it."""


class HomeAssistantLink:
    """The devices of the sessions that an aggregator serves."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        prefix: str,
        session: str | None,
        server_topic: str,
        is_on: bool,
    ) -> None:
        """Prepare; `look` begins.

        Args:
            address: the broker.
            prefix: what every topic begins with.
            session: the session that is served; None: all.
            server_topic: where the aggregator says that it is there.
            is_on: whether devices are announced; else those of earlier runs are removed.
        """
        self._address, self._prefix, self._is_on = address, prefix, is_on
        self._root = f"{prefix}/" if session is None else f"{prefix}/{session}/"
        self._server_topic = server_topic
        self._lock = threading.Lock()
        self._said: dict[str, Outgoing] = {}
        """What is to be retained, by topic."""
        self._client: mqtt.Client | None = None
        self._begun_s: float | None = None
        self._is_over = False

    def look(self, sessions: Mapping[str, Collection[str]], *, now_s: float) -> None:
        """Announce what is new.

        Args:
            sessions: the nodes whose clocks are stated, by session.
            now_s: the aggregator's monotonic clock.
        """
        if self._is_over:
            return
        if self._begun_s is None:
            self._begun_s = now_s
            self._client = self._connect()
        if not self._is_on:
            if now_s - self._begun_s > SWEEP_S:
                self.close()
            return
        for session, nodes in sessions.items():
            topics = Topics(session=session, prefix=self._prefix)
            self._say(announce_aggregator(topics, server_topic=self._server_topic))
            for node in nodes:
                self._say(announce_node(topics, node, server_topic=self._server_topic))

    def close(self) -> None:
        """Disconnect; what is announced stays, as the sessions do."""
        self._is_over = True
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _say(self, message: Outgoing) -> None:
        with self._lock:
            if message.topic in self._said:
                return
            self._said[message.topic] = message
        if self._client is not None and self._client.is_connected():
            self._publish(self._client, message)

    @staticmethod
    def _publish(client: mqtt.Client, message: Outgoing) -> None:
        client.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)

    def _connect(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(1, 30)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, os.environ.get(PASSWORD_VARIABLE))
        if self._address.tls:
            client.tls_set()

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                logger.warning("home assistant: refused by the broker reason=%s", reason)
                return
            if not self._is_on:
                client.subscribe(f"{DISCOVERY}/+/config", 1)
                return
            with self._lock:
                said = list(self._said.values())
            for message in said:  # a broker that restarts may have forgotten them
                self._publish(client, message)

        def on_message(client: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            if is_ours(bytes(message.payload), root=self._root):
                logger.info("home assistant: device removed topic=%s", message.topic)
                client.publish(message.topic, b"", qos=1, retain=True)

        client.on_connect, client.on_message = on_connect, on_message
        client.connect_async(self._address.host, self._address.port)
        client.loop_start()
        return client
