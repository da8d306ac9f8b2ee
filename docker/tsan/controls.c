/* Controls for ThreadSanitizer: a data race that it must report, and code without one.
 * Two threads call each function. */

#include <pthread.h>
#include <sched.h>

static int arrived;
static unsigned long unguarded;
static unsigned long guarded;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Waits until two threads are here. Relaxed operations order nothing else, so that
 * they cannot hide a race. */
static void meet(void)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < 2) {
        sched_yield();
    }
}

/* Increments a counter without a lock: a data race. */
void c_unguarded(void)
{
    meet();
    unguarded++;
}

/* Increments a counter that a mutex guards. */
void c_guarded(void)
{
    meet();
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        guarded++;
        pthread_mutex_unlock(&mutex);
    }
}
