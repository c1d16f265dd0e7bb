// What the wrappers of kernels/include/fastlic/ptx.h mean, after the PTX manual, over the emulated machine.
//
// Arithmetic on halves goes through double, where a product of two halves is exact (22 bits).
// Included by fastlic/ptx.h only.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulation.h"

namespace fastlic::ptx {

inline float float_from_half(Half value) {
    const int exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
    float magnitude;
    if (exponent == 31) {
        magnitude = fraction ? std::nanf("") : INFINITY;
    } else {
        magnitude = exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(float(fraction), -24);
    }
    return value.bits >> 15 ? -magnitude : magnitude;
}

// Nearest half, ties to even, of a double.
inline Half half_from_double(double value) {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    if (std::isnan(value)) return {0x7fff};  // the canonical NaN of the GPU
    const double magnitude = std::fabs(value);
    if (magnitude >= 65520.0) return {static_cast<uint16_t>(sign | 0x7c00)};
    int exponent = -14;
    if (magnitude >= std::ldexp(1.0, -14)) exponent = std::ilogb(magnitude);
    const auto units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));  // 0 to 2048
    return {static_cast<uint16_t>(sign | (((exponent + 14) << 10) + units))};
}

inline Half half_from_float(float value) { return half_from_double(value); }

inline uint32_t half2_from_halves(Half low, Half high) { return low.bits | static_cast<uint32_t>(high.bits) << 16; }

inline double part(uint32_t pair, int i) { return float_from_half({static_cast<uint16_t>(pair >> 16 * i)}); }

inline uint32_t half2_multiply(uint32_t a, uint32_t b) {
    return half2_from_halves(half_from_double(part(a, 0) * part(b, 0)), half_from_double(part(a, 1) * part(b, 1)));
}

// a * b + c rounded once to half. The sum may need more than a double holds; what is lost is made to show in the last
// bit (rounding to odd), so that the second rounding, 42 bits higher, is decided as if nothing were lost.
inline Half half_fma(double a, double b, double c) {
    const double product = a * b;
    double sum = product + c;
    const double back = sum - product;
    const double lost = (product - (sum - back)) + (c - back);
    uint64_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    if (std::isfinite(sum) && lost != 0.0 && (bits & 1) == 0)
        sum = std::nextafter(sum, lost > 0 ? INFINITY : -INFINITY);
    return half_from_double(sum);
}

inline uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
    return half2_from_halves(half_fma(part(a, 0), part(b, 0), part(c, 0)),
                             half_fma(part(a, 1), part(b, 1), part(c, 1)));
}

template <class T>
Vector16 load_or_zero(const Global<const T>& from, int64_t index, bool valid) {
    return valid ? from.template load_as<Vector16>(index) : Vector16{};
}

inline void copy_async(const Shared<Half>& to, int to_index, const Global<const Half>& from, int64_t from_index,
                       bool valid) {
    auto& machine = emulation::Machine::get();
    const int64_t offset = from.offset(from_index);
    if (valid && !machine.check_read(from.region(), offset, 16, 16)) return;
    machine.async_copy(to.region(), to.offset(to_index), valid ? from.region()->base + offset : nullptr, valid ? 16 : 0,
                       16);
}

inline void copy_async_commit() { emulation::Machine::get().async_commit(); }

template <int kGroups>
void copy_async_wait() {
    emulation::Machine::get().async_wait(kGroups);
}

struct Row {
    uint16_t element[8];
};
struct Fragment {
    uint32_t pair[4];
};

// Each lane reads the row it names; the rows are then dealt out to the lanes.
template <bool kTransposed>
Fragment matrices_of(emulation::Site site, const Shared<Half>& memory, int row) {
    const auto mine = memory.load_as<Vector16>(row);
    Row elements;
    std::memcpy(&elements, &mine, sizeof elements);
    return emulation::collective<Fragment>(
        site, emulation::kFullMask, elements, [](unsigned, const Row* const* rows, Fragment* const* out) {
            for (int lane = 0; lane < 32; ++lane) {
                for (int m = 0; m < 4; ++m) {
                    uint32_t pair = 0;
                    for (int i = 0; i < 2; ++i) {
                        const int major = lane / 4, minor = 2 * (lane % 4) + i;
                        const uint16_t element =
                            kTransposed ? rows[8 * m + minor]->element[major] : rows[8 * m + major]->element[minor];
                        pair |= static_cast<uint32_t>(element) << 16 * i;
                    }
                    out[lane]->pair[m] = pair;
                }
            }
        });
}

inline void load_matrices(uint32_t (&matrices)[4], const Shared<Half>& memory, int row) {
    std::memcpy(matrices, matrices_of<false>(FASTLIC_SITE, memory, row).pair, sizeof matrices);
}

inline void load_matrices_transposed(uint32_t (&matrices)[4], const Shared<Half>& memory, int row) {
    std::memcpy(matrices, matrices_of<true>(FASTLIC_SITE, memory, row).pair, sizeof matrices);
}

struct MultiplyOperand {
    uint32_t a[4];
    uint32_t b[2];
    float sum[4];
};
struct Sums {
    float sum[4];
};

inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b_low, uint32_t b_high) {
    MultiplyOperand mine{{a[0], a[1], a[2], a[3]}, {b_low, b_high}, {sum[0], sum[1], sum[2], sum[3]}};
    const Sums result = emulation::collective<Sums>(
        FASTLIC_SITE, emulation::kFullMask, mine, [](unsigned, const MultiplyOperand* const* in, Sums* const* out) {
            float left[16][16], right[16][8];
            for (int lane = 0; lane < 32; ++lane) {
                const int g = lane / 4, t = 2 * (lane % 4);
                for (int i = 0; i < 2; ++i) {
                    for (int r = 0; r < 4; ++r) {
                        left[g + 8 * (r & 1)][t + 8 * (r >> 1) + i] = static_cast<float>(part(in[lane]->a[r], i));
                    }
                    for (int r = 0; r < 2; ++r) right[t + 8 * r + i][g] = static_cast<float>(part(in[lane]->b[r], i));
                }
            }
            for (int lane = 0; lane < 32; ++lane) {
                for (int i = 0; i < 4; ++i) {
                    const int row = lane / 4 + 8 * (i >> 1), column = 2 * (lane % 4) + (i & 1);
                    float total = in[lane]->sum[i];
                    for (int k = 0; k < 16; ++k) total += left[row][k] * right[k][column];
                    out[lane]->sum[i] = total;
                }
            }
        });
    std::memcpy(sum, result.sum, sizeof sum);
}

}  // namespace fastlic::ptx
