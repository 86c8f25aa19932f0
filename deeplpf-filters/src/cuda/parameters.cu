// DeepLPF's filters in CUDA. Compiled with macros that fix the configuration: PAPER, TERMS (0, 10 or 20),
// GRADUATED and ELLIPTICAL (instances), GATES, FIX_ELLIPSE, FIX_FUSION, FIX_STE, FIX_BLEND.
//
// The names and formulas are those of the Rust code beside this folder, which is the definition; x = row /
// height runs down, y = column / width to the right. Parameters and everything that is constant along a row
// are formed in double precision from parameters rounded to float, as on the CPU.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// `Argument` of mod.rs.
struct Argument {
    u64 image, out, cotangent, image_gradient, raw, raw_gradient, constants, sums;
    u64 image_stride, out_stride, cotangent_stride, image_gradient_stride;
    u32 height, width, first_row, full_height, resized_height, resized_width, rows_per_block, blocks;
};

constexpr int block_columns = 128;

constexpr int raw_graduated = 3 * TERMS, raw_elliptical = raw_graduated + 8 * GRADUATED;
constexpr int raw_gates = raw_elliptical + 8 * ELLIPTICAL;
constexpr int raw_len = raw_gates + GATES * (GRADUATED + ELLIPTICAL);

// Powers of x, y and the intensity i of each coefficient, in the paper's order.
#if TERMS == 10
__device__ constexpr int powers[10][3] = {{3, 0, 1}, {2, 1, 1}, {2, 0, 1}, {1, 2, 1}, {1, 1, 1},
                                          {1, 0, 1}, {0, 3, 1}, {0, 2, 1}, {0, 1, 1}, {0, 0, 1}};
#else
__device__ constexpr int powers[20][3] = {{3, 0, 0}, {2, 1, 0}, {2, 0, 1}, {2, 0, 0}, {1, 2, 0}, {1, 1, 1}, {1, 1, 0},
                                          {1, 0, 2}, {1, 0, 1}, {1, 0, 0}, {0, 3, 0}, {0, 2, 1}, {0, 2, 0}, {0, 1, 2},
                                          {0, 1, 1}, {0, 1, 0}, {0, 0, 3}, {0, 0, 2}, {0, 0, 1}, {0, 0, 0}};
#endif

constexpr double epsilon = 1e-10;          // keeps squashed numbers from zero
constexpr double distance_epsilon = 1e-7;  // under the release's distance
constexpr double cosine_margin = 1e-7;     // the release limits the cosine to 1 - this
constexpr double limited_sine2 = 2.0 * cosine_margin - cosine_margin * cosine_margin;
constexpr double pi = 3.14159265358979323846;

__device__ __forceinline__ double squash(double u) { return 1.0 / (1.0 + exp(-2.0 * u)); }
__device__ __forceinline__ double squash_slope(double u) { return 2.0 * squash(u) * squash(-u); }
__device__ __forceinline__ double limit(double v, double low, double high) {
    v = v < low ? low : v;
    return v > high ? high : v;
}
__device__ __forceinline__ double limit_slope(double v, double low, double high) {
    return v >= low && v <= high ? 1.0 : 0.0;
}
// Parameters are numbers of the pixels' type.
__device__ __forceinline__ double narrow(double v) { return double(float(v)); }

struct GraduatedParams {
    double inversion, slope, offset, o1, o2, scale[3];
};

__device__ inline GraduatedParams graduated_params(const float *raw, int k) {
    const float *block = raw + raw_graduated;
    const int n = GRADUATED;
    GraduatedParams p;
    p.inversion = block[k];
    p.slope = block[n + k];
    const double o1 = squash(block[2 * n + k]) + epsilon;
    double offset = squash(block[3 * n + k]), o2 = squash(block[4 * n + k]);
    if (PAPER) {
        o2 += epsilon;
    } else {
        offset = limit(offset, o1, 1.0);
        o2 = limit(o2, 0.0, offset);
    }
    p.o1 = narrow(o1), p.offset = narrow(offset), p.o2 = narrow(o2);
    for (int ch = 0; ch < 3; ch++) p.scale[ch] = narrow(2.0 * squash(block[5 * n + 3 * k + ch]));
    return p;
}

