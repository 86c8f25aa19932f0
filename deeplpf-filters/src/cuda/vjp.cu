// The way back. 36 bytes move per pixel (180 us for 24 MP at 4.8 TB/s): image and cotangent are read once,
// the image's gradient is written once, and the parameters' gradients never leave the registers until a
// block's rows are done. With about 550 instructions per pixel the arithmetic, not the memory, is the bound
// on a GPU with 15 instructions per byte (H200: 30 T/s over 4.8 TB/s would allow 225).
//
// A thread goes down one column: y is constant for it, so the polynomial's 20 sums per channel are 10 sums
// of cotangent x^p i^r, multiplied by powers of y at the end. A warp then adds up 32 sums at a time with 31
// shuffles (each step halves the number of sums a lane holds), the block's warps meet in shared memory, and
// the blocks' sums are added by one block for each sum, the last of which follows the chain rule. No atomics
// on floating-point numbers: the same bits every time.

constexpr int graduated_geometry = PAPER ? 4 : 2, elliptical_geometry = PAPER ? 5 : 6;
constexpr int graduated_sums = 6 + graduated_geometry, elliptical_sums = 3 + elliptical_geometry;
constexpr int first_graduated = 3 * TERMS, first_elliptical = first_graduated + graduated_sums * GRADUATED;
constexpr int first_gate = first_elliptical + elliptical_sums * ELLIPTICAL;
constexpr int all_sums = first_gate + GATES * (GRADUATED + ELLIPTICAL);

// Where sums lie in `Argument::sums`: for each image the totals (double), a counter, and sum after sum those
// of all blocks.
struct Workspace {
    double *totals;
    u32 *counter;
    float *sums;

    __device__ __forceinline__ Workspace(const Argument &a, int image) {
        const u64 numbers = u64(all_sums) * (2 + a.blocks) + 2;
        float *first = reinterpret_cast<float *>(a.sums) + image * ((numbers + 1) / 2 * 2);
        totals = reinterpret_cast<double *>(first);
        counter = reinterpret_cast<u32 *>(first + 2 * all_sums);
        sums = first + 2 * all_sums + 2;
    }
};

// Sums of cotangent x^p i^r down a column, of the r and p that occur together.
struct Moments {
#if TERMS == 20
    float of_one[4], of_i[3], of_i2[2], of_i3;
#else
    float of_i[4];
#endif

    __device__ __forceinline__ Moments() {
#if TERMS == 20
        for (int p = 0; p < 4; p++) of_one[p] = 0;
        for (int p = 0; p < 3; p++) of_i[p] = 0;
        of_i2[0] = of_i2[1] = of_i3 = 0;
#else
        for (int p = 0; p < 4; p++) of_i[p] = 0;
#endif
    }

    __device__ __forceinline__ void add(float d, const Row &row, float i) {
        const float di = d * i;
#if TERMS == 20
        const float di2 = di * i;
        of_one[0] += d, of_one[1] = fmaf(d, row.x, of_one[1]);
        of_one[2] = fmaf(d, row.x2, of_one[2]), of_one[3] = fmaf(d, row.x3, of_one[3]);
        of_i[0] += di, of_i[1] = fmaf(di, row.x, of_i[1]), of_i[2] = fmaf(di, row.x2, of_i[2]);
        of_i2[0] += di2, of_i2[1] = fmaf(di2, row.x, of_i2[1]);
        of_i3 = fmaf(di2, i, of_i3);
#elif TERMS == 10
        of_i[0] += di, of_i[1] = fmaf(di, row.x, of_i[1]);
        of_i[2] = fmaf(di, row.x2, of_i[2]), of_i[3] = fmaf(di, row.x3, of_i[3]);
#endif
    }

    __device__ __forceinline__ float at(int p, int r) const {
#if TERMS == 20
        return r == 0 ? of_one[p] : r == 1 ? of_i[p < 3 ? p : 2] : r == 2 ? of_i2[p < 2 ? p : 1] : of_i3;
#else
        return of_i[p];
#endif
    }

    // Gradients of a channel's coefficients.
    __device__ __forceinline__ void coefficients(float y, float *out) const {
        const float y_powers[4] = {1.0f, y, y * y, y * y * y};
#pragma unroll
        for (int i = 0; i < TERMS; i++) out[i] = y_powers[powers[i][1]] * at(powers[i][0], powers[i][2]);
    }
};

