// What a compiled kernel and the stand-in driver share: the entry of a kernel, the indices of the thread
// that runs, and the meeting points of a block's threads.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
    unsigned int x, y, z;
};
struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

// Indices and sizes the running thread sees. One thread of one block runs at a time.
struct StandInIndices {
    uint3 thread, block;
    dim3 block_size, grid_size;
    unsigned char *dynamic_shared;
};

extern "C" {
extern StandInIndices stand_in_indices;

// __syncthreads: returns when every thread of the block has come here.
void stand_in_block_barrier();
// Meeting of the lanes in `mask` of the own warp; gives each lane's `value` to all of them.
// Returns the 32 values, valid until the warp's second next meeting.
const uint64_t *stand_in_warp_exchange(unsigned int mask, uint64_t value);
// Ends the launch with an error: a failed assertion or a trap.
[[noreturn]] void stand_in_trap(const char *what);
}

// How the driver calls a kernel: found by the name `stand_in_entry_<kernel>` in the compiled module.
struct StandInEntry {
    void (*call)(void **arguments);
    unsigned int argument_count;
    const unsigned int *argument_sizes;
    unsigned int max_threads; // of __launch_bounds__, 0 if the kernel names none
};
