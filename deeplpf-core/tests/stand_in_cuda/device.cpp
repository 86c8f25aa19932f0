// Devices, contexts, error names. STAND_IN_DEVICES: how many there are (1). STAND_IN_DRIVER_VERSION (13000).
#include "driver.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace stand_in;

std::recursive_mutex stand_in::lock;
int stand_in::sticky_error = 0;

static bool initialized = false;
static const int most_devices = 64;
static char contexts[most_devices]; // the primary ones; all memory is every device's
static thread_local void *current_context = nullptr;

static int devices() {
    const char *text = getenv("STAND_IN_DEVICES");
    return text ? std::min(atoi(text), most_devices) : 1;
}
size_t stand_in_total_memory() {
    const char *text = getenv("STAND_IN_MEMORY");
    return text ? strtoull(text, nullptr, 10) : size_t(8) << 30;
}

STAND_IN_API cuInit(unsigned) {
    if (devices() <= 0) return no_device;
    initialized = true;
    return success;
}
STAND_IN_API cuDriverGetVersion(int *version) {
    const char *text = getenv("STAND_IN_DRIVER_VERSION");
    *version = text ? atoi(text) : 13000;
    return success;
}
STAND_IN_API cuDeviceGetCount(int *count) {
    if (!initialized) return not_initialized;
    *count = devices();
    return success;
}
STAND_IN_API cuDeviceGet(int *device, int ordinal) {
    if (!initialized) return not_initialized;
    if (ordinal < 0 || ordinal >= devices()) return invalid_device;
    *device = ordinal;
    return success;
}
STAND_IN_API cuDeviceGetName(char *name, int length, int) {
    strncpy(name, "stand-in (no GPU)", length - 1);
    name[length - 1] = 0;
    return success;
}
STAND_IN_API cuDeviceGetUuid_v2(char *uuid, int device) {
    memset(uuid, 0, 16);
    uuid[15] = char(device);
    return success;
}
STAND_IN_API cuDeviceGetUuid(char *uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
STAND_IN_API cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = stand_in_total_memory();
    return success;
}
STAND_IN_API cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 1: *value = 1024; break;              // threads per block
    case 2: case 3: *value = 1024; break;      // block dimensions x, y
    case 4: *value = 64; break;                // block dimension z
    case 5: *value = 0x7fffffff; break;        // grid dimension x
    case 6: case 7: *value = 65535; break;     // grid dimensions y, z
    case 8: *value = 48 * 1024; break;         // shared memory per block
    case 10: *value = 32; break;               // warp
    case 12: *value = 65536; break;            // registers per block
    case 13: *value = 1000000; break;          // clock, kHz
    case 16: *value = 4; break;                // multiprocessors
    case 36: *value = 1000000; break;          // memory clock, kHz
    case 37: *value = 64; break;               // memory bus, bits
    case 38: *value = 1 << 20; break;          // second-level cache
    case 39: *value = 2048; break;             // threads per multiprocessor
    case 75: *value = 9; break;                // compute capability, major
    case 76: *value = 0; break;                // minor
    case 81: *value = 228 * 1024; break;       // shared memory per multiprocessor
    case 97: *value = 227 * 1024; break;       // shared memory per block, opted in
    case 115: *value = 1; break;               // memory pools
    default: *value = 0;
    }
    return success;
}

STAND_IN_API cuDevicePrimaryCtxRetain(void **context, int device) {
    if (device < 0 || device >= devices()) return invalid_device;
    *context = &contexts[device];
    return success;
}
STAND_IN_API cuDevicePrimaryCtxRelease_v2(int) { return success; }
STAND_IN_API cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return success; }
STAND_IN_API cuCtxDestroy_v2(void *) { return success; }
STAND_IN_API cuCtxGetCurrent(void **context) {
    *context = current_context;
    return success;
}
STAND_IN_API cuCtxSetCurrent(void *context) {
    current_context = context;
    return success;
}
STAND_IN_API cuCtxPushCurrent_v2(void *context) { return cuCtxSetCurrent(context); }
STAND_IN_API cuCtxPopCurrent_v2(void **context) {
    if (context) *context = current_context;
    current_context = nullptr;
    return success;
}
STAND_IN_API cuCtxGetDevice(int *device) {
    if (!current_context) return invalid_context;
    *device = int(static_cast<char *>(current_context) - contexts);
    return success;
}
STAND_IN_API cuCtxSetFlags(unsigned) { return success; }
STAND_IN_API cuCtxSetLimit(int, size_t) { return success; }
STAND_IN_API cuCtxGetLimit(size_t *value, int) {
    *value = 0;
    return success;
}
STAND_IN_API cuCtxSetCacheConfig(int) { return success; }
STAND_IN_API cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return success;
}
STAND_IN_API cuCtxSynchronize() {
    STAND_IN_ENTER
    if (int error = refuse_in_any_capture()) return error;
    work_off_all();
    return sticky_error;
}

static const struct { int code; const char *name, *text; } errors[] = {
    {success, "CUDA_SUCCESS", "no error"},
    {invalid_value, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {not_initialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {no_device, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {invalid_device, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {invalid_image, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {invalid_context, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {invalid_handle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {not_found, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {not_ready, "CUDA_ERROR_NOT_READY", "device not ready"},
    {illegal_address, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {launch_out_of_resources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {assert_failed, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
    {launch_failed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {stream_capture_unsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {stream_capture_invalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {stream_capture_unmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream"},
    {stream_capture_unjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
};
static int error_text(int code, const char **text, bool name) {
    for (auto &error : errors)
        if (error.code == code) {
            *text = name ? error.name : error.text;
            return success;
        }
    *text = nullptr;
    return invalid_value;
}
STAND_IN_API cuGetErrorName(int code, const char **text) { return error_text(code, text, true); }
STAND_IN_API cuGetErrorString(int code, const char **text) { return error_text(code, text, false); }
