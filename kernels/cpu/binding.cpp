// Python's view of the native module. The only file here that knows Python.
//
// Arrays come in exactly as the docstrings say or TypeError / ValueError is raised; nothing is converted. Long work
// runs with the interpreter lock released. Corrupted streams raise fastlic.errors.CorruptedStream.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "intervals.h"
#include "reader.h"

namespace py = pybind11;

namespace fastlic {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;  // no forcecast: another type is a TypeError
using Shape3 = std::tuple<int, int, int>;
using Active = std::optional<Array<bool>>;

constexpr int kMaxStreams = 64;
constexpr int kMaxThreads = 256;

template <class T>
const T* sized(const Array<T>& array, py::ssize_t size, const char* name) {
    if (array.size() != size) {
        throw std::invalid_argument(std::string(name) + ": " + std::to_string(array.size()) + " entries, " +
                                    std::to_string(size) + " expected");
    }
    return array.data();
}

template <class Vector>
py::array_t<typename Vector::value_type> as_array(const Vector& values) {
    return py::array_t<typename Vector::value_type>(static_cast<py::ssize_t>(values.size()), values.data());
}

MixtureTables mixture_tables(int components, int64_t skip_threshold, const Array<uint16_t>& exponential,
                             const Array<int16_t>& thresholds, const Array<uint32_t>& inverse_scale,
                             const Array<int32_t>& tail, const Array<uint16_t>& half_cdf) {
    const py::ssize_t families = thresholds.ndim() == 2 ? thresholds.shape(0) : 0;
    check_counts(families, components);
    return checked_mixture({static_cast<int>(families), components}, skip_threshold,
                           {sized(exponential, kExponentials, "exponential"),
                            sized(thresholds, families * (kLevels - 1), "thresholds"),
                            sized(inverse_scale, families * kLevels, "inverse_scale"),
                            sized(tail, families * kLevels, "tail"),
                            sized(half_cdf, families * kHalfCdfEntries, "half_cdf")});
}

RowTables row_tables(const Array<int32_t>& cdf, const Array<int16_t>& window, const Array<int16_t>& low) {
    const py::ssize_t rows = window.size();
    return checked_rows(static_cast<size_t>(rows), sized(cdf, rows * (kMaxWindow + 1), "cdf"), window.data(),
                        sized(low, rows, "low"));
}

Layout layout_of(const Shape3& shape, const Active& active) {
    const auto [channels, height, width] = shape;
    if (channels < 0 || height < 0 || width < 0) throw std::invalid_argument("shape");
    if (active && active->size() != channels) throw std::invalid_argument("active");
    return {channels, height, width, active ? reinterpret_cast<const uint8_t*>(active->data()) : nullptr};
}

// The data of `array` if it has the size of the layout's parameters; null for no array.
const int16_t* parameters_of(const std::optional<Array<int16_t>>& array, const Layout& layout, int each) {
    if (array && static_cast<size_t>(array->size()) != layout.size() * static_cast<size_t>(each)) {
        throw std::invalid_argument("parameters");
    }
    return array ? array->data() : nullptr;
}

py::array_t<int16_t> packed(const Layout& layout) {
    return py::array_t<int16_t>({layout.channels, layout.height, layout.width});
}

py::array_t<int16_t> packed_copy(const Array<int16_t>& values, const Layout& layout) {
    if (static_cast<size_t>(values.size()) != layout.size()) throw std::invalid_argument("values");
    py::array_t<int16_t> copy = packed(layout);
    std::copy_n(values.data(), values.size(), copy.mutable_data());
    return copy;
}

py::tuple interval_arrays(py::array_t<int16_t> values, const Intervals& intervals) {
    return py::make_tuple(std::move(values), as_array(intervals.left), as_array(intervals.frequency),
                          as_array(intervals.excess));
}

Reader open_reader(const py::sequence& streams, int threads) {
    if (streams.size() < 1 || streams.size() > kMaxStreams) throw std::invalid_argument("1 to 64 streams");
    std::vector<std::vector<uint32_t>> words;
    for (const py::handle stream : streams) {
        const py::buffer_info bytes = py::cast<py::buffer>(stream).request();
        if (bytes.ndim != 1 || bytes.itemsize != 1 || bytes.strides[0] != 1)
            throw std::invalid_argument("stream: bytes");
        if (bytes.size % 4 != 0)
            throw Corrupted("a stream of " + std::to_string(bytes.size) + " bytes is not whole words.");
        words.push_back(little_endian_words(static_cast<const uint8_t*>(bytes.ptr), static_cast<size_t>(bytes.size)));
    }
    return Reader(std::move(words), std::clamp(threads, 1, kMaxThreads));
}

}  // namespace
}  // namespace fastlic

