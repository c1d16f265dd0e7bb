// The C ABI over the C++ core: handles and structures of C on one side, the core's on the other. No rule of the format
// is here. Contract: kernels/include/fastlic/c_api.h. Every function goes through `guarded`, which nothing leaves.
#include "fastlic/c_api.h"

#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "container.h"
#include "guarded.h"
#include "reader.h"

struct fastlic_file {
    fastlic::Container container;
    std::vector<uint32_t> map_channels;
};

struct fastlic_distribution {
    std::variant<fastlic::MixtureTables, fastlic::RowTables> tables;
};

struct fastlic_reader {
    fastlic::Reader reader;
};

namespace {

using namespace fastlic;

constexpr uint32_t kMaxPositive = 65536;  // of `multiple` and of channels, as in a manifest
constexpr uint32_t kMaxThreads = 256;

const Tile& tile_of(const fastlic_file* file, uint32_t tile) {
    require(file != nullptr, "file is null");
    require(tile < file->container.tiles.size(), "there is no tile of this number");
    return file->container.tiles[tile];
}

StudentLayout layout_of(const fastlic_layout* layout) {
    require(layout != nullptr, "layout is null");
    require(layout->map_count == 0 || layout->map_channels != nullptr, "map_channels is null");
    StudentLayout copy{};
    std::memcpy(copy.fingerprint.data(), layout->fingerprint, copy.fingerprint.size());
    copy.multiple = layout->multiple;
    copy.rates = layout->rates;
    copy.map_channels.assign(layout->map_channels, layout->map_channels + layout->map_count);
    if (copy.multiple < 1 || copy.multiple > kMaxPositive) throw BadTables("multiple is not in [1, 65536]");
    for (const uint32_t channels : copy.map_channels) {
        if (channels < 1 || channels > kMaxPositive) throw BadTables("map_channels: an entry is not in [1, 65536]");
    }
    return copy;
}

Limits limits_of(const fastlic_limits* limits) {
    if (limits == nullptr) return {};
    return {limits->max_pixels, limits->max_tile_pixels, limits->max_tiles, limits->max_metadata_bytes};
}

void copy_header(const Header& from, fastlic_header* to) {
    *to = {from.width,           from.height,       from.tile_width,
           from.tile_height,     from.rate,         from.student_hash,
           from.metadata_length, from.index_length, {}};
    std::memcpy(to->fingerprint, from.fingerprint.data(), from.fingerprint.size());
}

uint32_t parameters_each(const fastlic_distribution& distribution) {
    const auto* mixture = std::get_if<MixtureTables>(&distribution.tables);
    return mixture != nullptr ? static_cast<uint32_t>(mixture->parameter_count()) : 1;
}

void read_pass(Reader& reader, const fastlic_distribution& distribution, const fastlic_pass& pass, int16_t* values,
               size_t values_count) {
    sized(values, values_count, element_count(pass.channels, pass.height, pass.width, 1), "values");
    const Layout layout{
        static_cast<int>(pass.channels), static_cast<int>(pass.height), static_cast<int>(pass.width),
        pass.active == nullptr ? nullptr : sized(pass.active, pass.active_count, pass.channels, "active")};
    const auto* mixture = std::get_if<MixtureTables>(&distribution.tables);
    const int16_t* parameters = nullptr;
    if (pass.parameters != nullptr || mixture != nullptr) {
        const size_t needed = element_count(pass.channels, pass.height, pass.width, parameters_each(distribution));
        parameters = sized(pass.parameters, pass.parameters_count, needed, "parameters");
    }
    if (mixture != nullptr) {
        reader.read_mixture(*mixture, layout, parameters, values);
    } else {
        reader.read_rows(std::get<RowTables>(distribution.tables), layout, parameters, values);
    }
}

size_t latent_size(const fastlic_latent& latent) {
    const size_t size = element_count(latent.channels, latent.height, latent.width, 1);
    sized(latent.values, latent.values_count, size, "latent");
    return size;
}

// docs/format.md, section 3: packed column j of row r is column 2j + ((r + p) & 1) with a parity.
void scatter(const fastlic_latent& latent, uint32_t first, uint32_t end, fastlic_parity parity, const int16_t* packed) {
    const size_t step = parity == FASTLIC_ALL ? 1 : 2;
    for (uint32_t channel = first; channel < end; ++channel) {
        for (uint32_t row = 0; row < latent.height; ++row) {
            int16_t* line = latent.values + (size_t{channel} * latent.height + row) * latent.width;
            const size_t offset = step == 1 ? 0 : (row + (parity == FASTLIC_ODD ? 1 : 0)) & 1;
            for (size_t column = offset; column < latent.width; column += step) line[column] = *packed++;
        }
    }
}

uint32_t checksum(const fastlic_latent* latents, size_t count) {
    constexpr size_t kChunk = 4096;  // elements turned into little-endian bytes at once
    uint8_t bytes[2 * kChunk];
    uint32_t crc = 0;
    for (const fastlic_latent* latent = latents; latent != latents + count; ++latent) {
        const size_t size = latent_size(*latent);
        for (size_t start = 0; start < size; start += kChunk) {
            const size_t part = size - start < kChunk ? size - start : kChunk;
            for (size_t i = 0; i < part; ++i) {
                const auto value = static_cast<uint16_t>(latent->values[start + i]);
                bytes[2 * i] = static_cast<uint8_t>(value & 255);
                bytes[2 * i + 1] = static_cast<uint8_t>(value >> 8);
            }
            crc = crc32({bytes, 2 * part}, crc);
        }
    }
    return crc;
}

}  // namespace

