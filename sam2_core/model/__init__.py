"""The network: stateless modules and their configurations; knows nothing of time."""

from .checkpoint import Checkpoint, CheckpointError, read_checkpoint, state_fingerprint, write_checkpoint
from .config import CONFIGS, HieraConfig, Sam2Config
from .image_network import DecodedMasks, ImageFeatures, ImageNetwork
from .loading import find_checkpoint, load_image_network, load_network
from .network import MemoryTokens, Sam2Network
from .precision import PRECISIONS, Precision, choose_precision, multiplies_bfloat16
from .prompt_encoder import PromptTokens

__all__ = [
    "CONFIGS",
    "PRECISIONS",
    "Checkpoint",
    "CheckpointError",
    "DecodedMasks",
    "HieraConfig",
    "ImageFeatures",
    "ImageNetwork",
    "MemoryTokens",
    "Precision",
    "PromptTokens",
    "Sam2Config",
    "Sam2Network",
    "choose_precision",
    "find_checkpoint",
    "load_image_network",
    "load_network",
    "multiplies_bfloat16",
    "read_checkpoint",
    "state_fingerprint",
    "write_checkpoint",
]