// One step of adding up sums over a warp: from 2 * step sums over so many lanes' fractions to step sums. Lanes
// whose bit `step` is set keep the upper half.
template <int step> struct Fold {
    static __device__ __forceinline__ void run(float *sums, int lane) {
        const bool upper = lane & step;
#pragma unroll
        for (int i = 0; i < step; i++) {
            const float given = upper ? sums[i] : sums[i + step], own = upper ? sums[i + step] : sums[i];
            sums[i] = own + __shfl_xor_sync(0xffffffffu, given, step);
        }
        Fold<step / 2>::run(sums, lane);
    }
};
template <> struct Fold<0> {
    static __device__ __forceinline__ void run(float *, int) {}
};

// Adds up `count` sums (a multiple of 32) over the block and stores those below `stored`.
template <int count>
__device__ __forceinline__ void store_sums(float (&sums)[count], int stored, const Workspace &to, const Argument &a) {
    __shared__ float warps[block_columns / 32][count];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int group = 0; group < count; group += 32) {
        Fold<16>::run(sums + group, lane);
        warps[warp][group + lane] = sums[group];
    }
    __syncthreads();
    const int block = blockIdx.y * gridDim.x + blockIdx.x;
    for (int i = threadIdx.x; i < stored; i += block_columns) {
        float sum = 0;
        for (int w = 0; w < block_columns / 32; w++) sum += warps[w][i];
        to.sums[u64(i) * a.blocks + block] = sum;
    }
    if (block == 0 && threadIdx.x == 0) *to.counter = 0;
}

__device__ constexpr int padded(int count) { return (count + 31) / 32 * 32; }

// d times what a clamp passes at a value: all of it inside and at the limits.
__device__ __forceinline__ float passed_image(float value, float d) { return PAPER || !(value < 0 || value > 1) ? d : 0.0f; }
__device__ __forceinline__ float passed_map(float value, float d) { return PAPER || !(value < 0 || value > 2) ? d : 0.0f; }

// The sums of one instance at its pixels so far.
struct GraduatedSums {
    float base[3], gain[3], geometry[graduated_geometry], gate;
};
struct EllipticalSums {
    float gain[3], geometry[elliptical_geometry], gate;
};

__device__ __forceinline__ void graduated_back(GraduatedSums &sums, const Image &image, const Row &row, int k,
                                               const Column &c, float profile, float d) {
#if PAPER
    // Of the line's y without its sign, the same with x, and of each steepness; half at a tie.
    const float held = __saturatef(profile);
    const float d_ramp = profile == held ? (profile > 0 && profile < 1 ? d : 0.5f * d) : 0.0f;
    const float l = c.y - row.place[k];
    const float d_line = d_ramp * (l >= 0 ? image.steepness2[k] : image.steepness1[k]);
    sums.geometry[0] += d_line, sums.geometry[1] = fmaf(d_line, row.x, sums.geometry[1]);
    sums.geometry[2] += l >= 0 ? 0.0f : d_ramp * l, sums.geometry[3] += l >= 0 ? d_ramp * l : 0.0f;
#else
    // -1/2 of the derivative by z, and the same with x.
    const float d_z = d * profile * (1.0f - profile);
    sums.geometry[0] += d_z, sums.geometry[1] = fmaf(d_z, row.x, sums.geometry[1]);
#endif
}

// Made again from the row's constants, which costs fewer registers than to keep it.
__device__ __forceinline__ void elliptical_back(EllipticalSums &sums, const Argument &a, const Image &image,
                                                const EllipticalRow &row, int k, float dy, int image_row, int column,
                                                float d) {
#if PAPER
    // Of A/a, B/b, their squares and their product; nothing where the profile is not positive.
    const float to_a = fmaf(dy, row.along1, row.along0), to_b = fmaf(dy, row.across1, row.across0);
    const float along = d * to_a, across = d * to_b;
    sums.geometry[0] += along, sums.geometry[1] += across;
    sums.geometry[2] = fmaf(along, to_a, sums.geometry[2]), sums.geometry[3] = fmaf(across, to_b, sums.geometry[3]);
    sums.geometry[4] = fmaf(along, to_b, sums.geometry[4]);
#else
    Shape s = fast_shape(image, row, k, dy);
    if (row.careful) {
        const Pixel pixel(a, k, image_row, column);
        s = careful_shape(pixel.ellipse, pixel.x, pixel.y);
    }
    // With E = -(cotangent) nu: of dx and dy; E; E P^2/M; E R^2/M; E P R/M.
    const float of_e = -d * s.nu;
    const float over_d2 = __fdividef(of_e, s.d2), over_m = __fdividef(of_e, s.m);
    const float p = over_m * s.p, r = over_m * s.r, mixed = p * s.r;
    const float turning = __fdividef(mixed, s.rho2) * s.turns;
    sums.geometry[0] = fmaf(over_d2, row.dx, fmaf(turning * dy, row.turn_x, sums.geometry[0]));
    sums.geometry[1] = fmaf(over_d2, dy, fmaf(-turning, row.turn_y, sums.geometry[1]));
    sums.geometry[2] += of_e;
    sums.geometry[3] = fmaf(p, s.p, sums.geometry[3]), sums.geometry[4] = fmaf(r, s.r, sums.geometry[4]);
    sums.geometry[5] += mixed;
#endif
}

