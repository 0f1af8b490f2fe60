"""One thread: rounding is then the same on every machine, and tests beside each other do not fight."""

import torch

torch.set_num_threads(1)
