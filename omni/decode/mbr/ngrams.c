/* Bags of n-grams of many sequences, and how much they have in common: see omni/decode/mbr/ngrams.py.

   ids, counts: the n-grams of all sequences; bounds [sequences][orders + 1]: where those of each order begin.
   sizes [sequences][orders]: n-grams of each order, repeats counted.
   table: zeros for every kind of n-gram, left as zeros. */

#include <stdint.h>

enum { MOST_ORDERS = 16, LANES = 8 };

/* The number of a key in an open hash table, a new one where it is not there yet. */
static int32_t number_of(int64_t key, int64_t *keys, int32_t *numbers, int64_t capacity, int64_t *kinds) {
    uint64_t slot = (uint64_t)key * 0x9E3779B97F4A7C15u;
    slot = (slot ^ slot >> 32) & (capacity - 1);
    while (keys[slot] && keys[slot] != key) slot = (slot + 1) & (capacity - 1);
    if (!keys[slot]) {
        keys[slot] = key;
        numbers[slot] = (int32_t)(*kinds)++;
    }
    return numbers[slot];
}

/* symbols: of all sequences, from 1 to `alphabet`. An n-gram's key is the number of its first n - 1 symbols, and its
   last. keys [capacity]: 0 everywhere, numbers [capacity], prefix [longest sequence]: scratch; capacity: a power of two
   above the number of all n-grams. */
void omni_count(const int64_t *symbols, int64_t alphabet, const int64_t *lengths, int64_t sequences, int64_t orders,
                int64_t *keys, int32_t *numbers, int64_t capacity, int32_t *prefix, int32_t *table, int32_t *ids,
                int32_t *counts, int64_t *bounds, int64_t *kinds) {
    int64_t at = 0;
    for (int64_t sequence = 0; sequence < sequences; symbols += lengths[sequence++]) {
        for (int64_t i = 0; i < lengths[sequence]; i++) prefix[i] = -1;
        *bounds++ = at;
        for (int64_t order = 0; order < orders; order++, *bounds++ = at) {
            int64_t begin = at;
            for (int64_t i = 0; i + order < lengths[sequence]; i++) {
                int64_t key = ((int64_t)prefix[i] + 1) * (alphabet + 1) + symbols[i + order];
                prefix[i] = number_of(key, keys, numbers, capacity, kinds);
                if (!table[prefix[i]]++) ids[at++] = prefix[i];
            }
            for (int64_t i = begin; i < at; i++) {
                counts[i] = table[ids[i]];
                table[ids[i]] = 0;
            }
        }
    }
}

static void set_table(const int32_t *ids, const int32_t *counts, const int64_t *own, int64_t orders, int32_t *table) {
    for (int64_t i = own[0]; i < own[orders]; i++) table[ids[i]] = counts[i];
}

static void clear_table(const int32_t *ids, const int64_t *own, int64_t orders, int32_t *table) {
    for (int64_t i = own[0]; i < own[orders]; i++) table[ids[i]] = 0;
}

/* What the sequence in the table shares with another, an order each. */
static void overlap(const int32_t *ids, const int32_t *counts, const int64_t *edge, int64_t orders,
                    const int32_t *table, int32_t *shared) {
    for (int64_t order = 0; order < orders; order++) {
        int32_t sum = 0;
        for (int64_t i = edge[order]; i < edge[order + 1]; i++) {
            int32_t both = table[ids[i]];
            sum += both < counts[i] ? both : counts[i];
        }
        shared[order] = sum;
    }
}

/* What sequence `row` shares with each of start .. stop: shared [stop - start][orders]. */
void omni_shared(const int32_t *ids, const int32_t *counts, const int64_t *bounds, int64_t orders, int64_t row,
                 int64_t start, int64_t stop, int32_t *table, int32_t *shared) {
    set_table(ids, counts, bounds + row * (orders + 1), orders, table);
    for (int64_t other = start; other < stop; other++, shared += orders)
        overlap(ids, counts, bounds + other * (orders + 1), orders, table, shared);
    clear_table(ids, bounds + row * (orders + 1), orders, table);
}

