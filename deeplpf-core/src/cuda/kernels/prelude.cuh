// What every file of kernels begins with. No header is included: nvrtc alone compiles this.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// bfloat16 in memory; arithmetic is always in float.
struct bf16 {
    u16 bits;
};

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __uint_as_float(u32(value.bits) << 16); }

template <typename T> struct Rounded;
template <> struct Rounded<float> {
    static __device__ __forceinline__ float of(float value) { return value; }
};
template <> struct Rounded<bf16> {
    // To nearest, ties to even; a NaN stays one.
    static __device__ __forceinline__ bf16 of(float value) {
        const u32 bits = __float_as_uint(value);
        const u32 rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        bf16 result;
        result.bits = u16((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
        return result;
    }
};

// RawPlanes of mod.rs: some channels of a batch, each (height + 2 border) x (width + 2 border).
struct Planes {
    u64 address, image_stride;
    u32 batch, channels, height, width, border, padding;
};

// One channel of one image.
template <typename T> struct Plane {
    T *origin; // of the inside
    int height, width, row, border;

    __device__ __forceinline__ Plane(const Planes &planes, int image, int channel) {
        height = planes.height, width = planes.width, border = planes.border;
        row = width + 2 * border;
        const u64 plane = u64(height + 2 * border) * row;
        origin = reinterpret_cast<T *>(planes.address) + image * planes.image_stride + channel * plane +
                 border * (row + 1);
    }

    __device__ __forceinline__ float at(int y, int x) const { return to_float(origin[y * row + x]); }

    __device__ __forceinline__ void put(int y, int x, float value) const {
        origin[y * row + x] = Rounded<T>::of(value);
    }

    // Calls visit(y, x) for the pixel and for every pixel of the border that mirrors it.
    template <typename Visit> __device__ __forceinline__ void mirrors(int y, int x, Visit visit) const {
        visit(y, x);
        const bool edge = y == 1 || y == height - 2 || x == 1 || x == width - 2;
        if (border == 0 || !edge) return;
        const int rows[3] = {y, y == 1 ? -1 : y, y == height - 2 ? height : y};
        const int columns[3] = {x, x == 1 ? -1 : x, x == width - 2 ? width : x};
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                const bool twice = (i > 0 && rows[i] == y) || (j > 0 && columns[j] == x);
                if (!twice && i + j > 0) visit(rows[i], columns[j]);
            }
    }

    // The value at a pixel of the inside, and wherever the border mirrors it.
    __device__ __forceinline__ void put_mirrored(int y, int x, float value) const {
        mirrors(y, x, [&](int y, int x) { put(y, x, value); });
    }

    // The gradient at a pixel of the inside with that of its mirror images.
    __device__ __forceinline__ float folded(int y, int x) const {
        float sum = 0;
        mirrors(y, x, [&](int y, int x) { sum += at(y, x); });
        return sum;
    }
};

// Pixel -1 or `size` mirrored without repeating the edge.
__device__ __forceinline__ int mirrored(int index, int size) {
    return index < 0 ? -index : index >= size ? 2 * size - 2 - index : index;
}

// Sum over the threads of a block of at most 1024, in a fixed order; the result is thread 0's.
template <typename S> __device__ __forceinline__ S block_sum(S value) {
    __shared__ S sums[32];
    const int thread = threadIdx.x + threadIdx.y * blockDim.x;
    const int warps = (blockDim.x * blockDim.y + 31) / 32;
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
    __syncthreads();
    if (thread % 32 == 0) sums[thread / 32] = value;
    __syncthreads();
    if (thread == 0)
        for (int warp = 1; warp < warps; warp++) value += sums[warp];
    return value;
}

// Whether this block is the last of `count` to come here. What the others wrote to global memory
// before is then visible (read it with __ldcg). The counter is left zero.
__device__ __forceinline__ bool last_block(u32 *counter, u32 count) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        last = atomicAdd(counter, 1u) == count - 1;
        if (last) *counter = 0;
    }
    __syncthreads();
    __threadfence();
    return last;
}
