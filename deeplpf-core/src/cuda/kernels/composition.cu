// The first convolution of the parameter heads, composed with the linear layers before it: the final
// convolution, which makes the features, and the projections of the encoder's levels (fix `wiring`).

constexpr int most_heads = 4, most_levels = 3;
constexpr int image_channels = 3, patches = 28;

struct HeadWeights {
    u64 weight, weight_gradient, composed;
    u32 outputs, other_image;
};

// The 1x1 projection of a level.
struct Projection {
    u64 weight, bias, weight_gradient, bias_gradient;
};

struct Composition {
    HeadWeights heads[most_heads];
    Projection levels[most_levels];
    u64 final_weight, final_bias, final_weight_gradient, final_bias_gradient;
    u64 gate, gate_gradient;
    u32 widths[most_levels]; // channels of the levels; 0 where nothing is wired
    u32 features, head_count, padding;

    // Channels of all levels.
    __device__ __forceinline__ int wired() const { return widths[0] + widths[1] + widths[2]; }

    // Channels that a head reads: patches, levels, another image than Y1.
    __device__ __forceinline__ int inputs(const HeadWeights &head) const {
        return patches + wired() + (head.other_image ? image_channels : 0);
    }

    // Row of the final convolution that a head's input channel is: it reads the features first and the
    // image, which is the first three rows, last.
    __device__ __forceinline__ int row_of(int channel) const {
        const int rest = features - image_channels;
        return channel < rest ? channel + image_channels : channel - rest;
    }

    // Entry of the final convolution as a matrix, the bias last.
    __device__ __forceinline__ float entry(int row, int patch) const {
        return patch < patches - 1 ? reinterpret_cast<const float *>(final_weight)[row * (patches - 1) + patch]
                                   : reinterpret_cast<const float *>(final_bias)[row];
    }

    // Entry of all projections side by side, without the gate.
    __device__ __forceinline__ float projection(int channel, int column) const {
        int level = 0;
        for (; level + 1 < most_levels && column >= widths[level]; level++) column -= widths[level];
        return reinterpret_cast<const float *>(levels[level].weight)[channel * widths[level] + column];
    }

    // Sum of the projections' biases.
    __device__ __forceinline__ float projection_bias(int channel) const {
        float sum = 0;
        for (int level = 0; level < most_levels; level++)
            sum += reinterpret_cast<const float *>(levels[level].bias)[channel];
        return sum;
    }

    __device__ __forceinline__ float opening() const { return *reinterpret_cast<const float *>(gate); }
};

template <typename T> __device__ __forceinline__ void compose_weights(const Composition &a) {
    const HeadWeights head = a.heads[blockIdx.y];
    const int inputs = a.inputs(head), wired = a.wired();
    const int index = blockIdx.x * 256 + threadIdx.x;
    if (index >= head.outputs * inputs * 9) return;
    const int output = index / (inputs * 9), column = index / 9 % inputs, tap = index % 9;
    const float *weight = reinterpret_cast<const float *>(head.weight) + output * a.features * 9 + tap;
    const int features = a.features, rest = features - image_channels;
    float sum = 0;
    if (column >= patches + wired) {
        sum = weight[(rest + column - patches - wired) * 9];
    } else if (column >= patches) {
        for (int channel = 0; channel < features; channel++)
            sum += weight[channel * 9] * a.projection(channel, column - patches);
        sum *= a.opening();
    } else {
        const int channels = head.other_image ? rest : features;
        for (int channel = 0; channel < channels; channel++)
            sum += weight[channel * 9] * a.entry(a.row_of(channel), column);
        if (wired > 0 && column == patches - 1) {
            float biases = 0;
            for (int channel = 0; channel < features; channel++)
                biases += weight[channel * 9] * a.projection_bias(channel);
            sum += a.opening() * biases;
        }
    }
    reinterpret_cast<T *>(head.composed)[index] = Rounded<T>::of(sum);
}

// Sum over heads, outputs and taps of a weight that reads `channel` times the gradient of the composed
// weight that reads `column`: the eight warps of a block share it out, the result is that of the first.
// Heads that see another image are left out where `own` says so.
template <typename T>
__device__ __forceinline__ float products(const Composition &a, int channel, int column, bool own) {
    __shared__ float parts[8][32];
    const int lane = threadIdx.x % 32, part = threadIdx.x / 32;
    float sum = 0;
    for (int h = 0; h < a.head_count && column >= 0; h++) {
        const HeadWeights head = a.heads[h];
        if (own && head.other_image) continue;
        const int inputs = a.inputs(head);
        const float *weight = reinterpret_cast<const float *>(head.weight);
        const T *gradient = reinterpret_cast<const T *>(head.composed);
        for (int i = part; i < head.outputs * 9; i += 8) {
            const int output = i / 9, tap = i % 9;
            sum += weight[(output * a.features + channel) * 9 + tap] *
                   to_float(gradient[(output * inputs + column) * 9 + tap]);
        }
    }
    parts[part][lane] = sum;
    __syncthreads();
    for (int i = 1; part == 0 && i < 8; i++) sum += parts[i][lane];
    return sum;
}

