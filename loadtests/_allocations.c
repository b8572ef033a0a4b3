/* Preloaded by costs.py: counts what is asked of malloc. One thread does nearly all of it, so plain counters do. */
#include <stddef.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);

unsigned long costs_allocated, costs_resized, costs_freed;

void *malloc(size_t size) {
    costs_allocated++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    costs_allocated++;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    if (block == NULL) costs_allocated++;
    else costs_resized++;
    return __libc_realloc(block, size);
}

void free(void *block) {
    if (block != NULL) costs_freed++;
    __libc_free(block);
}
