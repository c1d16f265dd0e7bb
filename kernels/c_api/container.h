// The `.lic` container in C++: header, metadata, tile index, streams.
//
// Rule: docs/format.md, section 1. Twin: runtime/bitstream.py, which refuses the same bytes for the same cause; tests
// compare the two. Knows bytes and checksums; knows nothing of networks, latents' values or distributions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace fastlic {

enum class Cause { kNotALicFile, kUnsupportedVersion, kTruncated, kCorrupted, kFingerprint, kSymbols, kLimit };

// Why a file is not read.
struct Refused : std::runtime_error {
    Refused(Cause why, const std::string& message) : std::runtime_error(message), cause(why) {}
    Cause cause;
};

constexpr size_t kHeaderSize = 48;
constexpr int kMaxStreams = 64;
using Fingerprint = std::array<uint8_t, 8>;

struct Header {
    uint32_t width, height;            // pixels
    uint32_t tile_width, tile_height;  // in units of StudentLayout::multiple
    uint32_t rate;                     // 1 to StudentLayout::rates, or 0
    uint32_t student_hash;
    uint32_t metadata_length, index_length;  // bytes
    Fingerprint fingerprint;
};

struct Bytes {
    const uint8_t* data = nullptr;
    size_t size = 0;
};

struct StudentLayout {
    Fingerprint fingerprint;
    uint32_t multiple;                   // 1 to 65536
    uint32_t rates;                      // 0: the student has one
    std::vector<uint32_t> map_channels;  // 1 to 65536 each
};

struct Limits {
    uint64_t max_pixels = 256'000'000;
    uint64_t max_tile_pixels = 4'194'304;
    uint32_t max_tiles = 4096;
    uint32_t max_metadata_bytes = 16'777'216;
};

struct Tile {
    uint32_t left, top, right, bottom;  // pixels of the padded picture
    std::vector<Bytes> maps;            // packed bits, one entry per StudentLayout::map_channels
    std::vector<Bytes> streams;
    uint32_t symbol_crc;
};

struct Container {
    Header header;
    std::array<Bytes, 3> metadata;  // ICC, EXIF, XMP; data is null where there is none
    std::vector<Tile> tiles;
};

// Reads and checks the header alone.
Header probe(Bytes data);

// Reads and checks everything but the symbols. All `Bytes` of the result point into `data`.
Container read_container(Bytes data, const StudentLayout& layout, const Limits& limits);

// CRC-32 of zlib and PNG, continued from `before`.
uint32_t crc32(Bytes data, uint32_t before = 0);

}  // namespace fastlic
