// Several streams of one tile, read pass by pass.
//
// Rule: docs/format.md, section 3, points 4 to 7, and 3.1. Knows the sharing of elements over streams; the bytes may be
// anything, and what is wrong with them is thrown as Corrupted.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "fastlic/range_decoder.h"
#include "pass.h"

namespace fastlic {

struct Corrupted : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The words of a stream; bytes beyond the last whole word are left out.
std::vector<uint32_t> little_endian_words(const uint8_t* bytes, size_t size);

class Reader {
public:
    // streams: the 32-bit words of each; threads: how many may be used at most.
    Reader(std::vector<std::vector<uint32_t>> streams, int threads);

    // Read a pass into `values`, int16 packed [channels][height][width], written completely unless something is thrown.
    void read_mixture(const MixtureTables& tables, const Layout& layout, const int16_t* parameters, int16_t* values);
    void read_rows(const RowTables& tables, const Layout& layout, const int16_t* rows, int16_t* values);
    // Read the coded elements of a pass whose rows a GPU has prepared (packed_rows.h) into `symbols`, in coding order.
    void read_packed_rows(const uint16_t* entries, size_t size, const int32_t* starts, int16_t* symbols);

    // Every stream ends here, in its one form; else Corrupted.
    void finish();

private:
    template <class Elements>
    void read(const Elements& elements, int16_t* values);
    void refuse_after_failure() const;

    std::vector<std::vector<uint32_t>> words_;
    std::vector<RangeDecoder> decoders_;
    Scratch scratch_;
    int threads_;
    bool failed_ = false;
};

}  // namespace fastlic
