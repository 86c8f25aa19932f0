// CUDA C++ as far as our kernels use it, on the CPU. Included before a kernel's source by nvrtc.cpp.
#pragma once
#include "launch.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#define __device__
#define __host__
#define __global__
#define __constant__
#define __shared__ static // one block at a time: static storage is the block's
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (stand_in_indices.thread)
#define blockIdx (stand_in_indices.block)
#define blockDim (stand_in_indices.block_size)
#define gridDim (stand_in_indices.grid_size)
static constexpr int warpSize = 32;

#undef assert
#define assert(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) stand_in_trap("assertion failed: " #condition);                                    \
    } while (0)
static inline void __trap() { stand_in_trap("__trap"); }

// Vector types with CUDA's alignment.
#define STAND_IN_VECTORS(T, NAME, A2, A4)                                                                    \
    struct alignas(A2) NAME##2 { T x, y; };                                                                  \
    struct NAME##3 { T x, y, z; };                                                                           \
    struct alignas(A4) NAME##4 { T x, y, z, w; };                                                            \
    static inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                        \
    static inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                                \
    static inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
STAND_IN_VECTORS(float, float, 8, 16)
STAND_IN_VECTORS(double, double, 16, 16)
STAND_IN_VECTORS(int, int, 8, 16)
STAND_IN_VECTORS(short, short, 4, 8)
STAND_IN_VECTORS(unsigned short, ushort, 4, 8)
STAND_IN_VECTORS(unsigned char, uchar, 2, 4)
STAND_IN_VECTORS(signed char, char, 2, 4)
STAND_IN_VECTORS(long long, longlong, 16, 16)
STAND_IN_VECTORS(unsigned long long, ulonglong, 16, 16)
struct alignas(8) uint2 { unsigned int x, y; };
struct alignas(16) uint4 { unsigned int x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// Meetings.
static inline void __syncthreads() { stand_in_block_barrier(); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { stand_in_warp_exchange(mask, 0); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

static inline unsigned stand_in_linear_thread() {
    return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
template <class T> static inline T stand_in_shuffle(unsigned mask, T value, int source_lane) {
    static_assert(sizeof(T) <= 8, "a shuffled value has at most eight bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    const uint64_t *all = stand_in_warp_exchange(mask, bits);
    T result;
    std::memcpy(&result, &all[source_lane & 31], sizeof(T));
    return result;
}
template <class T> static inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    int own = stand_in_linear_thread() & 31;
    return stand_in_shuffle(mask, value, (own & ~(width - 1)) | (lane & (width - 1)));
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int own = stand_in_linear_thread() & 31;
    int source = own + int(delta);
    return stand_in_shuffle(mask, value, (own & (width - 1)) + int(delta) < width ? source : own);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int own = stand_in_linear_thread() & 31;
    return stand_in_shuffle(mask, value, (own & (width - 1)) >= int(delta) ? own - int(delta) : own);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
    int own = stand_in_linear_thread() & 31;
    int source = own ^ lane_mask;
    return stand_in_shuffle(mask, value, (source & ~(width - 1)) <= (own & ~(width - 1)) ? source : own);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const uint64_t *all = stand_in_warp_exchange(mask, predicate != 0);
    unsigned result = 0;
    for (int lane = 0; lane < 32; lane++)
        if ((mask >> lane & 1) && all[lane]) result |= 1u << lane;
    return result;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, !predicate) == 0;
}
static inline unsigned __activemask() { return 0xffffffffu; }
static inline int stand_in_block_vote(int predicate, bool any) {
    static int votes[2];
    static unsigned turn;
    __syncthreads();
    if (stand_in_linear_thread() == 0) { turn ^= 1; votes[turn] = 0; }
    __syncthreads();
    if (predicate) votes[turn]++;
    __syncthreads();
    int threads = blockDim.x * blockDim.y * blockDim.z;
    return any ? votes[turn] != 0 : votes[turn] == threads;
}
static inline int __syncthreads_or(int predicate) { return stand_in_block_vote(predicate, true); }
static inline int __syncthreads_and(int predicate) { return stand_in_block_vote(predicate, false); }

// Atomics: one thread runs at a time, so the plain operation is the atomic one.
template <class T, class U> static inline T atomicAdd(T *at, U value) { T old = *at; *at = old + T(value); return old; }
template <class T, class U> static inline T atomicSub(T *at, U value) { T old = *at; *at = old - T(value); return old; }
template <class T, class U> static inline T atomicMax(T *at, U value) { T old = *at; *at = std::max(old, T(value)); return old; }
template <class T, class U> static inline T atomicMin(T *at, U value) { T old = *at; *at = std::min(old, T(value)); return old; }
template <class T, class U> static inline T atomicOr(T *at, U value) { T old = *at; *at = old | T(value); return old; }
template <class T, class U> static inline T atomicAnd(T *at, U value) { T old = *at; *at = old & T(value); return old; }
template <class T, class U> static inline T atomicExch(T *at, U value) { T old = *at; *at = T(value); return old; }
template <class T, class U, class V> static inline T atomicCAS(T *at, U compare, V value) {
    T old = *at;
    if (old == T(compare)) *at = T(value);
    return old;
}
static inline unsigned atomicInc(unsigned *at, unsigned limit) { unsigned old = *at; *at = old >= limit ? 0 : old + 1; return old; }

// Arithmetic.
using std::isfinite;
using std::isinf;
using std::isnan;
template <class T> static inline T __ldg(const T *at) { return *at; }
template <class T> static inline T __ldcs(const T *at) { return *at; }
template <class T> static inline T __ldca(const T *at) { return *at; }
template <class T> static inline T __ldcg(const T *at) { return *at; }
template <class T> static inline void __stcs(T *at, T value) { *at = value; }
template <class T> static inline void __stcg(T *at, T value) { *at = value; }
// As CUDA's min and max: of two floats the one that is a number.
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
#define STAND_IN_MIN_MAX(T)                                                                                  \
    static inline T min(T a, T b) { return b < a ? b : a; }                                                  \
    static inline T max(T a, T b) { return a < b ? b : a; }
STAND_IN_MIN_MAX(int)
STAND_IN_MIN_MAX(unsigned)
STAND_IN_MIN_MAX(long)
STAND_IN_MIN_MAX(unsigned long)
STAND_IN_MIN_MAX(long long)
STAND_IN_MIN_MAX(unsigned long long)
static inline unsigned min(unsigned a, int b) { return min(a, unsigned(b)); }
static inline unsigned min(int a, unsigned b) { return min(unsigned(a), b); }
static inline unsigned max(unsigned a, int b) { return max(a, unsigned(b)); }
static inline unsigned max(int a, unsigned b) { return max(unsigned(a), b); }

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frsqrt_rn(float a) { return 1.0f / sqrtf(a); }
// Macros, for the C library declares some of these names as its own.
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, (x))
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf((x), (y))
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __sincosf(x, s, c) sincosf((x), (s), (c))
#define sinpif(x) float(sin(M_PI * double(x)))
#define cospif(x) float(cos(M_PI * double(x)))
// Single rounded operations: never contracted into a fused multiply-add.
static inline __attribute__((noinline, optimize("fp-contract=off"))) float __fmul_rn(float a, float b) { return a * b; }
static inline __attribute__((noinline, optimize("fp-contract=off"))) float __fadd_rn(float a, float b) { return a + b; }
static inline __attribute__((noinline, optimize("fp-contract=off"))) float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float fdividef(float a, float b) { return a / b; }

template <class To, class From> static inline To stand_in_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}
static inline int __float_as_int(float x) { return stand_in_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return stand_in_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return stand_in_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return stand_in_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return stand_in_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return stand_in_bits<double>(x); }
static inline int __float2int_rd(float x) { return int(floorf(x)); }
static inline int __float2int_ru(float x) { return int(ceilf(x)); }
static inline int __float2int_rn(float x) { return int(rintf(x)); }
static inline int __float2int_rz(float x) { return int(x); }
static inline unsigned __float2uint_rn(float x) { return unsigned(rintf(x)); }
static inline float __int2float_rn(int x) { return float(x); }
static inline float __uint2float_rn(unsigned x) { return float(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t bytes = uint64_t(b) << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) result |= unsigned(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
    return result;
}

// Calls a kernel with arguments given by address, and tells their sizes.
namespace stand_in {
template <auto kernel, class Signature> struct Call;
template <auto kernel, class... Arguments> struct Call<kernel, void (*)(Arguments...)> {
    static constexpr unsigned sizes[sizeof...(Arguments) + 1] = {sizeof(Arguments)..., 0};
    template <size_t... I> static void with(void **arguments, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_cv_t<Arguments> *>(arguments[I])...);
    }
    static void call(void **arguments) { with(arguments, std::index_sequence_for<Arguments...>{}); }
    static constexpr StandInEntry entry(unsigned max_threads) {
        return {call, sizeof...(Arguments), sizes, max_threads};
    }
};
} // namespace stand_in
#define STAND_IN_ENTRY(name, max_threads)                                                                    \
    extern "C" const StandInEntry stand_in_entry_##name =                                                    \
        stand_in::Call<&name, decltype(&name)>::entry(max_threads);
