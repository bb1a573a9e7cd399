/** MQTT over the aggregator's WebSocket; what comes is handed on, and how the connection does. */

import mqtt from "mqtt";

export type Link = "connecting" | "connected" | "lost";

export interface Handlers {
  message(topic: string, payload: Uint8Array): void;
  link(state: Link): void;
}

/** Subscribe below a prefix for ever; a connection that is lost is made anew. */
export function connect(filters: string[], handlers: Handlers): () => void {
  const url = new URL("../mqtt", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const client = mqtt.connect(url.href, {
    protocolVersion: 4,
    clean: true,
    reconnectPeriod: 1500,
    connectTimeout: 8000,
    keepalive: 20,
    resubscribe: false,
    timerVariant: "native", // a worker from a blob is not allowed here
  });
  handlers.link("connecting");
  client.on("connect", () => {
    client.subscribe(filters, { qos: 0 });
    handlers.link("connected");
  });
  client.on("close", () => handlers.link("lost"));
  client.on("error", () => undefined); // it is tried again, and the page says so
  client.on("message", (topic, payload) => handlers.message(topic, payload));
  return () => client.end(true);
}