/* What LANES sequences, a column of the table each, share with another: an n-gram is looked up once for them all. */
static void overlaps(const int32_t *ids, const int32_t *counts, const int64_t *edge, int64_t orders,
                     const int32_t (*table)[LANES], int32_t (*shared)[LANES]) {
    for (int64_t order = 0; order < orders; order++) {
        int32_t sum[LANES] = {0};
        for (int64_t i = edge[order]; i < edge[order + 1]; i++)
            for (int lane = 0; lane < LANES; lane++) {
                int32_t both = table[ids[i]][lane];
                sum[lane] += both < counts[i] ? both : counts[i];
            }
        for (int lane = 0; lane < LANES; lane++) shared[order][lane] = sum[lane];
    }
}

/* Every step-th block of LANES of the first `rows` sequences, from block `first` on, as hypotheses, against the
   sequences from `skipped` on as references: scores [rows][sequences - skipped]. `among`: all against all, rows =
   sequences and skipped = 0, each pair counted once. Both directions: an order that either has no n-gram of does not
   count. table [kinds][LANES]: zeros. What a block scores of a reference is one cache line, which no other thread
   writes to. */
void omni_chrf(const int32_t *ids, const int32_t *counts, const int64_t *bounds, const int64_t *sizes, int64_t orders,
               int64_t sequences, int64_t rows, int64_t skipped, int64_t among, int64_t first, int64_t step,
               double beta, int32_t (*table)[LANES], double *scores) {
    int64_t columns = sequences - skipped;
    int32_t shared[MOST_ORDERS][LANES];
    for (int64_t row = first * LANES; row < rows; row += step * LANES) {
        int64_t lanes = rows - row < LANES ? rows - row : LANES;
        double ours[MOST_ORDERS][LANES] = {{0}};
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t *own = bounds + (row + lane) * (orders + 1);
            for (int64_t i = own[0]; i < own[orders]; i++) table[ids[i]][lane] = counts[i];
            for (int64_t order = 0; order < orders; order++) ours[order][lane] = sizes[(row + lane) * orders + order];
        }
        for (int64_t other = among ? row : skipped; other < sequences; other++) {
            double of_ours[LANES] = {0}, of_theirs[LANES] = {0}, number[LANES] = {0}, forth[LANES], back[LANES];
            overlaps(ids, counts, bounds + other * (orders + 1), orders, table, shared);
            for (int64_t order = 0; order < orders; order++) {
                double theirs = sizes[other * orders + order];
                if (!theirs) continue;
                for (int lane = 0; lane < LANES; lane++) {
                    double counted = ours[order][lane] > 0;
                    of_ours[lane] += shared[order][lane] / (counted ? ours[order][lane] : 1);
                    of_theirs[lane] += shared[order][lane] / theirs;    /* nothing is shared where it does not count */
                    number[lane] += counted;
                }
            }
            for (int lane = 0; lane < LANES; lane++) {
                double both = 100 * (1 + beta * beta) * of_ours[lane] * of_theirs[lane];
                double us = number[lane] * (beta * beta * of_ours[lane] + of_theirs[lane]);
                double them = number[lane] * (beta * beta * of_theirs[lane] + of_ours[lane]);
                forth[lane] = us > 0 ? both / us : 0;
                back[lane] = them > 0 ? both / them : 0;
            }
            for (int64_t lane = 0; lane < lanes; lane++) {
                if (among && other < row + lane) continue;              /* counted the other way round */
                scores[(row + lane) * columns + other - skipped] = forth[lane];
                if (among) scores[other * columns + row + lane] = back[lane];
            }
        }
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t *own = bounds + (row + lane) * (orders + 1);
            for (int64_t i = own[0]; i < own[orders]; i++) table[ids[i]][lane] = 0;
        }
    }
}
