// The threads of a block as fibers: one runs at a time, from meeting point to meeting point. A kernel that
// meets nowhere runs all its threads in one fiber without a single switch.
//
// STAND_IN_ORDER=reverse runs blocks and threads from the last to the first: results that change with it
// need an order CUDA does not give (a missing __syncthreads, blocks that depend on each other).
#include "block.h"
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <vector>
#ifndef __x86_64__
#include <ucontext.h>
#endif

extern "C" {
StandInIndices stand_in_indices;
}

#ifdef __x86_64__
// Saves the callee-saved registers on the stack, changes stacks, restores them.
extern "C" __attribute__((visibility("hidden"))) void stand_in_switch(void **from, void *to);
#endif

namespace stand_in {
namespace {

constexpr size_t stack_bytes = 256 * 1024; // touched pages only are paid for
constexpr size_t max_threads = 1024;

enum class State { Idle, Ready, AtBarrier, InWarp };

struct Fiber {
#ifdef __x86_64__
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    unsigned thread; // linear index in the block
    State state;
};

struct Warp {
    unsigned mask;     // lanes this meeting is for, 0 when none is under way
    unsigned arrived;  // lanes that came
    unsigned turn;     // which buffer this meeting writes
    uint64_t values[2][32];
};

struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers;
    Fiber scheduler;
    Fiber *current;
    unsigned threads, started, finished, at_barrier;
    bool reverse;
    Warp warps[max_threads / 32];
    const StandInEntry *entry;
    void **arguments;
    std::string error;
} block;

#ifdef __x86_64__
asm(R"(
.text
.globl stand_in_switch
.type stand_in_switch,@function
stand_in_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size stand_in_switch,.-stand_in_switch
)");
void switch_fiber(Fiber &from, Fiber &to) { stand_in_switch(&from.stack_pointer, to.stack_pointer); }
#else
void switch_fiber(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }
#endif

void show_indices(unsigned linear) {
    const dim3 size = stand_in_indices.block_size;
    stand_in_indices.thread = {linear % size.x, linear / size.x % size.y, linear / size.x / size.y};
}

void suspend(State state) {
    Fiber &self = *block.current;
    self.state = state;
    switch_fiber(self, block.scheduler);
    show_indices(self.thread);
}

// A fiber takes threads until none is left; then it waits to be used again.
[[noreturn]] void fiber_main() {
    for (;;) {
        Fiber &self = *block.current;
        while (block.started < block.threads && block.error.empty()) {
            unsigned order = block.started++;
            self.thread = block.reverse ? block.threads - 1 - order : order;
            show_indices(self.thread);
            block.entry->call(block.arguments);
            block.finished++;
        }
        suspend(State::Idle);
    }
}

Fiber *new_fiber() {
    auto fiber = std::make_unique<Fiber>();
    void *stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) abort();
#ifdef __x86_64__
    // As if fiber_main had been called: its return address slot makes the stack 16-byte aligned there.
    void **top = reinterpret_cast<void **>(static_cast<char *>(stack) + stack_bytes);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(&fiber_main);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber->stack_pointer = top;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = stack_bytes;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, reinterpret_cast<void (*)()>(&fiber_main), 0);
#endif
    fiber->state = State::Idle;
    block.fibers.push_back(std::move(fiber));
    return block.fibers.back().get();
}

void resume(Fiber &fiber) {
    fiber.state = State::Ready;
    block.current = &fiber;
    show_indices(fiber.thread);
    switch_fiber(block.scheduler, fiber);
}

std::string stuck() {
    std::string text = std::to_string(block.finished) + " of " + std::to_string(block.threads) +
                       " threads have ended while " + std::to_string(block.at_barrier) +
                       " wait in __syncthreads";
    unsigned lanes = 0;
    for (auto &fiber : block.fibers) lanes += fiber->state == State::InWarp;
    if (lanes) text += " and " + std::to_string(lanes) + " in a warp operation";
    return text;
}

