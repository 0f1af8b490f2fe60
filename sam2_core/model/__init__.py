"""The network: stateless modules and their configurations; knows nothing of time."""

from .checkpoint import CheckpointError, load_network
from .config import CONFIGS, HieraConfig, Sam2Config
from .network import DecodedMasks, ImageFeatures, MemoryTokens, Sam2Network
from .prompt_encoder import PromptTokens

__all__ = [
    "CONFIGS",
    "CheckpointError",
    "DecodedMasks",
    "HieraConfig",
    "ImageFeatures",
    "MemoryTokens",
    "PromptTokens",
    "Sam2Config",
    "Sam2Network",
    "load_network",
]
