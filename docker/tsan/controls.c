/* Controls for ThreadSanitizer: a data race that it must report, and code without one.
 * Two threads call each function. */

#include <pthread.h>
#include <sched.h>

static int arrived;
static int done;
static unsigned long unguarded;
static unsigned long guarded;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Waits until a counter has a value. Relaxed operations order nothing else, so that
 * they cannot hide a race. */
static void wait_for(int *counter, int value)
{
    while (__atomic_load_n(counter, __ATOMIC_RELAXED) < value) {
        sched_yield();
    }
}

/* Increments a counter without a lock: a data race. The threads do it one after the
 * other, and both stay until the end: ThreadSanitizer can miss accesses at the very
 * same moment, and those of a thread that has ended. */
void c_unguarded(void)
{
    int turn = __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
    wait_for(&arrived, 2);
    wait_for(&done, turn);
    unguarded++;
    __atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
    wait_for(&done, 2);
}

/* Increments a counter that a mutex guards. */
void c_guarded(void)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
    wait_for(&arrived, 2);
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        guarded++;
        pthread_mutex_unlock(&mutex);
    }
}
