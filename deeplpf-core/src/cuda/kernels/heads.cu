// The two ends of the parameter heads. Small work: what counts is that it is one launch for all heads.

constexpr int most_heads = 4, most_channels = 1024;
constexpr int image_channels = 3, patches = 28;

struct HeadWeights {
    u64 weight, weight_gradient, composed;
    u32 outputs, other_image;
};

struct ComposeWeights {
    HeadWeights heads[most_heads];
    u64 final_weight, final_bias, final_weight_gradient, final_bias_gradient;
    u32 features, head_count;

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
};

template <typename T> __device__ __forceinline__ void compose_weights(const ComposeWeights &a) {
    const HeadWeights head = a.heads[blockIdx.y];
    const int inputs = patches + (head.other_image ? image_channels : 0);
    const int index = blockIdx.x * 256 + threadIdx.x;
    if (index >= head.outputs * inputs * 9) return;
    const int output = index / (inputs * 9), patch = index / 9 % inputs, tap = index % 9;
    const float *weight = reinterpret_cast<const float *>(head.weight) + output * a.features * 9 + tap;
    const int rest = a.features - image_channels;
    float sum = 0;
    if (patch >= patches) {
        sum = weight[(rest + patch - patches) * 9];
    } else {
        const int channels = head.other_image ? rest : a.features;
        for (int channel = 0; channel < channels; channel++)
            sum += weight[channel * 9] * a.entry(a.row_of(channel), patch);
    }
    reinterpret_cast<T *>(head.composed)[index] = Rounded<T>::of(sum);
}

// The gradient of one row of the final convolution: warps share out the outputs and taps.
template <typename T> __device__ __forceinline__ void compose_row_gradient(const ComposeWeights &a, int row) {
    __shared__ float parts[8][32];
    const int rest = a.features - image_channels;
    const int patch = threadIdx.x % 32, part = threadIdx.x / 32;
    const int channel = row < image_channels ? rest + row : row - image_channels;
    float sum = 0;
    for (int h = 0; h < a.head_count; h++) {
        const HeadWeights head = a.heads[h];
        if ((row < image_channels && head.other_image) || patch >= patches) continue;
        const int inputs = patches + (head.other_image ? image_channels : 0);
        const float *weight = reinterpret_cast<const float *>(head.weight);
        const T *gradient = reinterpret_cast<const T *>(head.composed);
        for (int i = part; i < head.outputs * 9; i += 8) {
            const int output = i / 9, tap = i % 9;
            sum += weight[(output * a.features + channel) * 9 + tap] *
                   to_float(gradient[(output * inputs + patch) * 9 + tap]);
        }
    }
    parts[part][patch] = sum;
    __syncthreads();
    if (part > 0 || patch >= patches) return;
    for (int i = 1; i < 8; i++) sum += parts[i][patch];
    float *to = patch < patches - 1
                    ? reinterpret_cast<float *>(a.final_weight_gradient) + row * (patches - 1) + patch
                    : reinterpret_cast<float *>(a.final_bias_gradient) + row;
    *to = row < image_channels ? *to + sum : sum;
}

template <typename T> __device__ __forceinline__ void compose_weights_backward(const ComposeWeights &a) {
    if (blockIdx.x < a.features) return compose_row_gradient<T>(a, blockIdx.x);
    const int blocks = (gridDim.x - a.features) / a.head_count;
    const int block = blockIdx.x - a.features;
    const HeadWeights head = a.heads[block / blocks];
    const int index = block % blocks * 256 + threadIdx.x;
    const int features = a.features, rest = features - image_channels;
    if (index >= head.outputs * features * 9) return;
    const int output = index / (features * 9), channel = index / 9 % features, tap = index % 9;
    const int inputs = patches + (head.other_image ? image_channels : 0);
    const T *gradient = reinterpret_cast<const T *>(head.composed) + output * inputs * 9 + tap;
    float sum = 0;
    if (head.other_image && channel >= rest) {
        sum = to_float(gradient[(patches + channel - rest) * 9]);
    } else {
        const int row = a.row_of(channel);
        for (int patch = 0; patch < patches; patch++) sum += to_float(gradient[patch * 9]) * a.entry(row, patch);
    }
    reinterpret_cast<float *>(head.weight_gradient)[index] = sum;
}

