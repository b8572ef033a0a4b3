/*
 * A load client: one thread, epoll, no allocation after the start.
 *
 *   load MODE HOST PORT [--connections N] [--size BYTES] [--seconds S] [--warmup S]
 *                       [--rate R] [--frame length|line] [--pipeline N] [--publishers N] [--bytes N]
 *                       [--read-rate BYTES] [--sources N] [--server-pid PID]
 *                       [--tls CERTIFICATE [--resume]]
 *
 *   echo       every connection sends a message, waits for the whole reply, and repeats: messages/s.
 *              With --frame, a message is a length in four bytes and SIZE more, or a line of SIZE bytes,
 *              newline included, and --pipeline so many are sent together and waited for together.
 *              With --rate nothing is waited for: so many messages a second in all are sent on a fixed
 *              schedule, from which their latency counts; see openloop.c
 *   churn      every connection connects, sends one message, reads its reply and closes; the next one
 *              takes its place: connections/s
 *   idle       opens the connections, one message on each, prints "ready" and holds them until its
 *              standard input closes
 *   broadcast  --publishers of the connections send a message each, which the server sends to all
 *              connections, and the next when everybody has it: deliveries/s
 *   bulk       sends --bytes on one connection, ends it, and waits for the eight bytes in which the
 *              server says how many came; before that a quarter of them on another connection: MiB/s
 *   download   asks for --bytes on one connection, in eight bytes, and counts what comes until the server
 *              ends it; before that for a quarter of them on another connection: MiB/s
 *   slow       every connection sends as much as is taken, and reads --read-rate bytes a second in all: what does
 *              a server do that cannot get rid of its replies?  Prints "ready" when they have begun, and ends
 *              after --seconds, or when its standard input closes
 *   sink       is the other end of bulk: a server, for proxies to connect to
 *   echo-server  is a server without any work of its own, to see what kernel and client leave to servers
 *
 * With --tls, echo, churn and idle speak TLS 1.3 to a server that has this certificate (a PEM file).
 * A churning connection then does a whole handshake, or with --resume the shorter one that its
 * predecessor's ticket allows.
 *
 * HOST is a numeric IPv4 address.  The result is one line of JSON on standard output.  The exit
 * status is 0 when every reply was right, 1 when one was not, 2 for a usage or system error.
 *
 * Every byte of a reply up to 64 KiB is compared with what was sent.  Of a larger one, every byte is
 * counted but, while the clock runs, only a slice of 32 KiB is compared, a different one each time:
 * copying and comparing all of it costs more than any server's echo, and the client would be what is
 * measured.  Before and after the clock runs, all of it is compared.
 *
 * The work per message is one send and one receive, so that the client costs less than the servers
 * that it measures.  It says how busy it was (client_cpu) and, given the server's pid, how busy the
 * server was over the very same window (server_cpu): the reader can see which of the two was the limit.
 * client_waited and server_waited are the shares of the window in which they could have run but
 * something else had their core: on a quiet machine nearly nothing.  "percentiles" are of the latency, in
 * pairs of percent and microseconds; 100 is the greatest.  With --rate, "offered" is what the schedule asked for
 * in messages/s, "per_second" what came back, and "late_us" by how much the client was late with 99 % of what it sent:
 * where that is not small beside the latencies, the client is what they show.
 */
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

Options opt = {
    .connections = 64, .size = 64, .pipeline = 1, .publishers = 1, .bytes = 1 << 30, .read_rate = 1 << 20,
    .seconds = 3, .warmup = 1,
};

static int index_of(const char *name, const char *const *names, const char *what) {
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(name, names[i]) == 0) return i;
    die("no such %s: %s", what, name);
}

static void parse(int argc, char **argv) {
    static const char *const modes[] = {"echo", "churn", "idle", "broadcast", "bulk", "download",
                                        "slow", "sink", "echo-server", NULL};
    static const char *const frames[] = {"none", "length", "line", NULL};
    static const struct option options[] = {
        {"connections", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},     {"warmup", required_argument, NULL, 'w'},
        {"sources", required_argument, NULL, 'a'},     {"server-pid", required_argument, NULL, 'p'},
        {"frame", required_argument, NULL, 'f'},       {"pipeline", required_argument, NULL, 'n'},
        {"publishers", required_argument, NULL, 'b'},  {"bytes", required_argument, NULL, 'y'},
        {"rate", required_argument, NULL, 'R'},        {"read-rate", required_argument, NULL, 'S'},
        {"tls", required_argument, NULL, 'T'},         {"resume", no_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'c': opt.connections = atoi(optarg); break;
        case 's': opt.size = (size_t)atol(optarg); break;
        case 't': opt.seconds = atof(optarg); break;
        case 'w': opt.warmup = atof(optarg); break;
        case 'a': opt.sources = atoi(optarg); break;
        case 'p': opt.server_pid = atoi(optarg); break;
        case 'f': opt.frame = (Frame)index_of(optarg, frames, "frame"); break;
        case 'n': opt.pipeline = atoi(optarg); break;
        case 'b': opt.publishers = atoi(optarg); break;
        case 'y': opt.bytes = strtoull(optarg, NULL, 10); break;
        case 'R': opt.rate = atof(optarg); break;
        case 'S': opt.read_rate = atof(optarg); break;
        case 'T': opt.certificate = optarg; break;
        case 'r': opt.resume = true; break;
        default: exit(2);
        }
    }
    if (argc - optind != 3) die("usage: load MODE HOST PORT [options]; see load.c for the modes");
    opt.mode = (Mode)index_of(argv[optind], modes, "mode");
    opt.server.sin_family = AF_INET;
    opt.server.sin_port = htons((uint16_t)atoi(argv[optind + 2]));
    if (inet_pton(AF_INET, argv[optind + 1], &opt.server.sin_addr) != 1) die("not an IPv4 address: %s", argv[optind + 1]);
    if (opt.connections < 1 || opt.size < 1 || opt.seconds <= 0 || opt.warmup < 0 || opt.sources < 0 || opt.sources > 250 ||
        opt.rate < 0 || opt.read_rate <= 0 || opt.pipeline < 1 || opt.publishers < 1 || opt.publishers > 255 ||
        opt.publishers > opt.connections || opt.bytes < 4)
        die("a number is out of its range");
    if (opt.pipeline > 1 && opt.frame == PLAIN) die("--pipeline needs --frame");
    if (opt.certificate != NULL && opt.mode > IDLE) die("--tls is for echo, churn and idle");
    if (opt.rate > 0 && (opt.mode != ECHO || opt.pipeline > 1)) die("--rate is for echo without --pipeline");
    if (opt.resume && (opt.certificate == NULL || opt.mode != CHURN)) die("--resume is for churn with --tls");
    if (opt.frame == LENGTH) opt.size += sizeof(uint32_t);
    opt.size *= (size_t)opt.pipeline;
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    rlim_t need = (rlim_t)opt.connections + 16;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need) return;
    if (limit.rlim_max < need) die("%d connections need %ju descriptors, the hard limit is %ju", opt.connections,
                                   (uintmax_t)need, (uintmax_t)limit.rlim_max);
    limit.rlim_cur = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("setrlimit: %s", strerror(errno));
}

