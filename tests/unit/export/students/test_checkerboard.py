from __future__ import annotations

import pytest
import torch

from fastlic.export.students.checkerboard import pack, unpack


@pytest.mark.parametrize("parity", [0, 1])
def test_pack_places_each_element_as_the_format_says(parity):
    x = torch.arange(3 * 4 * 6.0).view(3, 4, 6)

    packed = pack(x, parity)

    assert packed.shape == (3, 4, 3)
    for row in range(4):
        for column in range(3):
            assert torch.equal(packed[:, row, column], x[:, row, 2 * column + ((row + parity) & 1)])


@pytest.mark.parametrize("parity", [0, 1])
def test_unpack_gives_back_one_parity_and_zeros(parity):
    x = torch.randn(2, 3, 5, 8)

    found = unpack(pack(x, parity), parity)

    mine = (torch.arange(5)[:, None] + torch.arange(8)) % 2 == parity
    assert torch.equal(found, torch.where(mine, x, torch.zeros(())))