struct Linear {
    u64 weight, bias, weight_gradient, bias_gradient;
    u32 outputs, first;
};

struct Head {
    Planes values, values_gradient;
    Linear linear, gates;
    u64 bias, bias_gradient, pooled, stream;
};

struct HeadOutputs {
    Head heads[most_heads];
    u64 raw, state, seed, purpose;
    double probability;
    u32 raw_len;
    float slope;
};

// Philox4x32-10 as random.rs: the words of one block of a stream.
__device__ __forceinline__ void philox(u64 block, u64 stream, u64 seed, u32 words[4]) {
    u32 keys[2] = {u32(seed), u32(seed >> 32)};
    words[0] = u32(block), words[1] = u32(block >> 32), words[2] = u32(stream), words[3] = u32(stream >> 32);
    for (int round = 0; round < 10; round++) {
        const u64 first = u64(0xD2511F53u) * words[0], second = u64(0xCD9E8D57u) * words[2];
        const u32 next[4] = {u32(second >> 32) ^ words[1] ^ keys[0], u32(second),
                             u32(first >> 32) ^ words[3] ^ keys[1], u32(first)};
        for (int i = 0; i < 4; i++) words[i] = next[i];
        keys[0] += 0x9E3779B9u, keys[1] += 0xBB67AE85u;
    }
}

// What dropout multiplies entry `index` of a head's pooled features with: 0 or 1 / (1 - probability). The
// CPU draws one number for each entry in order; each takes two words.
__device__ __forceinline__ float kept(const HeadOutputs &a, const Head &head, u32 index) {
    if (a.state == 0 || a.probability <= 0) return 1.0f;
    const u64 step = *reinterpret_cast<const u64 *>(a.state);
    const u64 stream = a.purpose << 56 | ((step * 4 + head.stream) & 0x00FFFFFFFFFFFFFFull);
    u32 words[4];
    philox(index / 2, stream, a.seed, words);
    const u64 high = index % 2 ? words[2] : words[0], low = index % 2 ? words[3] : words[1];
    const double uniform = double((high << 32 | low) >> 11) * (1.0 / 9007199254740992.0);
    return uniform < a.probability ? 0.0f : float(1.0 / (1.0 - a.probability));
}

__device__ __forceinline__ void linear(const Linear &layer, const float *pooled, int channels, float *raw) {
    const int lane = threadIdx.x % 32;
    const float *weight = reinterpret_cast<const float *>(layer.weight);
    const float *bias = reinterpret_cast<const float *>(layer.bias);
    for (int output = threadIdx.x / 32; output < layer.outputs; output += 8) {
        float sum = 0;
        for (int channel = lane; channel < channels; channel += 32)
            sum += weight[output * channels + channel] * pooled[channel];
        for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
        if (lane == 0) raw[layer.first + output] = sum + bias[output];
    }
}

template <typename T> __device__ __forceinline__ void head_outputs(const HeadOutputs &a) {
    __shared__ float pooled[most_channels];
    const Head &head = a.heads[blockIdx.y];
    const int image = blockIdx.x, channels = head.values.channels;
    const int pixels = head.values.height * head.values.width;
    for (int channel = threadIdx.x; channel < channels; channel += 256) {
        const Plane<T> values(head.values, image, channel);
        const float bias = reinterpret_cast<const float *>(head.bias)[channel];
        float sum = 0;
        for (int i = 0; i < pixels; i++) {
            const float value = to_float(values.origin[i]) + bias;
            sum += value > 0 ? value : value * a.slope;
        }
        const u32 index = image * channels + channel;
        pooled[channel] = sum / pixels * kept(a, head, index);
        reinterpret_cast<float *>(head.pooled)[index] = pooled[channel];
    }
    __syncthreads();
    float *raw = reinterpret_cast<float *>(a.raw) + u64(image) * a.raw_len;
    linear(head.linear, pooled, channels, raw);
    linear(head.gates, pooled, channels, raw);
}

