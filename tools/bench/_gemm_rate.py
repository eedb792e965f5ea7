"""Worker of train_step.py: how fast the machine multiplies, by the oneDNN that MindSpore ships.

A step is the forward products x W^T of one layer, one sequential call a thread, each with its share of the rows of x;
it answers with the seconds of every shape.
"""

from __future__ import annotations

import ctypes
import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _limit import layer_products
from _serving import decline, serve, worker_arguments

SYMBOLS = {"fp32": "dnnl_sgemm", "bf16": "dnnl_gemm_bf16bf16f32"}


def library() -> ctypes.CDLL:
    """MindSpore's oneDNN, without MindSpore."""
    spec = importlib.util.find_spec("mindspore")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "lib" / "libdnnl.so.3"
        if path.is_file():
            return ctypes.CDLL(str(path))
    decline("MindSpore's package holds no lib/libdnnl.so.3")


class Product:
    """y = x W^T for x `[rows, inputs]`, W `[outputs, inputs]` of the given type, y fp32."""

    def __init__(self, symbol: str, function, rows: int, inputs: int, outputs: int, dtype: str) -> None:
        draw = np.random.default_rng(0)
        self.symbol, self.function = symbol, function
        self.x, self.weight = (draw.standard_normal((n, inputs), np.float32) for n in (rows, outputs))
        if dtype == "bf16":  # the upper halves
            self.x, self.weight = ((a.view(np.uint32) >> 16).astype(np.uint16) for a in (self.x, self.weight))
        self.y = np.empty((rows, outputs), np.float32)

    def rows(self, first: int, last: int) -> None:
        """Compute some rows of y."""
        x, y, size = self.x[first:last], self.y[first:last], ctypes.c_int64
        (outputs, inputs), one, zero = self.weight.shape, ctypes.c_float(1.0), ctypes.c_float(0.0)
        pointer_x, pointer_w, pointer_y = (ctypes.c_void_p(a.ctypes.data) for a in (x, self.weight, y))
        shape, strides = (size(last - first), size(outputs), size(inputs)), (size(inputs), size(outputs))
        letters = ctypes.c_char(b"N"), ctypes.c_char(b"T")
        status = self.function(
            *letters, *shape, one, pointer_x, strides[0], pointer_w, strides[0], zero, pointer_y, strides[1]
        )
        if status:
            decline(f"{self.symbol} gave status {status}: this processor cannot do it")


def main() -> None:
    args = worker_arguments(__doc__, rows=1024, hidden=768, threads=2, dtype="fp32")
    symbol = SYMBOLS[args.dtype]
    function = getattr(library(), symbol)
    function.restype = ctypes.c_int
    products = {
        f"{inputs}x{outputs}": Product(symbol, function, args.rows, inputs, outputs, args.dtype)
        for inputs, outputs, _ in layer_products(args.hidden)
    }
    for product in products.values():
        product.rows(0, args.rows)
    edges = [args.rows * part // args.threads for part in range(args.threads + 1)]
    pool = ThreadPoolExecutor(args.threads)

    def step(number: int) -> dict[str, float]:
        seconds = {}
        for shape, product in products.items():
            started = time.perf_counter()
            list(pool.map(product.rows, edges[:-1], edges[1:]))
            seconds[shape] = time.perf_counter() - started
        return seconds

    serve(step, f"{symbol}, {args.rows} rows, {args.threads} threads")


if __name__ == "__main__":
    main()
