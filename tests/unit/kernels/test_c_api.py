"""The C library: built as a user builds it, held against the Python parser and reader, used by the C example."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from c_library import MIXTURE_ARRAYS, POINTER, SIZE, U8, U32, CLibrary, Header, Latent, LimitsOfC, PassOfC, layout
from fuzz.mutator import Mutator
from fuzz.parsing import parse
from hostile.forgery import Forgery, Tile
from random_passes import mixture_tables, random_pass, row_tables

from fastlic import errors
from fastlic.kernels.c_api import build
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.writer import StreamWriter
from fastlic.runtime.limits import Limits
from fastlic.runtime.manifest import Code
from fastlic.runtime.schedule import scatter

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "conformance" / "golden"
FILES = [path.read_bytes() for path in sorted(GOLDEN.glob("tiny-*.lic"))]
HEADER = ROOT / "kernels" / "include" / "fastlic" / "c_api.h"
EXAMPLE = ROOT / "examples" / "c"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None or shutil.which("cc") is None, reason="no C and C++ compilers on the path"
)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, made by the documented command."""
    folder = tmp_path_factory.mktemp("c") / "prefix"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXXFLAGS", "-O1 -Wpedantic -Werror")
        run(sys.executable, "-m", "fastlic.kernels.c_api", "build", folder)
    return folder


@pytest.fixture(scope="module")
def library(prefix: Path) -> CLibrary:
    return CLibrary(next((prefix / "lib").glob("libfastlic.*")))


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    """The tiny student of the golden files."""
    with Bundle(GOLDEN / "tiny.licb") as bundle:
        yield bundle


@pytest.fixture(scope="module")
def known(bundle: Bundle) -> ctypes.Structure:
    """What C needs to know of it."""
    manifest = bundle.manifest
    return layout(bundle.fingerprint, manifest.multiple, manifest.rates, list(manifest.mapped.values()))


