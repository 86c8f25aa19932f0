// Adam over one flat range.

// StepState of optimizer.rs.
struct StepState {
    u64 step, batches, place;
    double learning_rate, share;
    u64 updates, skipped, not_finite;
    double beta1, beta2, epsilon;
    double clip_norm, scale, backbone_rate, heads_rate, max_loss, average;
};

struct Weigh {
    u64 gradients, count, loss, loss_count, state;
};

// Gradients and loss times this rank's share of the step. 7 MB read and written for the release's network,
// in the second-level cache. 1024 numbers a block.
extern "C" __global__ void __launch_bounds__(256) weigh(const Weigh argument) {
    const float share = float(reinterpret_cast<const StepState *>(argument.state)->share);
    float *gradients = reinterpret_cast<float *>(argument.gradients);
    float *loss = reinterpret_cast<float *>(argument.loss);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const u64 at = u64(blockIdx.x) * 1024 + i * 256 + threadIdx.x;
        if (at < argument.count) gradients[at] = __fmul_rn(share, gradients[at]);
    }
    if (blockIdx.x == 0 && threadIdx.x < argument.loss_count) loss[threadIdx.x] = __fmul_rn(share, loss[threadIdx.x]);
}

struct CheckFinite {
    u64 gradients, count, heads_first, loss, loss_count, state, sums, counters;
};

__device__ __forceinline__ bool is_finite(float value) {
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

// Also the norm of the gradients of both groups that are trained, and what it is to be scaled by. 7 MB read
// for the release's network: about 3 us from the second-level cache. 4096 numbers a block.
extern "C" __global__ void __launch_bounds__(256) check_finite(const CheckFinite argument) {
    const float *gradients = reinterpret_cast<const float *>(argument.gradients);
    const float *loss = reinterpret_cast<const float *>(argument.loss);
    StepState *state = reinterpret_cast<StepState *>(argument.state);
    const bool clips = state->clip_norm > 0;
    bool finite = true;
    double squares = 0;
#pragma unroll 4
    for (int i = 0; i < 16; i++) {
        const u64 at = u64(blockIdx.x) * 4096 + i * 256 + threadIdx.x;
        if (at >= argument.count) continue;
        const float g = gradients[at];
        finite = finite && is_finite(g);
        const double rate = at < argument.heads_first ? state->backbone_rate : state->heads_rate;
        if (clips && rate > 0) squares += double(g) * double(g);
    }
    if (blockIdx.x == 0 && threadIdx.x < argument.loss_count) finite = finite && is_finite(loss[threadIdx.x]);
    if (blockIdx.x == 0 && threadIdx.x == 0) finite = finite && !(double(loss[0]) > state->max_loss);
    // Whoever writes writes the same.
    if (!finite) state->not_finite = 1;
    if (!clips) return;
    double *sums = reinterpret_cast<double *>(argument.sums);
    squares = block_sum(squares);
    if (threadIdx.x == 0) sums[blockIdx.x] = squares;
    if (!last_block(reinterpret_cast<u32 *>(argument.counters), gridDim.x)) return;
    double total = 0;
    for (u32 i = threadIdx.x; i < gridDim.x; i += 256) total += __ldcg(&sums[i]);
    total = block_sum(total);
    if (threadIdx.x == 0) {
        const double norm = sqrt(total);
        state->scale = norm > state->clip_norm ? state->clip_norm / norm : 1.0;
    }
}

struct Adam {
    u64 parameters, gradients, first, second, rounded, average, count, heads_first, state, counters;
};

__device__ __forceinline__ double power(double base, u64 exponent) {
    double result = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2) result *= base;
    return result;
}

// 28 bytes moved per parameter (30 with rounding, 36 with the average): 50 MB for the release's network, about 10 us from
// memory. Every operation is rounded by itself, as on the CPU.
extern "C" __global__ void __launch_bounds__(256) adam(const Adam argument) {
    StepState *state = reinterpret_cast<StepState *>(argument.state);
    __shared__ float step_sizes[2], second_scale, epsilon, betas[4], gradient_scale, keep, take;
    __shared__ bool skip;
    if (threadIdx.x == 0) {
        const u64 t = min(state->updates + 1, u64(0x7fffffff));
        skip = state->not_finite != 0;
        const double correction = 1.0 - power(state->beta1, t);
        step_sizes[0] = float(state->backbone_rate * state->learning_rate / correction);
        step_sizes[1] = float(state->heads_rate * state->learning_rate / correction);
        gradient_scale = state->clip_norm > 0 ? float(state->scale) : 1.0f;
        const double decay = min(state->average, (1.0 + double(t)) / (10.0 + double(t)));
        keep = float(decay), take = float(1.0 - decay);
        second_scale = float(sqrt(1.0 - power(state->beta2, t)));
        epsilon = float(state->epsilon);
        betas[0] = float(state->beta1), betas[1] = float(1.0 - state->beta1);
        betas[2] = float(state->beta2), betas[3] = float(1.0 - state->beta2);
    }
    __syncthreads();
    if (!skip) {
        float *parameters = reinterpret_cast<float *>(argument.parameters);
        float *first = reinterpret_cast<float *>(argument.first), *second = reinterpret_cast<float *>(argument.second);
        const float *gradients = reinterpret_cast<const float *>(argument.gradients);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u64 at = u64(blockIdx.x) * 1024 + i * 256 + threadIdx.x;
            if (at >= argument.count) break;
            const bool head = at >= argument.heads_first;
            // A group of rate 0 is frozen: its moments stay as well.
            const bool trains = (head ? state->heads_rate : state->backbone_rate) > 0;
            const float before = parameters[at];
            float p = before;
            if (trains) {
                const float g = __fmul_rn(gradient_scale, gradients[at]);
                const float m = __fadd_rn(__fmul_rn(betas[0], first[at]), __fmul_rn(betas[1], g));
                const float v = __fadd_rn(__fmul_rn(betas[2], second[at]), __fmul_rn(betas[3], __fmul_rn(g, g)));
                const float root = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), second_scale), epsilon);
                p = __fadd_rn(before, -__fmul_rn(step_sizes[head], __fdiv_rn(m, root)));
                first[at] = m, second[at] = v, parameters[at] = p;
                if (argument.rounded) reinterpret_cast<bf16 *>(argument.rounded)[at] = Rounded<bf16>::of(p);
            }
            if (argument.average) {
                float *average = reinterpret_cast<float *>(argument.average);
                average[at] = __fadd_rn(__fmul_rn(keep, average[at]), __fmul_rn(take, p));
            }
        }
    }
    // The state may change only after every block has read it.
    if (last_block(reinterpret_cast<u32 *>(argument.counters), gridDim.x) && threadIdx.x == 0) {
        state->step += 1;
        if (skip) state->skipped += 1, state->not_finite = 0;
        else state->updates += 1;
    }
}