extern "C" {

uint32_t fastlic_c_api_version(void) { return FASTLIC_C_API_VERSION; }

fastlic_status fastlic_probe(const void* data, size_t size, fastlic_header* header, fastlic_error* error) {
    return guarded(error, [&] {
        require((data != nullptr || size == 0) && header != nullptr, "data or header is null");
        copy_header(probe({static_cast<const uint8_t*>(data), size}), header);
    });
}

void fastlic_default_limits(fastlic_limits* limits) {
    const Limits defaults;
    if (limits == nullptr) return;
    *limits = {defaults.max_pixels, defaults.max_tile_pixels, defaults.max_tiles, defaults.max_metadata_bytes};
}

fastlic_status fastlic_file_open(const void* data, size_t size, const fastlic_layout* layout,
                                 const fastlic_limits* limits, fastlic_file** file, fastlic_error* error) {
    return guarded(error, [&] {
        require((data != nullptr || size == 0) && file != nullptr, "data or file is null");
        StudentLayout known = layout_of(layout);
        Container container = read_container({static_cast<const uint8_t*>(data), size}, known, limits_of(limits));
        *file = new fastlic_file{std::move(container), std::move(known.map_channels)};
    });
}

void fastlic_file_close(fastlic_file* file) { delete file; }

fastlic_status fastlic_file_header(const fastlic_file* file, fastlic_header* header, fastlic_error* error) {
    return guarded(error, [&] {
        require(file != nullptr && header != nullptr, "file or header is null");
        copy_header(file->container.header, header);
    });
}

fastlic_status fastlic_file_metadata(const fastlic_file* file, fastlic_metadata kind, const uint8_t** block,
                                     size_t* size, fastlic_error* error) {
    return guarded(error, [&] {
        require(file != nullptr && block != nullptr && size != nullptr, "file, block or size is null");
        require(kind >= FASTLIC_ICC && kind <= FASTLIC_XMP, "there is no metadata of this kind");
        const Bytes found = file->container.metadata[static_cast<size_t>(kind) - 1];
        *block = found.data;
        *size = found.size;
    });
}

uint32_t fastlic_file_tile_count(const fastlic_file* file) {
    return file == nullptr ? 0 : static_cast<uint32_t>(file->container.tiles.size());
}

fastlic_status fastlic_file_tile(const fastlic_file* file, uint32_t tile, fastlic_tile* found, fastlic_error* error) {
    return guarded(error, [&] {
        require(found != nullptr, "found is null");
        const Tile& it = tile_of(file, tile);
        *found = {it.left, it.top, it.right, it.bottom, static_cast<uint32_t>(it.streams.size()), it.symbol_crc};
    });
}

fastlic_status fastlic_file_channel_map(const fastlic_file* file, uint32_t tile, size_t map, uint8_t* active,
                                        size_t channels, fastlic_error* error) {
    return guarded(error, [&] {
        const Tile& it = tile_of(file, tile);
        require(map < it.maps.size(), "there is no channel map of this number");
        sized(active, channels, file->map_channels[map], "active");
        for (size_t c = 0; c < channels; ++c) active[c] = (it.maps[map].data[c / 8] >> (c % 8)) & 1;
    });
}

fastlic_status fastlic_file_stream(const fastlic_file* file, uint32_t tile, uint32_t stream, const uint8_t** words,
                                   size_t* size, fastlic_error* error) {
    return guarded(error, [&] {
        require(words != nullptr && size != nullptr, "words or size is null");
        const Tile& it = tile_of(file, tile);
        require(stream < it.streams.size(), "there is no stream of this number");
        *words = it.streams[stream].data;
        *size = it.streams[stream].size;
    });
}

fastlic_status fastlic_rows_create(const fastlic_row_tables* tables, fastlic_distribution** distribution,
                                   fastlic_error* error) {
    return guarded(error, [&] {
        require(tables != nullptr && distribution != nullptr, "tables or distribution is null");
        const size_t rows = tables->window_count;
        require(rows <= size_t{INT16_MAX} + 1, "window: more than 32768 entries");
        sized(tables->cdf, tables->cdf_count, rows * (kMaxWindow + 1), "cdf");
        sized(tables->window, tables->window_count, rows, "window");
        sized(tables->low, tables->low_count, rows, "low");
        *distribution = new fastlic_distribution{checked_rows(rows, tables->cdf, tables->window, tables->low)};
    });
}

fastlic_status fastlic_mixture_create(const fastlic_mixture_tables* tables, fastlic_distribution** distribution,
                                      fastlic_error* error) {
    return guarded(error, [&] {
        require(tables != nullptr && distribution != nullptr, "tables or distribution is null");
        check_counts(tables->families, tables->components);
        const size_t families = tables->families;
        const MixtureView view{
            sized(tables->exponential, tables->exponential_count, kExponentials, "exponential"),
            sized(tables->thresholds, tables->thresholds_count, families * (kLevels - 1), "thresholds"),
            sized(tables->inverse_scale, tables->inverse_scale_count, families * kLevels, "inverse_scale"),
            sized(tables->tail, tables->tail_count, families * kLevels, "tail"),
            sized(tables->half_cdf, tables->half_cdf_count, families * kHalfCdfEntries, "half_cdf")};
        const Counts counts{static_cast<int>(tables->families), static_cast<int>(tables->components)};
        *distribution = new fastlic_distribution{checked_mixture(counts, tables->skip_threshold, view)};
    });
}

void fastlic_distribution_close(fastlic_distribution* distribution) { delete distribution; }

uint32_t fastlic_distribution_parameters(const fastlic_distribution* distribution) {
    return distribution == nullptr ? 0 : parameters_each(*distribution);
}

fastlic_status fastlic_reader_open(const fastlic_file* file, uint32_t tile, uint32_t threads, fastlic_reader** reader,
                                   fastlic_error* error) {
    return guarded(error, [&] {
        require(reader != nullptr, "reader is null");
        require(threads >= 1 && threads <= kMaxThreads, "threads is not in [1, 256]");
        std::vector<std::vector<uint32_t>> words;
        for (const Bytes& stream : tile_of(file, tile).streams) {
            words.push_back(little_endian_words(stream.data, stream.size));
        }
        *reader = new fastlic_reader{Reader(std::move(words), static_cast<int>(threads))};
    });
}

void fastlic_reader_close(fastlic_reader* reader) { delete reader; }

fastlic_status fastlic_reader_read(fastlic_reader* reader, const fastlic_distribution* distribution,
                                   const fastlic_pass* pass, int16_t* values, size_t values_count,
                                   fastlic_error* error) {
    return guarded(error, [&] {
        require(reader != nullptr && distribution != nullptr && pass != nullptr,
                "reader, distribution or pass is null");
        read_pass(reader->reader, *distribution, *pass, values, values_count);
    });
}

fastlic_status fastlic_reader_finish(fastlic_reader* reader, fastlic_error* error) {
    return guarded(error, [&] {
        require(reader != nullptr, "reader is null");
        reader->reader.finish();
    });
}

fastlic_status fastlic_scatter(const fastlic_latent* latent, uint32_t first, uint32_t end, fastlic_parity parity,
                               const int16_t* packed, size_t packed_count, fastlic_error* error) {
    return guarded(error, [&] {
        require(latent != nullptr, "latent is null");
        require(parity >= FASTLIC_ALL && parity <= FASTLIC_ODD, "there is no such parity");
        require(first <= end && end <= latent->channels, "first and end are not channels of the latent");
        require(parity == FASTLIC_ALL || latent->width % 2 == 0, "a latent of odd width has no parities");
        latent_size(*latent);
        const uint32_t width = parity == FASTLIC_ALL ? latent->width : latent->width / 2;
        sized(packed, packed_count, element_count(end - first, latent->height, width, 1), "packed");
        scatter(*latent, first, end, parity, packed);
    });
}

fastlic_status fastlic_file_verify(const fastlic_file* file, uint32_t tile, const fastlic_latent* latents,
                                   size_t latent_count, fastlic_error* error) {
    return guarded(error, [&] {
        const Tile& it = tile_of(file, tile);
        require(latents != nullptr || latent_count == 0, "latents is null");
        if (checksum(latents, latent_count) != it.symbol_crc) {
            throw Refused(Cause::kSymbols,
                          "tile[" + std::to_string(tile) + "]: the decoded latents do not have the checksum in the " +
                              "file. The file is damaged, or the entropy networks are not computed exactly.");
        }
    });
}

}  // extern "C"
