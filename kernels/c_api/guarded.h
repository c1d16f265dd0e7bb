// What every function of the C ABI begins and ends with: arguments checked, exceptions turned into status codes.
//
// Knows the errors of the C++ core; knows nothing of what the functions do.
#pragma once

#include <climits>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "container.h"
#include "fastlic/c_api.h"
#include "reader.h"

namespace fastlic {

// The caller's mistake.
struct BadArgument : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

inline fastlic_status status_of(Cause cause) {
    switch (cause) {
        case Cause::kNotALicFile:
            return FASTLIC_NOT_A_LIC_FILE;
        case Cause::kUnsupportedVersion:
            return FASTLIC_UNSUPPORTED_VERSION;
        case Cause::kTruncated:
            return FASTLIC_TRUNCATED;
        case Cause::kCorrupted:
            return FASTLIC_CORRUPTED;
        case Cause::kFingerprint:
            return FASTLIC_FINGERPRINT_MISMATCH;
        case Cause::kSymbols:
            return FASTLIC_SYMBOL_MISMATCH;
        case Cause::kLimit:
            return FASTLIC_LIMIT_EXCEEDED;
    }
    return FASTLIC_FAILED;
}

inline void set_message(fastlic_error* error, const char* text) noexcept {
    if (error == nullptr) return;
    size_t length = std::strlen(text);
    if (length > sizeof error->message - 1) length = sizeof error->message - 1;
    std::memcpy(error->message, text, length);
    error->message[length] = '\0';
}

// Runs `work` and says how it ended. Order matters: the library's own classes come before their bases.
template <class Work>
fastlic_status guarded(fastlic_error* error, const Work& work) noexcept {
    set_message(error, "");
    try {
        work();
        return FASTLIC_OK;
    } catch (const Refused& refused) {
        set_message(error, refused.what());
        return status_of(refused.cause);
    } catch (const Corrupted& corrupted) {
        set_message(error, corrupted.what());
        return FASTLIC_CORRUPTED;
    } catch (const BadTables& bad) {
        set_message(error, bad.what());
        return FASTLIC_BAD_STUDENT;
    } catch (const std::out_of_range& bad) {  // a row that a network chose and the table does not have
        set_message(error, bad.what());
        return FASTLIC_BAD_STUDENT;
    } catch (const BadArgument& bad) {
        set_message(error, bad.what());
        return FASTLIC_BAD_ARGUMENT;
    } catch (const std::bad_alloc&) {
        set_message(error, "not enough memory");
        return FASTLIC_NO_MEMORY;
    } catch (const std::length_error& too_long) {
        set_message(error, too_long.what());
        return FASTLIC_NO_MEMORY;
    } catch (const std::exception& other) {
        set_message(error, other.what());
        return FASTLIC_FAILED;
    } catch (...) {
        set_message(error, "an unknown exception");
        return FASTLIC_FAILED;
    }
}

inline void require(bool holds, const char* message) {
    if (!holds) throw BadArgument(message);
}

// As many elements as the caller says there are behind `data`.
template <class T>
const T* sized(const T* data, size_t count, size_t expected, const char* name) {
    if (data == nullptr || count != expected) {
        throw BadArgument(std::string(name) + ": " + std::to_string(data == nullptr ? 0 : count) + " elements, " +
                          std::to_string(expected) + " expected");
    }
    return data;
}

// channels * height * width * each, refused where an index into it would not be safe.
inline size_t element_count(uint32_t channels, uint32_t height, uint32_t width, uint32_t each) {
    size_t count = 1;
    for (const uint32_t factor : {channels, height, width, each}) {
        require(factor <= INT_MAX, "a shape has an axis beyond 2^31 - 1");
        if (factor != 0 && count > SIZE_MAX / 2 / factor) throw BadArgument("a shape has too many elements");
        count *= factor;
    }
    return count;
}

}  // namespace fastlic
