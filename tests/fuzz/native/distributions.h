// Distributions to read hostile streams with: rows of all widths, and mixtures with plausible and wild parameters.
//
// Made by arithmetic instead of read from a bundle, so that the fuzzer is one file that runs anywhere.
#pragma once

#include <fastlic/c_api.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

namespace fastlic_fuzz {

inline fastlic_distribution* rows() {
    constexpr int kRows = 7;
    std::vector<int32_t> cdf;
    std::vector<int16_t> window;
    std::vector<int16_t> low;
    for (int row = 0; row < kRows; ++row) {
        const int width = 8 << row;
        for (int j = 0; j <= 512; ++j) cdf.push_back(j < width ? j * (65536 / width) : 65536);
        window.push_back(static_cast<int16_t>(width));
        low.push_back(static_cast<int16_t>(-width / 2));
    }
    const fastlic_row_tables tables = {cdf.data(), cdf.size(), window.data(), window.size(), low.data(), low.size()};
    fastlic_distribution* made = nullptr;
    if (fastlic_rows_create(&tables, &made, nullptr) != FASTLIC_OK) std::abort();
    return made;
}

inline fastlic_distribution* mixture(uint32_t families, uint32_t components, uint32_t skip_threshold) {
    std::vector<uint16_t> exponential;
    std::vector<int16_t> thresholds;
    std::vector<uint32_t> inverse_scale;
    std::vector<int32_t> tail;
    std::vector<uint16_t> half_cdf;
    for (uint32_t d = 0; d < 256; ++d) exponential.push_back(static_cast<uint16_t>(65535 / (1 + d * d / 64)));
    for (uint32_t f = 0; f < families; ++f) {
        for (int t = 0; t < 63; ++t) thresholds.push_back(static_cast<int16_t>(16 * t - 496));
        for (uint32_t level = 0; level < 64; ++level) {
            inverse_scale.push_back((f == 0 && level == 0) ? 0xFFFFFFFFu : 2000000u / (1 + level * level));
            tail.push_back(static_cast<int32_t>(level == 63 ? 1u << 20 : 16 * (1 + level * level)));
        }
        for (uint32_t step = 0; step < 514; ++step) {
            const uint32_t at = step < 512 ? step : 512;
            half_cdf.push_back(static_cast<uint16_t>(32767 - 32767 / (1 + at * (f + 1) / 8)));
        }
    }
    const fastlic_mixture_tables tables = {
        families,          components,        skip_threshold,       exponential.data(),   exponential.size(),
        thresholds.data(), thresholds.size(), inverse_scale.data(), inverse_scale.size(), tail.data(),
        tail.size(),       half_cdf.data(),   half_cdf.size()};
    fastlic_distribution* made = nullptr;
    if (fastlic_mixture_create(&tables, &made, nullptr) != FASTLIC_OK) std::abort();
    return made;
}

// One of a few, made once. They live as long as the process.
inline const fastlic_distribution* distribution(uint8_t choice) {
    static const fastlic_distribution* const kMade[] = {rows(), mixture(1, 3, 65000), mixture(3, 3, 64000),
                                                        mixture(2, 5, 65536)};
    return kMade[choice & 3];
}

// Numbers for `count` parameters: rows 0 to 7, of which the last is not there, or anything that int16 holds.
inline std::vector<int16_t> parameters(size_t count, uint8_t choice) {
    std::vector<int16_t> made(count);
    uint32_t state = 2654435769u * (choice + 1u);
    for (int16_t& value : made) {
        state = state * 1664525u + 1013904223u;
        const auto bits = static_cast<uint16_t>(state >> 16);
        if ((choice & 3) == 0) {
            value = static_cast<int16_t>(bits % ((choice & 64) != 0 ? 8 : 7));
        } else {
            value = (choice & 4) != 0 ? static_cast<int16_t>(bits) : static_cast<int16_t>(bits % 401 - 200);
        }
    }
    return made;
}

}  // namespace fastlic_fuzz
