"""Everything on an image, without prompts: SAM's automatic masks (arXiv 2304.02643, section 4 and B)."""

from .generator import AutomaticMaskGenerator
from .masklets import MaskletFilter, start_masklets
from .options import AutomaticOptions
from .records import AutomaticMask

__all__ = ["AutomaticMask", "AutomaticMaskGenerator", "AutomaticOptions", "MaskletFilter", "start_masklets"]
