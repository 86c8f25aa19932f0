// Modules and launches. A module is the shared object nvrtc.cpp has compiled.
// STAND_IN_FAIL_LAUNCH=kernel: launching it is refused. STAND_IN_FAIL_KERNEL=kernel: it fails while it runs,
// and from then on every call returns the error.
#include "block.h"
#include "driver.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

using namespace stand_in;

static const char image_mark[] = "STAND-IN MODULE ";

static bool named(const char *variable, const std::string &name) {
    const char *value = getenv(variable);
    return value && name == value;
}

STAND_IN_API cuModuleLoadData(void **module, const void *image) {
    STAND_IN_ENTER
    const char *text = static_cast<const char *>(image);
    if (strncmp(text, image_mark, sizeof image_mark - 1)) return invalid_image;
    *module = dlopen(text + sizeof image_mark - 1, RTLD_NOW | RTLD_LOCAL);
    if (!*module) {
        fprintf(stderr, "stand-in: %s\n", dlerror());
        return invalid_image;
    }
    return success;
}
STAND_IN_API cuModuleLoadDataEx(void **module, const void *image, unsigned, void *, void *) {
    return cuModuleLoadData(module, image);
}
STAND_IN_API cuModuleUnload(void *) { return success; } // queued launches may still need it
STAND_IN_API cuModuleGetFunction(Function **function, void *module, const char *name) {
    STAND_IN_ENTER
    auto entry = static_cast<const StandInEntry *>(dlsym(module, (std::string("stand_in_entry_") + name).c_str()));
    if (!entry) return not_found;
    *function = new Function{entry, name}; // lives as long as the process, as modules do
    return success;
}
STAND_IN_API cuModuleGetGlobal_v2(uint64_t *address, size_t *bytes, void *module, const char *name) {
    STAND_IN_ENTER
    void *found = dlsym(module, name);
    if (!found) return not_found;
    *address = reinterpret_cast<uint64_t>(found);
    if (bytes) *bytes = 0;
    return success;
}
STAND_IN_API cuFuncGetAttribute(int *value, int attribute, Function *function) {
    switch (attribute) {
    case 0: *value = function->entry->max_threads ? int(function->entry->max_threads) : 1024; break;
    case 8: *value = function->max_dynamic_shared; break;
    default: *value = 0;
    }
    return success;
}
STAND_IN_API cuFuncSetAttribute(Function *function, int attribute, int value) {
    if (attribute == 8) {
        if (value > 227 * 1024) return invalid_value;
        function->max_dynamic_shared = value;
    }
    return success;
}
STAND_IN_API cuFuncSetCacheConfig(Function *, int) { return success; }
STAND_IN_API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Function *, int threads, size_t) {
    *blocks = threads > 0 ? 2048 / threads : 0;
    return success;
}

STAND_IN_API cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared_bytes, void *stream, void **arguments, void **extra) {
    STAND_IN_ENTER
    const StandInEntry &entry = *function->entry;
    const uint64_t threads = uint64_t(bx) * by * bz;
    if (extra || gx == 0 || gy == 0 || gz == 0 || threads == 0 || threads > 1024 || bz > 64 || gx > 0x7fffffff ||
        gy > 65535 || gz > 65535 || int(shared_bytes) > function->max_dynamic_shared) {
        fprintf(stderr, "stand-in: %s launched with grid (%u, %u, %u), block (%u, %u, %u), %u bytes shared\n",
                function->name.c_str(), gx, gy, gz, bx, by, bz, shared_bytes);
        return invalid_value;
    }
    if ((entry.max_threads && threads > entry.max_threads) || named("STAND_IN_FAIL_LAUNCH", function->name))
        return launch_out_of_resources;
    // The arguments are read now, as by the driver.
    size_t total = 0;
    for (unsigned i = 0; i < entry.argument_count; i++) total += (entry.argument_sizes[i] + 15) / 16 * 16;
    std::vector<unsigned char> bytes(total + 16);
    size_t at = 0;
    for (unsigned i = 0; i < entry.argument_count; i++) {
        memcpy(&bytes[at], arguments[i], entry.argument_sizes[i]);
        at += (entry.argument_sizes[i] + 15) / 16 * 16;
    }
    submit(stream_of(stream), [function, bytes, gx, gy, gz, bx, by, bz, shared_bytes]() mutable {
        const StandInEntry &entry = *function->entry;
        std::vector<void *> addresses(entry.argument_count + 1);
        size_t at = 0;
        for (unsigned i = 0; i < entry.argument_count; i++) {
            addresses[i] = &bytes[at];
            at += (entry.argument_sizes[i] + 15) / 16 * 16;
        }
        std::string error = run_grid(entry, function->name.c_str(), {gx, gy, gz}, {bx, by, bz}, shared_bytes, addresses.data());
        if (named("STAND_IN_FAIL_KERNEL", function->name)) error = "STAND_IN_FAIL_KERNEL names " + function->name;
        if (!error.empty()) {
            fprintf(stderr, "stand-in: %s\n", error.c_str());
            sticky_error = launch_failed;
        }
    });
    return success;
}
