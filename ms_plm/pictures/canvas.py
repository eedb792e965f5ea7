"""What all pictures share: whether they can be drawn, fonts for any script, writing the file."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.common.files import replacing_file

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
REMEDY = "install the extra viz (pip install 'ms-plm[viz]', or matplotlib)"
_CHINESE = (
    "CJK",
    "Han Sans",
    "Han Serif",
    "WenQuanYi",
    "YaHei",
    "PingFang",
    "Hei",
    "Song",
    "SimSun",
    "Unicode",
    "Fallback",
)
"""Parts of the names of font families that have Chinese characters, the better ones first."""


def can_draw(what: str) -> bool:
    """Whether matplotlib is installed; where not, one log line says what is missing and how to get it."""
    try:
        import_module("matplotlib.figure")
    except ImportError:
        log.info("no %s: matplotlib is not installed; %s", what, REMEDY)
        return False
    return True


def writable_formats() -> frozenset[str]:
    """Endings of files that `save_figure` writes; none without matplotlib."""
    try:
        return frozenset(import_module("matplotlib.backend_bases").FigureCanvasBase.get_supported_filetypes())
    except ImportError:
        return frozenset()


def save_figure(figure: Figure, path: str | Path, dpi: int = 120) -> None:
    """Write a figure in the format of its name's ending, PNG where it has none; replaces the file in one step.

    Raises:
        UserError: the disk is full.
    """
    path = Path(path)
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format=path.suffix[1:].lower() or "png")


def root_scale() -> Normalize:
    """Colours of shares from 0 to 1 by their square root."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0, vmax=1)


@functools.cache
def _families() -> tuple[tuple[str, frozenset[int]], ...]:
    """Fonts in the order in which a character is looked for, each with the code points that it has."""
    import matplotlib
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    first = fontManager.findfont(FontProperties())
    installed = {entry.name: entry.fname for entry in fontManager.ttflist if entry.style == "normal"}
    wide = [name for part in _CHINESE for name in sorted(installed) if part in name]
    shown = [(matplotlib.rcParams["font.family"][0], first), *((name, installed[name]) for name in dict.fromkeys(wide))]
    found = []
    for name, path in shown:
        # matplotlib remembers fonts that have been removed since, and lists some that it cannot read
        with contextlib.suppress(OSError, RuntimeError):
            found.append((name, frozenset(get_font(str(path)).get_charmap())))
    return tuple(found)


def drawable(names: Sequence[str], instead: Sequence[int]) -> tuple[list[str], list[str]]:
    """Labels that the installed fonts can show, and the families that show them.

    Args:
        names: what is to be shown.
        instead: numbers, one a name: shown in place of names with a character that no font has; one log line says so.

    Returns:
        `(labels, families)`; give the families to `set_fontfamily`.
    """
    wanted = {ord(character) for name in names for character in name}
    chosen, left = [], wanted
    for number, (family, characters) in enumerate(_families()):
        if number == 0 or left & characters:
            chosen.append(family)
            left = left - characters
        if not left:
            break
    missing = [any(ord(character) in left for character in name) for name in names]
    if left:
        examples = " ".join(chr(code) for code in sorted(left)[:5])
        log.warning(
            "%d of %d names are shown as their numbers: no installed font has %s%s. Install one, such as the package "
            "fonts-noto-cjk, and remove matplotlib's font cache if it is not seen.",
            sum(missing),
            len(names),
            examples,
            " ..." if len(left) > 5 else "",
        )
    return [str(number) if lost else name for name, number, lost in zip(names, instead, missing, strict=True)], chosen


def label_ticks(axis: Axis, labels: Iterable[str], families: Sequence[str], size: float, rotation: float = 0) -> None:
    """A label at each of 0, 1, 2 ... of an axis, as it is: a dollar sign begins no formula."""
    labels = list(labels)
    axis.set_ticks(range(len(labels)), labels, rotation=rotation, fontsize=size, fontfamily=list(families))
    for text in axis.get_ticklabels():
        text.set_parse_math(False)
