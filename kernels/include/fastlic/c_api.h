/* fastlic for C and C++ applications that have an inference engine of their own: `.lic` files and their symbols.
 *
 * This library reads the container (docs/format.md, section 1) and the entropy-coded symbols (sections 3 and 4). It
 * runs no networks: between two passes the application evaluates the student's graphs and hands over their outputs. How
 * the two fit together: docs/c-api.md; a whole program: examples/c/decode_symbols.c.
 *
 * Rules of all functions:
 *   - They return a status; `error`, which may be null, is given a message that says where, what and what to do.
 *   - No exception leaves them, there is no global state, and every pointer comes with the number of elements behind
 * it.
 *   - Bytes may come from anybody. What a student provides (layout, tables, networks' outputs) is checked as well.
 *   - A handle may be used by one thread at a time; a `fastlic_distribution` by any number at once.
 *   - Handles are written only when the status is FASTLIC_OK. Closing a null handle does nothing.
 */
#ifndef FASTLIC_C_API_H
#define FASTLIC_C_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(FASTLIC_BUILDING)
#define FASTLIC_API __declspec(dllexport)
#else
#define FASTLIC_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define FASTLIC_API __attribute__((visibility("default")))
#else
#define FASTLIC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised by every change that a compiled application would notice. */
#define FASTLIC_C_API_VERSION 1

typedef enum fastlic_status {
    FASTLIC_OK = 0,
    FASTLIC_NOT_A_LIC_FILE = 1,
    FASTLIC_UNSUPPORTED_VERSION = 2,  /* written by a newer format version */
    FASTLIC_TRUNCATED = 3,            /* the data ends before its length fields say */
    FASTLIC_CORRUPTED = 4,            /* a checksum, a range or an end condition does not hold */
    FASTLIC_FINGERPRINT_MISMATCH = 5, /* the file was written with another student */
    FASTLIC_SYMBOL_MISMATCH = 6,      /* the decoded latents do not have the checksum in the file */
    FASTLIC_LIMIT_EXCEEDED = 7,       /* more pixels, tiles or bytes than the limits allow */
    FASTLIC_BAD_STUDENT = 8,          /* layout, tables or networks' outputs break the rules of docs/format.md */
    FASTLIC_BAD_ARGUMENT = 9,         /* the caller's mistake: a null pointer, a count that does not fit */
    FASTLIC_NO_MEMORY = 10,
    FASTLIC_FAILED = 11 /* anything else; the message is the library's own */
} fastlic_status;

typedef struct fastlic_error {
    char message[256]; /* ends with a zero; empty when nothing went wrong */
} fastlic_error;

/* FASTLIC_C_API_VERSION of the library that is loaded. */
FASTLIC_API uint32_t fastlic_c_api_version(void);

/* ---- Container ------------------------------------------------------------------------------------------------- */

/* The fixed part of a file; lengths in bytes, `tile_width` and `tile_height` in the student's `multiple`. */
typedef struct fastlic_header {
    uint32_t width; /* pixels */
    uint32_t height;
    uint32_t tile_width;
    uint32_t tile_height;
    uint32_t rate; /* of a student of several rates: 1 to their number; else 0 */
    uint32_t student_hash;
    uint32_t metadata_length;
    uint32_t index_length;
    uint8_t fingerprint[8];
} fastlic_header;

/* Read and check the header alone: `data` is a file, or at least its first 48 bytes. */
FASTLIC_API fastlic_status fastlic_probe(const void* data, size_t size, fastlic_header* header, fastlic_error* error);

/* What the container needs to know of a student; from `manifest.json` of its bundle. */
typedef struct fastlic_layout {
    uint8_t fingerprint[8];       /* docs/format.md, 2.3 */
    uint32_t multiple;            /* pictures are padded to a multiple of this many pixels */
    uint32_t rates;               /* how many rates it has; 0: one */
    const uint32_t* map_channels; /* channels of each latent whose `channel_map` is true, in order of first coding */
    size_t map_count;
} fastlic_layout;

/* What the caller is willing to spend on one file. */
typedef struct fastlic_limits {
    uint64_t max_pixels;      /* of a picture, after padding */
    uint64_t max_tile_pixels; /* of one tile, after padding */
    uint32_t max_tiles;
    uint32_t max_metadata_bytes;
} fastlic_limits;

/* The limits that fastlic uses unless told otherwise. */
FASTLIC_API void fastlic_default_limits(fastlic_limits* limits);

typedef struct fastlic_file fastlic_file;

/* Check a whole container and cut it into tiles. `limits` null: the default ones. `data` must stay where it is,
 * unchanged, until the file is closed. */
FASTLIC_API fastlic_status fastlic_file_open(const void* data, size_t size, const fastlic_layout* layout,
                                             const fastlic_limits* limits, fastlic_file** file, fastlic_error* error);
FASTLIC_API void fastlic_file_close(fastlic_file* file);

FASTLIC_API fastlic_status fastlic_file_header(const fastlic_file* file, fastlic_header* header, fastlic_error* error);

typedef enum fastlic_metadata { FASTLIC_ICC = 1, FASTLIC_EXIF = 2, FASTLIC_XMP = 3 } fastlic_metadata;

/* A metadata block, inside the caller's data; null and 0 when the file has none of this kind. */
FASTLIC_API fastlic_status fastlic_file_metadata(const fastlic_file* file, fastlic_metadata kind, const uint8_t** block,
                                                 size_t* size, fastlic_error* error);