// One channel's share in a linear layer's way back: its weights' gradient, and (for channel 0) the biases'.
__device__ __forceinline__ void linear_gradient(const Linear &layer, const HeadOutputs &a, const Head &head, int channel) {
    const int channels = head.values.channels, batch = head.values.batch;
    const float *raw = reinterpret_cast<const float *>(a.raw) + layer.first;
    const float *pooled = reinterpret_cast<const float *>(head.pooled) + channel;
    for (int output = threadIdx.x; output < layer.outputs; output += 128) {
        float weight = 0, bias = 0;
        for (int image = 0; image < batch; image++) {
            const float gradient = raw[u64(image) * a.raw_len + output];
            weight += gradient * pooled[image * channels];
            bias += gradient;
        }
        reinterpret_cast<float *>(layer.weight_gradient)[output * channels + channel] = weight;
        if (channel == 0) reinterpret_cast<float *>(layer.bias_gradient)[output] = bias;
    }
}

// This thread's share of the pooled feature's gradient.
__device__ __forceinline__ float pooled_gradient(const Linear &layer, const float *raw, int channel, int channels) {
    const float *weight = reinterpret_cast<const float *>(layer.weight);
    float sum = 0;
    for (int output = threadIdx.x; output < layer.outputs; output += 128)
        sum += raw[layer.first + output] * weight[output * channels + channel];
    return sum;
}

template <typename T> __device__ __forceinline__ void head_outputs_backward(const HeadOutputs &a) {
    __shared__ float of_pooled;
    const Head &head = a.heads[blockIdx.y];
    const int channel = blockIdx.x, channels = head.values.channels;
    if (channel >= channels) return;
    const int pixels = head.values.height * head.values.width;
    linear_gradient(head.linear, a, head, channel);
    linear_gradient(head.gates, a, head, channel);
    const float bias = reinterpret_cast<const float *>(head.bias)[channel];
    float bias_gradient = 0;
    for (int image = 0; image < head.values.batch; image++) {
        const float *raw = reinterpret_cast<const float *>(a.raw) + u64(image) * a.raw_len;
        const float share = pooled_gradient(head.linear, raw, channel, channels) +
                            pooled_gradient(head.gates, raw, channel, channels);
        const float sum = block_sum(share);
        if (threadIdx.x == 0) of_pooled = sum * kept(a, head, image * channels + channel) / pixels;
        __syncthreads();
        const Plane<T> values(head.values, image, channel), out(head.values_gradient, image, channel);
        for (int i = threadIdx.x; i < pixels; i += 128) {
            const float value = to_float(values.origin[i]) + bias;
            const float gradient = value > 0 ? of_pooled : of_pooled * a.slope;
            out.origin[i] = Rounded<T>::of(gradient);
            bias_gradient += gradient;
        }
    }
    bias_gradient = block_sum(bias_gradient);
    if (threadIdx.x == 0) reinterpret_cast<float *>(head.bias_gradient)[channel] = bias_gradient;
}

#define BOTH(name, Argument, threads)                                                                        \
    extern "C" __global__ void __launch_bounds__(threads) name##_f32(const Argument argument) { name<float>(argument); } \
    extern "C" __global__ void __launch_bounds__(threads) name##_bf16(const Argument argument) { name<bf16>(argument); }

BOTH(compose_weights, ComposeWeights, 256)
BOTH(compose_weights_backward, ComposeWeights, 256)
BOTH(head_outputs, HeadOutputs, 256)
BOTH(head_outputs_backward, HeadOutputs, 128)
