// Makes a changed `.lic` file plausible again: magic, fingerprint, flags, CRCs, and on request the lengths.
//
// Rule: docs/format.md, section 1. Never leaves the bytes it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fastlic_fuzz {

constexpr uint8_t kMagic[10] = {0x89, 0x4C, 0x49, 0x43, 0x0D, 0x0A, 0x1A, 0x0A, 1, 0};
constexpr uint8_t kFingerprint[8] = {0x2C, 0x51, 0xE7, 0x2C, 0x05, 0x51, 0x8A, 0x4F};  // of the tiny student

inline uint32_t crc32(const uint8_t* data, size_t size) {
    uint32_t crc = ~uint32_t{0};
    for (size_t i = 0; i < size; ++i) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

inline uint32_t get(const uint8_t* at) {
    return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 |
           static_cast<uint32_t>(at[3]) << 24;
}

inline void put(uint8_t* at, uint32_t value) {
    for (int byte = 0; byte < 4; ++byte) at[byte] = static_cast<uint8_t>(value >> (8 * byte));
}

// The CRC at the end of a section, if the section lies inside.
inline void repair_section(uint8_t* data, size_t size, size_t start, size_t length) {
    if (length < 4 || start > size || length > size - start) return;
    put(data + start + length - 4, crc32(data + start, length - 4));
}

inline void repair(uint8_t* data, size_t size, bool lengths) {
    if (size < 48) return;
    std::memcpy(data, kMagic, 9);
    std::memcpy(data + 16, kFingerprint, sizeof kFingerprint);
    uint32_t metadata = get(data + 36);
    if (lengths) {
        put(data + 28, 1 + get(data + 28) % 256);  // few tiles, which the index may have
        put(data + 32, 1 + get(data + 32) % 256);
        data[10] = static_cast<uint8_t>(1 + data[10] % 4);
        data[12] = static_cast<uint8_t>(1 + data[12] % 4);
        data[11] = data[13] = data[14] = data[15] = 0;
        if (metadata > size - 48) metadata = 0;
        put(data + 36, metadata);
    }
    data[9] = metadata != 0 ? 1 : 0;
    repair_section(data, size, 48, metadata);
    repair_section(data, size, size_t{48} + metadata, get(data + 40));
    put(data + 44, crc32(data, 44));
}

}  // namespace fastlic_fuzz
