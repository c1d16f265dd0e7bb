"""The premise of the integer lattice on a GPU: float32 sums of integers below 2^24 are exact in whatever order.

The shapes are those of the entropy networks; docs/exactness.md has the argument.
"""

from __future__ import annotations

import numpy as np
import pytest

BOUND = 1 << 24


@pytest.mark.parametrize(("rows", "inner", "columns"), [(768, 512, 320), (1536, 9 * 192, 256), (1, 12 * 128, 256)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_product_at_the_certified_bound_equals_integer_arithmetic(
    rng: np.random.Generator, rows: int, inner: int, columns: int, sign: int
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    weights = rng.integers(-127, 128, (inner, columns))
    limit = (BOUND - 1) // int(np.abs(weights).sum(axis=0).max())
    values = rng.integers(-limit, limit + 1, (rows, inner))
    values[0] = sign * limit * np.sign(weights[:, 0])  # the worst case of column 0
    torch.backends.cuda.matmul.fp32_precision = "ieee"

    product = torch.from_numpy(values.astype(np.float32)).cuda() @ torch.from_numpy(weights.astype(np.float32)).cuda()

    np.testing.assert_array_equal(product.cpu().numpy().astype(np.int64), values @ weights)
