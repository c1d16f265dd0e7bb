// The one product that this folder's operators spend their time in: 6 rows by 64 columns of sums in float32.
//
// Knows registers; knows nothing of maps or filters. An element's terms are added in order of k on every processor.
#pragma once

#include <cstdint>

#if defined(__GNUC__)
#define FASTLIC_RESTRICT __restrict__
#define FASTLIC_INLINE inline __attribute__((always_inline))
#else
#define FASTLIC_RESTRICT __restrict
#define FASTLIC_INLINE inline
#endif

// DEFINE(name, attribute of functions, lanes of a register, registers in turn) for each kind of processor. Functions of
// a kind come from macros, not from templates: vectors are lowered before functions are inlined, so that those of a
// template would be the oldest processor's whoever calls it.
#if defined(__GNUC__) && defined(__x86_64__)
#define FASTLIC_FOR_PROCESSORS(DEFINE)                     \
    DEFINE(plain, , 4, 2)                                  \
    DEFINE(fma, __attribute__((target("avx2,fma"))), 8, 2) \
    DEFINE(avx512, __attribute__((target("avx512f,prefer-vector-width=512"))), 16, 4)
#else
#define FASTLIC_FOR_PROCESSORS(DEFINE) DEFINE(plain, , 4, 2)
#endif

namespace fastlic {

constexpr int kTileRows = 6;
constexpr int64_t kTileColumns = 64;

// sums[i][o] = (add ? sums[i][o] : 0) + sum over k < depth of left[i * stride + k] * right[k][o], for i < 6 and o < 64.
using MultiplyTile = void (*)(
    const float* left, int64_t stride, int64_t depth, const float* right, float* sums, bool add);

enum class Processor { plain, fma, avx512 };

// The best kind of processor that this one is.
Processor processor_here();

// The product for this processor.
MultiplyTile multiply_tile();

}  // namespace fastlic
