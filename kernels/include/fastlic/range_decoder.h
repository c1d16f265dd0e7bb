// One stream of the range coder, read symbol by symbol.
//
// Rule: docs/format.md, section 3.1 (constriction's queue coder: 32-bit words, 64-bit state, 24 bits of probability).
// Knows words and quantiles; knows nothing of distributions. Any words are safe: reading ends in a seal that does not
// hold or in `corrupt`, never outside the words, and at most one shift after they are used up.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastlic/mixture.h"

namespace fastlic {

constexpr int kQuantileBits = 24;
constexpr int kFrequencyShift = kQuantileBits - 16;  // frequencies have 16 bits

class RangeDecoder {
public:
    RangeDecoder() = default;

    // `words` outlive the decoder.
    RangeDecoder(const uint32_t* words, size_t count) : words_(words), count_(count) {
        point_ = next_word() << 32;
        point_ |= next_word();
    }

    // To be called before the cumulative frequencies of a symbol are compared; false: the stream is corrupt.
    // Bounds: range >= 2^32 throughout, so scale is in [2^8, 2^40) and scale << 24 does not wrap.
    bool begin_symbol() {
        used_ = true;
        scale_ = range_ >> kQuantileBits;
        distance_ = point_ - lower_;
        return distance_ < scale_ << kQuantileBits;
    }

    // Whether the symbol lies below cumulative frequency `c`, at most 2^16; equals quantile < c << 8 without the
    // division.
    bool below(uint32_t c) const { return distance_ < scale_ * (static_cast<uint64_t>(c) << kFrequencyShift); }

    // Removes the symbol of cumulative frequencies [left, right), which contain the quantile; false: the stream is
    // corrupt.
    bool end_symbol(uint32_t left, uint32_t right) {
        lower_ += scale_ * (static_cast<uint64_t>(left) << kFrequencyShift);
        range_ = scale_ * (static_cast<uint64_t>(right - left) << kFrequencyShift);
        if (range_ < (uint64_t{1} << 32)) {
            lower_ <<= 32;
            range_ <<= 32;
            point_ = (point_ << 32) | next_word();
            return !overrun();
        }
        return true;
    }

    // Whether so many words were taken that `sealed` can never hold, in a stream that has symbols: it has at least
    // position - 1 words then, and position never falls.
    bool overrun() const { return position_ > count_ + 1; }

    // Whether the stream ends here, in the one form that a writer gives it.
    bool sealed() const {
        if (!used_) return count_ == 0;
        const uint64_t seal = (lower_ + 0xFFFFFFFFu) >> 32;
        const size_t shifted = position_ - 2;
        const size_t length = shifted + 1 + (((lower_ + range_) >> 32) == seal ? 1 : 0);
        return count_ == length && point_ == seal << 32;
    }

private:
    // Beyond the last word there are zeros.
    uint64_t next_word() {
        const size_t at = position_++;
        return at < count_ ? words_[at] : 0;
    }

    const uint32_t* words_ = nullptr;
    size_t count_ = 0;
    size_t position_ = 0;  // words taken, those beyond the end included
    uint64_t lower_ = 0;
    uint64_t range_ = ~uint64_t{0};
    uint64_t point_ = 0;
    uint64_t scale_ = 0;
    uint64_t distance_ = 0;
    bool used_ = false;
};

// Slot of `width` whose cumulative frequencies contain the quantile, searched outwards from slot width / 2 with
// doubling steps, then by halving: a likely slot costs one or two evaluations, the least likely one 2 * log2(width).
//
//   cdf(j)       C(j) for 1 <= j <= width - 1
//   left, right  in: C(width / 2), C(width / 2 + 1); out: C(slot), C(slot + 1)
template <class Cdf>
int find_slot(const RangeDecoder& decoder, int width, const Cdf& cdf, uint32_t& left, uint32_t& right) {
    int low = width / 2;  // C(low) = left is not above the quantile once the first comparison is done
    int high = low + 1;   // C(high) = right is above it
    if (decoder.below(left)) {
        for (int step = 1;; step *= 2) {
            high = low;
            right = left;
            low = low > step ? low - step : 0;
            left = low > 0 ? cdf(low) : 0;
            if (low == 0 || !decoder.below(left)) break;
        }
    } else if (!decoder.below(right)) {
        for (int step = 1;; step *= 2) {
            low = high;
            left = right;
            high = high + step < width ? high + step : width;
            right = high < width ? cdf(high) : kTotal;
            if (high == width || decoder.below(right)) break;
        }
    }
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        const uint32_t c = cdf(middle);
        if (decoder.below(c)) {
            high = middle;
            right = c;
        } else {
            low = middle;
            left = c;
        }
    }
    return low;
}

}  // namespace fastlic