// The gradient of one row of the final convolution.
template <typename T> __device__ __forceinline__ void compose_row_gradient(const Composition &a, int row) {
    const int rest = a.features - image_channels;
    const int patch = threadIdx.x % 32;
    const bool of_image = row < image_channels;
    const int channel = of_image ? rest + row : row - image_channels;
    const float sum = products<T>(a, channel, patch < patches ? patch : -1, of_image);
    if (threadIdx.x >= patches) return;
    float *to = patch < patches - 1
                    ? reinterpret_cast<float *>(a.final_weight_gradient) + row * (patches - 1) + patch
                    : reinterpret_cast<float *>(a.final_bias_gradient) + row;
    *to = of_image ? *to + sum : sum;
}

template <typename T> __device__ __forceinline__ void compose_weights_backward(const Composition &a) {
    if (blockIdx.x < a.features) return compose_row_gradient<T>(a, blockIdx.x);
    const int blocks = (gridDim.x - a.features) / a.head_count;
    const int block = blockIdx.x - a.features;
    const HeadWeights head = a.heads[block / blocks];
    const int index = block % blocks * 256 + threadIdx.x;
    const int features = a.features, rest = features - image_channels;
    if (index >= head.outputs * features * 9) return;
    const int output = index / (features * 9), channel = index / 9 % features, tap = index % 9;
    const int inputs = a.inputs(head), wired = a.wired();
    const T *gradient = reinterpret_cast<const T *>(head.composed) + output * inputs * 9 + tap;
    float sum = 0;
    if (head.other_image && channel >= rest) {
        sum = to_float(gradient[(patches + wired + channel - rest) * 9]);
    } else {
        const int row = a.row_of(channel);
        for (int patch = 0; patch < patches; patch++) sum += to_float(gradient[patch * 9]) * a.entry(row, patch);
    }
    if (wired > 0) {
        float further = to_float(gradient[(patches - 1) * 9]) * a.projection_bias(channel);
        for (int column = 0; column < wired; column++)
            further += to_float(gradient[(patches + column) * 9]) * a.projection(channel, column);
        sum += a.opening() * further;
    }
    reinterpret_cast<float *>(head.weight_gradient)[index] = sum;
}

// Gradients of the projections before the gate: a block for a channel and 32 columns, the bias behind
// the last.
template <typename T> __device__ __forceinline__ void compose_levels_backward(const Composition &a) {
    const int channel = blockIdx.x, wired = a.wired();
    int column = blockIdx.y * 32 + threadIdx.x % 32;
    const int read = column < wired ? patches + column : column == wired ? patches - 1 : -1;
    const float sum = products<T>(a, channel, read, false);
    if (threadIdx.x >= 32 || column > wired) return;
    if (column == wired) {
        for (int level = 0; level < most_levels; level++)
            reinterpret_cast<float *>(a.levels[level].bias_gradient)[channel] = sum;
        return;
    }
    int level = 0;
    for (; column >= a.widths[level]; level++) column -= a.widths[level];
    reinterpret_cast<float *>(a.levels[level].weight_gradient)[channel * a.widths[level] + column] = sum;
}

// The gate's gradient from those, and the gate upon them: one block.
__device__ __forceinline__ void through_gate(u64 values, u64 gradients, int count, float opening, double &sum) {
    for (int i = threadIdx.x; i < count; i += 256) {
        float &gradient = reinterpret_cast<float *>(gradients)[i];
        sum += double(gradient) * reinterpret_cast<const float *>(values)[i];
        gradient *= opening;
    }
}

extern "C" __global__ void __launch_bounds__(256) compose_gate_backward(const Composition a) {
    double sum = 0;
    const float opening = a.opening();
    for (int level = 0; level < most_levels; level++) {
        const Projection &of = a.levels[level];
        through_gate(of.weight, of.weight_gradient, a.features * a.widths[level], opening, sum);
        through_gate(of.bias, of.bias_gradient, a.features, opening, sum);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) *reinterpret_cast<float *>(a.gate_gradient) = float(sum);
}

#define BOTH(name)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) name##_f32(const Composition argument) { name<float>(argument); } \
    extern "C" __global__ void __launch_bounds__(256) name##_bf16(const Composition argument) { name<bf16>(argument); }

BOTH(compose_weights)
BOTH(compose_weights_backward)
BOTH(compose_levels_backward)
