// What is constant along a row, and what the filters make of one pixel.

constexpr int rows_at_once = 8;
constexpr int graduated_slots = GRADUATED > 0 ? GRADUATED : 1, elliptical_slots = ELLIPTICAL > 0 ? ELLIPTICAL : 1;

// The polynomial on one row: coefficients of y^q i^r.
struct __align__(16) PolynomialRow {
    float c00, c10, c20, c30;
    float c01, c11, c21, c31;
    float c02, c12, c03, three_c03;
};

// The ellipse on one row; with root = sqrt(dx^2 + e), the lengths that the release's test compares are
// polynomials in dy, and so are P = rho sin phi / b and R = rho cos phi / a.
struct __align__(16) EllipticalRow {
    float dx2, p0, r0, half;                     // dx^2 + e; constants of P and R; beyond |dy| = half nothing
    float along0, along1, across0, across1;
    float dx, turn_x, turn_y;                    // for the way back: (a^2 - b^2)/(ab) times dx/root, times root
    u32 careful;                                 // the limit of the cosine, or numbers out of range, may matter
};

struct __align__(16) Row {
    PolynomialRow polynomial[3];
    EllipticalRow elliptical[elliptical_slots];
    float x, x2, x3, padding;
    float place[(graduated_slots + 3) / 4 * 4];  // release: exp(2 z); paper: the line's y
};

__device__ inline void polynomial_row(const double *coefficients, double x, PolynomialRow &out) {
    const double x_powers[4] = {1.0, x, x * x, x * x * x};
    double c[4][4] = {};
#pragma unroll
    for (int i = 0; i < TERMS; i++) c[powers[i][1]][powers[i][2]] += coefficients[i] * x_powers[powers[i][0]];
    // The release adds the intensity; without a polynomial it passes unchanged.
    if (!PAPER || TERMS == 0) c[0][1] += 1.0;
    out.c00 = float(c[0][0]), out.c10 = float(c[1][0]), out.c20 = float(c[2][0]), out.c30 = float(c[3][0]);
    out.c01 = float(c[0][1]), out.c11 = float(c[1][1]), out.c21 = float(c[2][1]), out.c31 = float(c[3][1]);
    out.c02 = float(c[0][2]), out.c12 = float(c[1][2]), out.c03 = float(c[0][3]);
    out.three_c03 = float(3.0 * c[0][3]);
}

__device__ inline float graduated_place(const Graduated &g, double x) {
    const double place = g.slope * x + g.place;
    // Beyond 1e30 the profile is below 1e-30, which no mask shows; with it every number stays finite.
    return float(PAPER ? place : fmin(exp(2.0 * place), 1e30));
}

__device__ inline void elliptical_row(const Elliptical &e, double x, EllipticalRow &out) {
    const double dx = x - e.center_x, a = e.a, b = e.b;
    const double largest = fmax(a, fmax(b, e.blue_b));
    double reach = largest;
    if (PAPER) {
        out.dx2 = 0, out.p0 = 0, out.r0 = 0;
        out.along0 = float(dx * e.cos / a), out.along1 = float(e.sin / a);
        out.across0 = float(dx * e.sin / b), out.across1 = float(-e.cos / b);
        out.dx = float(dx), out.turn_x = 0, out.turn_y = 0, out.careful = 0;
    } else {
        const double dx2 = dx * dx + epsilon, root = sqrt(dx2);
        if (dx < 0) {
            // Above the centre the turn cancels the polar angle and leaves a circle, but for the 1e-10 under
            // the distance's root; where the limit of the cosine acts it is no circle.
            const double moved = epsilon / (-2.0 * dx) * (1.0 / a + 1.0 / e.blue_b);
            const double u = e.sin / a, v = e.cos / fmax(b, e.blue_b);
            const bool limited = dx2 < 4.0 * limited_sine2 * largest * largest;
            if (!limited) reach = fmin(largest, (1.0 + moved) / sqrt(u * u + v * v));
        }
        const double anisotropy = (a * a - b * b) / (a * b);
        const double farthest = fmax(fabs(e.center_y), fabs(1.0 - e.center_y));
        const bool near_axis = dx2 < 1.01 * limited_sine2 * (dx2 + farthest * farthest);
        out.dx2 = float(dx2), out.p0 = float(root * e.cos / b), out.r0 = float(root * e.sin / a);
        out.along0 = float(dx * root * e.sin / a), out.along1 = float((dx + root) * e.cos / a);
        out.across0 = float(dx * root * e.cos / b), out.across1 = float(-(dx + root) * e.sin / b);
        out.dx = float(dx), out.turn_x = float(anisotropy * dx / root), out.turn_y = float(anisotropy * root);
        out.careful = near_axis || e.immoderate;
    }
    // Roundings of the distances move the edge by far less than a thousandth.
    const double half2 = 1.001 * reach * reach - dx * dx;
    out.half = half2 > 0 ? float(sqrt(half2) + 1e-6) : -1.0f;
}

