"""Run by test_paths.py: every kernel through Triton's compiler down to machine code, no GPU needed.

Prints "sm_90" for each kernel.
"""

from __future__ import annotations

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from stsprune.selection.kernels import attention, repulsion, rows

OPTIONS = {"enable_fp_fusion": False}
TARGET = GPUTarget("cuda", 90, 32)


def build(kernel, signature, constants, warps):
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        {name: signature.get(name, "constexpr") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
    )
    binary = triton.compile(source, target=TARGET, options=OPTIONS | {"num_warps": warps})
    assert binary.asm["cubin"]
    print("sm_90")


GREEDY = {
    "table": "*fp32",
    "first": "*i64",
    "order": "*i64",
    "behind": "*fp32",
    "tokens": "i32",
    "keep": "i32",
    "rounds": "i32",
    "margin": "fp32",
}
for block, swaps, warps in ((1024, False, 4), (1024, True, 4), (16384, False, 16)):
    build(repulsion._greedy, GREEDY, {"BLOCK": block, "SWAPS": swaps}, warps)

ROWS = {"points": "*bf16", "last_lowest": "*i64", "lowest": "*i64", "chosen": "*i64"}
ROWS |= dict.fromkeys(("left", "right", "own", "where", "potential", "settings"), "*fp32")
ROWS |= dict.fromkeys(("last_least", "least", "squares"), "*fp32")
ROWS |= dict.fromkeys(("tokens", "width", "blocks"), "i32")
SIZES = {"BLOCK": rows.BLOCK, "CHUNK": rows.CHUNK}
build(rows._squares, ROWS, SIZES, 4)
for half in (0.0, -2.0):
    build(rows._step, ROWS, SIZES | {"AXES": 3, "HALF": half, "BLOCKS": 2048}, 4)

NUMBERS = ("length", "tokens", "width", "group")
STRIDES = ("q_image", "q_head", "q_row", "k_image", "k_head", "k_row")
SCORES = dict.fromkeys((*NUMBERS, *STRIDES), "i32") | {"scale": "fp32"}
SCORES |= {"queries": "*bf16", "keys": "*bf16"}
SCORES |= dict.fromkeys(("weights", "rows", "totals"), "*fp32")
BLOCKS = {"BLOCK_T": 16, "BLOCK_N": 64, "BLOCK_D": 128}
for peak in (False, True):
    build(attention._scores, SCORES, BLOCKS | {"PEAK": peak}, 4)
