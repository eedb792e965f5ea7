"""Published checkpoints (Hugging Face, PyTorch, TensorFlow, MindSpore) into model folders, and back to Hugging Face."""

from ms_plm.convert.conversion import convert
from ms_plm.convert.report import Report
from ms_plm.convert.settings import Choices

__all__ = ["Choices", "Report", "convert"]
