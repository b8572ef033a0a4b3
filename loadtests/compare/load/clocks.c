/* Time, the latency histogram, and the CPU time of both sides. */
#include "load.h"
#include <time.h>
#include <unistd.h>

static uint64_t nanoseconds(const struct timespec *t) { return (uint64_t)t->tv_sec * SECOND + (uint64_t)t->tv_nsec; }

uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return nanoseconds(&t);
}

/* ---- latencies ------------------------------------------------------------------------------- */

/* Log-linear: STEPS buckets per doubling, so that any latency is known to better than 1 %. */
#define STEPS 128
#define STEPS_LOG2 7

Histogram latencies;

void record(Histogram *histogram, uint64_t ns) {
    unsigned shift = ns < STEPS ? 0 : (unsigned)(63 - __builtin_clzll(ns)) - STEPS_LOG2;
    histogram->counts[ns < STEPS ? ns : (shift + 1) * STEPS + (ns >> shift) - STEPS]++;
    histogram->recorded++;
}

/* The whole share, 1, is the greatest. */
double percentile_us(const Histogram *histogram, double share) {
    uint64_t rank = (uint64_t)(share * (double)histogram->recorded), seen = 0;
    if (rank >= histogram->recorded && rank > 0) rank = histogram->recorded - 1;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > rank) {
            if (i < STEPS) return (double)i / 1000;
            unsigned shift = (unsigned)(i / STEPS) - 1;
            return ((double)(i % STEPS) + STEPS + 0.5) * (double)(1ull << shift) / 1000;
        }
    }
    return 0;
}

/* ---- CPU clocks ------------------------------------------------------------------------------ */

static uint64_t cpu_of(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
    return nanoseconds(&t); /* all threads, user and system: getrusage's figure, finer, and for others too */
}

static uint64_t waited_by(pid_t pid) { /* the main thread: each peer serves in it */
    char path[64];
    unsigned long long ran, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0; /* a kernel without CONFIG_SCHED_INFO */
    if (fscanf(file, "%llu %llu", &ran, &waited) != 2) waited = 0;
    fclose(file);
    return waited;
}

Clocks read_clocks(void) {
    Clocks c = {.at = now(), .client = cpu_of(getpid()), .client_waited = waited_by(getpid())};
    if (opt.server_pid) c.server = cpu_of(opt.server_pid), c.server_waited = waited_by(opt.server_pid);
    return c;
}
