/* Open loop: messages on a fixed schedule, which does not wait for any reply.
 *
 * Real users do not stop coming because a server is slow.  A client that waits for a reply before it sends
 * the next message asks less of a slow server, and counts one long latency where many users would have
 * had one each ("coordinated omission").  Here message k is due at start + k / rate, on connection
 * k % connections, and its latency counts from that time: also while it could not even be sent, and
 * also when its reply comes after the end.
 *
 * The client never sleeps: it would wake up too late, by as much as a fast server takes for its reply.
 * It has a core to itself; where it has to share that with the server, it lets it go first.  So its CPU
 * time says nothing, and the time in which it found nothing to do is taken off.  What says whether it kept
 * the schedule is how late it came to each message. */
#include "load.h"
#include <limits.h>
#include <sched.h>

#define BATCH 64 /* messages begun before replies are looked for again */
#define EMPTY_TURN 10000 /* ns: it takes less to find nothing to do; if it took more, something else had the core */

Histogram lateness;
uint64_t offered, idle;

static uint64_t start, window; /* the schedule's begin; the end of the part of it that was done */
static bool shared; /* the server is on the same core */
static uint64_t next, first = UINT64_MAX; /* messages: the next one, and the first that is measured */

static uint64_t due_at(uint64_t k) { return start + (uint64_t)((double)k / opt.rate * (double)SECOND); }

static void replied(Connection *c) {
    uint64_t k = (c->answered - 1) * (uint64_t)opt.connections + (uint64_t)(c - all);
    if (measuring) messages++;
    if (k >= first) record(&latencies, now() - due_at(k));
}

/* Begins what is due by then, and says how many messages that were. */
static int begin_due(uint64_t by, int most) {
    int count = 0;
    for (; count < most && due_at(next) < by; next++, count++) {
        Connection *c = &all[next % (uint64_t)opt.connections];
        if (c->fd < 0) continue;
        if (next >= first) record(&lateness, now() - due_at(next));
        message_begun(c);
        send_stream(c);
    }
    return count;
}

static bool is_core_shared(void) {
    cpu_set_t ours, theirs;
    if (opt.server_pid == 0 || sched_getaffinity(0, sizeof ours, &ours) != 0 ||
        sched_getaffinity(opt.server_pid, sizeof theirs, &theirs) != 0)
        return false;
    return CPU_COUNT(&ours) == 1 && CPU_EQUAL(&ours, &theirs);
}

void begin_schedule(void) {
    shared = is_core_shared();
    begin_streams(replied);
    phase = RUNNING;
    start = window = now();
}

/* One part of the schedule follows upon the other without a gap. */
void keep_schedule_for(double seconds) {
    uint64_t end = window + (uint64_t)(seconds * (double)SECOND);
    if (measuring) first = next;
    for (uint64_t t = now(); t < end && alive > 0;) {
        int done = begin_due(t, BATCH) + turn(0);
        if (done == 0 && shared) sched_yield();
        uint64_t later = now(), took = later - t;
        if (done == 0 && measuring) idle += took < EMPTY_TURN ? took : EMPTY_TURN;
        t = later;
    }
    begin_due(end, INT_MAX); /* and if it is late: all that were due are sent, and counted */
    if (measuring) offered = next - first;
    window = end;
}