void run_block() {
    block.started = block.finished = block.at_barrier = 0;
    for (unsigned warp = 0; warp < (block.threads + 31) / 32; warp++) block.warps[warp].mask = 0;
    while (block.finished < block.threads && block.error.empty()) {
        bool moved = false;
        // Fibers that wait hold their threads; an idle one takes the next threads.
        if (block.started < block.threads) {
            Fiber *idle = nullptr;
            for (auto &fiber : block.fibers)
                if (fiber->state == State::Idle) { idle = fiber.get(); break; }
            resume(idle ? *idle : *new_fiber());
            moved = true;
        }
        for (size_t i = 0; i < block.fibers.size() && block.error.empty(); i++)
            if (block.fibers[i]->state == State::Ready) { resume(*block.fibers[i]); moved = true; }
        if (!moved && block.finished < block.threads) block.error = stuck();
    }
}

} // namespace

std::string run_grid(const StandInEntry &entry, const char *name, dim3 grid, dim3 block_size,
                     size_t shared_bytes, void **arguments) {
    static std::vector<unsigned char> shared;
    if (shared.size() < shared_bytes + 128) shared.resize(shared_bytes + 128);
    const char *order = getenv("STAND_IN_ORDER");
    block.reverse = order && !strcmp(order, "reverse");
    block.entry = &entry;
    block.arguments = arguments;
    block.threads = block_size.x * block_size.y * block_size.z;
    block.error.clear();
    stand_in_indices.block_size = block_size;
    stand_in_indices.grid_size = grid;
    auto address = (reinterpret_cast<uintptr_t>(shared.data()) + 127) / 128 * 128;
    stand_in_indices.dynamic_shared = reinterpret_cast<unsigned char *>(address);
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks && block.error.empty(); i++) {
        uint64_t b = block.reverse ? blocks - 1 - i : i;
        stand_in_indices.block = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
        memset(stand_in_indices.dynamic_shared, 0xff, shared_bytes); // NaN: shared memory starts undefined
        run_block();
    }
    if (block.error.empty()) return {};
    // Threads left in the middle hold their fibers' stacks: those fibers are not used again.
    for (auto &fiber : block.fibers) fiber.release();
    block.fibers.clear();
    auto at = stand_in_indices.block;
    return std::string("kernel ") + name + ", block (" + std::to_string(at.x) + ", " + std::to_string(at.y) +
           ", " + std::to_string(at.z) + "): " + block.error;
}

} // namespace stand_in

using namespace stand_in;

extern "C" void stand_in_block_barrier() {
    if (++block.at_barrier < block.threads) return suspend(State::AtBarrier);
    block.at_barrier = 0;
    for (auto &fiber : block.fibers)
        if (fiber->state == State::AtBarrier) fiber->state = State::Ready;
}

extern "C" const uint64_t *stand_in_warp_exchange(unsigned mask, uint64_t value) {
    const unsigned thread = block.current->thread;
    Warp &warp = block.warps[thread / 32];
    const unsigned lane = thread % 32;
    const unsigned in_warp = block.threads - thread / 32 * 32;
    const unsigned present = in_warp >= 32 ? 0xffffffffu : (1u << in_warp) - 1;
    if (!(mask >> lane & 1)) stand_in_trap("a lane calls a warp operation whose mask does not name it");
    if (warp.mask == 0) {
        warp.mask = mask & present;
        warp.arrived = 0;
        warp.turn ^= 1;
    } else if (warp.mask != (mask & present)) {
        stand_in_trap("lanes of one warp meet with different masks");
    }
    uint64_t *values = warp.values[warp.turn];
    values[lane] = value;
    warp.arrived |= 1u << lane;
    if (warp.arrived != warp.mask) {
        suspend(State::InWarp);
    } else {
        warp.mask = 0;
        for (auto &fiber : block.fibers)
            if (fiber->state == State::InWarp && fiber->thread / 32 == thread / 32) fiber->state = State::Ready;
    }
    return values;
}

extern "C" [[noreturn]] void stand_in_trap(const char *what) {
    const uint3 at = stand_in_indices.thread;
    block.error = "thread (" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) +
                  "): " + what;
    for (;;) suspend(State::AtBarrier);
}
