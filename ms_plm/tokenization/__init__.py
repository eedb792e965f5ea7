"""Text to ids and back: WordPiece, byte-level BPE, word segmentation, training a vocabulary."""

from ms_plm.tokenization.blocks import Layout, encodable
from ms_plm.tokenization.segmenter import CHINESE, Segmenter, load_segmenter
from ms_plm.tokenization.tokenizer import Batch, Pieces, Tokenizer
from ms_plm.tokenization.training import train_tokenizer
from ms_plm.tokenization.vocabulary import Options

__all__ = [
    "CHINESE",
    "Batch",
    "Layout",
    "Options",
    "Pieces",
    "Segmenter",
    "Tokenizer",
    "encodable",
    "load_segmenter",
    "train_tokenizer",
]
