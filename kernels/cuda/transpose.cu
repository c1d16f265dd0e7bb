// Layout conversion: the transposition of the last two axes, by number of bits. NHWC from NCHW has rows = C and
// columns = H W, NCHW from NHWC has rows = H W and columns = C.
//
//   in   x   [batch][rows][columns]
//   out  y   [batch][columns][rows]
//
// Tiles of 32x32 through shared memory, so that reads and writes both run along rows; the odd row length keeps columns
// in different banks. Launch: grid (ceil(columns / 32), ceil(rows / 32), batch), 256 threads. Twin: twins.transpose.
#include "fastlic/memory.h"

namespace fastlic {
namespace {

constexpr int kTile = 32;
constexpr int kThreadRows = 8;

template <class T>
FASTLIC_DEVICE void transpose(const T* x_pointer, int32_t rows, int32_t columns, T* y_pointer) {
    FASTLIC_SHARED(T, tile, kTile * (kTile + 1));
    const Global<const T> x(x_pointer);
    const Global<T> y(y_pointer);
    const int column = static_cast<int>(threadIdx.x) % kTile, first = static_cast<int>(threadIdx.x) / kTile;
    const int left = static_cast<int>(blockIdx.x) * kTile, top = static_cast<int>(blockIdx.y) * kTile;
    const int64_t plane = static_cast<int64_t>(blockIdx.z) * rows * columns;
#pragma unroll
    for (int i = first; i < kTile; i += kThreadRows) {
        if (top + i < rows && left + column < columns) {
            tile.store(i * (kTile + 1) + column,
                       x.load(plane + static_cast<int64_t>(top + i) * columns + left + column));
        }
    }
    __syncthreads();
#pragma unroll
    for (int i = first; i < kTile; i += kThreadRows) {
        if (left + i < columns && top + column < rows) {
            y.store(plane + static_cast<int64_t>(left + i) * rows + top + column, tile.load(column * (kTile + 1) + i));
        }
    }
}

}  // namespace
}  // namespace fastlic

extern "C" __global__ void __launch_bounds__(256)
    transpose_16(const uint16_t* x, int32_t rows, int32_t columns, uint16_t* y) {
    fastlic::transpose(x, rows, columns, y);
}

extern "C" __global__ void __launch_bounds__(256)
    transpose_32(const uint32_t* x, int32_t rows, int32_t columns, uint32_t* y) {
    fastlic::transpose(x, rows, columns, y);
}
