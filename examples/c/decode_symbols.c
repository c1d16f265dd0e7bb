/* Decode the symbols of a `.lic` file with fastlic's C library and compare their checksums: plain C11, no networks.
 *
 *     decode_symbols FILE.lic STUDENT.bin OUTPUTS.bin
 *
 * STUDENT.bin holds what an application reads from the student's bundle: layout, tables, and the passes of its schedule.
 * OUTPUTS.bin stands for the application's own engine: the tensors that the student's exact networks give between the
 * passes. write_student.py makes both, and says what is in them. In an application, `run_networks` below evaluates the
 * graphs instead, with the latents decoded so far; everything else stays as it is.
 */
#include <fastlic/c_api.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LATENTS = 16, MAX_DISTRIBUTIONS = 64, MAX_PASSES = 64 };

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "decode_symbols: %s: %s\n", what, why);
    exit(1);
}

static void check(fastlic_status status, const char *what, const fastlic_error *error) {
    if (status != FASTLIC_OK) fail(what, error->message);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) fail("memory", "not enough of it");
    return memory;
}

/* ---- Files made by write_student.py: little-endian numbers, arrays with their length in front ------------------------ */

static uint32_t read_number(FILE *file) {
    unsigned char bytes[4];
    if (fread(bytes, 1, sizeof bytes, file) != sizeof bytes) fail("input", "ends early");
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* An array of `*count` elements of `size` bytes, in this machine's byte order: the example is for little-endian ones. */
static void *read_array(FILE *file, size_t size, size_t *count) {
    *count = read_number(file);
    void *elements = allocate(*count, size);
    if (fread(elements, size, *count, file) != *count) fail("input", "ends early");
    return elements;
}

static FILE *open_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path, "cannot be opened");
    return file;
}

static unsigned char *read_whole(const char *path, size_t *size) {
    FILE *file = open_file(path);
    if (fseek(file, 0, SEEK_END) != 0) fail(path, "cannot be read");
    long length = ftell(file);
    if (length < 0) fail(path, "cannot be read");
    rewind(file);
    unsigned char *bytes = allocate((size_t)length, 1);
    *size = fread(bytes, 1, (size_t)length, file);
    fclose(file);
    return bytes;
}

/* ---- The student ----------------------------------------------------------------------------------------------------- */

struct latent {
    uint32_t channels, stride; /* stride: pixels per element */
    bool mapped;
};

struct pass {
    uint32_t latent, distribution, first, end;
    fastlic_parity parity;
    bool has_parameters;
};

struct student {
    fastlic_layout layout;
    uint32_t map_channels[MAX_LATENTS];
    uint32_t latent_count, distribution_count, pass_count;
    struct latent latents[MAX_LATENTS];
    fastlic_distribution *distributions[MAX_DISTRIBUTIONS];
    struct pass passes[MAX_PASSES];
};

static fastlic_distribution *read_rows(FILE *file) {
    fastlic_row_tables tables;
    int32_t *cdf = read_array(file, sizeof *cdf, &tables.cdf_count);
    int16_t *window = read_array(file, sizeof *window, &tables.window_count);
    int16_t *low = read_array(file, sizeof *low, &tables.low_count);
    tables.cdf = cdf;
    tables.window = window;
    tables.low = low;
    fastlic_distribution *distribution = NULL;
    fastlic_error error;
    check(fastlic_rows_create(&tables, &distribution, &error), "table", &error);
    free(cdf); /* the library has copied them */
    free(window);
    free(low);
    return distribution;
}

static fastlic_distribution *read_mixture(FILE *file) {
    fastlic_mixture_tables tables;
    tables.families = read_number(file);
    tables.components = read_number(file);
    tables.skip_threshold = read_number(file);
    uint16_t *exponential = read_array(file, sizeof *exponential, &tables.exponential_count);
    int16_t *thresholds = read_array(file, sizeof *thresholds, &tables.thresholds_count);
    uint32_t *inverse_scale = read_array(file, sizeof *inverse_scale, &tables.inverse_scale_count);
    int32_t *tail = read_array(file, sizeof *tail, &tables.tail_count);
    uint16_t *half_cdf = read_array(file, sizeof *half_cdf, &tables.half_cdf_count);
    tables.exponential = exponential;
    tables.thresholds = thresholds;
    tables.inverse_scale = inverse_scale;
    tables.tail = tail;
    tables.half_cdf = half_cdf;
    fastlic_distribution *distribution = NULL;
    fastlic_error error;
    check(fastlic_mixture_create(&tables, &distribution, &error), "mixture", &error);
    free(exponential);
    free(thresholds);
    free(inverse_scale);
    free(tail);
    free(half_cdf);
    return distribution;
}