extern "C" __global__ void __launch_bounds__(block_columns, 2) filters_vjp(const Argument argument) {
    __shared__ Row rows[rows_at_once];
    __shared__ Image image;
    const Argument &a = argument;
    const int column = blockIdx.x * block_columns + threadIdx.x;
    const Constants constants(a, blockIdx.z);
    make_image(constants, image);
    __syncthreads();
    const bool inside = column < a.width;
    const Column c = make_column(image, inside ? column : 0, a.width);
    const float *from = reinterpret_cast<const float *>(a.image) + blockIdx.z * a.image_stride;
    const float *cotangents = reinterpret_cast<const float *>(a.cotangent) + blockIdx.z * a.cotangent_stride;
    float *to = reinterpret_cast<float *>(a.image_gradient) + blockIdx.z * a.image_gradient_stride;
    const u64 plane = u64(a.height) * a.width;
    const int end = min((blockIdx.y + 1) * a.rows_per_block, a.height);

    Moments moments[3];
    GraduatedSums graduated_so_far[graduated_slots] = {};
    EllipticalSums elliptical_so_far[elliptical_slots] = {};
    for (int first = blockIdx.y * a.rows_per_block; first < end; first += rows_at_once) {
        const int count = min(rows_at_once, end - first);
        __syncthreads();
        make_rows(a, constants, first, count, rows);
        __syncthreads();
        if (!inside) continue;
        u64 at = u64(first) * a.width + column;
        for (int r = 0; r < count; r++, at += a.width) {
            const Row &row = rows[r];
            float values[3], d[3];
#pragma unroll
            for (int ch = 0; ch < 3; ch++) {
                values[ch] = from[at + ch * plane];
                d[ch] = cotangents[at + ch * plane];
            }
            if (!any_filter) {
#pragma unroll
                for (int ch = 0; ch < 3; ch++) to[at + ch * plane] = passed_image(values[ch], d[ch]);
                continue;
            }
            float graduated[graduated_slots], d_graduated[graduated_slots];
            Ellipse ellipses[elliptical_slots];
            float d_elliptical[elliptical_slots];
#pragma unroll
            for (int k = 0; k < GRADUATED; k++) graduated[k] = graduated_profile(image, row, k, c), d_graduated[k] = 0;
#pragma unroll
            for (int k = 0; k < ELLIPTICAL; k++) {
                ellipses[k] = find_ellipse(a, image, row.elliptical[k], k, c.dy[k], first + r, column);
                d_elliptical[k] = 0;
            }
#pragma unroll
            for (int ch = 0; ch < 3; ch++) {
                // Masks, with the product of those before each.
                Mask g[graduated_slots], e[elliptical_slots];
                float before_g[graduated_slots], before_e[elliptical_slots];
                float of_graduated = GRADUATED > 0, of_elliptical = ELLIPTICAL > 0;
#pragma unroll
                for (int k = 0; k < GRADUATED; k++) {
                    g[k] = graduated_mask(image, k, ch, PAPER ? __saturatef(graduated[k]) : graduated[k]);
                    before_g[k] = of_graduated;
                    of_graduated *= g[k].value;
                }
#pragma unroll
                for (int k = 0; k < ELLIPTICAL; k++) {
                    const bool in = ch == 2 ? ellipses[k].inside_blue : ellipses[k].inside;
                    e[k] = elliptical_mask(image, k, ch, in ? ellipses[k].profile : 0.0f);
                    before_e[k] = of_elliptical;
                    of_elliptical *= e[k].value;
                }
                const float map_g = limit_map(of_graduated), map_e = limit_map(of_elliptical);
                const float joined = joined_maps(map_g, map_e);
                const float s = limit_map(joined);
                const Polynomial polynomial(row.polynomial[ch], c.y, values[ch]);
                const float y2 = limit_image(polynomial.value), product = y2 * s;
                const float total = limit_image(product) + values[ch];
                const float d_total = passed_image(total, d[ch]);
                const float d_product = passed_image(product, d_total);
                const float d_value = passed_image(polynomial.value, d_product * s);
                const float d_joined = passed_map(joined, d_product * y2);
                to[at + ch * plane] = fmaf(d_value, polynomial.slope, d_total);
                if (TERMS > 0) moments[ch].add(d_value, row, values[ch]);

                // Cotangent of the product times the masks after each.
                float after = passed_map(of_graduated, FUSION_PRODUCT && ELLIPTICAL > 0 ? d_joined * map_e : d_joined);
#pragma unroll
                for (int k = GRADUATED - 1; k >= 0; k--) {
                    GraduatedSums &sums = graduated_so_far[k];
                    const float d_mask = after * before_g[k];
                    after *= g[k].value;
                    if (GATES) sums.gate = fmaf(d_mask, g[k].open - (PAPER ? 0.0f : 1.0f), sums.gate);
                    const float d_open = (GATES ? d_mask * image.gate[k] : d_mask) * g[k].passed;
                    sums.base[ch] += d_open;
                    sums.gain[ch] = fmaf(d_open, PAPER ? __saturatef(graduated[k]) : graduated[k], sums.gain[ch]);
                    d_graduated[k] = fmaf(d_open, image.gain[k][ch], d_graduated[k]);
                }
                after = passed_map(of_elliptical, FUSION_PRODUCT && GRADUATED > 0 ? d_joined * map_g : d_joined);
#pragma unroll
                for (int k = ELLIPTICAL - 1; k >= 0; k--) {
                    EllipticalSums &sums = elliptical_so_far[k];
                    const bool in = ch == 2 ? ellipses[k].inside_blue : ellipses[k].inside;
                    const float d_mask = after * before_e[k];
                    after *= e[k].value;
                    if (GATES) sums.gate = fmaf(d_mask, e[k].open - (PAPER ? 0.0f : 1.0f), sums.gate);
                    const float d_open = in ? (GATES ? d_mask * image.elliptical_gate[k] : d_mask) * e[k].passed : 0.0f;
                    sums.gain[ch] = fmaf(d_open, in ? ellipses[k].profile : 0.0f, sums.gain[ch]);
                    d_elliptical[k] = fmaf(d_open, image.elliptical_gain[k][ch], d_elliptical[k]);
                }
            }
#pragma unroll
            for (int k = 0; k < GRADUATED; k++)
                graduated_back(graduated_so_far[k], image, row, k, c, graduated[k], d_graduated[k]);
#pragma unroll
            for (int k = 0; k < ELLIPTICAL; k++)
                if (ellipses[k].inside || ellipses[k].inside_blue)
                    elliptical_back(elliptical_so_far[k], a, image, row.elliptical[k], k, c.dy[k],
                                    first + r, column, d_elliptical[k]);
        }
    }
    if (all_sums == 0) return;
    constexpr int count = padded(all_sums > 0 ? all_sums : 1);
    float sums[count];
#pragma unroll
    for (int ch = 0; ch < 3; ch++) moments[ch].coefficients(c.y, sums + ch * TERMS);
#pragma unroll
    for (int k = 0; k < GRADUATED; k++) {
        float *out = sums + first_graduated + graduated_sums * k;
#pragma unroll
        for (int ch = 0; ch < 3; ch++) out[ch] = graduated_so_far[k].base[ch], out[3 + ch] = graduated_so_far[k].gain[ch];
#pragma unroll
        for (int i = 0; i < graduated_geometry; i++) out[6 + i] = graduated_so_far[k].geometry[i];
        if (GATES) sums[first_gate + k] = graduated_so_far[k].gate;
    }
#pragma unroll
    for (int k = 0; k < ELLIPTICAL; k++) {
        float *out = sums + first_elliptical + elliptical_sums * k;
#pragma unroll
        for (int ch = 0; ch < 3; ch++) out[ch] = elliptical_so_far[k].gain[ch];
#pragma unroll
        for (int i = 0; i < elliptical_geometry; i++) out[3 + i] = elliptical_so_far[k].geometry[i];
        if (GATES) sums[first_gate + GRADUATED + k] = elliptical_so_far[k].gate;
    }
#pragma unroll
    for (int i = all_sums; i < count; i++) sums[i] = 0;
    store_sums(sums, all_sums, Workspace(a, blockIdx.z), a);
}