struct EllipticalParams {
    double center_x, center_y, a, b, angle, scale[3];
};

__device__ inline EllipticalParams elliptical_params(const float *raw, int k) {
    const float *block = raw + raw_elliptical;
    const int n = ELLIPTICAL;
    const double e = PAPER ? 0.0 : epsilon;
    EllipticalParams p;
    p.center_x = narrow(squash(block[k]) + e);
    p.center_y = narrow(squash(block[n + k]) + e);
    p.a = narrow(squash(block[2 * n + k]) + epsilon);
    p.b = narrow(squash(block[3 * n + k]) + epsilon);
    p.angle = narrow(pi * squash(block[4 * n + k]) + e);
    for (int ch = 0; ch < 3; ch++) p.scale[ch] = narrow(2.0 * squash(block[5 * n + 3 * k + ch]) + e);
    return p;
}

// The weight of the inverted (release) or rising (paper) map.
__device__ inline double inversion_weight(double inversion) {
    const double sign = inversion > 0 ? 1.0 : inversion < 0 ? -1.0 : 0.0;
    const double weight = (sign + 1.0) / 2.0;
    const bool chooses = !PAPER && !FIX_BLEND;
    return chooses && weight != 1.0 ? 0.0 : weight;
}
__device__ inline double inversion_weight_slope(double inversion) {
    const bool passes = PAPER || (FIX_STE && FIX_BLEND);
    return passes && fabs(inversion) <= 1.0 ? 0.5 : 0.0;
}

// cos(atan m), and the release's squashed distances d1 = t(c cos), d2 = t(o2 cos).
struct Distances {
    double cos, d1, d2;

    __device__ inline Distances(const GraduatedParams &p) {
        cos = 1.0 / sqrt(1.0 + p.slope * p.slope);
        d1 = squash(p.offset * cos), d2 = squash(p.o2 * cos);
    }
};

__device__ inline double inverted_gain(double scale, const Distances &d) {
    return (1.0 - scale) / 2.0 * (1.0 / d.d1 + 1.0 / d.d2);
}
__device__ inline double ordinary_gain(double scale, const Distances &d) {
    const double first = scale < 1.0 ? 1.0 / d.d1 : -1.0 / d.d1;
    return (scale - 1.0) / 2.0 * (first + 1.0 / d.d2);
}

// What is constant over an image of one instance. A mask is ramp(base + gain * profile).
struct Graduated {
    double slope, place;              // release: z = slope x + place; paper: the line's y
    double steepness1, steepness2;    // paper: 1 / (2 d) before and behind the line
    float base[3], gain[3], low[3];   // release: base is above `low`, the mask within [low, low + 1]
    float gate;
    float padding[14];
};
static_assert(sizeof(Graduated) == 128, "mod.rs counts 16 doubles");

struct Elliptical {
    double center_x, center_y, sin, cos, a, b, blue_b, epsilon;
    float gain[3], gate;
    float doubt;     // relative distance from the edge within which float is not trusted
    float to_blue;   // own b over the one that blue's inside test uses
    u32 immoderate;  // products may leave the range of float
    float padding[25];
};
static_assert(sizeof(Elliptical) == 192, "mod.rs counts 24 doubles");

// The release's quirk: blue's inside test of instance 1 uses the b of instance 2.
__device__ constexpr bool blue_is_own(int k) { return !PAPER && !FIX_ELLIPSE && k == 1 && ELLIPTICAL > 2; }

// All of it. `poison` is zero, or NaN where a raw parameter is not finite: it reaches every pixel.
constexpr u64 constants_bytes = 8 * (1 + 3 * TERMS + 16 * GRADUATED + 24 * ELLIPTICAL);

struct Constants {
    double *first;

