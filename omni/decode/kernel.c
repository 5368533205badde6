/* One step of the Transformer for each of some rows, from their embeddings to the states after the last norm. Rows are of
   conversations of any lengths, or consecutive steps of one: a row attends to those before it in its cache.

   It reads every weight once, in order, for all rows, and writes their keys and values into their caches; nothing is
   allocated.
   Matrices are [rows][cols], of weights as wide as bits says: float, bfloat16, int8, or signs, eight in a byte
   (omni/model/binary.py); where a matrix has scales, row r stands for scale[r] * weight[r].
   Plain loops: the compiler makes vector instructions of them (-O3 -ffast-math -march=native). */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "native.h"

enum { ATTENTION_NORM, Q_NORM, K_NORM, FEED_FORWARD_NORM, QKV_BIAS, QKV, QKV_SCALE, OUT, OUT_SCALE, GATE_UP,
       GATE_UP_SCALE, DOWN, DOWN_SCALE, POINTERS };

typedef struct {
    int64_t layers, d_model, d_ff, heads, kv_heads, head_dim, bits, activation_bits, inner_norms;
    float eps;
} Shape;

/* Of one row: a buffer a layer [kv_heads][max_steps][head_dim], of which `at` steps are filled. */
typedef struct {
    float *const *keys, *const *values;
    int64_t max_steps, at;
} Past;

/* The upper half of a float's bits: what bfloat16 is. */
static inline float from_bf16(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

DOT_ROWS(dot_rows, float, AS_IT_IS)
DOT_ROWS(dot_rows_bf16, uint16_t, from_bf16)
DOT_ROWS(dot_rows_int8, int8_t, AS_IT_IS)

/* A byte's signs as the sign bits of eight floats, to be flipped by xor. */
typedef uint32_t Signs __attribute__((vector_size(32)));
typedef float Eight __attribute__((vector_size(32)));
static Signs signs_of[256];
__attribute__((constructor)) static void fill_signs(void) {
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int bit = 0; bit < 8; bit++) signs_of[byte][bit] = (byte >> bit & 1) << 31;
}

static float sum_of(Eight x) { return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])); }

/* y[r] = signs[r] . x; cols is a multiple of 8. Four rows at a time, so that sums do not wait for each other and what is
   read of x serves all of them. */
static void dot_rows_bits(float *restrict y, const uint8_t *restrict w, const float *restrict x, int64_t rows,
                          int64_t cols) {
    int64_t bytes = cols / 8, r = 0;
    for (; r + 4 <= rows; r += 4, w += 4 * bytes) {
        Eight first = {0}, second = {0}, third = {0}, fourth = {0};
        for (int64_t c = 0; c < bytes; c++) {
            Signs eight;
            memcpy(&eight, x + 8 * c, sizeof eight);
            first += (Eight)(eight ^ signs_of[w[c]]);
            second += (Eight)(eight ^ signs_of[w[c + bytes]]);
            third += (Eight)(eight ^ signs_of[w[c + 2 * bytes]]);
            fourth += (Eight)(eight ^ signs_of[w[c + 3 * bytes]]);
        }
        y[r] = sum_of(first), y[r + 1] = sum_of(second), y[r + 2] = sum_of(third), y[r + 3] = sum_of(fourth);
    }
    for (; r < rows; r++, w += bytes) {
        Eight sum = {0};
        for (int64_t c = 0; c < bytes; c++) {
            Signs eight;
            memcpy(&eight, x + 8 * c, sizeof eight);
            sum += (Eight)(eight ^ signs_of[w[c]]);
        }
        y[r] = sum_of(sum);
    }
}