// Constants of `count` rows from `first` (of the picture) on; all threads of the block share the work.
__device__ __forceinline__ void make_rows(const Argument &a, const Constants &constants, int first, int count,
                                          Row rows[rows_at_once]) {
    constexpr int items = 4 + GRADUATED + ELLIPTICAL;
    for (int i = threadIdx.x; i < count * items; i += block_columns) {
        const int r = i / items, item = i % items;
        const double x = double(first + r) / double(a.full_height);
        Row &row = rows[r];
        if (item < 3) polynomial_row(constants.coefficients(item), x, row.polynomial[item]);
        else if (item == 3) row.x = float(x), row.x2 = float(x * x), row.x3 = float(x * x * x);
        else if (item < 4 + GRADUATED) row.place[item - 4] = graduated_place(constants.graduated(item - 4), x);
        else elliptical_row(constants.elliptical(item - 4 - GRADUATED), x, row.elliptical[item - 4 - GRADUATED]);
    }
}

// What is constant along a column, in registers.
struct Column {
    float y, decay; // decay = exp(-2 y): u = 1 / (1 + exp(-2 y) exp(2 z)) needs no exponential per pixel
    float dy[elliptical_slots];
};

// What is constant over the image, in shared memory.
struct __align__(16) Image {
    float base[graduated_slots][3], gain[graduated_slots][3], low[graduated_slots][3], gate[graduated_slots];
    float steepness1[graduated_slots], steepness2[graduated_slots];
    float elliptical_gain[elliptical_slots][3], elliptical_gate[elliptical_slots];
    float p1[elliptical_slots], r1[elliptical_slots], along2[elliptical_slots], across2[elliptical_slots];
    float epsilon[elliptical_slots], doubt[elliptical_slots], to_blue[elliptical_slots], center_y[elliptical_slots];
    float poison;
};

__device__ __forceinline__ void make_image(const Constants &constants, Image &image) {
    const int k = threadIdx.x;
    if (k < GRADUATED) {
        const Graduated &g = constants.graduated(k);
        for (int ch = 0; ch < 3; ch++)
            image.base[k][ch] = g.base[ch], image.gain[k][ch] = g.gain[ch], image.low[k][ch] = g.low[ch];
        image.gate[k] = g.gate;
        // Held to the largest finite number, so that zero times it is zero.
        image.steepness1[k] = fminf(float(g.steepness1), 3.4028235e38f);
        image.steepness2[k] = fminf(float(g.steepness2), 3.4028235e38f);
    }
    if (k >= 32 && k - 32 < ELLIPTICAL) {
        const int n = k - 32;
        const Elliptical &e = constants.elliptical(n);
        for (int ch = 0; ch < 3; ch++) image.elliptical_gain[n][ch] = e.gain[ch];
        image.elliptical_gate[n] = e.gate;
        image.p1[n] = float(-e.sin / e.b), image.r1[n] = float(e.cos / e.a);
        image.along2[n] = float(-e.sin / e.a), image.across2[n] = float(-e.cos / e.b);
        image.epsilon[n] = float(e.epsilon), image.doubt[n] = e.doubt, image.to_blue[n] = e.to_blue;
        image.center_y[n] = float(e.center_y);
    }
    if (k == 64) image.poison = float(constants.poison());
}

__device__ __forceinline__ Column make_column(const Image &image, int column, int width) {
    Column c;
    c.y = float(column) / float(width);
    c.decay = expf(-2.0f * c.y);
#pragma unroll
    for (int k = 0; k < ELLIPTICAL; k++) c.dy[k] = c.y - image.center_y[k];
    return c;
}

// The polynomial and its derivative with respect to the intensity.
struct Polynomial {
    float value, slope;

    __device__ __forceinline__ Polynomial(const PolynomialRow &c, float y, float i) {
#if TERMS == 20
        const float k0 = fmaf(y, fmaf(y, fmaf(y, c.c30, c.c20), c.c10), c.c00);
        const float k1 = fmaf(y, fmaf(y, c.c21, c.c11), c.c01);
        const float k2 = fmaf(y, c.c12, c.c02);
        value = fmaf(i, fmaf(i, fmaf(i, c.c03, k2), k1), k0);
        slope = fmaf(i, fmaf(i, c.three_c03, k2 + k2), k1);
#elif TERMS == 10
        slope = fmaf(y, fmaf(y, fmaf(y, c.c31, c.c21), c.c11), c.c01);
        value = i * slope;
#else
        value = i, slope = 1.0f;
#endif
    }
};