    __device__ __forceinline__ Constants(const Argument &a, int image) {
        first = reinterpret_cast<double *>(a.constants + image * constants_bytes);
    }
    __device__ __forceinline__ double &poison() const { return first[0]; }
    __device__ __forceinline__ double *coefficients(int channel) const { return first + 1 + channel * TERMS; }
    __device__ __forceinline__ Graduated &graduated(int k) const {
        return reinterpret_cast<Graduated *>(first + 1 + 3 * TERMS)[k];
    }
    __device__ __forceinline__ Elliptical &elliptical(int k) const {
        return reinterpret_cast<Elliptical *>(first + 1 + 3 * TERMS + 16 * GRADUATED)[k];
    }
};

__device__ inline void prepare_graduated(const float *raw, int k, Graduated &out) {
    const GraduatedParams p = graduated_params(raw, k);
    const double weight = inversion_weight(p.inversion);
    const Distances d(p);
    out.slope = p.slope;
    out.place = PAPER ? p.offset : p.offset + d.d1;
    out.steepness1 = 1.0 / (2.0 * p.o1 * d.cos), out.steepness2 = 1.0 / (2.0 * p.o2 * d.cos);
    for (int ch = 0; ch < 3; ch++) {
        const double s = p.scale[ch];
        if (PAPER) {
            out.base[ch] = float(s * (1.0 - weight)), out.gain[ch] = float(s * (2.0 * weight - 1.0)), out.low[ch] = 0;
        } else {
            const double low = s >= 1.0 ? 1.0 : 0.0;
            out.base[ch] = float(weight * s + (1.0 - weight) - low);
            out.gain[ch] = float(weight * inverted_gain(s, d) + (1.0 - weight) * ordinary_gain(s, d));
            out.low[ch] = float(low);
        }
    }
    out.gate = GATES ? float(2.0 * squash(raw[raw_gates + k])) : 1.0f;
}

__device__ inline void prepare_elliptical(const float *raw, int k, Elliptical &out) {
    const EllipticalParams p = elliptical_params(raw, k);
    out.center_x = p.center_x, out.center_y = p.center_y, out.a = p.a, out.b = p.b;
    out.sin = sin(p.angle), out.cos = cos(p.angle);
    out.blue_b = blue_is_own(k) ? elliptical_params(raw, 2).b : p.b;
    const double ab = p.a * p.b;
    out.epsilon = epsilon / (ab * ab);
    out.to_blue = float(p.b / out.blue_b);
    const double smallest = fmin(fmin(p.a, p.b), out.blue_b), largest = fmax(fmax(p.a, p.b), out.blue_b);
    const double center = fmax(fabs(p.center_x), fabs(p.center_y));
    out.immoderate = !(smallest > 1e-4 && largest < 1e2 && center < 1e2);
    // About ten roundings of 6e-8 in the test itself, and those of the distances, which the division by a
    // semi-axis makes relatively larger.
    out.doubt = float(fmin(2e-6 + 1e-6 * (1.0 + center) / smallest, 1.0));
    for (int ch = 0; ch < 3; ch++) out.gain[ch] = float(PAPER ? p.scale[ch] : p.scale[ch] - 1.0);
    out.gate = GATES ? float(2.0 * squash(raw[raw_gates + GRADUATED + k])) : 1.0f;
}

// One warp an image: a thread for each instance.
extern "C" __global__ void __launch_bounds__(32) prepare_filters(const Argument argument) {
    const int image = blockIdx.x, thread = threadIdx.x;
    const float *raw = reinterpret_cast<const float *>(argument.raw) + u64(image) * raw_len;
    const Constants constants(argument, image);
    int finite = 1;
    for (int i = thread; i < raw_len; i += 32) finite = finite && raw[i] - raw[i] == 0;
    finite = __all_sync(0xffffffffu, finite);
    if (thread == 0) constants.poison() = finite ? 0.0 : __longlong_as_double(0x7ff8000000000000ll);
    for (int i = thread; i < 3 * TERMS; i += 32) constants.coefficients(0)[i] = raw[i];
    if (thread < GRADUATED) prepare_graduated(raw, thread, constants.graduated(thread));
    if (thread >= 16 && thread - 16 < ELLIPTICAL) prepare_elliptical(raw, thread - 16, constants.elliptical(thread - 16));
}