def run(*command: object) -> str:
    """What a program that must succeed prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- building ---------------------------------------------------------------------------------------------------------


def test_installed_library_has_the_headers_version_and_exports_nothing_else(prefix: Path, library: CLibrary) -> None:
    (version,) = re.findall(r"#define FASTLIC_C_API_VERSION (\d+)", HEADER.read_text())
    declared = set(re.findall(r"\b(fastlic_\w+)\(", HEADER.read_text()))

    assert int(version) == build.ABI == library.functions.fastlic_c_api_version()
    assert (prefix / "include" / "fastlic" / "c_api.h").read_text() == HEADER.read_text()
    assert f"Version: {version}\n" in (prefix / "lib" / "pkgconfig" / "fastlic.pc").read_text()
    assert all(hasattr(library.functions, name) for name in declared)
    if sys.platform == "linux" and shutil.which("nm"):
        exported = {
            line.split()[-1] for line in run("nm", "-D", "--defined-only", prefix / "lib/libfastlic.so").splitlines()
        }
        assert exported == declared


@pytest.mark.parametrize(("compiler", "language"), [("cc", "c11"), ("cc", "c99"), ("c++", "c++11")])
def test_header_compiles_without_warnings(compiler: str, language: str, tmp_path: Path) -> None:
    source = tmp_path / ("use.cpp" if compiler == "c++" else "use.c")
    source.write_text("#include <fastlic/c_api.h>\nint main(void) { return fastlic_c_api_version() == 0; }\n")

    run(compiler, f"-std={language}", *WARNINGS, "-fsyntax-only", f"-I{HEADER.parents[1]}", source)


def test_build_without_a_working_compiler_raises_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(errors.EngineUnavailable, match="does not compile with false"):
        build.build(tmp_path)
    assert not list((tmp_path / "lib").glob("*fastlic.so*"))

    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.EngineUnavailable, match="no C\\+\\+ compiler"):
        build.build(tmp_path)


def test_sources_command_lists_files_that_are_there() -> None:
    lines = run(sys.executable, "-m", "fastlic.kernels.c_api", "sources").split()

    assert {Path(line).name for line in lines} >= {"c_api.cpp", "container.cpp", "reader.cpp"}
    assert all(Path(line.removeprefix("-I")).exists() for line in lines)


# --- container --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", FILES)
def test_file_is_cut_as_in_python(library: CLibrary, bundle: Bundle, known: ctypes.Structure, data: bytes) -> None:
    expected = parse(data, bundle)

    with library.file(data, known) as file:
        header = Header()
        library.call("file_header", file, ctypes.byref(header))
        for name in ("width", "height", "tile_width", "tile_height", "rate", "student_hash", "index_length"):
            assert getattr(header, name) == getattr(expected.header, name)
        for kind, name in enumerate(("icc", "exif", "xmp"), 1):
            assert library.bytes_of("file_metadata", file, kind) == expected.metadata.get(name, b"")
        assert library.functions.fastlic_file_tile_count(file) == len(expected.tiles)
        for number, (box, tile) in enumerate(zip(expected.grid, expected.tiles, strict=True)):
            found = library.tile(file, number)
            assert (found.left, found.top, found.right, found.bottom) == tuple(box)
            assert (found.symbol_crc, found.stream_count) == (tile.symbol_crc, len(tile.streams))
            for stream, words in enumerate(tile.streams):
                assert library.bytes_of("file_stream", file, U32(number), U32(stream)) == bytes(words)
            active = np.unpackbits(np.frombuffer(tile.channel_maps["y"], np.uint8), bitorder="little").astype(bool)
            np.testing.assert_array_equal(library.active(file, number, 0, 8), active)


def test_mutated_files_are_refused_by_both_parsers_for_the_same_cause(
    library: CLibrary, bundle: Bundle, known: ctypes.Structure
) -> None:
    mutator, causes = Mutator(FILES, map_bytes=1, seed=1), set()
    for _ in range(6000):
        data = mutator.next()
        try:
            parse(data, bundle)
            expected = None
        except errors.FastlicError as error:
            expected = type(error)
        assert library.refusal(data, known) is expected, data.hex()
        causes.add(expected)

    names = ("NotALicFile", "UnsupportedVersion", "TruncatedStream", "CorruptedStream", "FingerprintMismatch")
    assert causes >= {None, errors.LimitExceeded, *(getattr(errors, name) for name in names)}


@pytest.mark.parametrize("cut", range(49))
def test_probe_of_a_cut_header_refuses_as_python_does(library: CLibrary, cut: int) -> None:
    data, header = FILES[0][:cut], Header()
    status = library.functions.fastlic_probe((U8 * len(data))(*data), SIZE(len(data)), ctypes.byref(header), None)

    assert status == (1 if cut == 0 else 3 if cut < 48 else 0)


def test_default_limits_are_those_of_python_and_the_callers_are_obeyed(
    library: CLibrary, known: ctypes.Structure
) -> None:
    limits = LimitsOfC()
    library.functions.fastlic_default_limits(ctypes.byref(limits))
    python = Limits()
    for name, _ in LimitsOfC._fields_:
        assert getattr(limits, name) == getattr(python, name)

    limits.max_tiles = 5
    with (
        pytest.raises(errors.LimitExceeded, match=r"tiles: 6 exceeds the limit of 5. Raise fastlic_limits.max_tiles"),
        library.file(next(data for data in FILES if len(data) > 1000), known, limits),
    ):
        pass


@pytest.mark.parametrize(("multiple", "channels"), [(0, 8), (65537, 8), (64, 0), (64, 65537)])
def test_layout_that_no_manifest_has_is_refused(library: CLibrary, multiple: int, channels: int) -> None:
    assert library.refusal(FILES[0], layout(FILES[0][16:24], multiple, 0, [channels])) is errors.BundleError


def test_wrong_numbers_and_null_pointers_are_the_callers_mistake(library: CLibrary, known: ctypes.Structure) -> None:
    with library.file(FILES[0], known) as file:
        for name, arguments in {
            "file_tile": (file, U32(99), ctypes.byref(Header())),
            "file_channel_map": (file, U32(0), SIZE(1), None, SIZE(8)),
            "file_stream": (file, U32(0), U32(64), ctypes.byref(POINTER()), ctypes.byref(SIZE())),
            "file_metadata": (file, 4, ctypes.byref(POINTER()), ctypes.byref(SIZE())),
            "file_header": (None, ctypes.byref(Header())),
            "file_open": (None, SIZE(5), ctypes.byref(known), None, ctypes.byref(POINTER())),
            "reader_open": (file, U32(0), U32(0), ctypes.byref(POINTER())),
            "reader_finish": (None,),
            "rows_create": (None, ctypes.byref(POINTER())),
        }.items():
            with pytest.raises(ValueError, match=r"\w"):
                library.call(name, *arguments)
        with pytest.raises(ValueError, match="active: 7 elements, 8 expected"):
            library.active(file, 0, 0, 7)
    assert library.functions.fastlic_file_tile_count(None) == 0
    library.functions.fastlic_reader_close(None)


# --- symbols ----------------------------------------------------------------------------------------------------------


def read_in_c(library: CLibrary, pass_: Pass, file: POINTER, *, finish: bool = True) -> np.ndarray:
    """The values of a pass that is alone in the streams of tile 0."""
    distribution = library.distribution(pass_.distribution)
    reader = library.opened("reader_open", file, U32(0), U32(2))
    channels, height, width = pass_.shape
    active = None if pass_.active is None else pass_.active.astype(np.uint8)
    pointers: list[object] = []
    for array in (active, pass_.parameters):
        pointers += [None, 0] if array is None else [array.ctypes.data, array.size]
    work = PassOfC(channels, height, width, *pointers)
    values = np.full(pass_.shape, 77, np.int16)
    try:
        count = SIZE(values.size)
        library.call("reader_read", reader, distribution, ctypes.byref(work), POINTER(values.ctypes.data), count)
        if finish:
            library.call("reader_finish", reader)
    finally:
        library.functions.fastlic_reader_close(reader)
        library.functions.fastlic_distribution_close(distribution)
    return values


def file_of(streams: list[bytes], fingerprint: bytes) -> bytes:
    """A file of one tile with these streams."""
    words = tuple(len(stream) // 4 for stream in streams)
    return Forgery(fingerprint, tiles=[Tile(words=words)], streams=b"".join(streams)).pack()


@pytest.mark.parametrize("seed", range(60))
def test_random_pass_is_read_as_it_was_written(library: CLibrary, known: ctypes.Structure, seed: int) -> None:
    pass_, values = random_pass(seed)
    writer = StreamWriter()
    expected = writer.code(pass_, values)
    streams = writer.finish((1, 3, 64)[seed % 3])

    with library.file(file_of(streams, FILES[0][16:24]), known) as file:
        np.testing.assert_array_equal(read_in_c(library, pass_, file), expected)


def test_damaged_words_are_refused_and_say_which_stream(library: CLibrary, known: ctypes.Structure) -> None:
    pass_, values = next((p, v) for p, v in map(random_pass, range(200)) if p.active is None and v.size > 40)
    writer = StreamWriter()
    writer.code(pass_, values)
    (stream,) = writer.finish(1)

    for damaged in (stream[:-4], stream + bytes(4), b""):
        with (
            library.file(file_of([damaged], FILES[0][16:24]), known) as file,
            pytest.raises(errors.CorruptedStream, match="stream 0"),
        ):
            read_in_c(library, pass_, file)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda work: setattr(work, "channels", 2**31), ValueError, "an axis beyond"),
        (lambda work: setattr(work, "height", 2**31 - 1), ValueError, "values"),
        (lambda work: setattr(work, "parameters_count", 3), ValueError, "parameters: 3 elements"),
        (lambda work: setattr(work, "parameters", None), ValueError, "parameters: 0 elements"),
    ],
)
def test_pass_whose_sizes_do_not_fit_is_refused(
    library: CLibrary, known: ctypes.Structure, change: Callable, error: type[Exception], message: str
) -> None:
    distribution = library.distribution(mixture_tables(("normal",), 1))
    parameters, values = np.zeros((2, 2, 1, 3), np.int16), np.zeros((1, 2, 2), np.int16)
    work = PassOfC(1, 2, 2, None, 0, parameters.ctypes.data, parameters.size)
    change(work)
    with library.file(FILES[0], known) as file:
        reader = library.opened("reader_open", file, U32(0), U32(1))
        with pytest.raises(error, match=message):
            library.call("reader_read", reader, distribution, ctypes.byref(work), POINTER(values.ctypes.data), SIZE(4))
        library.functions.fastlic_reader_close(reader)
    library.functions.fastlic_distribution_close(distribution)


def test_row_that_a_network_chose_and_the_table_lacks_is_the_students_fault(
    library: CLibrary, known: ctypes.Structure, rng: np.random.Generator
) -> None:
    pass_ = Pass(row_tables(rng, 3), np.full((2, 2, 1), 3, np.int16), (1, 2, 2))

    with library.file(FILES[0], known) as file, pytest.raises(errors.BundleError, match="row 3 of a table of 3"):
        read_in_c(library, pass_, file)


def test_tables_out_of_range_or_of_another_size_are_refused(library: CLibrary, rng: np.random.Generator) -> None:
    rows, mixture = row_tables(rng, 4), mixture_tables()
    tables = [getattr(mixture, name) for name in MIXTURE_ARRAYS]

    with pytest.raises(errors.BundleError, match="table low"):
        library.rows(rows.cdf, rows.window, rows.low - np.int16(16384))
    with pytest.raises(ValueError, match="low: 3 elements, 4 expected"):
        library.rows(rows.cdf, rows.window, rows.low[:3])
    with pytest.raises(errors.BundleError, match="table inverse_scale"):
        library.mixture(3, 3, 65536, *tables[:2], tables[2] * 0, *tables[3:])
    with pytest.raises(errors.BundleError, match="table families"):
        library.mixture(2**31 + 1, 3, 65536, *tables)
    with pytest.raises(ValueError, match="thresholds: 189 elements, 126 expected"):
        library.mixture(2, 3, 65536, *tables)


@pytest.mark.parametrize("parity", ["all", "even", "odd"])
def test_scatter_puts_elements_where_python_does(library: CLibrary, rng: np.random.Generator, parity: str) -> None:
    expected = np.full((5, 6, 8), 9, np.int16)
    latent = expected.copy()
    packed = rng.integers(-99, 99, (3, 6, 8 if parity == "all" else 4), np.int16)
    scatter(expected, Code("y", "d", (1, 4), parity), packed)  # type: ignore[arg-type]

    number = ("all", "even", "odd").index(parity)
    target = Latent(latent.ctypes.data, latent.size, *latent.shape)
    arguments = (ctypes.byref(target), U32(1), U32(4), number, POINTER(packed.ctypes.data))
    library.call("scatter", *arguments, SIZE(packed.size))

    np.testing.assert_array_equal(latent, expected)
    with pytest.raises(ValueError, match="packed"):
        library.call("scatter", *arguments, SIZE(packed.size - 1))


# --- the example ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C program, compiled as its documentation says."""
    program, lib = tmp_path_factory.mktemp("example") / "decode_symbols", prefix / "lib"
    flags = ["-std=c11", *WARNINGS, f"-I{prefix / 'include'}", f"-L{lib}", "-lfastlic", f"-Wl,-rpath,{lib}"]
    run("cc", EXAMPLE / "decode_symbols.c", *flags, "-o", program)
    return program


@pytest.mark.parametrize("name", ["tiny-tiles", "fu2023-n64-m128-l0075-4-square"])
def test_example_decodes_a_golden_file_to_its_checksums(example: Path, name: str, tmp_path: Path) -> None:
    file = GOLDEN / f"{name}.lic"
    student = [GOLDEN / "tiny.licb"] if name.startswith("tiny") else []
    run(sys.executable, EXAMPLE / "write_student.py", file, tmp_path, *student)
    command = [example, file, tmp_path / "student.bin", tmp_path / "outputs.bin"]

    lines = run(*command).splitlines()

    assert len(lines) == (6 if name == "tiny-tiles" else 1)
    assert all(re.fullmatch(r"tile\[\d\]  64x64  \d streams  checksum [0-9a-f]{8} ok", line) for line in lines)
    outputs = bytearray((tmp_path / "outputs.bin").read_bytes())
    outputs[-400:] = bytes(byte ^ 8 for byte in outputs[-400:])  # an engine that computes something else
    (tmp_path / "outputs.bin").write_bytes(outputs)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search("stream|checksum", done.stderr)
