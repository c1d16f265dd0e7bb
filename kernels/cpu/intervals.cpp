#include "intervals.h"

namespace fastlic {
namespace {

template <class Elements>
Intervals intervals(const Elements& elements, const std::vector<Coded>& coded, const int16_t* values) {
    Intervals out;
    out.left.reserve(coded.size());
    out.frequency.reserve(coded.size());
    out.excess.reserve(coded.size());
    for (const Coded& entry : coded) {
        const auto element = elements(entry.key);
        const int last = element.width() - 1;
        const int position = values[entry.index] - element.low();
        const int slot = position < 0 ? 0 : position > last ? last : position;
        const uint32_t left = slot == 0 ? 0 : element(slot);
        const uint32_t right = slot == last ? kTotal : element(slot + 1);
        out.left.push_back(left);
        out.frequency.push_back(right - left);
        out.excess.push_back(slot == 0 ? -position : slot == last ? position - last : -1);
    }
    return out;
}

}  // namespace

Intervals mixture_intervals(const MixtureTables& tables, const Layout& layout, const int16_t* parameters,
                            int16_t* values) {
    Scratch scratch;
    const auto elements = prepare_mixture(tables, layout, parameters, 1, scratch, values);
    return intervals(elements, scratch.coded, values);
}

Intervals row_intervals(const RowTables& tables, const Layout& layout, const int16_t* rows, int16_t* values) {
    Scratch scratch;
    const auto elements = prepare_rows(tables, layout, rows, scratch, values);
    return intervals(elements, scratch.coded, values);
}

}  // namespace fastlic
