"""Scaled dot-product attention as ONNX nodes for any number of axes: torch.onnx 2.14 exports four axes only."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir
from onnxscript import opset20 as op
from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Translate ``torch.nn.functional.scaled_dot_product_attention`` in inference mode; called by ``torch.onnx``.

    Args:
        query: queries ``(..., L, E)``.
        key: keys ``(..., S, E)``.
        value: values ``(..., S, V)``.
        attn_mask: truth values, or numbers that are added to the products; it broadcasts to ``(..., L, S)``.
        dropout_p: dropout probability, not used in inference mode.
        is_causal: whether to mask later positions; left to torch.onnx's own translation.
        scale: factor of the products; ``None`` is 1 / sqrt(E).
        enable_gqa: whether heads share keys and values; left to torch.onnx's own translation.

    Returns:
        Attended values ``(..., L, V)``.
    """
    if is_causal or enable_gqa:
        return aten_scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    axes = list(range(len(key.shape)))
    transposed = op.Transpose(key, perm=[*axes[:-2], axes[-1], axes[-2]])
    products = op.MatMul(op.Mul(query, scale or 1 / math.sqrt(query.shape[-1])), transposed)
    if attn_mask is not None:
        if attn_mask.dtype == onnx_ir.DataType.BOOL:
            allowed: Any = op.Constant(value_float=0.0)
            attn_mask = op.Where(attn_mask, allowed, op.Constant(value_float=-math.inf))
        products = op.Add(products, attn_mask)
    return op.MatMul(op.Softmax(products, axis=-1), value)
