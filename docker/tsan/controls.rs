//! Controls for ThreadSanitizer: a data race that it must report, and code without one. Two threads call each function.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

static ARRIVED: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);
static mut UNGUARDED: u64 = 0;
static GUARDED: Mutex<u64> = Mutex::new(0);

/// Waits until a counter has a value. Relaxed operations order nothing else, so that they cannot hide a race.
fn wait_for(counter: &AtomicUsize, value: usize) {
    while counter.load(Ordering::Relaxed) < value {
        std::thread::yield_now();
    }
}

/// Increments a counter without a lock: a data race. The threads do it one after the other, and both stay until the end:
/// ThreadSanitizer can miss accesses at the very same moment, and those of a thread that has ended.
#[unsafe(no_mangle)]
pub extern "C" fn rust_unguarded() {
    let turn = ARRIVED.fetch_add(1, Ordering::Relaxed);
    wait_for(&ARRIVED, 2);
    wait_for(&DONE, turn);
    unsafe { UNGUARDED += 1 };
    DONE.fetch_add(1, Ordering::Relaxed);
    wait_for(&DONE, 2);
}

/// Increments a counter that a mutex guards. Threads that wait for it call the standard library, which must be
/// instrumented, too: otherwise there are reports here.
#[unsafe(no_mangle)]
pub extern "C" fn rust_guarded() {
    ARRIVED.fetch_add(1, Ordering::Relaxed);
    wait_for(&ARRIVED, 2);
    for _ in 0..1000 {
        *GUARDED.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}
