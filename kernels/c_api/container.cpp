#include "container.h"

#include <algorithm>
#include <utility>

namespace fastlic {
namespace {

constexpr uint8_t kMagic[8] = {0x89, 0x4C, 0x49, 0x43, 0x0D, 0x0A, 0x1A, 0x0A};
constexpr uint8_t kVersion = 1;
constexpr uint8_t kHasMetadata = 1;  // bit of `flags`
constexpr size_t kCrcSize = 4;
constexpr size_t kBlockHead = 5;  // type, length

constexpr std::array<uint32_t, 256> crc_table() {
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320u : 0);
        table[byte] = value;
    }
    return table;
}

uint32_t u16(const uint8_t* at) { return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8; }
uint32_t u32(const uint8_t* at) { return u16(at) | u16(at + 2) << 16; }

[[noreturn]] void corrupted(const std::string& what) { throw Refused(Cause::kCorrupted, what); }

[[noreturn]] void truncated(const std::string& name, uint64_t needed, size_t offset, size_t remain) {
    throw Refused(Cause::kTruncated, name + " needs " + std::to_string(needed) + " bytes at offset " +
                                         std::to_string(offset) + ", " + std::to_string(remain) +
                                         " remain. The file is incomplete: transfer it again.");
}

void check_limit(const char* name, uint64_t value, uint64_t limit, const char* what) {
    if (value > limit) {
        throw Refused(Cause::kLimit, std::string(what) + ": " + std::to_string(value) + " exceeds the limit of " +
                                         std::to_string(limit) + ". Raise fastlic_limits." + name + " to allow it.");
    }
}

// The same for a product that may not fit into 64 bits; factors are below 2^34.
void check_limit(const char* name, uint64_t first, uint64_t second, uint64_t limit, const char* what) {
    check_limit(name, first > UINT64_MAX / second ? UINT64_MAX : first * second, limit, what);
}

// The section's content without its trailing CRC, once that was found right. `start` is not beyond the data.
Bytes checked_section(Bytes data, const char* name, size_t start, uint32_t length) {
    if (length > data.size - start) truncated(name, length, start, data.size - start);
    const Bytes content{data.data + start, length < kCrcSize ? 0 : length - kCrcSize};
    if (length < kCrcSize || u32(content.data + content.size) != crc32(content)) {
        corrupted(std::string(name) + ": the checksum does not match. The file is damaged: transfer it again.");
    }
    return content;
}

std::array<Bytes, 3> read_metadata(Bytes data, const Header& header, const Limits& limits) {
    std::array<Bytes, 3> found{};
    if (header.metadata_length == 0) return found;
    check_limit("max_metadata_bytes", header.metadata_length, limits.max_metadata_bytes, "metadata bytes");
    const Bytes section = checked_section(data, "metadata", kHeaderSize, header.metadata_length);
    size_t position = 0;
    size_t last = 0;
    while (position < section.size) {
        if (section.size - position < kBlockHead) {
            corrupted("metadata: a block header is cut at byte " + std::to_string(position) + ".");
        }
        const size_t kind = section.data[position];
        const uint32_t length = u32(section.data + position + 1);
        position += kBlockHead;
        if (kind <= last || kind > found.size() || length > section.size - position) {
            corrupted("metadata: block of type " + std::to_string(kind) + " and length " + std::to_string(length) +
                      " breaks the rules.");
        }
        found[kind - 1] = {section.data + position, length};
        position += length;
        last = kind;
    }
    return found;
}

// Takes fields off the tile index, and streams off what follows it; never beyond either.
class Cutter {
public:
    Cutter(Bytes data, Bytes index, size_t stream_at) : data_(data), index_(index), stream_at_(stream_at) {}

    void read_tile(size_t number, const StudentLayout& layout, Tile& tile) {
        const std::string name = "tile[" + std::to_string(number) + "]";
        for (const uint32_t channels : layout.map_channels) {
            const Bytes map{take((channels + 7) / 8, name), (channels + 7) / 8};
            if (channels % 8 != 0 && map.data[map.size - 1] >> (channels % 8) != 0) {
                corrupted(name + ": unused bits of a channel map are set.");
            }
            tile.maps.push_back(map);
        }
        const int count = *take(1, name);
        if (count < 1 || count > kMaxStreams) {
            corrupted(name + ": " + std::to_string(count) + " streams; 1 to " + std::to_string(kMaxStreams) +
                      " are allowed.");
        }
        const uint8_t* words = take(4 * (static_cast<size_t>(count) + 1), name);
        tile.streams.reserve(static_cast<size_t>(count));
        for (int stream = 0; stream < count; ++stream, words += 4) {
            const uint64_t length = uint64_t{4} * u32(words);
            if (length > data_.size - stream_at_) {
                truncated(name + ".stream[" + std::to_string(stream) + "]", length, stream_at_,
                          data_.size - stream_at_);
            }
            tile.streams.push_back({data_.data + stream_at_, static_cast<size_t>(length)});
            stream_at_ += static_cast<size_t>(length);
        }
        tile.symbol_crc = u32(words);
    }