// The pixels of a resized image that fine pixel `index` has a share in, [first, last].
struct Readers {
    int first, last;

    __device__ __forceinline__ Readers(int index, float scale, int size, int outputs) {
        first = index == 0 ? 0 : max(int((index - 0.5f) / scale - 0.5f) - 1, 0);
        last = index == size - 1 ? outputs - 1 : min(int((index + 1.5f) / scale - 0.5f) + 1, outputs - 1);
        while (first <= last && Tap(first, scale, size).of(index) == 0) first++;
        while (last >= first && Tap(last, scale, size).of(index) == 0) last--;
    }
};

// The resize's transpose and the polynomial's way back in one pass: the resized gradient is small and stays
// in the caches, so 20 bytes move per pixel.
template <typename T> __device__ __forceinline__ void polynomial_resized_vjp(const Argument &a) {
    __shared__ Row rows[rows_at_once];
    __shared__ double coefficients[3 * TERMS + 1];
    raw_coefficients(a, coefficients);
    const int column = blockIdx.x * block_columns + threadIdx.x;
    const bool inside = column < a.width;
    const float y = float(inside ? column : 0) / float(a.width);
    const float row_scale = float(a.height) / float(a.resized_height);
    const float column_scale = float(a.width) / float(a.resized_width);
    const Readers across(inside ? column : 0, column_scale, a.width, a.resized_width);
    const float *from = reinterpret_cast<const float *>(a.image) + blockIdx.z * a.image_stride;
    const T *cotangents = reinterpret_cast<const T *>(a.cotangent) + blockIdx.z * a.cotangent_stride;
    float *to = reinterpret_cast<float *>(a.image_gradient) + blockIdx.z * a.image_gradient_stride;
    const u64 plane = u64(a.height) * a.width, resized_plane = u64(a.resized_height) * a.resized_width;
    const int end = min((blockIdx.y + 1) * a.rows_per_block, a.height);

    Moments moments[3];
    for (int first = blockIdx.y * a.rows_per_block; first < end; first += rows_at_once) {
        const int count = min(rows_at_once, end - first);
        __syncthreads();
        for (int i = threadIdx.x; i < 4 * count; i += block_columns) {
            const double x = double(first + i / 4) / double(a.full_height);
            Row &row = rows[i / 4];
            if (i % 4 < 3) polynomial_row(coefficients + i % 4 * TERMS, x, row.polynomial[i % 4]);
            else row.x = float(x), row.x2 = float(x * x), row.x3 = float(x * x * x);
        }
        __syncthreads();
        if (!inside) continue;
        for (int r = 0; r < count; r++) {
            const u64 at = u64(first + r) * a.width + column;
            const Readers down(first + r, row_scale, a.height, a.resized_height);
            float d[3] = {0, 0, 0};
            for (int p = down.first; p <= down.last; p++) {
                const float share = Tap(p, row_scale, a.height).of(first + r);
                for (int q = across.first; q <= across.last; q++) {
                    const float both = share * Tap(q, column_scale, a.width).of(column);
                    const u64 from_at = u64(p) * a.resized_width + q;
#pragma unroll
                    for (int ch = 0; ch < 3; ch++) d[ch] = fmaf(both, to_float(cotangents[from_at + ch * resized_plane]), d[ch]);
                }
            }
#pragma unroll
            for (int ch = 0; ch < 3; ch++) {
                const float value = from[at + ch * plane];
                const Polynomial polynomial(rows[r].polynomial[ch], y, value);
                const float d_value = passed_image(polynomial.value, d[ch]);
                to[at + ch * plane] += d_value * polynomial.slope;
                if (TERMS > 0) moments[ch].add(d_value, rows[r], value);
            }
        }
    }
    if (TERMS == 0) return;
    constexpr int count = padded(TERMS > 0 ? 3 * TERMS : 1);
    float sums[count];
#pragma unroll
    for (int ch = 0; ch < 3; ch++) moments[ch].coefficients(y, sums + ch * TERMS);
#pragma unroll
    for (int i = 3 * TERMS; i < count; i++) sums[i] = 0;
    store_sums(sums, 3 * TERMS, Workspace(a, blockIdx.z), a);
}

