"""Generated scenes: one latent motion with events, seen by six sensors on one true clock.

`generate_scene(seed)` decides what happens (`latent`, `world_*`); each sensor module renders it
lazily into samples of `coeval.samples`. Every stamp is the true time: no stream is late.
"""

from coeval_training.scenes.recording import write_recording
from coeval_training.scenes.scene import KINDS, STREAMS, Scene, SceneStream, generate_scene

__all__ = ["KINDS", "STREAMS", "Scene", "SceneStream", "generate_scene", "write_recording"]