/* The same with signs of x, too, for B/2 each, B = max|x|: to be counted where they are the weights', and where not. */
static void dot_rows_signs(float *restrict y, const uint8_t *restrict w, const float *restrict x, int64_t rows,
                           int64_t cols) {
    int64_t bytes = cols / 8, words = bytes / 8, rest = bytes % 8;
    uint64_t signs[words + 1], word;
    float bound = 0;
    memset(signs, 0, sizeof signs);
    for (int64_t i = 0; i < cols; i++) bound = fabsf(x[i]) > bound ? fabsf(x[i]) : bound;
    for (int64_t i = 0; i < cols; i++) ((uint8_t *)signs)[i / 8] |= (x[i] < 0) << i % 8;
    for (int64_t r = 0; r < rows; r++, w += bytes) {
        int64_t unlike = 0;
        for (int64_t c = 0; c < words; c++) {
            memcpy(&word, w + 8 * c, sizeof word);
            unlike += __builtin_popcountll(word ^ signs[c]);
        }
        word = 0;
        memcpy(&word, w + 8 * words, rest);
        unlike += __builtin_popcountll(word ^ signs[words]);
        y[r] = bound / 2 * (cols - 2 * unlike);
    }
}

/* y[n] = matrix x[n]: [count][cols] to [count][rows]. */
static void multiply(const Shape *s, float *y, const void *const *matrix, const float *x, int64_t count, int64_t rows,
                     int64_t cols) {
    const float *scale = matrix[1];
    if (s->bits == 32) dot_rows(y, matrix[0], x, count, rows, cols);
    if (s->bits == 16) dot_rows_bf16(y, matrix[0], x, count, rows, cols);
    if (s->bits == 8) dot_rows_int8(y, matrix[0], x, count, rows, cols);
    for (int64_t n = 0; s->bits == 1 && n < count; n++) {               /* so few bytes that reading them again is cheap */
        if (s->activation_bits == 1) dot_rows_signs(y + n * rows, matrix[0], x + n * cols, rows, cols);
        else dot_rows_bits(y + n * rows, matrix[0], x + n * cols, rows, cols);
    }
    for (int64_t n = 0; scale && n < count; n++)
        for (int64_t r = 0; r < rows; r++) y[n * rows + r] *= scale[r];
}

static void rms_norm(float *y, const float *x, const float *weight, int64_t size, float eps) {
    float squares = 0;
    for (int64_t i = 0; i < size; i++) squares += x[i] * x[i];
    float factor = 1 / sqrtf(squares / size + eps);
    for (int64_t i = 0; i < size; i++) y[i] = x[i] * factor * weight[i];
}

/* To mean 0 and variance 1, in place, as torch does. */
static void even(float *x, int64_t size) {
    float mean = 0, squares = 0;
    for (int64_t i = 0; i < size; i++) mean += x[i];
    mean /= size;
    for (int64_t i = 0; i < size; i++) squares += (x[i] - mean) * (x[i] - mean);
    float factor = 1 / sqrtf(squares / size + 1e-5f);
    for (int64_t i = 0; i < size; i++) x[i] = (x[i] - mean) * factor;
}

/* Rotary position, halves convention; sin carries the sign. `turned` must not be x. */
static void rotate(float *restrict turned, const float *restrict x, const float *cos, const float *sin, int64_t size) {
    int64_t half = size / 2;
    for (int64_t i = 0; i < half; i++) {
        turned[i] = x[i] * cos[i] + x[i + half] * sin[i];
        turned[i + half] = x[i + half] * cos[i + half] + x[i] * sin[i + half];
    }
}

/* One head over the steps 0 .. at: softmax(q . k / sqrt(size)) v. */
static void attend(float *restrict y, float *restrict scores, const float *q, const float *keys, const float *values,
                   int64_t at, int64_t size) {
    float scale = 1 / sqrtf((float)size), highest = -INFINITY, total = 0;
    dot_rows(scores, keys, q, 1, at + 1, size);
    for (int64_t t = 0; t <= at; t++) highest = scores[t] > highest ? scores[t] : highest;
    for (int64_t t = 0; t <= at; t++) scores[t] = expf((scores[t] - highest) * scale);
    for (int64_t t = 0; t <= at; t++) total += scores[t];
    for (int64_t i = 0; i < size; i++) y[i] = 0;
    for (int64_t t = 0; t <= at; t++) {
        float share = scores[t] / total;
        for (int64_t i = 0; i < size; i++) y[i] += share * values[t * size + i];
    }
}

/* Queries, keys and values of every head of a row, normalised and turned, keys and values straight into the cache; then
   `mixed`. */