extern "C" __global__ void __launch_bounds__(block_columns, 4) polynomial_resized_vjp_f32(const Argument argument) {
    polynomial_resized_vjp<float>(argument);
}
extern "C" __global__ void __launch_bounds__(block_columns, 4) polynomial_resized_vjp_bf16(const Argument argument) {
    polynomial_resized_vjp<bf16>(argument);
}

// Adds up the blocks' numbers of the sum that is this block's; true in the block that comes last, which
// then sees all totals.
__device__ __forceinline__ bool add_up(const Argument &a, const Workspace &from) {
    __shared__ double warps[block_columns / 32];
    __shared__ bool last;
    double sum = 0;
    for (u32 i = threadIdx.x; i < a.blocks; i += block_columns) sum += from.sums[u64(blockIdx.x) * a.blocks + i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < block_columns / 32; warp++) sum += warps[warp];
        from.totals[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(from.counter, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    __threadfence();
    return last;
}

// Chain rule from a graduated instance's sums to its raw numbers.
__device__ inline void finish_graduated(const float *raw, int k, const double *totals, float *out) {
    const GraduatedParams p = graduated_params(raw, k);
    const double weight = inversion_weight(p.inversion);
    const Distances d(p);
    const double *base = totals, *gain = totals + 3, *geometry = totals + 6;
    double scale[3], d_weight = 0, slope, offset, o1 = 0, o2;
    if (PAPER) {
        for (int ch = 0; ch < 3; ch++) {
            scale[ch] = base[ch] * (1.0 - weight) + gain[ch] * (2.0 * weight - 1.0);
            d_weight += p.scale[ch] * (2.0 * gain[ch] - base[ch]);
        }
        const double steepness1 = 1.0 / (2.0 * p.o1 * d.cos), steepness2 = 1.0 / (2.0 * p.o2 * d.cos);
        const double d_d1 = -2.0 * geometry[2] * steepness1 * steepness1;
        const double d_d2 = -2.0 * geometry[3] * steepness2 * steepness2;
        const double d_cos = d_d1 * p.o1 + d_d2 * p.o2;
        slope = -geometry[1] - d_cos * p.slope * d.cos * d.cos * d.cos;
        offset = -geometry[0];
        o1 = d_d1 * d.cos, o2 = d_d2 * d.cos;
    } else {
        const double r1 = 1.0 / d.d1, r2 = 1.0 / d.d2, ordinary = 1.0 - weight;
        double d_r1 = 0, d_r2 = 0;
        for (int ch = 0; ch < 3; ch++) {
            const double s = p.scale[ch], half = (1.0 - s) / 2.0, first = s < 1.0 ? 1.0 : -1.0;
            scale[ch] = weight * base[ch] +
                        gain[ch] * (ordinary * (first * r1 + r2) / 2.0 - weight * (r1 + r2) / 2.0);
            d_r1 += gain[ch] * half * (weight - ordinary * first);
            d_r2 += gain[ch] * half * (weight - ordinary);
            d_weight += base[ch] * (s - 1.0) + gain[ch] * (inverted_gain(s, d) - ordinary_gain(s, d));
        }
        const double d_z = -2.0 * geometry[0], d_z_x = -2.0 * geometry[1];
        const double d_d1 = d_z - d_r1 * r1 * r1, d_d2 = -d_r2 * r2 * r2;
        const double slope1 = squash_slope(p.offset * d.cos), slope2 = squash_slope(p.o2 * d.cos);
        const double d_cos = d_d1 * slope1 * p.offset + d_d2 * slope2 * p.o2;
        slope = d_z_x - d_cos * p.slope * d.cos * d.cos * d.cos;
        offset = d_z + d_d1 * slope1 * d.cos;
        o2 = d_d2 * slope2 * d.cos;
    }
    // The release holds the bounds constant: o1 gets nothing and o2 does not move the offset.
    const float *block = raw + raw_graduated;
    const int n = GRADUATED;
    const double raw_o1 = block[2 * n + k], raw_offset = block[3 * n + k], raw_o2 = block[4 * n + k];
    const double least = squash(raw_o1) + epsilon, high = limit(squash(raw_offset), least, 1.0);
    const double offset_passes = PAPER ? 1.0 : limit_slope(squash(raw_offset), least, 1.0);
    const double o2_passes = PAPER ? 1.0 : limit_slope(squash(raw_o2), 0.0, high);
    out += raw_graduated;
    out[k] = float(d_weight * inversion_weight_slope(p.inversion));
    out[n + k] = float(slope);
    out[2 * n + k] = PAPER ? float(o1 * squash_slope(raw_o1)) : 0.0f;
    out[3 * n + k] = float(offset * offset_passes * squash_slope(raw_offset));
    out[4 * n + k] = float(o2 * o2_passes * squash_slope(raw_o2));
    for (int ch = 0; ch < 3; ch++) {
        const int at = 5 * n + 3 * k + ch;
        out[at] = float(scale[ch] * 2.0 * squash_slope(block[at]));
    }
}

// Chain rule from an elliptical instance's sums to its raw numbers.
__device__ inline void finish_elliptical(const float *raw, int k, const Elliptical &e, const double *totals, float *out) {
    const EllipticalParams p = elliptical_params(raw, k);
    const double *gain = totals, *g = totals + 3;
    const double a = p.a, b = p.b;
    double center_x, center_y, axis_a, axis_b, angle;
    if (PAPER) {
        const double s = e.sin, c = e.cos;
        const double d_a = -2.0 * g[0] / a, d_b = -2.0 * g[1] / b;
        center_x = -(d_a * c + d_b * s), center_y = -(d_a * s - d_b * c);
        axis_a = 2.0 * g[2] / a, axis_b = 2.0 * g[3] / b;
        angle = 2.0 * g[4] * (b / a - a / b);
    } else {
        center_x = -g[0], center_y = -g[1];
        axis_a = g[3] / a - g[2] / a, axis_b = g[4] / b - g[2] / b;
        angle = -(a * a - b * b) * g[5] / (a * b);
    }
    const float *block = raw + raw_elliptical;
    const int n = ELLIPTICAL;
    out += raw_elliptical;
    out[k] = float(center_x * squash_slope(block[k]));
    out[n + k] = float(center_y * squash_slope(block[n + k]));
    out[2 * n + k] = float(axis_a * squash_slope(block[2 * n + k]));
    out[3 * n + k] = float(axis_b * squash_slope(block[3 * n + k]));
    out[4 * n + k] = float(pi * angle * squash_slope(block[4 * n + k]));
    for (int ch = 0; ch < 3; ch++) {
        const int at = 5 * n + 3 * k + ch;
        out[at] = float(2.0 * gain[ch] * squash_slope(block[at]));
    }
}

extern "C" __global__ void __launch_bounds__(block_columns, 2) finish_filters_vjp(const Argument argument) {
    const Argument &a = argument;
    const int image = blockIdx.y, thread = threadIdx.x;
    const Workspace from(a, image);
    if (!add_up(a, from)) return;
    const float *raw = reinterpret_cast<const float *>(a.raw) + u64(image) * raw_len;
    float *out = reinterpret_cast<float *>(a.raw_gradient) + u64(image) * raw_len;
    // NaN where a raw parameter is not finite: whoever checks the gradients sees it.
    const double poison = Constants(a, image).poison();
    for (int i = thread; i < 3 * TERMS; i += block_columns) out[i] = float(from.totals[i] + poison);
    if (thread < GRADUATED)
        finish_graduated(raw, thread, from.totals + first_graduated + graduated_sums * thread, out);
    const int k = thread - 32;
    if (k >= 0 && k < ELLIPTICAL)
        finish_elliptical(raw, k, Constants(a, image).elliptical(k), from.totals + first_elliptical + elliptical_sums * k, out);
    if (GATES)
        for (int i = thread; i < GRADUATED + ELLIPTICAL; i += block_columns)
            out[raw_gates + i] = float(from.totals[first_gate + i] * 2.0 * squash_slope(raw[raw_gates + i]));
}

extern "C" __global__ void __launch_bounds__(block_columns) finish_polynomial_vjp(const Argument argument) {
    const Argument &a = argument;
    const int image = blockIdx.y;
    const Workspace from(a, image);
    if (!add_up(a, from)) return;
    float *out = reinterpret_cast<float *>(a.raw_gradient) + u64(image) * raw_len;
    for (int i = threadIdx.x; i < 3 * TERMS; i += block_columns) out[i] += float(from.totals[i]);
}
