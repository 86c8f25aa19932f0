// Between two convolutions: bias, LeakyReLU, pooling, upsampling, borders, and all the ways back.
//
// Blocks are 32 x 8 threads over tiles of one channel (blockIdx.y) of one image (blockIdx.z); threads of
// a warp touch 32 neighbouring columns, so every access to memory is coalesced. All kernels are bound by
// memory: each plane is read once and written once.

// Tile of blockIdx.x among tiles of 32 columns and 8 * rows rows; calls visit(y, x) for the thread's
// pixels of a plane.
template <typename Visit>
__device__ __forceinline__ void each_pixel(int height, int width, int rows, Visit visit) {
    const int tiles_x = (width + 31) / 32;
    const int tile_y = blockIdx.x / tiles_x, tile_x = blockIdx.x - tile_y * tiles_x;
    const int x = tile_x * 32 + threadIdx.x;
    if (x >= width) return;
    const int first = tile_y * 8 * rows + threadIdx.y;
#pragma unroll 4
    for (int i = 0; i < rows; i++) {
        const int y = first + 8 * i;
        if (y < height) visit(y, x);
    }
}

struct BiasGradient {
    u64 gradient, sums, counters;
    u32 rows_per_thread, padding;

    // Adds the sum of all threads' values over all blocks of a channel, in a fixed order.
    __device__ __forceinline__ void add(float value) const {
        const int channel = blockIdx.y, blocks = gridDim.x * gridDim.z;
        float *sums = reinterpret_cast<float *>(this->sums) + u64(channel) * blocks;
        value = block_sum(value);
        const bool first = threadIdx.x == 0 && threadIdx.y == 0;
        if (first) sums[blockIdx.z * gridDim.x + blockIdx.x] = value;
        if (!last_block(reinterpret_cast<u32 *>(counters) + channel, blocks)) return;
        double total = 0;
        for (int i = threadIdx.x + threadIdx.y * 32; i < blocks; i += 256) total += __ldcg(&sums[i]);
        total = block_sum(total);
        if (first) reinterpret_cast<float *>(gradient)[channel] = float(total);
    }
};

__device__ __forceinline__ float leaky(float value, float slope) { return value > 0 ? value : value * slope; }

struct Activate {
    Planes input, out;
    u64 bias;
    float slope;
    u32 rows_per_thread;
};

