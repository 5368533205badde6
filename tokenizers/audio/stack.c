/* A stack of causal ConvNeXt blocks over a few steps of one stream (omni/tokenizers/audio/blocks.py).

   A frame of a stream is so little work that calling a dozen operations a block takes several times as long as they do.
   Matrices are [rows][cols], each row read once for all steps, of floats or, where they are halved, of float16; nothing is
   allocated. Plain loops: the compiler makes vector instructions of them (-O3 -ffast-math -march=native). */

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "native.h"

enum { MIX, NORM, NORM_BIAS, UP, UP_BIAS, DOWN, DOWN_BIAS, SCALE, POINTERS };

DOT_ROWS(dot_rows, float, AS_IT_IS)

#ifdef __F16C__
static inline __m256 floats_of(const uint16_t *halves) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves));
}

static inline float sum_of(__m256 x) {
    float s[8];
    _mm256_storeu_ps(s, x);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* y[n][r] = w[r] . x[n], of float16; cols is a multiple of 8. */
static void dot_rows_half(float *restrict y, const uint16_t *restrict w, const float *restrict x, int64_t count,
                          int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++, w += cols)
        for (int64_t n = 0; n < count; n++) {
            const float *xn = x + n * cols;
            __m256 sum = _mm256_setzero_ps(), other = sum;              /* neither waits for the other's additions */
            int64_t c = 0;
            for (; c + 16 <= cols; c += 16) {
                sum += floats_of(w + c) * _mm256_loadu_ps(xn + c);
                other += floats_of(w + c + 8) * _mm256_loadu_ps(xn + c + 8);
            }
            if (c < cols) sum += floats_of(w + c) * _mm256_loadu_ps(xn + c);
            y[n * rows + r] = sum_of(sum + other);
        }
}
#else
/* A float16 that is finite: its bits, where a float has them, are the number over 2^112. */
static inline float from_half(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x8000) << 16 | (uint32_t)(half & 0x7fff) << 13;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number * 0x1p112f;
}

DOT_ROWS(dot_rows_half, uint16_t, from_half)
#endif

/* y[step] = w x[step] + bias */
static void linear(float *restrict y, const void *w, const float *restrict bias, const float *restrict x, int64_t steps,
                   int64_t rows, int64_t cols, int64_t halved) {
    if (halved) dot_rows_half(y, w, x, steps, rows, cols);
    else dot_rows(y, w, x, steps, rows, cols);
    for (int64_t t = 0; t < steps; t++)
        for (int64_t r = 0; r < rows; r++) y[t * rows + r] += bias[r];
}

static void layer_norm(float *y, const float *weight, const float *bias, int64_t size, float eps) {
    float mean = 0, squares = 0;
    for (int64_t i = 0; i < size; i++) mean += y[i];
    mean /= size;
    for (int64_t i = 0; i < size; i++) squares += (y[i] - mean) * (y[i] - mean);
    float factor = 1 / sqrtf(squares / size + eps);
    for (int64_t i = 0; i < size; i++) y[i] = (y[i] - mean) * factor * weight[i] + bias[i];
}

/* Exact GELU by Abramowitz and Stegun 7.1.26: erf to within 1.5e-7, and a loop of it becomes vector instructions. */
static inline float gelu(float x) {
    float z = fabsf(x) * 0.70710678f, t = 1 / (1 + 0.3275911f * z);
    float tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    float erf = 1 - tail * expf(-z * z);
    return 0.5f * x * (1 + (x < 0 ? -erf : erf));
}

/* x: [steps][width], in place. weights: POINTERS a block. states: a block's last kernel-1 inputs [past][width], old and
   new. scratch: (past + steps) * width + steps * (width + hidden) floats. */
void omni_stack(int64_t depth, int64_t width, int64_t hidden, int64_t kernel, int64_t steps, int64_t halved, float eps,
                const void *const *weights, const float *const *before, float *const *after, float *x,
                float *scratch) {
    int64_t past = kernel - 1;
    float *seen = scratch, *mixed = seen + (past + steps) * width, *wide = mixed + steps * width;
    for (int64_t n = 0; n < depth; n++, weights += POINTERS) {
        memcpy(seen, before[n], past * width * sizeof *seen);
        memcpy(seen + past * width, x, steps * width * sizeof *seen);
        memcpy(after[n], seen + steps * width, past * width * sizeof *seen);
        const float *mix = weights[MIX], *scale = weights[SCALE];
        for (int64_t t = 0; t < steps; t++) {
            float *y = mixed + t * width;
            for (int64_t c = 0; c < width; c++) {
                float sum = 0;
                for (int64_t k = 0; k < kernel; k++) sum += mix[c * kernel + k] * seen[(t + k) * width + c];
                y[c] = sum;
            }
            layer_norm(y, weights[NORM], weights[NORM_BIAS], width, eps);
        }
        linear(wide, weights[UP], weights[UP_BIAS], mixed, steps, hidden, width, halved);
        for (int64_t i = 0; i < steps * hidden; i++) wide[i] = gelu(wide[i]);
        linear(mixed, weights[DOWN], weights[DOWN_BIAS], wide, steps, width, hidden, halved);
        for (int64_t t = 0; t < steps; t++)
            for (int64_t c = 0; c < width; c++) x[t * width + c] += scale[c] * mixed[t * width + c];
    }
}
