#include "reader.h"

#include "packed_rows.h"
#include "parallel.h"

namespace fastlic {
namespace {

constexpr int kMaxDigits = 16;   // of an excess + 1
constexpr size_t kTogether = 4;  // lanes read in turn
constexpr size_t kAhead = 6;     // elements between the prefetch of a record and its use

// An element in an outer slot, whose excess follows the slots of its stream.
struct Outer {
    uint32_t index;
    int edge;       // value of the outer slot's inner edge, excess 0
    int direction;  // -1 below, 1 above
};

// A stream's share of a pass.
struct Lane {
    RangeDecoder decoder;  // a copy: its own memory while it is used
    int stream;
    size_t next;
    size_t end;
    std::vector<Outer> outer;
};

[[noreturn]] void corrupted(int stream, const std::string& what) {
    throw Corrupted("stream " + std::to_string(stream) + ": " + what + ". The file is damaged: transfer it again.");
}

// For what a decoder has refused: its words, or what they mean.
[[noreturn]] void corrupted(const Lane& lane, const std::string& what) {
    corrupted(lane.stream, lane.decoder.overrun() ? "it ends before its symbols do" : what);
}

// One bit of frequencies (2^15, 2^15); -1: corrupt.
int read_bit(RangeDecoder& decoder) {
    if (!decoder.begin_symbol()) return -1;
    const bool zero = decoder.below(kTotal / 2);
    if (!decoder.end_symbol(zero ? 0 : kTotal / 2, zero ? kTotal / 2 : kTotal)) return -1;
    return zero ? 0 : 1;
}

// An Exp-Golomb code; -1: corrupt, or more digits than any writer uses.
int read_excess(RangeDecoder& decoder) {
    int zeros = 0;
    int bit = read_bit(decoder);
    for (; bit == 0; bit = read_bit(decoder)) {
        if (++zeros == kMaxDigits) return -1;
    }
    int digits = 1;
    for (; zeros > 0 && bit >= 0; --zeros) {
        bit = read_bit(decoder);
        digits = 2 * digits + (bit & 1);
    }
    return bit < 0 ? -1 : digits - 1;
}

// The next element of a lane; false: corrupt.
template <class Elements>
bool read_slot(const Elements& elements, const std::vector<Coded>& coded, Lane& lane, int16_t* values) {
    const Coded entry = coded[lane.next];
    if (lane.next + kAhead < lane.end) elements.prefetch(coded[lane.next + kAhead].key);
    ++lane.next;
    if (!lane.decoder.begin_symbol()) return false;
    const auto element = elements(entry.key);
    const int width = element.width();
    uint32_t left = element.left();
    uint32_t right = element.right();
    const int slot = find_slot(lane.decoder, width, element, left, right);
    if (!lane.decoder.end_symbol(left, right)) return false;
    values[entry.index] = static_cast<int16_t>(element.low() + slot);
    if (slot == 0 || slot == width - 1) {
        lane.outer.push_back({entry.index, element.low() + slot, slot == 0 ? -1 : 1});
    }
    return true;
}

// All slots of some lanes, one element of each in turn: while one waits for a product, another is searched. This gains a
// few per cent up to kTogether lanes and loses them again with more.
template <class Elements>
void read_slots(const Elements& elements, const std::vector<Coded>& coded, Lane* first, Lane* last, int16_t* values) {
    for (bool more = true; more;) {
        more = false;
        for (Lane* lane = first; lane != last; ++lane) {
            if (lane->next == lane->end) continue;
            more = true;
            if (!read_slot(elements, coded, *lane, values)) corrupted(*lane, "a quantile is out of range");
        }
    }
}

// Excesses of a lane, in the order of its elements.
void read_excesses(Lane& lane, int16_t* values) {
    for (const Outer& outer : lane.outer) {
        const int excess = read_excess(lane.decoder);
        if (excess < 0) corrupted(lane, "an excess is not a code of at most 16 digits");
        const int value = outer.edge + outer.direction * excess;
        if (value < -kMaxValue || value > kMaxValue) {
            corrupted(lane.stream, "value " + std::to_string(value) + " is beyond " + std::to_string(kMaxValue));
        }
        values[outer.index] = static_cast<int16_t>(value);
    }
}

}  // namespace

std::vector<uint32_t> little_endian_words(const uint8_t* bytes, size_t size) {
    std::vector<uint32_t> words(size / 4);
    for (uint32_t& word : words) {
        word = static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
               static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
        bytes += 4;
    }
    return words;
}

Reader::Reader(std::vector<std::vector<uint32_t>> streams, int threads)
    : words_(std::move(streams)), threads_(threads) {
    decoders_.reserve(words_.size());
    for (const auto& words : words_) decoders_.emplace_back(words.data(), words.size());
}

void Reader::refuse_after_failure() const {
    if (failed_) throw Corrupted("these streams were found to be damaged before: open them again.");
}

template <class Elements>
void Reader::read(const Elements& elements, int16_t* values) {
    const size_t streams = decoders_.size();
    const size_t count = scratch_.coded.size();
    const int groups = static_cast<int>(streams) < threads_ ? static_cast<int>(streams) : threads_;
    failed_ = true;  // until all is well
    parallel_for(groups, groups, [&](int group) {
        const size_t first = streams * static_cast<size_t>(group) / static_cast<size_t>(groups);
        const size_t last = streams * static_cast<size_t>(group + 1) / static_cast<size_t>(groups);
        std::vector<Lane> lanes;
        lanes.reserve(last - first);
        for (size_t s = first; s < last; ++s) {
            lanes.push_back({decoders_[s], static_cast<int>(s), count * s / streams, count * (s + 1) / streams, {}});
            if (lanes.back().next < lanes.back().end && decoders_[s].overrun()) corrupted(lanes.back(), "");
        }
        for (size_t i = 0; i < lanes.size(); i += kTogether) {
            const size_t together = lanes.size() - i < kTogether ? lanes.size() - i : kTogether;
            read_slots(elements, scratch_.coded, lanes.data() + i, lanes.data() + i + together, values);
        }
        for (Lane& lane : lanes) {
            read_excesses(lane, values);
            decoders_[static_cast<size_t>(lane.stream)] = lane.decoder;
        }
    });
    failed_ = false;
}

void Reader::read_mixture(const MixtureTables& tables, const Layout& layout, const int16_t* parameters,
                          int16_t* values) {
    refuse_after_failure();
    read(prepare_mixture(tables, layout, parameters, threads_, scratch_, values), values);
}

void Reader::read_rows(const RowTables& tables, const Layout& layout, const int16_t* rows, int16_t* values) {
    refuse_after_failure();
    read(prepare_rows(tables, layout, rows, scratch_, values), values);
}

void Reader::read_packed_rows(const uint16_t* entries, size_t size, const int32_t* starts, int16_t* symbols) {
    refuse_after_failure();
    read(prepare_packed_rows(entries, size, starts, scratch_), symbols);
}

void Reader::finish() {
    refuse_after_failure();
    for (size_t s = 0; s < decoders_.size(); ++s) {
        if (!decoders_[s].sealed()) {
            failed_ = true;
            corrupted(static_cast<int>(s), "it does not end where its symbols do");
        }
    }
}

}  // namespace fastlic