template <typename T> __device__ __forceinline__ void activate(const Activate &a) {
    const Plane<T> input(a.input, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    const float bias = reinterpret_cast<const float *>(a.bias)[blockIdx.y];
    const int border = a.out.border, height = a.out.height, width = a.out.width;
    each_pixel(height + 2 * border, width + 2 * border, a.rows_per_thread, [&](int row, int column) {
        row -= border, column -= border;
        const float value = input.at(mirrored(row, height), mirrored(column, width));
        out.put(row, column, leaky(value + bias, a.slope));
    });
}

struct ActivateBackward {
    Planes activated, gradient, out;
    BiasGradient bias;
    float slope;
    u32 padding;
};

template <typename T> __device__ __forceinline__ void activate_backward(const ActivateBackward &a) {
    const Plane<T> activated(a.activated, blockIdx.z, blockIdx.y);
    const Plane<T> gradient(a.gradient, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    float sum = 0;
    each_pixel(a.out.height, a.out.width, a.bias.rows_per_thread, [&](int y, int x) {
        const float value = gradient.folded(y, x) * (activated.at(y, x) > 0 ? 1.0f : a.slope);
        out.put(y, x, value);
        sum += value;
    });
    a.bias.add(sum);
}

struct ActivatePool {
    Planes input, full, pooled;
    u64 bias;
    float slope;
    u32 padding;
};

// The four values of a window; those beyond the plane are not touched.
struct Window {
    float values[4];
    bool whole; // all four are inside

    // Number of the first maximum in reading order; a NaN wins.
    __device__ __forceinline__ int best() const {
        int best = 0;
        float largest = values[0];
        for (int i = 1; i < 4; i++)
            if (values[i] > largest || values[i] != values[i]) best = i, largest = values[i];
        return best;
    }
};

template <typename T> __device__ __forceinline__ void activate_pool(const ActivatePool &a) {
    const Plane<T> input(a.input, blockIdx.z, blockIdx.y), pooled(a.pooled, blockIdx.z, blockIdx.y);
    const float bias = reinterpret_cast<const float *>(a.bias)[blockIdx.y];
    const int height = a.input.height, width = a.input.width;
    each_pixel((height + 1) / 2, (width + 1) / 2, 1, [&](int wy, int wx) {
        Window window;
        window.whole = 2 * wy + 1 < height && 2 * wx + 1 < width;
        for (int i = 0; i < 4; i++) {
            const int y = 2 * wy + i / 2, x = 2 * wx + i % 2;
            if (y < height && x < width) {
                window.values[i] = leaky(input.at(y, x) + bias, a.slope);
                if (a.full.address) Plane<T>(a.full, blockIdx.z, blockIdx.y).put_mirrored(y, x, window.values[i]);
            }
        }
        if (window.whole) {
            float largest = window.values[0];
            for (int i = 1; i < 4; i++)
                if (window.values[i] > largest || window.values[i] != window.values[i]) largest = window.values[i];
            pooled.put_mirrored(wy, wx, largest);
        }
    });
}

struct ActivatePoolBackward {
    Planes values, pooled_gradient, full_gradient, out;
    u64 value_bias;
    BiasGradient bias;
    float slope;
    u32 padding;
};

template <typename T> __device__ __forceinline__ void activate_pool_backward(const ActivatePoolBackward &a) {
    const Plane<T> values(a.values, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    const Plane<T> pooled(a.pooled_gradient, blockIdx.z, blockIdx.y);
    const bool raw = a.value_bias != 0;
    const float bias = raw ? reinterpret_cast<const float *>(a.value_bias)[blockIdx.y] : 0.0f;
    const int height = a.out.height, width = a.out.width;
    float sum = 0;
    each_pixel((height + 1) / 2, (width + 1) / 2, a.bias.rows_per_thread, [&](int wy, int wx) {
        Window window;
        window.whole = 2 * wy + 1 < height && 2 * wx + 1 < width;
        for (int i = 0; i < 4; i++) {
            const int y = 2 * wy + i / 2, x = 2 * wx + i % 2;
            window.values[i] = 0;
            if (y < height && x < width) {
                const float value = values.at(y, x);
                window.values[i] = raw ? leaky(value + bias, a.slope) : value;
            }
        }
        const int best = window.whole ? window.best() : -1;
        const float gradient = window.whole ? pooled.folded(wy, wx) : 0.0f;
        for (int i = 0; i < 4; i++) {
            const int y = 2 * wy + i / 2, x = 2 * wx + i % 2;
            if (y >= height || x >= width) continue;
            float value = i == best ? gradient : 0.0f;
            if (a.full_gradient.address) value += Plane<T>(a.full_gradient, blockIdx.z, blockIdx.y).folded(y, x);
            value *= window.values[i] > 0 ? 1.0f : a.slope;
            out.put(y, x, value);
            sum += value;
        }
    });
    a.bias.add(sum);
}

struct JoinUpsampled {
    Planes coarse, out;
    u64 bias;
};

template <typename T> __device__ __forceinline__ void join_upsampled(const JoinUpsampled &a) {
    const Plane<T> coarse(a.coarse, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    const float bias = reinterpret_cast<const float *>(a.bias)[blockIdx.y];
    const int border = a.out.border, height = a.out.height, width = a.out.width;
    // The release's zeros: a row at the bottom, a column at the left.
    const int left = width - 2 * coarse.width, bottom = 2 * coarse.height;
    each_pixel(height + 2 * border, width + 2 * border, 1, [&](int row, int column) {
        row -= border, column -= border;
        const int y = mirrored(row, height), x = mirrored(column, width) - left;
        out.put(row, column, y < bottom && x >= 0 ? coarse.at(y / 2, x / 2) + bias : 0.0f);
    });
}

struct JoinUpsampledBackward {
    Planes gradient, out;
    BiasGradient bias;
};

template <typename T> __device__ __forceinline__ void join_upsampled_backward(const JoinUpsampledBackward &a) {
    const Plane<T> gradient(a.gradient, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    const int left = a.gradient.width - 2 * a.out.width;
    float sum = 0;
    each_pixel(a.out.height, a.out.width, a.bias.rows_per_thread, [&](int y, int x) {
        float value = 0;
        for (int i = 0; i < 4; i++) value += gradient.folded(2 * y + i / 2, left + 2 * x + i % 2);
        out.put(y, x, value);
        sum += value;
    });
    a.bias.add(sum);
}

struct Residual {
    Planes activated, image, out;
    u64 bias;
    float slope;
    u32 padding;
};

template <typename T> __device__ __forceinline__ void residual(const Residual &a) {
    const Plane<T> activated(a.activated, blockIdx.z, blockIdx.y);
    const Plane<float> image(a.image, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    const float bias = reinterpret_cast<const float *>(a.bias)[blockIdx.y];
    each_pixel(a.out.height, a.out.width, 1, [&](int y, int x) {
        const float value = leaky(activated.at(y, x) + bias, a.slope);
        activated.put(y, x, value);
        out.put_mirrored(y, x, value + image.at(y, x));
    });
}

struct ResidualBackward {
    Planes activated, gradient, plus, out;
    BiasGradient bias;
    float slope;
    u32 padding;
};

template <typename T> __device__ __forceinline__ void residual_backward(const ResidualBackward &a) {
    const Plane<T> activated(a.activated, blockIdx.z, blockIdx.y), out(a.out, blockIdx.z, blockIdx.y);
    const Plane<float> gradient(a.gradient, blockIdx.z, blockIdx.y);
    float sum = 0;
    each_pixel(a.out.height, a.out.width, a.bias.rows_per_thread, [&](int y, int x) {
        float value = gradient.folded(y, x);
        if (a.plus.address) value += Plane<float>(a.plus, blockIdx.z, blockIdx.y).folded(y, x);
        value *= activated.at(y, x) > 0 ? 1.0f : a.slope;
        out.put(y, x, value);
        sum += value;
    });
    a.bias.add(sum);
}

struct Convert {
    Planes input, out;
};

template <typename S, typename T> __device__ __forceinline__ void convert(const Convert &a) {
    const Plane<S> input(a.input, blockIdx.z, blockIdx.y);
    const Plane<T> out(a.out, blockIdx.z, blockIdx.y);
    const int border = a.out.border, height = a.out.height, width = a.out.width;
    each_pixel(height + 2 * border, width + 2 * border, 1, [&](int row, int column) {
        row -= border, column -= border;
        out.put(row, column, input.at(mirrored(row, height), mirrored(column, width)));
    });
}

struct Round {
    u64 input, out, count;
};

extern "C" __global__ void __launch_bounds__(256) round_to_bf16(const Round argument) {
    const float *input = reinterpret_cast<const float *>(argument.input);
    bf16 *out = reinterpret_cast<bf16 *>(argument.out);
    for (int i = 0; i < 4; i++) {
        const u64 at = u64(blockIdx.x) * 1024 + i * 256 + threadIdx.x;
        if (at < argument.count) out[at] = Rounded<bf16>::of(input[at]);
    }
}

extern "C" __global__ void __launch_bounds__(256) widen_from_bf16(const Round argument) {
    const bf16 *input = reinterpret_cast<const bf16 *>(argument.input);
    float *out = reinterpret_cast<float *>(argument.out);
    for (int i = 0; i < 4; i++) {
        const u64 at = u64(blockIdx.x) * 1024 + i * 256 + threadIdx.x;
        if (at < argument.count) out[at] = to_float(input[at]);
    }
}

#define BOTH(name, Argument)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) name##_f32(const Argument argument) { name<float>(argument); } \
    extern "C" __global__ void __launch_bounds__(256) name##_bf16(const Argument argument) { name<bf16>(argument); }

BOTH(activate, Activate)
BOTH(activate_backward, ActivateBackward)
BOTH(activate_pool, ActivatePool)
BOTH(activate_pool_backward, ActivatePoolBackward)
BOTH(join_upsampled, JoinUpsampled)
BOTH(join_upsampled_backward, JoinUpsampledBackward)
BOTH(residual, Residual)
BOTH(residual_backward, ResidualBackward)

extern "C" __global__ void __launch_bounds__(256) convert_f32_f32(const Convert argument) { convert<float, float>(argument); }
extern "C" __global__ void __launch_bounds__(256) convert_f32_bf16(const Convert argument) { convert<float, bf16>(argument); }
extern "C" __global__ void __launch_bounds__(256) convert_bf16_f32(const Convert argument) { convert<bf16, float>(argument); }
extern "C" __global__ void __launch_bounds__(256) convert_bf16_bf16(const Convert argument) { convert<bf16, bf16>(argument); }
