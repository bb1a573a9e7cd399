"""Prints every clock of every session. Needs paho-mqtt. Use: subscriber.py [HOST [PORT]]."""

import json
import sys

import paho.mqtt.client as mqtt


def show(_client, _data, message):
    """Print a clock; what is unknown is None, never 0."""
    clock = json.loads(message.payload)
    print(clock["node"], clock["status"], clock["offset_s"], "±", clock["ci95_s"], "s", flush=True)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = lambda client, *_: client.subscribe("coeval/+/clock/+")
client.on_message = show
client.connect(*sys.argv[1:2] or ["127.0.0.1"], *map(int, sys.argv[2:3]))
client.loop_forever()