static void attention(const Shape *s, const void *const *layer, const Past *past, int64_t n, const float *cos,
                      const float *sin, float *qkv, float *mixed, float *scores) {
    int64_t size = s->head_dim, groups = s->heads / s->kv_heads, at = past->at;
    float *keys = past->keys[n], *values = past->values[n];
    cos += at * size, sin += at * size;
    float *k = qkv + s->heads * size, *v = k + s->kv_heads * size, turned[size];
    for (int64_t h = 0; h < s->kv_heads; h++, k += size, v += size) {
        float *key = keys + (h * past->max_steps + at) * size, *value = values + (h * past->max_steps + at) * size;
        if (layer[K_NORM]) rms_norm(k, k, layer[K_NORM], size, s->eps);
        rotate(key, k, cos, sin, size);
        for (int64_t i = 0; i < size; i++) value[i] = v[i];
        if (s->inner_norms) even(value, size);
    }
    for (int64_t h = 0; h < s->heads; h++) {
        float *q = qkv + h * size;
        int64_t group = h / groups * past->max_steps * size;
        if (layer[Q_NORM]) rms_norm(q, q, layer[Q_NORM], size, s->eps);
        rotate(turned, q, cos, sin, size);
        attend(mixed + h * size, scores, turned, keys + group, values + group, at, size);
    }
}

/* x: the embeddings [count][d_model], replaced by the states. layers: POINTERS a layer, and the last norm. pasts: of each
   row. cos, sin: [positions][head_dim]. scratch: see omni/decode/step.py. */
void omni_steps(const Shape *s, const void *const *layers, int64_t count, const Past *pasts, const float *cos,
                const float *sin, float *x, float *scratch) {
    int64_t d = s->d_model, ff = s->d_ff, heads = s->heads * s->head_dim;
    int64_t qkv_rows = heads + 2 * s->kv_heads * s->head_dim, widest = qkv_rows > 2 * ff ? qkv_rows : 2 * ff;
    float *normed = scratch, *wide = normed + count * d, *mixed = wide + count * widest;
    float *added = mixed + count * heads, *scores = added + count * d;
    for (int64_t n = 0; n < s->layers; n++) {
        const void *const *layer = layers + n * POINTERS;
        for (int64_t r = 0; r < count; r++) rms_norm(normed + r * d, x + r * d, layer[ATTENTION_NORM], d, s->eps);
        multiply(s, wide, layer + QKV, normed, count, qkv_rows, d);
        const float *bias = layer[QKV_BIAS];
        for (int64_t r = 0; r < count; r++) {
            float *qkv = wide + r * qkv_rows;
            for (int64_t i = 0; bias && i < qkv_rows; i++) qkv[i] += bias[i];
            attention(s, layer, pasts + r, n, cos, sin, qkv, mixed + r * heads, scores);
        }
        multiply(s, added, layer + OUT, mixed, count, d, heads);
        for (int64_t r = 0; s->inner_norms && r < count; r++) even(added + r * d, d);
        for (int64_t i = 0; s->inner_norms && i < count * d; i++) added[i] += mixed[i];
        for (int64_t i = 0; i < count * d; i++) x[i] += added[i];
        for (int64_t r = 0; r < count; r++) rms_norm(normed + r * d, x + r * d, layer[FEED_FORWARD_NORM], d, s->eps);
        multiply(s, wide, layer + GATE_UP, normed, count, 2 * ff, d);
        for (int64_t r = 0; r < count; r++) {
            float *gate = wide + r * 2 * ff;
            for (int64_t i = 0; i < ff; i++) gate[i] = gate[i] / (1 + expf(-gate[i])) * gate[ff + i];
            if (s->inner_norms) even(gate, ff);
            if (r) memcpy(wide + r * ff, gate, ff * sizeof *gate);      /* over what is used up: rows now lie densely */
        }
        multiply(s, added, layer + DOWN, wide, count, d, ff);
        for (int64_t r = 0; s->inner_norms && r < count; r++) even(added + r * d, d);
        for (int64_t i = 0; i < count * d; i++) x[i] += added[i];
    }
    for (int64_t r = 0; r < count; r++) rms_norm(x + r * d, x + r * d, layers[s->layers * POINTERS], d, s->eps);
}
