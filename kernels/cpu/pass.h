// A pass prepared for coding: what every element needs, and the order in which the coded ones come.
//
// Rule: docs/format.md, section 3, points 1 to 4. Knows parameters and tables; knows nothing of streams.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tables.h"

namespace fastlic {

// The packed array (channels, height, width) of a pass. Parameters lie as (height, width, channels).
struct Layout {
    int channels;
    int height;
    int width;
    const uint8_t* active;  // [channels], or null: all

    size_t area() const { return static_cast<size_t>(height) * static_cast<size_t>(width); }
    size_t size() const { return area() * static_cast<size_t>(channels); }
};

// One coded element: where its distribution is, and its place in the packed array.
struct Coded {
    uint32_t key;  // mixture: its record in Scratch::records; table: its row
    uint32_t index;
};

// Memory of a pass, kept between passes because the system charges for every fresh page.
struct Scratch {
    std::unique_ptr<unsigned char[]> records;
    size_t capacity = 0;  // bytes
    std::vector<uint8_t> kinds;
    std::vector<uint32_t> keys;
    std::vector<Coded> coded;

    void reserve_records(size_t bytes) {
        if (bytes > capacity) {
            records.reset(new unsigned char[bytes]);  // not set to zero: most is never touched
            capacity = bytes;
        }
    }
};

// What precedes the components of an element in Scratch::records. Records start at multiples of 4 bytes; keys count
// those.
struct RecordHead {
    Shape shape;
    uint16_t left;   // C(W / 2), at most 65534
    uint16_t right;  // C(W / 2 + 1)
};
constexpr size_t kRecordUnit = 4;
static_assert(sizeof(RecordHead) % kRecordUnit == 0 && alignof(RecordHead) <= kRecordUnit, "records keep alignment");
static_assert(sizeof(Component) % kRecordUnit == 0 && alignof(Component) <= kRecordUnit, "records keep alignment");

constexpr size_t record_bytes(int components) {
    return sizeof(RecordHead) + static_cast<size_t>(components) * sizeof(Component);
}

// One element as a reader or writer sees it: slot j of `width` covers [C(j), C(j + 1)).
struct MixtureElement {
    const RecordHead& head;
    const Component* components;
    const uint16_t* half_cdf;

    int width() const { return window_width(head.shape.window); }
    int low() const { return head.shape.centre - width() / 2; }
    uint32_t left() const { return head.left; }
    uint32_t right() const { return head.right; }
    uint32_t operator()(int j) const { return mixture_cdf(half_cdf, components, head.shape, j); }
};

struct RowElement {
    const int32_t* cdf;
    int window;
    int low_value;

    int width() const { return window_width(window); }
    int low() const { return low_value; }
    uint32_t left() const { return (*this)(width() / 2); }
    uint32_t right() const { return (*this)(width() / 2 + 1); }
    uint32_t operator()(int j) const { return static_cast<uint32_t>(cdf[j]); }
};

// The elements of a prepared pass, by key.
struct MixtureElements {
    const unsigned char* records;
    const uint16_t* half_cdf;

    MixtureElement operator()(uint32_t key) const {
        const unsigned char* record = records + key * kRecordUnit;
        return {*reinterpret_cast<const RecordHead*>(record),
                reinterpret_cast<const Component*>(record + sizeof(RecordHead)), half_cdf};
    }
    void prefetch(uint32_t key) const {
#if defined(__GNUC__)
        __builtin_prefetch(records + key * kRecordUnit);
        __builtin_prefetch(records + key * kRecordUnit + 64);  // most records end in the next cache line
#else
        (void)key;
#endif
    }
};

struct RowElements {
    const RowTables* tables;

    RowElement operator()(uint32_t key) const {
        return {tables->cdf.data() + static_cast<size_t>(key) * (kMaxWindow + 1), tables->window[key],
                tables->low[key]};
    }
    void prefetch(uint32_t) const {}
};

// Fill scratch.coded with the coded elements in coding order, and the values of all others in `values` (packed).
//
// parameters of a mixture: int16 [height][width][channels][P]. Rows of a table: int16 [height][width][channels], each
// below tables.rows, else std::out_of_range; null: the row is the channel. Sizes are the caller's to check.
MixtureElements prepare_mixture(const MixtureTables& tables, const Layout& layout, const int16_t* parameters,
                                int threads, Scratch& scratch, int16_t* values);
RowElements prepare_rows(const RowTables& tables, const Layout& layout, const int16_t* rows, Scratch& scratch,
                         int16_t* values);

}  // namespace fastlic
