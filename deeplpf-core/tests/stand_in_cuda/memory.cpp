// Device and pinned memory, copies and fills. Device memory is host memory filled with 0xff (NaN) between two
// guard zones, which are looked at when it is freed and whenever everything is waited for.
// STAND_IN_MEMORY: the device's bytes; an allocation beyond them fails as on a GPU.
#include "driver.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

using namespace stand_in;
size_t stand_in_total_memory();

namespace {
constexpr size_t guard_bytes = 4096;
constexpr unsigned char guard_value = 0xa5;

struct Allocation {
    unsigned char *base; // of the guard before it
    size_t bytes;
};
std::map<uint64_t, Allocation> device_memory;
std::map<uint64_t, size_t> host_memory;
size_t used = 0;

int allocate(uint64_t *address, size_t bytes) {
    if (bytes == 0) return invalid_value;
    if (bytes > stand_in_total_memory() - used) return out_of_memory;
    // 512-byte alignment, as the driver gives.
    auto base = static_cast<unsigned char *>(aligned_alloc(4096, (bytes + 2 * guard_bytes + 4095) / 4096 * 4096));
    if (!base) return out_of_memory;
    memset(base, guard_value, guard_bytes);
    memset(base + guard_bytes, 0xff, bytes);
    memset(base + guard_bytes + bytes, guard_value, guard_bytes);
    *address = reinterpret_cast<uint64_t>(base + guard_bytes);
    device_memory[*address] = {base, bytes};
    used += bytes;
    return success;
}

void check_guards(uint64_t address, const Allocation &allocation) {
    const unsigned char *after = allocation.base + guard_bytes + allocation.bytes;
    for (size_t i = 0; i < guard_bytes; i++)
        if (allocation.base[guard_bytes - 1 - i] != guard_value || after[i] != guard_value) {
            fprintf(stderr, "stand-in: something wrote %s an allocation of %zu bytes at %#lx\n",
                    after[i] != guard_value ? "behind" : "before", allocation.bytes, (unsigned long)address);
            sticky_error = illegal_address;
            return;
        }
}

int release(uint64_t address) {
    if (address == 0) return success;
    auto found = device_memory.find(address);
    if (found == device_memory.end()) return invalid_value;
    check_guards(address, found->second);
    used -= found->second.bytes;
    free(found->second.base);
    device_memory.erase(found);
    return success;
}

int fill(uint64_t address, unsigned char value, size_t bytes, void *stream) {
    if (!on_device(address, bytes)) return invalid_value;
    submit(stream_of(stream), [=] { memset(reinterpret_cast<void *>(address), value, bytes); });
    return success;
}
} // namespace

bool stand_in::on_device(uint64_t address, size_t bytes) {
    auto after = device_memory.upper_bound(address);
    if (after == device_memory.begin()) return false;
    auto at = std::prev(after);
    return address - at->first <= at->second.bytes && bytes <= at->second.bytes - (address - at->first);
}
bool stand_in::pinned(const void *address) {
    auto after = host_memory.upper_bound(reinterpret_cast<uint64_t>(address));
    if (after == host_memory.begin()) return false;
    auto at = std::prev(after);
    return reinterpret_cast<uint64_t>(address) - at->first < at->second;
}
extern "C" int stand_in_on_device(const void *address, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return on_device(reinterpret_cast<uint64_t>(address), bytes);
}
void stand_in_check_guards() {
    for (auto &[address, allocation] : device_memory) check_guards(address, allocation);
}

STAND_IN_API cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    STAND_IN_ENTER
    if (int error = refuse_in_any_capture()) return error;
    return allocate(address, bytes);
}
STAND_IN_API cuMemFree_v2(uint64_t address) {
    STAND_IN_ENTER
    if (int error = refuse_in_any_capture()) return error;
    work_off_all(); // as the driver: freeing waits for the device
    return release(address);
}
STAND_IN_API cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
    STAND_IN_ENTER
    if (int error = refuse_in_capture(stream_of(stream))) return error; // memory nodes are not played
    return allocate(address, bytes);
}
STAND_IN_API cuMemFreeAsync(uint64_t address, void *stream) {
    STAND_IN_ENTER
    if (int error = refuse_in_capture(stream_of(stream))) return error;
    submit(stream_of(stream), [=] { release(address); });
    return success;
}
STAND_IN_API cuMemGetInfo_v2(size_t *available, size_t *total) {
    STAND_IN_ENTER
    *total = stand_in_total_memory();
    *available = *total - used;
    return success;
}

