/* Products of a matrix with a few vectors, row after row: one stream of memory, which the processor fetches ahead best.

   y[n][r] = w[r] . x[n], for x [count][cols] and w [rows][cols]. What is read of w serves four vectors at a time.
   AS(w): the number that a weight stands for. */

#include <stdint.h>

#define AS_IT_IS(weight) (weight)

#define DOT_ROWS(NAME, TYPE, AS)                                                                                       \
    static void NAME(float *restrict y, const TYPE *restrict w, const float *restrict x, int64_t count, int64_t rows,  \
                     int64_t cols) {                                                                                   \
        for (int64_t r = 0; r < rows; r++, w += cols) {                                                                \
            int64_t n = 0;                                                                                             \
            for (; n + 4 <= count; n += 4) {                                                                           \
                const float *x0 = x + n * cols, *x1 = x0 + cols, *x2 = x1 + cols, *x3 = x2 + cols;                     \
                float s0 = 0, s1 = 0, s2 = 0, s3 = 0;                                                                  \
                for (int64_t c = 0; c < cols; c++) {                                                                   \
                    float weight = AS(w[c]);                                                                           \
                    s0 += weight * x0[c], s1 += weight * x1[c], s2 += weight * x2[c], s3 += weight * x3[c];            \
                }                                                                                                      \
                y[n * rows + r] = s0, y[(n + 1) * rows + r] = s1;                                                      \
                y[(n + 2) * rows + r] = s2, y[(n + 3) * rows + r] = s3;                                                \
            }                                                                                                          \
            for (; n < count; n++) {                                                                                   \
                float sum = 0;                                                                                         \
                for (int64_t c = 0; c < cols; c++) sum += AS(w[c]) * x[n * cols + c];                                  \
                y[n * rows + r] = sum;                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
    }
