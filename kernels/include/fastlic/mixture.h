// The integer mixture: from the parameters of one element to its cumulative frequencies.
//
// Rule: docs/format.md, section 4.2. Twin: kernels/reference.py, equal bit for bit. Knows one element at a time; knows
// nothing of passes, streams or memory. Integers only, no library: a host C++17 compiler and nvcc compile the same
// text.
//
//   in   parameters  int16 [P]   K logits (Q4), K means (Q5), K scale indices, then a logit per family if several
//   out  weights     uint16 [K]  Q15, sum exactly 2^15
//        levels      uint8 [K]   0 to 63
//        centre      int         value of slot W / 2
//        window      int         class 0 to 6, W = 8 << class
//        C(j)        uint32      Q16, strictly increasing, C(0) = 0, C(W) = 2^16
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FASTLIC_HD __host__ __device__ __forceinline__
#define FASTLIC_UNROLL _Pragma("unroll")  // loops over components: arrays they index stay in registers
#else
#define FASTLIC_HD inline
#define FASTLIC_UNROLL
#endif

namespace fastlic {

constexpr int kMaxFamilies = 3;
constexpr int kMaxComponents = 16;  // over all families
constexpr int kLevels = 64;
constexpr int kSteps = 512;
constexpr int kHalfCdfEntries = kSteps + 2;
constexpr int kExponentials = 256;
constexpr int kWindowClasses = 7;
constexpr int kMinWindow = 8;
constexpr int kMaxWindow = kMinWindow << (kWindowClasses - 1);
constexpr int kWeightBits = 15;
constexpr uint32_t kTotal = 1u << 16;
constexpr int kMaxTail = 1 << 20;
constexpr int kMaxValue = 16383;  // of a coded element, either sign

// The tables of one distribution, as pointers so that they may lie anywhere. Functions take any type with these
// members, as memory on a GPU is reached through other types than pointers.
struct MixtureView {
    const uint16_t* exponential;    // [256]
    const int16_t* thresholds;      // [families][63], ascending
    const uint32_t* inverse_scale;  // [families][64], Q12 steps of half_cdf (Q8) per 1/32
    const int32_t* tail;            // [families][64], Q5, 0 to kMaxTail
    const uint16_t* half_cdf;       // [families][514], Q16, 0 to 32767
};

// How many families and how many components each: values, or constants where the compiler is to unroll.
struct Counts {
    int families;
    int components;
};
template <int Families, int Components>
struct FixedCounts {
    static constexpr int families = Families;
    static constexpr int components = Components;
};

// One component of positive weight, seen from the centre of its element.
struct Component {
    uint32_t inverse_scale;
    int32_t offset;     // 32 * centre - 16 - mean: distance of the lower edge of the centre from the mean, Q5
    uint16_t weight;    // Q15
    uint16_t half_cdf;  // where its family begins in MixtureView::half_cdf
};
static_assert(sizeof(Component) == 12, "components are stored back to back");
static_assert((kMaxFamilies - 1) * kHalfCdfEntries <= UINT16_MAX, "a family's table is addressed with 16 bits");

FASTLIC_HD int window_width(int window) { return kMinWindow << window; }

// values[index] of `count`. Registers have no addresses: on a GPU, an array indexed by what is known only at run time
// would move to memory, so there all of it is looked at.
template <class T>
FASTLIC_HD T chosen(const T* values, int count, int index) {
#if defined(__CUDA_ARCH__) || defined(FASTLIC_EMULATION)
    T value = values[0];
    FASTLIC_UNROLL
    for (int k = 1; k < count; ++k) value = k == index ? values[k] : value;
    return value;
#else
    (void)count;
    return values[index];
#endif
}

// Number of ascending thresholds that are <= x: six halvings of 63.
template <class Thresholds>
FASTLIC_HD int scale_level(const Thresholds& thresholds, int x) {
    int level = 0;
    for (int half = kLevels / 2; half > 0; half >>= 1) {
        level += thresholds[level + half - 1] <= x ? half : 0;
    }
    return level;
}

// exp of (logit - largest) / 16 in Q16, the largest itself being exponential[0].
template <class Table>
FASTLIC_HD uint32_t exponential(const Table& table, int largest, int logit) {
    const int below = largest - logit;
    return table[below < kExponentials ? below : kExponentials - 1];
}

// floor(e * scaled / denominator) without a division per component: the caller divides once per family,
// reciprocal = floor(scaled * 2^32 / denominator).
// e <= 65535 and reciprocal >= scaled * 2^32 / denominator - 1 put the product's high half at most one below; as it is
// never above, one comparison settles it. Bounds: scaled < 2^31, e * scaled <= 2^15 * denominator, denominator < 2^38.
FASTLIC_HD uint32_t exact_share(uint32_t e, uint64_t scaled, uint64_t denominator, uint64_t reciprocal) {
    const uint64_t quotient = (e * reciprocal) >> 32;
    return static_cast<uint32_t>(quotient + ((quotient + 1) * denominator <= e * scaled ? 1 : 0));
}

// Weights of all components, Q15; returns the heaviest, the lowest index on ties.
//
// Bounds: S_f <= 16 * 65535 < 2^20 and G <= 3 * 65535 < 2^18, so G * S_f < 2^38; g_f * 2^15 < 2^31, so its shift by 32
// stays below 2^63. S_f and G are positive because exponential[0] is.
template <class View, class AnyCounts>
FASTLIC_HD int mixture_weights(const View& tables, const AnyCounts& counts, const int16_t* parameters,
                               uint16_t* weights) {
    const int n = counts.components;
    const int count = counts.families * n;
    const int16_t* family_logits = parameters + 3 * count;
    uint32_t shares[kMaxFamilies] = {1, 1, 1};
    uint32_t share_sum = 1;
    if (counts.families > 1) {
        int largest = family_logits[0];
        FASTLIC_UNROLL
        for (int f = 1; f < counts.families; ++f) largest = family_logits[f] > largest ? family_logits[f] : largest;
        share_sum = 0;
        FASTLIC_UNROLL
        for (int f = 0; f < counts.families; ++f) {
            shares[f] = exponential(tables.exponential, largest, family_logits[f]);
            share_sum += shares[f];
        }
    }
    uint32_t sum = 0;
    uint32_t most = 0;
    int heaviest = 0;
    FASTLIC_UNROLL
    for (int f = 0; f < counts.families; ++f) {
        const int16_t* logits = parameters + f * n;
        uint16_t* out = weights + f * n;
        int largest = logits[0];
        FASTLIC_UNROLL
        for (int k = 1; k < n; ++k) largest = logits[k] > largest ? logits[k] : largest;
        uint32_t e[kMaxComponents];
        uint32_t e_sum = 0;
        FASTLIC_UNROLL
        for (int k = 0; k < n; ++k) {
            e[k] = exponential(tables.exponential, largest, logits[k]);
            e_sum += e[k];
        }
        const uint64_t scaled = static_cast<uint64_t>(shares[f]) << kWeightBits;
        const uint64_t denominator = static_cast<uint64_t>(share_sum) * e_sum;
        const uint64_t reciprocal = (scaled << 32) / denominator;
        FASTLIC_UNROLL
        for (int k = 0; k < n; ++k) {
            const uint32_t weight = exact_share(e[k], scaled, denominator, reciprocal);
            out[k] = static_cast<uint16_t>(weight);
            sum += weight;
            heaviest = weight > most ? f * n + k : heaviest;
            most = weight > most ? weight : most;
        }
    }
    const uint16_t rest = static_cast<uint16_t>((1u << kWeightBits) - sum);
    FASTLIC_UNROLL
    for (int k = 0; k < count; ++k) weights[k] = static_cast<uint16_t>(weights[k] + (k == heaviest ? rest : 0));
    return heaviest;
}

// Smallest class whose half width covers reach, or the widest. W / 2 elements are 16 * W in Q5.
FASTLIC_HD int window_class(int32_t reach) {
    int window = 0;
    while (window < kWindowClasses - 1 && 16 * window_width(window) < reach) ++window;
    return window;
}

// An element before its components are looked at again and again. `components` holds `live` entries.
struct Shape {
    int16_t centre;  // -1024 to 1024
    uint8_t window;  // class
    uint8_t live;
};

// Everything an element's frequencies depend on: `keep(component)` is called for each of positive weight, in order.
// `level` gives the scale level of (family, scale index): scale_level, or a table of it.
//
// Bounds: |mean| <= 2^15 and |32 * centre| <= 2^15, so offset < 2^17 and reach <= 2^16 + 2^20: int32 holds them.
template <class View, class AnyCounts, class Level, class Keep>
FASTLIC_HD Shape mixture_components(const View& tables, const AnyCounts& counts, const int16_t* parameters,
                                    const Level& level, const Keep& keep) {
    static_assert(kMaxTail <= (1 << 20), "reach is summed in int32");
    const int n = counts.components;
    const int count = counts.families * n;
    uint16_t weights[kMaxComponents];
    const int heaviest = mixture_weights(tables, counts, parameters, weights);
    const int16_t* means = parameters + count;
    const int16_t* scales = means + count;
    const int centre = (chosen(means, count, heaviest) + 16) >> 5;
    int live = 0;
    int32_t reach = 0;
    FASTLIC_UNROLL
    for (int f = 0; f < counts.families; ++f) {
        FASTLIC_UNROLL
        for (int k = f * n; k < (f + 1) * n; ++k) {
            if (weights[k] == 0) continue;
            const int entry = f * kLevels + level(f, scales[k]);
            const int32_t distance = 32 * centre - means[k];
            const int32_t needed = (distance < 0 ? -distance : distance) + tables.tail[entry];
            reach = needed > reach ? needed : reach;
            keep(Component{tables.inverse_scale[entry], distance - 16, weights[k],
                           static_cast<uint16_t>(f * kHalfCdfEntries)});
            ++live;
        }
    }
    return {static_cast<int16_t>(centre), static_cast<uint8_t>(window_class(reach)), static_cast<uint8_t>(live)};
}

// The same with the live components written one after another.
template <class View, class AnyCounts, class Level>
FASTLIC_HD Shape mixture_shape(const View& tables, const AnyCounts& counts, const int16_t* parameters,
                               Component* components, const Level& level) {
    const auto append = [&components](const Component& component) { *components++ = component; };
    return mixture_components(tables, counts, parameters, level, append);
}

// Weight times distribution function less one half, Q31, at distance d (Q5) from the mean.
//
// Bounds: |d| <= 2^17 + 2^13 and inverse_scale < 2^32, so the product is below 2^50. half <= 32767 and weight <= 2^15.
template <class HalfCdf>
FASTLIC_HD int32_t weighted_half(const HalfCdf& half_cdf, const Component& component, int32_t d) {
    const uint32_t distance = static_cast<uint32_t>(d < 0 ? -d : d);
    const uint64_t wide = (static_cast<uint64_t>(distance) * component.inverse_scale) >> 12;
    const uint32_t u = wide < (kSteps << 8) ? static_cast<uint32_t>(wide) : (kSteps << 8);
    const uint32_t step = component.half_cdf + (u >> 8);
    const int32_t lower = half_cdf[step];
    const int32_t half = lower + (((half_cdf[step + 1] - lower) * static_cast<int32_t>(u & 255)) >> 8);
    return component.weight * (d < 0 ? -half : half);
}

// C(j) from the sum of weighted_half over the components.
//
// Bounds: the weights sum to 2^15, so |sum| < 2^30 and F is in [1, 65535]. F * (2^16 - W) < 2^32: uint32 never wraps.
// Rising: half never falls with |d| because half_cdf does not, so F does not fall with j and C(j) rises by at least 1.
FASTLIC_HD uint32_t cumulative(int32_t sum, int window, int j) {
    const uint32_t f = static_cast<uint32_t>((1 << 30) + sum) >> kWeightBits;
    return ((f * (kTotal - window_width(window))) >> 16) + static_cast<uint32_t>(j);
}

// C(j) of a slot inside the window, 1 <= j <= W - 1.
template <class HalfCdf, class Components>
FASTLIC_HD uint32_t mixture_cdf(const HalfCdf& half_cdf, const Components& components, const Shape& shape, int j) {
    const int32_t shift = 32 * (j - window_width(shape.window) / 2);
    int32_t sum = 0;
    for (int k = 0; k < shape.live; ++k) {
        const Component& component = components[k];
        sum += weighted_half(half_cdf, component, component.offset + shift);
    }
    return cumulative(sum, shape.window, j);
}

// C(W / 2) and C(W / 2 + 1) at once: every element needs them.
template <class HalfCdf, class Components>
FASTLIC_HD void mixture_middle(const HalfCdf& half_cdf, const Components& components, const Shape& shape,
                               uint32_t& left, uint32_t& right) {
    int32_t left_sum = 0;
    int32_t right_sum = 0;
    for (int k = 0; k < shape.live; ++k) {
        const Component& component = components[k];
        left_sum += weighted_half(half_cdf, component, component.offset);
        right_sum += weighted_half(half_cdf, component, component.offset + 32);
    }
    const int middle = window_width(shape.window) / 2;
    left = cumulative(left_sum, shape.window, middle);
    right = cumulative(right_sum, shape.window, middle + 1);
}

}  // namespace fastlic