// Pools: the device's default pool is all there is.
static char default_pool;
STAND_IN_API cuDeviceGetDefaultMemPool(void **pool, int) { *pool = &default_pool; return success; }
STAND_IN_API cuDeviceGetMemPool(void **pool, int) { *pool = &default_pool; return success; }
STAND_IN_API cuMemPoolSetAttribute(void *, int, void *) { return success; }
STAND_IN_API cuMemPoolGetAttribute(void *, int, void *value) {
    *static_cast<uint64_t *>(value) = used;
    return success;
}
STAND_IN_API cuMemPoolTrimTo(void *, size_t) { return success; }

STAND_IN_API cuMemHostAlloc(void **address, size_t bytes, unsigned) {
    STAND_IN_ENTER
    *address = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*address) return out_of_memory;
    memset(*address, 0xff, bytes);
    host_memory[reinterpret_cast<uint64_t>(*address)] = bytes;
    return success;
}
STAND_IN_API cuMemFreeHost(void *address) {
    STAND_IN_ENTER
    work_off_all();
    if (!host_memory.erase(reinterpret_cast<uint64_t>(address))) return invalid_value;
    free(address);
    return success;
}
STAND_IN_API cuMemHostRegister_v2(void *address, size_t bytes, unsigned) {
    STAND_IN_ENTER
    host_memory[reinterpret_cast<uint64_t>(address)] = bytes;
    return success;
}
STAND_IN_API cuMemHostUnregister(void *address) {
    STAND_IN_ENTER
    work_off_all();
    return host_memory.erase(reinterpret_cast<uint64_t>(address)) ? success : invalid_value;
}

STAND_IN_API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    STAND_IN_ENTER
    if (!on_device(to, bytes)) return invalid_value;
    Stream *on = stream_of(stream);
    if (pinned(from) || on->capture) {
        submit(on, [=] { memcpy(reinterpret_cast<void *>(to), from, bytes); });
    } else { // pageable memory is staged before the call returns
        auto start = static_cast<const unsigned char *>(from);
        submit(on, [to, staged = std::vector<unsigned char>(start, start + bytes)] {
            memcpy(reinterpret_cast<void *>(to), staged.data(), staged.size());
        });
    }
    return success;
}
STAND_IN_API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    STAND_IN_ENTER
    if (!on_device(from, bytes)) return invalid_value;
    Stream *on = stream_of(stream);
    submit(on, [=] { memcpy(to, reinterpret_cast<void *>(from), bytes); });
    if (!on->capture && !pinned(to)) work_off(on); // into pageable memory the copy is blocking
    return sticky_error;
}
STAND_IN_API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    STAND_IN_ENTER
    if (!on_device(to, bytes) || !on_device(from, bytes)) return invalid_value;
    submit(stream_of(stream), [=] { memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); });
    return success;
}
STAND_IN_API cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
    STAND_IN_ENTER
    if (int error = refuse_in_any_capture()) return error;
    if (!on_device(to, bytes)) return invalid_value;
    work_off(stream_of(nullptr));
    memcpy(reinterpret_cast<void *>(to), from, bytes);
    return sticky_error;
}
STAND_IN_API cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    STAND_IN_ENTER
    if (int error = refuse_in_any_capture()) return error;
    if (!on_device(from, bytes)) return invalid_value;
    work_off(stream_of(nullptr));
    memcpy(to, reinterpret_cast<void *>(from), bytes);
    return sticky_error;
}
STAND_IN_API cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
    int error = cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
    if (error) return error;
    STAND_IN_ENTER
    work_off(stream_of(nullptr));
    return sticky_error;
}
STAND_IN_API cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void *stream) {
    STAND_IN_ENTER
    return fill(to, value, count, stream);
}
STAND_IN_API cuMemsetD8_v2(uint64_t to, unsigned char value, size_t count) {
    STAND_IN_ENTER
    return fill(to, value, count, nullptr);
}
STAND_IN_API cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void *stream) {
    STAND_IN_ENTER
    if (!on_device(to, count * 4)) return invalid_value;
    submit(stream_of(stream), [=] {
        for (size_t i = 0; i < count; i++) reinterpret_cast<unsigned *>(to)[i] = value;
    });
    return success;
}