/* One tile. Edges are pixels of the padded picture, half open, and multiples of `multiple`. */
typedef struct fastlic_tile {
    uint32_t left;
    uint32_t top;
    uint32_t right;
    uint32_t bottom;
    uint32_t stream_count;
    uint32_t symbol_crc;
} fastlic_tile;

FASTLIC_API uint32_t fastlic_file_tile_count(const fastlic_file* file); /* 0 for null */
FASTLIC_API fastlic_status fastlic_file_tile(const fastlic_file* file, uint32_t tile, fastlic_tile* found,
                                             fastlic_error* error);

/* Channel map number `map` of a tile: one byte a channel, 1 when it is active. `channels` as in the layout. */
FASTLIC_API fastlic_status fastlic_file_channel_map(const fastlic_file* file, uint32_t tile, size_t map,
                                                    uint8_t* active, size_t channels, fastlic_error* error);

/* The words of one stream as they lie in the caller's data; `size` in bytes. For other decoders than this one. */
FASTLIC_API fastlic_status fastlic_file_stream(const fastlic_file* file, uint32_t tile, uint32_t stream,
                                               const uint8_t** words, size_t* size, fastlic_error* error);

/* ---- Distributions --------------------------------------------------------------------------------------------- */

/* docs/format.md, 4.1: the arrays of the bundle's `.npy` entries. */
typedef struct fastlic_row_tables {
    const int32_t* cdf; /* [rows][513] */
    size_t cdf_count;
    const int16_t* window; /* [rows] */
    size_t window_count;
    const int16_t* low; /* [rows] */
    size_t low_count;
} fastlic_row_tables;

/* docs/format.md, 4.2: likewise. */
typedef struct fastlic_mixture_tables {
    uint32_t families;   /* their number, 1 to 3 */
    uint32_t components; /* of each family */
    uint32_t skip_threshold;
    const uint16_t* exponential; /* [256] */
    size_t exponential_count;
    const int16_t* thresholds; /* [families][63] */
    size_t thresholds_count;
    const uint32_t* inverse_scale; /* [families][64] */
    size_t inverse_scale_count;
    const int32_t* tail; /* [families][64] */
    size_t tail_count;
    const uint16_t* half_cdf; /* [families][514] */
    size_t half_cdf_count;
} fastlic_mixture_tables;

typedef struct fastlic_distribution fastlic_distribution;

/* The tables are copied. */
FASTLIC_API fastlic_status fastlic_rows_create(const fastlic_row_tables* tables, fastlic_distribution** distribution,
                                               fastlic_error* error);
FASTLIC_API fastlic_status fastlic_mixture_create(const fastlic_mixture_tables* tables,
                                                  fastlic_distribution** distribution, fastlic_error* error);
FASTLIC_API void fastlic_distribution_close(fastlic_distribution* distribution);

/* Numbers that a pass needs per element: P of a mixture, 1 of a table whose rows a network chooses. 0 for null. */
FASTLIC_API uint32_t fastlic_distribution_parameters(const fastlic_distribution* distribution);

/* ---- Symbols --------------------------------------------------------------------------------------------------- */

typedef struct fastlic_reader fastlic_reader;

/* The streams of one tile, copied: the file may be closed. `threads`: at most so many are used, over streams. */
FASTLIC_API fastlic_status fastlic_reader_open(const fastlic_file* file, uint32_t tile, uint32_t threads,
                                               fastlic_reader** reader, fastlic_error* error);
FASTLIC_API void fastlic_reader_close(fastlic_reader* reader);

/* One `code` step for one tile: the packed array of docs/format.md, section 3. */
typedef struct fastlic_pass {
    uint32_t channels;
    uint32_t height;
    uint32_t width;        /* packed: half of the latent's with a parity */
    const uint8_t* active; /* [channels], 0 where a channel is not coded; null: all are */
    size_t active_count;   /* channels, or 0 for null */
    const int16_t*
        parameters; /* mixture: [height][width][channels][P]; table: rows [height][width][channels], or null */
    size_t parameters_count;
} fastlic_pass;

/* Read the next pass into `values`, int16 [channels][height][width] packed. Unless the status is FASTLIC_OK `values` is
 * undefined; after FASTLIC_CORRUPTED the reader is of no use. */
FASTLIC_API fastlic_status fastlic_reader_read(fastlic_reader* reader, const fastlic_distribution* distribution,
                                               const fastlic_pass* pass, int16_t* values, size_t values_count,
                                               fastlic_error* error);

/* After the last pass: whether every stream ends here, in its one form. */
FASTLIC_API fastlic_status fastlic_reader_finish(fastlic_reader* reader, fastlic_error* error);

typedef enum fastlic_parity { FASTLIC_ALL = 0, FASTLIC_EVEN = 1, FASTLIC_ODD = 2 } fastlic_parity;

/* A latent of a tile, int16 [channels][height][width], zero where nothing is coded yet. */
typedef struct fastlic_latent {
    int16_t* values;
    size_t values_count;
    uint32_t channels;
    uint32_t height;
    uint32_t width;
} fastlic_latent;

/* Put a packed pass of channels [first, end) where its elements belong. */
FASTLIC_API fastlic_status fastlic_scatter(const fastlic_latent* latent, uint32_t first, uint32_t end,
                                           fastlic_parity parity, const int16_t* packed, size_t packed_count,
                                           fastlic_error* error);

/* Compare the checksum over a tile's latents, in order of first coding, with the file's. Show no picture before that.
 */
FASTLIC_API fastlic_status fastlic_file_verify(const fastlic_file* file, uint32_t tile, const fastlic_latent* latents,
                                               size_t latent_count, fastlic_error* error);

#ifdef __cplusplus
}
#endif

#endif