/* Everybody is at work from here on. */
static void set_running(void) {
    phase = RUNNING;
    for (int i = 0; i < opt.connections && failures == 0; i++)
        if (opt.mode == CHURN) open_next();
        else if (opt.mode == ECHO) begin_message(&all[i]);
        else if (i < opt.publishers) publish(&all[i]);
}

static void work(double seconds, uint64_t bytes) {
    if (opt.mode == BULK) transfer(bytes);
    else if (opt.mode == DOWNLOAD) download(bytes);
    else if (opt.mode == SLOW) read_slowly(seconds);
    else if (opt.rate > 0) keep_schedule_for(seconds);
    else run_for(seconds);
}

static void measure(Clocks *before, Clocks *after) {
    if (opt.mode != SLOW) work(opt.warmup, opt.bytes / 4); /* it shows what comes of it from the first moment on */
    *before = read_clocks();
    measuring = true;
    work(opt.seconds, opt.bytes);
    measuring = false;
    *after = read_clocks();
}

static void print_latencies(void) {
    static const double percents[] = {50, 75, 90, 95, 99, 99.9, 99.99, 100};
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"percentiles\": [", percentile_us(&latencies, 0.50),
           percentile_us(&latencies, 0.99));
    for (size_t i = 0; latencies.recorded > 0 && i < sizeof percents / sizeof *percents; i++)
        printf("%s[%g, %.1f]", i ? ", " : "", percents[i], percentile_us(&latencies, percents[i] / 100));
    printf("], ");
    if (opt.rate > 0)
        printf("\"offered\": %.1f, \"late_us\": %.1f, ", (double)offered / opt.seconds, percentile_us(&lateness, 0.99));
}

/* One line of JSON. */
static void report(const Clocks *before, const Clocks *after) {
    double elapsed = (double)(after->at - before->at), seconds = elapsed / (double)SECOND;
    uint64_t used = after->client - before->client; /* an open loop is idle on the clock, not on the CPU */
    printf("{\"connections\": %d, \"size\": %zu, \"seconds\": %.3f, \"messages\": %ju, \"per_second\": %.1f, ",
           opt.connections, opt.size, seconds, (uintmax_t)messages, (double)messages / seconds);
    print_latencies();
    if (opt.mode == SLOW)
        printf("\"bytes_sent\": %ju, \"bytes_read\": %ju, ", (uintmax_t)bytes_sent(), (uintmax_t)bytes_read);
    printf("\"client_cpu\": %.3f, \"server_cpu\": %.3f, \"client_waited\": %.3f, \"server_waited\": %.3f, "
           "\"failures\": %ju, \"error\": \"%s\"}\n",
           (double)(used > idle ? used - idle : 0) / elapsed, (double)(after->server - before->server) / elapsed,
           (double)(after->client_waited - before->client_waited) / elapsed,
           (double)(after->server_waited - before->server_waited) / elapsed, (uintmax_t)failures, first_error);
}

int main(int argc, char **argv) {
    parse(argc, argv);
    if (opt.mode == SINK) serve_as_sink();
    if (opt.mode == ECHO_SERVER) serve_echo();
    raise_descriptor_limit();
    fill_table();
    prepare_connections();
    if (opt.certificate != NULL) prepare_tls();
    if (opt.mode == BROADCAST) prepare_broadcast();

    Clocks before = {0}, after = {.at = SECOND};
    if (opt.mode == BULK || opt.mode == DOWNLOAD) {
        measure(&before, &after);
    } else {
        if (opt.mode != CHURN) open_all();
        if (opt.mode == IDLE) {
            if (failures == 0) hold();
        } else {
            if (opt.rate > 0) begin_schedule();
            else if (opt.mode != SLOW) set_running();
            measure(&before, &after);
            if (opt.mode != SLOW) drain();
        }
    }
    report(&before, &after);
    return failures ? 1 : 0;
}