    void finish() const {
        if (at_ != index_.size) corrupted("tile index: " + std::to_string(index_.size - at_) + " bytes are left over.");
        if (stream_at_ != data_.size) {
            corrupted(std::to_string(data_.size - stream_at_) + " bytes follow the last stream.");
        }
    }

private:
    const uint8_t* take(size_t size, const std::string& name) {
        if (size > index_.size - at_) corrupted("tile index: ends inside " + name + ".");
        at_ += size;
        return index_.data + at_ - size;
    }

    Bytes data_;
    Bytes index_;
    size_t stream_at_;
    size_t at_ = 0;
};

// `length` extended to whole units; below 2^33.
uint64_t padded(uint32_t length, uint32_t multiple) {
    return (static_cast<uint64_t>(length) + multiple - 1) / multiple * multiple;
}

}  // namespace

uint32_t crc32(Bytes data, uint32_t before) {
    static constexpr std::array<uint32_t, 256> kTable = crc_table();
    uint32_t crc = ~before;
    for (size_t i = 0; i < data.size; ++i) crc = (crc >> 8) ^ kTable[(crc ^ data.data[i]) & 255];
    return ~crc;
}

Header probe(Bytes data) {
    if (data.size == 0 || !std::equal(kMagic, kMagic + std::min(data.size, sizeof kMagic), data.data)) {
        throw Refused(Cause::kNotALicFile, "not a .lic file: the first 8 bytes are not its magic number.");
    }
    if (data.size < kHeaderSize) truncated("header", kHeaderSize, 0, data.size);
    const uint8_t* at = data.data;
    if (at[8] != kVersion) {
        throw Refused(Cause::kUnsupportedVersion, "format version " + std::to_string(at[8]) +
                                                      "; this fastlic reads version " + std::to_string(kVersion) +
                                                      ". Update fastlic.");
    }
    if (crc32({at, kHeaderSize - kCrcSize}) != u32(at + 44)) {
        corrupted("header: the checksum does not match. The file is damaged: transfer it again.");
    }
    const uint8_t flags = at[9];
    if ((flags & ~kHasMetadata) != 0) corrupted("header: unknown flags are set.");
    Header header{};
    header.tile_width = u16(at + 10);
    header.tile_height = u16(at + 12);
    header.rate = u16(at + 14);
    std::copy_n(at + 16, header.fingerprint.size(), header.fingerprint.begin());
    header.student_hash = u32(at + 24);
    header.width = u32(at + 28);
    header.height = u32(at + 32);
    header.metadata_length = u32(at + 36);
    header.index_length = u32(at + 40);
    const std::pair<const char*, uint32_t> sizes[] = {{"width", header.width},
                                                      {"height", header.height},
                                                      {"tile_width", header.tile_width},
                                                      {"tile_height", header.tile_height}};
    for (const auto& [name, size] : sizes) {
        if (size == 0) corrupted(std::string("header: ") + name + " is 0.");
    }
    if (((flags & kHasMetadata) != 0) != (header.metadata_length > 0)) {
        corrupted("header: the metadata flag and the metadata length contradict each other.");
    }
    return header;
}

Container read_container(Bytes data, const StudentLayout& layout, const Limits& limits) {
    Container found{probe(data), {}, {}};
    const Header& header = found.header;
    if (header.fingerprint != layout.fingerprint) {
        throw Refused(Cause::kFingerprint, "the file was written with another student. Take the one it names.");
    }
    if (layout.rates == 0 ? header.rate != 0 : header.rate < 1 || header.rate > layout.rates) {
        corrupted(
            "header: rate " + std::to_string(header.rate) + "; the student has " +
            (layout.rates == 0 ? std::string("one rate, which is 0.") : "1 to " + std::to_string(layout.rates) + "."));
    }
    const uint64_t width = padded(header.width, layout.multiple);
    const uint64_t height = padded(header.height, layout.multiple);
    const uint64_t tile_width = uint64_t{header.tile_width} * layout.multiple;
    const uint64_t tile_height = uint64_t{header.tile_height} * layout.multiple;
    check_limit("max_pixels", width, height, limits.max_pixels, "the picture's pixels");
    if (width > UINT32_MAX || height > UINT32_MAX)
        throw Refused(Cause::kLimit, "an edge has more than 2^32 - 1 pixels.");
    check_limit("max_tile_pixels", std::min(width, tile_width), std::min(height, tile_height), limits.max_tile_pixels,
                "a tile's pixels");
    found.metadata = read_metadata(data, header, limits);
    const uint64_t columns = (width + tile_width - 1) / tile_width;
    const uint64_t rows = (height + tile_height - 1) / tile_height;
    check_limit("max_tiles", columns, rows, limits.max_tiles, "tiles");
    const size_t index_at = kHeaderSize + header.metadata_length;
    const Bytes index = checked_section(data, "tile index", index_at, header.index_length);
    Cutter cutter(data, index, index_at + header.index_length);
    for (uint64_t tile = 0; tile < rows * columns; ++tile) {
        const uint64_t left = tile % columns * tile_width;
        const uint64_t top = tile / columns * tile_height;
        found.tiles.push_back({static_cast<uint32_t>(left),
                               static_cast<uint32_t>(top),
                               static_cast<uint32_t>(std::min(left + tile_width, width)),
                               static_cast<uint32_t>(std::min(top + tile_height, height)),
                               {},
                               {},
                               0});
        cutter.read_tile(static_cast<size_t>(tile), layout, found.tiles.back());
    }
    cutter.finish();
    return found;
}

}  // namespace fastlic
