// Running the blocks of one launch.
#pragma once
#include "launch.h"
#include <string>

namespace stand_in {
// Runs every block of the grid, one after the other; `arguments` as for cuLaunchKernel.
// Returns an empty string, or what went wrong.
std::string run_grid(const StandInEntry &entry, const char *name, dim3 grid, dim3 block, size_t shared_bytes,
                     void **arguments);
} // namespace stand_in
