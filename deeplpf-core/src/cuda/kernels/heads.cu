// What follows the last convolution of the parameter heads. Small work: what counts is that it is one
// launch for all heads.

constexpr int most_heads = 4, most_channels = 1024;

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
    // The first words of StepState, see optimizer.cu: step, batches, place.
    const u64 *state = reinterpret_cast<const u64 *>(a.state);
    const u64 step = state[0] * state[1] + state[2];
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

struct GatePenalty {
    u64 raw, raw_gradient, total;
    u32 batch, raw_len, gates;
    float weight;
};

// Adds weight times the mean gate, 1 + tanh of its raw number, to the loss, and its gradient to that of
// the raw numbers, of which the gates are the last: one block.
extern "C" __global__ void __launch_bounds__(256) gate_penalty(const GatePenalty a) {
    const int count = a.batch * a.gates;
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += 256) {
        const u64 at = u64(i / a.gates + 1) * a.raw_len - a.gates + i % a.gates;
        const float opening = tanhf(reinterpret_cast<const float *>(a.raw)[at]);
        sum += 1 + opening;
        reinterpret_cast<float *>(a.raw_gradient)[at] += a.weight * (1 - opening * opening) / count;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) *reinterpret_cast<float *>(a.total) += float(a.weight * sum / count);
}

#define BOTH(name, Argument, threads)                                                                        \
    extern "C" __global__ void __launch_bounds__(threads) name##_f32(const Argument argument) { name<float>(argument); } \
    extern "C" __global__ void __launch_bounds__(threads) name##_bf16(const Argument argument) { name<bf16>(argument); }

BOTH(head_outputs, HeadOutputs, 256)
BOTH(head_outputs_backward, HeadOutputs, 128)