// The release's inside test in double precision, for pixels too near to the edge for float. A function of
// its own, as what follows for rare rows: their registers must not weigh on every pixel.
__device__ __noinline__ bool inside_exactly(const Elliptical *e, double b, double x, double y) {
    const double dx = x - e->center_x, dy = y - e->center_y;
    const double rho = sqrt(dx * dx + dy * dy + epsilon);
    const double w = limit(dy / rho, -1.0 + cosine_margin, 1.0 - cosine_margin);
    const double s = sqrt((1.0 - w) * (1.0 + w));
    const double sine = s * e->cos - w * e->sin, cosine = w * e->cos + s * e->sin;
    const double along = (dx * cosine + dy * sine) / e->a, across = (dx * sine - dy * cosine) / b;
    return along * along + across * across < 1.0;
}

// The release's ellipse around one pixel: nu^2 = M D^2 / rho^2 with M = P^2 + R^2 + e rho^2 / (ab)^2.
struct Shape {
    float nu, rho2, p, r, m, d2;
    float turns; // 0 where the limit of the cosine stops the gradient
};

// Rows where that limit or extreme axes may matter, a few at most: all in double precision.
__device__ __noinline__ Shape careful_shape(const Elliptical *e, double x, double y) {
    const double dx = x - e->center_x, dy = y - e->center_y;
    const double rho2 = dx * dx + dy * dy + epsilon, rho = sqrt(rho2);
    const double ratio = dy / rho, w = limit(ratio, -1.0 + cosine_margin, 1.0 - cosine_margin);
    const double s = sqrt((1.0 - w) * (1.0 + w));
    const double p = rho * (s * e->cos - w * e->sin) / e->b, r = rho * (w * e->cos + s * e->sin) / e->a;
    const double m = p * p + r * r + e->epsilon * rho2, d2 = rho2 + (distance_epsilon - epsilon);
    return {float(sqrt(m / rho2 * d2)), float(rho2), float(p), float(r), float(m), float(d2), ratio == w ? 1.0f : 0.0f};
}

// The pixel that is worked on, for the rare cases.
struct Pixel {
    const Elliptical *ellipse;
    double x, y;

    __device__ __forceinline__ Pixel(const Argument &a, int k, int row, int column)
        : ellipse(&Constants(a, blockIdx.z).elliptical(k)), x(double(a.first_row + row) / double(a.full_height)),
          y(double(column) / double(a.width)) {}
};

// What depends on the row is read where it is needed: the masks keep two flags and the profile only.
struct Ellipse {
    bool inside, inside_blue; // paper: whether the profile is positive
    float profile;            // 1 - nu; paper: before its limit
};

#if !PAPER
__device__ __forceinline__ Shape fast_shape(const Image &image, const EllipticalRow &row, int k, float dy) {
    Shape s;
    s.rho2 = fmaf(dy, dy, row.dx2);
    s.p = fmaf(dy, image.p1[k], row.p0), s.r = fmaf(dy, image.r1[k], row.r0);
    s.m = fmaf(s.r, s.r, fmaf(s.p, s.p, image.epsilon[k] * s.rho2));
    s.d2 = s.rho2 + float(distance_epsilon - epsilon);
    const float md2 = s.m * s.d2;
    s.nu = md2 * rsqrtf(md2 * s.rho2);
    s.turns = 1;
    return s;
}
#endif

