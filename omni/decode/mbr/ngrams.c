/* How many n-grams of each order a sequence shares with others: see omni/decode/mbr/ngrams.py.

   ids, counts: the n-grams of all sequences; bounds [sequences][orders + 1]: where those of each order begin.
   table: zeros for every kind of n-gram, left as zeros. shared: [stop - start][orders]. */

#include <stdint.h>

void omni_shared(const int32_t *ids, const int32_t *counts, const int64_t *bounds, int64_t orders, int64_t row,
                 int64_t start, int64_t stop, int32_t *table, int32_t *shared) {
    const int64_t *own = bounds + row * (orders + 1);
    for (int64_t i = own[0]; i < own[orders]; i++) table[ids[i]] = counts[i];
    for (int64_t other = start; other < stop; other++) {
        const int64_t *edge = bounds + other * (orders + 1);
        for (int64_t order = 0; order < orders; order++) {
            int32_t sum = 0;
            for (int64_t i = edge[order]; i < edge[order + 1]; i++) {
                int32_t both = table[ids[i]];
                sum += both < counts[i] ? both : counts[i];
            }
            *shared++ = sum;
        }
    }
    for (int64_t i = own[0]; i < own[orders]; i++) table[ids[i]] = 0;
}
