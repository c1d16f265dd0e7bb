#include "matrix_tile.h"

#include <algorithm>

namespace fastlic {
namespace {

#if defined(__GNUC__)
// 6 x VECTORS sums are in registers: 12 of the 16 of SSE and AVX2, 24 of the 32 of AVX-512; NEON has 32.
#define FASTLIC_MULTIPLY(NAME, TARGET, LANES, VECTORS)                                                              \
    TARGET void multiply_##NAME(                                                                                    \
        const float* left, int64_t stride, int64_t depth, const float* right, float* sums, bool add) {              \
        typedef float Vector __attribute__((vector_size(4 * (LANES)), aligned(4), may_alias));                      \
        for (int64_t o = 0; o < kTileColumns; o += (LANES) * (VECTORS)) {                                           \
            Vector total[kTileRows][VECTORS];                                                                       \
            for (int i = 0; i < kTileRows; ++i)                                                                     \
                for (int v = 0; v < (VECTORS); ++v)                                                                 \
                    total[i][v] = add ? reinterpret_cast<const Vector*>(sums + i * kTileColumns + o)[v] : Vector{}; \
            for (int64_t k = 0; k < depth; ++k) {                                                                   \
                const Vector* factor = reinterpret_cast<const Vector*>(right + k * kTileColumns + o);               \
                for (int i = 0; i < kTileRows; ++i)                                                                 \
                    for (int v = 0; v < (VECTORS); ++v) total[i][v] += left[i * stride + k] * factor[v];            \
            }                                                                                                       \
            for (int i = 0; i < kTileRows; ++i)                                                                     \
                for (int v = 0; v < (VECTORS); ++v)                                                                 \
                    reinterpret_cast<Vector*>(sums + i * kTileColumns + o)[v] = total[i][v];                        \
        }                                                                                                           \
    }
#else
#define FASTLIC_MULTIPLY(NAME, TARGET, LANES, VECTORS)                                                 \
    void multiply_##NAME(                                                                              \
        const float* left, int64_t stride, int64_t depth, const float* right, float* sums, bool add) { \
        if (!add) std::fill_n(sums, kTileRows * kTileColumns, 0.0f);                                   \
        for (int i = 0; i < kTileRows; ++i)                                                            \
            for (int64_t k = 0; k < depth; ++k)                                                        \
                for (int64_t o = 0; o < kTileColumns; ++o)                                             \
                    sums[i * kTileColumns + o] += left[i * stride + k] * right[k * kTileColumns + o];  \
    }
#endif
FASTLIC_FOR_PROCESSORS(FASTLIC_MULTIPLY)

}  // namespace

Processor processor_here() {
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return Processor::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Processor::fma;
#endif
    return Processor::plain;
}

MultiplyTile multiply_tile() {
#if defined(__GNUC__) && defined(__x86_64__)
    switch (processor_here()) {
        case Processor::avx512: return multiply_avx512;
        case Processor::fma: return multiply_fma;
        case Processor::plain: break;
    }
#endif
    return multiply_plain;
}

}  // namespace fastlic
