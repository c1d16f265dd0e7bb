#include "pass.h"

#include <new>
#include <stdexcept>
#include <string>

#include "parallel.h"

namespace fastlic {
namespace {

// Kinds of elements below these are window classes of coded ones.
constexpr uint8_t kSkipped = 254;  // its key is its value
constexpr uint8_t kInactive = 255;
static_assert(kWindowClasses <= kSkipped, "classes and kinds share a byte");

// Parameters to records for rows [first, last) of the array; kinds and keys are in the order of the parameters.
template <class AnyCounts>
void prepare_mixture_rows(const MixtureTables& tables, const AnyCounts& counts, const Layout& layout,
                          const int16_t* parameters, int first, int last, Scratch& scratch) {
    const MixtureView view = tables.view();
    const uint8_t* levels = tables.levels.data();
    const auto level = [levels](int family, int16_t x) {
        return static_cast<int>(levels[(static_cast<size_t>(family) << 16) + static_cast<uint16_t>(x)]);
    };
    const size_t stride = static_cast<size_t>(tables.parameter_count());
    const size_t channels = static_cast<size_t>(layout.channels);
    const size_t row_size = static_cast<size_t>(layout.width) * channels;
    const size_t end = static_cast<size_t>(last) * row_size;
    size_t channel = 0;
    size_t element = static_cast<size_t>(first) * row_size;
    size_t at = element * record_bytes(tables.families * tables.components);
    for (; element < end; ++element, channel = channel + 1 == channels ? 0 : channel + 1) {
        if (layout.active && !layout.active[channel]) {
            scratch.kinds[element] = kInactive;
            continue;
        }
        // The next element's record overwrites this one unless it is coded.
        unsigned char* record = scratch.records.get() + at;
        auto* components = reinterpret_cast<Component*>(record + sizeof(RecordHead));
        const Shape shape = mixture_shape(view, counts, parameters + element * stride, components, level);
        uint32_t left = 0;
        uint32_t right = 0;
        mixture_middle(view.half_cdf, components, shape, left, right);
        if (right - left >= tables.skip_threshold) {
            scratch.kinds[element] = kSkipped;
            scratch.keys[element] = static_cast<uint32_t>(shape.centre);
            continue;
        }
        new (record) RecordHead{shape, static_cast<uint16_t>(left), static_cast<uint16_t>(right)};
        scratch.kinds[element] = shape.window;
        scratch.keys[element] = static_cast<uint32_t>(at / kRecordUnit);
        at += record_bytes(shape.live);
    }
}

// Coded elements by class, then channel, row, column; values of the others.
void order_elements(const Layout& layout, Scratch& scratch, int16_t* values) {
    size_t counts[256] = {};
    for (const uint8_t kind : scratch.kinds) ++counts[kind];
    size_t next[kWindowClasses];
    size_t total = 0;
    for (int window = 0; window < kWindowClasses; ++window) {
        next[window] = total;
        total += counts[window];
    }
    scratch.coded.resize(total);
    const size_t channels = static_cast<size_t>(layout.channels);
    size_t index = 0;
    for (size_t channel = 0; channel < channels; ++channel) {
        for (size_t element = channel; element < layout.size(); element += channels, ++index) {
            const uint8_t kind = scratch.kinds[element];
            if (kind < kWindowClasses) {
                scratch.coded[next[kind]++] = {scratch.keys[element], static_cast<uint32_t>(index)};
            } else {
                values[index] = kind == kSkipped ? static_cast<int16_t>(scratch.keys[element]) : int16_t{0};
            }
        }
    }
}

void reserve_elements(const Layout& layout, size_t bytes_each) {
    if (layout.size() > UINT32_MAX / (bytes_each / kRecordUnit)) {
        throw std::length_error("a pass of " + std::to_string(layout.size()) + " elements");
    }
}

}  // namespace

MixtureElements prepare_mixture(const MixtureTables& tables, const Layout& layout, const int16_t* parameters,
                                int threads, Scratch& scratch, int16_t* values) {
    const size_t bytes_each = record_bytes(tables.families * tables.components);
    reserve_elements(layout, bytes_each);
    scratch.reserve_records(layout.size() * bytes_each);
    scratch.kinds.resize(layout.size());
    scratch.keys.resize(layout.size());
    const int blocks = threads < layout.height ? threads : layout.height;
    parallel_for(threads, blocks, [&](int block) {
        const int first = layout.height * block / blocks;
        const int last = layout.height * (block + 1) / blocks;
        if (tables.families == 3 && tables.components == 3) {  // the usual mixtures, unrolled
            prepare_mixture_rows(tables, FixedCounts<3, 3>(), layout, parameters, first, last, scratch);
        } else if (tables.families == 1 && tables.components == 3) {
            prepare_mixture_rows(tables, FixedCounts<1, 3>(), layout, parameters, first, last, scratch);
        } else {
            const Counts counts{tables.families, tables.components};
            prepare_mixture_rows(tables, counts, layout, parameters, first, last, scratch);
        }
    });
    order_elements(layout, scratch, values);
    return {scratch.records.get(), tables.half_cdf.data()};
}

RowElements prepare_rows(const RowTables& tables, const Layout& layout, const int16_t* rows, Scratch& scratch,
                         int16_t* values) {
    reserve_elements(layout, kRecordUnit);
    scratch.kinds.resize(layout.size());
    scratch.keys.resize(layout.size());
    const size_t channels = static_cast<size_t>(layout.channels);
    for (size_t element = 0; element < layout.size(); ++element) {
        const size_t channel = element % channels;
        if (layout.active && !layout.active[channel]) {
            scratch.kinds[element] = kInactive;
            continue;
        }
        const int row = rows ? rows[element] : static_cast<int>(channel);
        if (row < 0 || row >= tables.rows) {
            throw std::out_of_range("row " + std::to_string(row) + " of a table of " + std::to_string(tables.rows));
        }
        scratch.kinds[element] = tables.window[static_cast<size_t>(row)];
        scratch.keys[element] = static_cast<uint32_t>(row);
    }
    order_elements(layout, scratch, values);
    return {&tables};
}

}  // namespace fastlic