static struct student read_student(const char *path) {
    FILE *file = open_file(path);
    struct student student;
    memset(&student, 0, sizeof student);
    if (fread(student.layout.fingerprint, 1, 8, file) != 8) fail(path, "ends early");
    student.layout.multiple = read_number(file);
    student.layout.rates = read_number(file);
    student.latent_count = read_number(file);
    if (student.latent_count > MAX_LATENTS) fail(path, "too many latents");
    for (uint32_t i = 0; i < student.latent_count; ++i) {
        struct latent *latent = &student.latents[i];
        latent->channels = read_number(file);
        latent->stride = read_number(file);
        latent->mapped = read_number(file) != 0;
        if (latent->stride == 0) fail(path, "a stride is 0");
        if (latent->mapped) student.map_channels[student.layout.map_count++] = latent->channels;
    }
    student.distribution_count = read_number(file);
    if (student.distribution_count > MAX_DISTRIBUTIONS) fail(path, "too many distributions");
    for (uint32_t i = 0; i < student.distribution_count; ++i) {
        student.distributions[i] = read_number(file) == 0 ? read_rows(file) : read_mixture(file);
    }
    student.pass_count = read_number(file);
    if (student.pass_count > MAX_PASSES) fail(path, "too many passes");
    for (uint32_t i = 0; i < student.pass_count; ++i) {
        struct pass *pass = &student.passes[i];
        pass->latent = read_number(file);
        pass->distribution = read_number(file);
        pass->first = read_number(file);
        pass->end = read_number(file);
        pass->parity = (fastlic_parity)read_number(file);
        pass->has_parameters = read_number(file) != 0;
        if (pass->latent >= student.latent_count || pass->distribution >= student.distribution_count ||
            pass->first > pass->end || pass->end > student.latents[pass->latent].channels) {
            fail(path, "a pass names what is not there");
        }
    }
    fclose(file);
    return student;
}

/* ---- The engine's part ------------------------------------------------------------------------------------------------ */

/* The parameters of a pass, int16 [height][width][channels][P]. Here they come from OUTPUTS.bin, in the order of tiles and
 * passes; an application gives `latents`, decoded so far, to its engine and runs the schedule up to this pass. */
static int16_t *run_networks(FILE *outputs, const fastlic_latent *latents, size_t *count) {
    (void)latents;
    return read_array(outputs, sizeof(int16_t), count);
}

/* ---- Decoding ---------------------------------------------------------------------------------------------------------- */

static void decode_pass(const struct student *student, const struct pass *pass, fastlic_reader *reader,
                        const uint8_t *active, fastlic_latent *latents, FILE *outputs) {
    const fastlic_latent *latent = &latents[pass->latent];
    const fastlic_distribution *distribution = student->distributions[pass->distribution];
    fastlic_pass work = {.channels = pass->end - pass->first,
                         .height = latent->height,
                         .width = pass->parity == FASTLIC_ALL ? latent->width : latent->width / 2};
    if (active != NULL) {
        work.active = active + pass->first;
        work.active_count = work.channels;
    }
    int16_t *parameters = NULL;
    if (pass->has_parameters) {
        parameters = run_networks(outputs, latents, &work.parameters_count);
        work.parameters = parameters;
    }
    const size_t count = (size_t)work.channels * work.height * work.width;
    int16_t *packed = allocate(count, sizeof *packed);
    fastlic_error error;
    check(fastlic_reader_read(reader, distribution, &work, packed, count, &error), "pass", &error);
    check(fastlic_scatter(latent, pass->first, pass->end, pass->parity, packed, count, &error), "scatter", &error);
    free(packed);
    free(parameters);
}

static void decode_tile(const struct student *student, const fastlic_file *file, uint32_t number, FILE *outputs) {
    fastlic_error error;
    fastlic_tile tile;
    fastlic_reader *reader = NULL;
    check(fastlic_file_tile(file, number, &tile, &error), "tile", &error);
    check(fastlic_reader_open(file, number, 1, &reader, &error), "reader", &error);
    fastlic_latent latents[MAX_LATENTS];
    uint8_t *active[MAX_LATENTS] = {NULL};
    size_t map = 0;
    for (uint32_t i = 0; i < student->latent_count; ++i) {
        const struct latent *known = &student->latents[i];
        const uint32_t height = (tile.bottom - tile.top) / known->stride;
        const uint32_t width = (tile.right - tile.left) / known->stride;
        const size_t count = (size_t)known->channels * height * width;
        latents[i] = (fastlic_latent){allocate(count, sizeof(int16_t)), count, known->channels, height, width};
        if (known->mapped) {
            active[i] = allocate(known->channels, 1);
            check(fastlic_file_channel_map(file, number, map++, active[i], known->channels, &error), "channel map",
                  &error);
        }
    }
    for (uint32_t i = 0; i < student->pass_count; ++i) {
        const struct pass *pass = &student->passes[i];
        decode_pass(student, pass, reader, active[pass->latent], latents, outputs);
    }
    check(fastlic_reader_finish(reader, &error), "end of the streams", &error);
    check(fastlic_file_verify(file, number, latents, student->latent_count, &error), "symbols", &error);
    printf("tile[%" PRIu32 "]  %" PRIu32 "x%" PRIu32 "  %" PRIu32 " streams  checksum %08" PRIx32 " ok\n", number,
           tile.right - tile.left, tile.bottom - tile.top, tile.stream_count, tile.symbol_crc);
    for (uint32_t i = 0; i < student->latent_count; ++i) {
        free(latents[i].values);
        free(active[i]);
    }
    fastlic_reader_close(reader);
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage", "decode_symbols FILE.lic STUDENT.bin OUTPUTS.bin");
    if (fastlic_c_api_version() != FASTLIC_C_API_VERSION) fail("libfastlic", "another version than its header");
    struct student student = read_student(argv[2]);
    student.layout.map_channels = student.map_channels;
    size_t size = 0;
    unsigned char *data = read_whole(argv[1], &size);
    FILE *outputs = open_file(argv[3]);
    fastlic_error error;
    fastlic_file *file = NULL;
    check(fastlic_file_open(data, size, &student.layout, NULL, &file, &error), argv[1], &error);
    for (uint32_t tile = 0; tile < fastlic_file_tile_count(file); ++tile) {
        decode_tile(&student, file, tile, outputs);
    }
    fclose(outputs);
    fastlic_file_close(file);
    for (uint32_t i = 0; i < student.distribution_count; ++i) fastlic_distribution_close(student.distributions[i]);
    free(data);
    return 0;
}