__device__ __forceinline__ Ellipse find_ellipse(const Argument &a, const Image &image, const EllipticalRow &row, int k,
                                                float dy, int image_row, int column) {
    Ellipse out = {false, false, 0.0f};
    if (!(fabsf(dy) <= row.half)) return out;
#if PAPER
    const float along = fmaf(dy, row.along1, row.along0), across = fmaf(dy, row.across1, row.across0);
    out.profile = fmaf(-across, across, fmaf(-along, along, 1.0f));
    out.inside = out.inside_blue = out.profile > 0;
#else
    if (row.careful) {
        const Pixel pixel(a, k, image_row, column);
        const Elliptical *e = pixel.ellipse;
        out.inside = inside_exactly(e, e->b, pixel.x, pixel.y);
        out.inside_blue = blue_is_own(k) ? inside_exactly(e, e->blue_b, pixel.x, pixel.y) : out.inside;
        out.profile = 1.0f - careful_shape(e, pixel.x, pixel.y).nu;
        return out;
    }
    const float rho2 = fmaf(dy, dy, row.dx2);
    const float along = fmaf(dy, fmaf(dy, image.along2[k], row.along1), row.along0);
    const float across = fmaf(dy, fmaf(dy, image.across2[k], row.across1), row.across0);
    const float rest = fmaf(along, along, -rho2), excess = fmaf(across, across, rest);
    const float doubt = rho2 * image.doubt[k];
    out.inside = excess < 0;
    bool doubtful = fabsf(excess) <= doubt;
    if (blue_is_own(k)) {
        const float across_blue = across * image.to_blue[k];
        const float excess_blue = fmaf(across_blue, across_blue, rest);
        out.inside_blue = excess_blue < 0;
        doubtful = doubtful || fabsf(excess_blue) <= doubt;
    }
    if (doubtful) {
        const Pixel pixel(a, k, image_row, column);
        const Elliptical *e = pixel.ellipse;
        out.inside = inside_exactly(e, e->b, pixel.x, pixel.y);
        if (blue_is_own(k)) out.inside_blue = inside_exactly(e, e->blue_b, pixel.x, pixel.y);
    }
    if (!blue_is_own(k)) out.inside_blue = out.inside;
    out.profile = 1.0f - fast_shape(image, row, k, dy).nu;
#endif
    return out;
}

// The profile of a graduated instance, before its limit in the paper dialect.
__device__ __forceinline__ float graduated_profile(const Image &image, const Row &row, int k, const Column &c) {
#if PAPER
    const float l = c.y - row.place[k];
    return fmaf(l, l >= 0 ? image.steepness2[k] : image.steepness1[k], 0.5f);
#else
    // At most two units in the last place from the quotient, and u within (0, 1]: 1.2e-7.
    return __fdividef(1.0f, fmaf(c.decay, row.place[k], 1.0f));
#endif
}

// A mask with what its way back needs: `open` before the gate, the part of the gradient that its limits pass.
struct Mask {
    float value, open, passed;
};

__device__ __forceinline__ Mask gated(float open, float passed, float gate) {
    constexpr float ungated = PAPER ? 0.0f : 1.0f;
    return {GATES ? fmaf(gate, open - ungated, ungated) : open, open, passed};
}

__device__ __forceinline__ Mask graduated_mask(const Image &image, int k, int ch, float profile) {
    const float value = fmaf(image.gain[k][ch], profile, image.base[k][ch]);
    if (PAPER) return gated(value, 1.0f, image.gate[k]);
    // Half the gradient at a tie, as PyTorch's maximum and minimum: not rare, a neutral mask is a tie.
    const float held = __saturatef(value);
    const float passed = value == held ? (value > 0 && value < 1 ? 1.0f : 0.5f) : 0.0f;
    return gated(held + image.low[k][ch], passed, image.gate[k]);
}

__device__ __forceinline__ Mask elliptical_mask(const Image &image, int k, int ch, float profile) {
    if (PAPER) return gated(image.elliptical_gain[k][ch] * profile, 1.0f, image.elliptical_gate[k]);
    const float value = fmaf(image.elliptical_gain[k][ch], profile, 1.0f);
    const float open = fminf(fmaxf(value, 0.0f), 2.0f);
    return gated(open, value == open ? 1.0f : 0.0f, image.elliptical_gate[k]);
}

constexpr bool any_filter = TERMS > 0 || GRADUATED > 0 || ELLIPTICAL > 0;

// Added to the sum of the maps, of which one that is off is zero.
constexpr float fusion_offset =
    GRADUATED > 0 && ELLIPTICAL > 0 ? (FIX_FUSION ? -1.0f : 0.0f) : GRADUATED > 0 || ELLIPTICAL > 0 ? 0.0f : 1.0f;

// The map of both kinds, not limited, from the limited map of each.
__device__ __forceinline__ float joined_maps(float graduated, float elliptical) {
    return FUSION_PRODUCT && GRADUATED > 0 && ELLIPTICAL > 0 ? graduated * elliptical
                                                             : graduated + elliptical + fusion_offset;
}

__device__ __forceinline__ float limit_image(float v) { return PAPER ? v : __saturatef(v); }
__device__ __forceinline__ float limit_map(float v) { return PAPER ? v : fminf(fmaxf(v, 0.0f), 2.0f); }
// Of Y: a NaN stays one.
__device__ __forceinline__ float limit_result(float v) { return PAPER || v != v ? v : __saturatef(v); }
