// libFuzzer: any bytes as a file of the tiny student, through the C ABI, to the last symbol that can be read.
//
// The first byte chooses what the streams are read with; the rest is the file. A custom mutator makes CRCs and lengths
// right again, so that more than the checksums is tried. Built with sanitizers: what they or libFuzzer's limits on
// memory and time report is a finding.
#include <fastlic/c_api.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "distributions.h"
#include "repair.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

constexpr uint32_t kMultiple = 64;
constexpr uint32_t kChannels = 8;

fastlic_layout layout() {
    static const uint32_t channels[] = {kChannels};
    fastlic_layout known = {};
    std::memcpy(known.fingerprint, fastlic_fuzz::kFingerprint, sizeof known.fingerprint);
    known.multiple = kMultiple;
    known.map_channels = channels;
    known.map_count = 1;
    return known;
}

void require(bool holds) {
    if (!holds) std::abort();
}

// Reads passes of a tile until its streams are refused or used up.
void read_tile(const fastlic_file* file, uint32_t number, uint8_t choice) {
    fastlic_error error;
    fastlic_tile tile;
    require(fastlic_file_tile(file, number, &tile, &error) == FASTLIC_OK);
    std::vector<uint8_t> active(kChannels);
    require(fastlic_file_channel_map(file, number, 0, active.data(), active.size(), &error) == FASTLIC_OK);
    fastlic_reader* reader = nullptr;
    require(fastlic_reader_open(file, number, 1, &reader, &error) == FASTLIC_OK);
    const uint32_t height = (tile.bottom - tile.top) / 16;
    const uint32_t width = (tile.right - tile.left) / 16;
    std::vector<int16_t> latent(size_t{kChannels} * height * width);
    for (int pass = 0; pass < 2; ++pass) {
        const fastlic_distribution* distribution = fastlic_fuzz::distribution(choice);
        const uint32_t each = fastlic_distribution_parameters(distribution);
        const size_t count = size_t{kChannels} * height * (width / 2);
        const std::vector<int16_t> parameters = fastlic_fuzz::parameters(count * each, choice);
        const fastlic_pass work = {kChannels,         height,           width / 2, active.data(), active.size(),
                                   parameters.data(), parameters.size()};
        std::vector<int16_t> values(count);
        if (fastlic_reader_read(reader, distribution, &work, values.data(), values.size(), &error) != FASTLIC_OK) break;
        const fastlic_latent target = {latent.data(), latent.size(), kChannels, height, width};
        const fastlic_parity parity = pass == 0 ? FASTLIC_EVEN : FASTLIC_ODD;
        require(fastlic_scatter(&target, 0, kChannels, parity, values.data(), values.size(), &error) == FASTLIC_OK);
        choice = static_cast<uint8_t>(choice * 5 + 1);
    }
    fastlic_reader_finish(reader, &error);
    const fastlic_latent whole = {latent.data(), latent.size(), kChannels, height, width};
    fastlic_file_verify(file, number, &whole, 1, &error);
    fastlic_reader_close(reader);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const uint8_t choice = *data++;
    --size;
    fastlic_error error;
    fastlic_header header;
    fastlic_probe(data, size, &header, &error);
    const fastlic_layout known = layout();
    fastlic_file* file = nullptr;
    if (fastlic_file_open(data, size, &known, nullptr, &file, &error) != FASTLIC_OK) {
        require(file == nullptr && error.message[0] != 0);
        return 0;
    }
    const uint8_t* block = nullptr;
    size_t length = 0;
    for (const fastlic_metadata kind : {FASTLIC_ICC, FASTLIC_EXIF, FASTLIC_XMP}) {
        require(fastlic_file_metadata(file, kind, &block, &length, &error) == FASTLIC_OK);
        require(length == 0 || (block >= data && block + length <= data + size));
    }
    const uint32_t tiles = fastlic_file_tile_count(file);
    for (uint32_t tile = 0; tile < tiles && tile < 8; ++tile) read_tile(file, tile, choice);
    fastlic_file_close(file);
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
    size = LLVMFuzzerMutate(data, size, max_size);
    if (size > 1 && seed % 16 != 0) fastlic_fuzz::repair(data + 1, size - 1, seed % 3 != 0);
    return size;
}
