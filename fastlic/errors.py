"""Every error that fastlic raises on purpose. A leaf module: it imports nothing.

Each class is one cause, so that a caller can react to it; each message says where, what and what to do.
"""


class FastlicError(Exception):
    """Base of all errors below."""


class BitstreamError(FastlicError):
    """A `.lic` file cannot be decoded."""


class NotALicFile(BitstreamError):
    """The data does not begin with the `.lic` magic."""


class UnsupportedVersion(BitstreamError):
    """Written by a newer format version."""


class TruncatedStream(BitstreamError):
    """The data ends before its length fields say."""


class CorruptedStream(BitstreamError):
    """A checksum, a range or an end condition does not hold."""


class FingerprintMismatch(BitstreamError):
    """The file was written with another bundle."""


class SymbolMismatch(BitstreamError):
    """The decoded latents do not have the checksum in the file; no picture is returned."""


class LimitExceeded(FastlicError):
    """More pixels, tiles or bytes than the limits allow."""


class BundleError(FastlicError):
    """A `.licb` bundle is damaged, hostile or of an unknown version."""


class StudentNotFound(FastlicError):
    """No bundle at hand has the fingerprint that the file asks for."""


class EngineUnavailable(FastlicError):
    """The engine asked for cannot run here; the message says why."""


class EngineNotPrepared(EngineUnavailable):
    """The engine needs the student to be prepared for it; the message says which `fastlic build` does that."""


class DriverUnavailable(EngineUnavailable):
    """NVIDIA's driver, or pycuda which talks to it, is missing, broken or too old."""


class DeviceUnavailable(EngineUnavailable):
    """There is no such GPU, or it is too old."""


class KernelsUnavailable(EngineUnavailable):
    """The compiled CUDA kernels were not installed, or do not fit this GPU and driver."""


class DeviceOutOfMemory(FastlicError, MemoryError):
    """The GPU's memory, or memory that it can reach, is not enough; the device can still be used."""


class DeviceFailure(FastlicError):
    """The GPU or its driver reported an error while working."""


class PinMismatch(EngineUnavailable):
    """A bundle's networks are pinned to another engine, version or class of machine than this one."""


class RateUnavailable(FastlicError):
    """The student does not have the rate asked for."""


class CoderClosed(FastlicError):
    """A decoder or encoder is used after its `close`."""


class TimedOut(FastlicError):
    """Work was stopped because its time was up."""


class Cancelled(FastlicError):
    """Work was stopped because the caller asked for that."""


class PictureError(FastlicError):
    """A picture cannot be read or is of a kind that would lose something silently."""


class OutputExists(FastlicError):
    """A file would be replaced and nobody asked for that."""


class FolderInUse(FastlicError):
    """Another run is writing its results into the same folder."""


class DependencyMissing(FastlicError):
    """An optional dependency is not installed; the message names the extra."""


class CheckpointError(FastlicError):
    """A checkpoint or its configuration cannot be exported."""


class ConfigurationError(FastlicError):
    """A training configuration asks for something unknown or impossible."""


class CertificateError(FastlicError):
    """A layer's exactness bound does not hold; nothing is published."""


class VerificationFailed(FastlicError):
    """An exported bundle does not do what its source does; nothing is published."""