PYBIND11_MODULE(_native, m) {
    using namespace fastlic;
    m.doc() =
        "Integer mixture and range decoder; rule: docs/format.md, sections 3 and 4; readable twin: "
        "kernels/reference.py.";

    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const Corrupted& error) {
            py::set_error(py::module_::import("fastlic.errors").attr("CorruptedStream"), error.what());
        }
    });

    py::class_<MixtureTables>(m, "MixtureTables", "Tables of docs/format.md, 4.2; arrays as there, checked before.")
        .def(py::init(&mixture_tables), py::arg("components"), py::arg("skip_threshold"),
             py::arg("exponential").noconvert(), py::arg("thresholds").noconvert(),
             py::arg("inverse_scale").noconvert(), py::arg("tail").noconvert(), py::arg("half_cdf").noconvert());
    py::class_<RowTables>(m, "RowTables", "Tables of docs/format.md, 4.1; arrays as there, checked before.")
        .def(py::init(&row_tables), py::arg("cdf").noconvert(), py::arg("window").noconvert(),
             py::arg("low").noconvert());

    py::class_<Reader>(m, "Reader",
                       "Streams of one tile: `Reader(streams, threads)`, bytes-like objects of whole words.")
        .def(py::init(&open_reader), py::arg("streams"), py::arg("threads"))
        .def(
            "read_mixture",
            [](Reader& reader, const MixtureTables& tables, const Shape3& shape, const Array<int16_t>& parameters,
               const Active& active) {
                const Layout layout = layout_of(shape, active);
                const int16_t* data = parameters_of(parameters, layout, tables.parameter_count());
                py::array_t<int16_t> values = packed(layout);
                int16_t* out = values.mutable_data();
                {
                    py::gil_scoped_release unlocked;
                    reader.read_mixture(tables, layout, data, out);
                }
                return values;
            },
            py::arg("tables"), py::arg("shape"), py::arg("parameters").noconvert(), py::arg("active").noconvert(),
            "int16 (C', h, w') values of a pass; parameters int16 (h, w', C', P), active bool (C') or None.")
        .def(
            "read_rows",
            [](Reader& reader, const RowTables& tables, const Shape3& shape, const std::optional<Array<int16_t>>& rows,
               const Active& active) {
                const Layout layout = layout_of(shape, active);
                const int16_t* data = parameters_of(rows, layout, 1);
                py::array_t<int16_t> values = packed(layout);
                int16_t* out = values.mutable_data();
                {
                    py::gil_scoped_release unlocked;
                    reader.read_rows(tables, layout, data, out);
                }
                return values;
            },
            py::arg("tables"), py::arg("shape"), py::arg("rows").noconvert(), py::arg("active").noconvert(),
            "int16 (C', h, w') values of a pass; rows int16 (h, w', C') or None, active bool (C') or None.")
        .def(
            "read_packed_rows",
            [](Reader& reader, const Array<uint16_t>& rows, const Array<int32_t>& starts) {
                if (starts.size() != kWindowClasses + 1) throw std::invalid_argument("starts");
                const py::ssize_t count = starts.data()[kWindowClasses];
                if (count < 0 || count > rows.size() / kMinWindow) throw std::invalid_argument("rows: too few for starts");
                const size_t size = static_cast<size_t>(rows.size());
                py::array_t<int16_t> symbols(count);
                int16_t* out = symbols.mutable_data();
                {
                    py::gil_scoped_release unlocked;
                    reader.read_packed_rows(rows.data(), size, starts.data(), out);
                }
                return symbols;
            },
            py::arg("rows").noconvert(), py::arg("starts").noconvert(),
            "int16 (n) values of coded elements in coding order; rows uint16 and starts int32 (8) as mixture_rows.cu "
            "leaves them.")
        .def("finish", &Reader::finish, "Raise CorruptedStream unless every stream ends here in its one form.");

    m.def(
        "mixture_intervals",
        [](const MixtureTables& tables, const Shape3& shape, const Array<int16_t>& parameters, const Active& active,
           const Array<int16_t>& values) {
            const Layout layout = layout_of(shape, active);
            const int16_t* data = parameters_of(parameters, layout, tables.parameter_count());
            py::array_t<int16_t> seen = packed_copy(values, layout);
            int16_t* out = seen.mutable_data();
            Intervals intervals;
            {
                py::gil_scoped_release unlocked;
                intervals = mixture_intervals(tables, layout, data, out);
            }
            return interval_arrays(std::move(seen), intervals);
        },
        py::arg("tables"), py::arg("shape"), py::arg("parameters").noconvert(), py::arg("active").noconvert(),
        py::arg("values").noconvert(),
        "(values a reader will see, left uint32, frequency uint32, excess int32 or -1), the last three in coding "
        "order.");
    m.def(
        "row_intervals",
        [](const RowTables& tables, const Shape3& shape, const std::optional<Array<int16_t>>& rows,
           const Active& active, const Array<int16_t>& values) {
            const Layout layout = layout_of(shape, active);
            const int16_t* data = parameters_of(rows, layout, 1);
            py::array_t<int16_t> seen = packed_copy(values, layout);
            int16_t* out = seen.mutable_data();
            Intervals intervals;
            {
                py::gil_scoped_release unlocked;
                intervals = row_intervals(tables, layout, data, out);
            }
            return interval_arrays(std::move(seen), intervals);
        },
        py::arg("tables"), py::arg("shape"), py::arg("rows").noconvert(), py::arg("active").noconvert(),
        py::arg("values").noconvert(), "As mixture_intervals, for a table.");
}
