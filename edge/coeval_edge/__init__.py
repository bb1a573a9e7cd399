"""The node: sources, timing, features, ONNX encoders, blocks, spool, MQTT."""
