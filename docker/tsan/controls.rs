//! Controls for ThreadSanitizer: a data race that it must report, and code without one. Two threads call each function.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

static ARRIVED: AtomicUsize = AtomicUsize::new(0);
static mut UNGUARDED: u64 = 0;
static GUARDED: Mutex<u64> = Mutex::new(0);

/// Waits until two threads are here. Relaxed operations order nothing else, so that they cannot hide a race.
fn meet() {
    ARRIVED.fetch_add(1, Ordering::Relaxed);
    while ARRIVED.load(Ordering::Relaxed) < 2 {
        std::thread::yield_now();
    }
}

/// Increments a counter without a lock: a data race.
#[unsafe(no_mangle)]
pub extern "C" fn rust_unguarded() {
    meet();
    unsafe { UNGUARDED += 1 };
}

/// Increments a counter that a mutex guards. Threads that wait for it call the standard library, which must be
/// instrumented, too: otherwise there are reports here.
#[unsafe(no_mangle)]
pub extern "C" fn rust_guarded() {
    meet();
    for _ in 0..1000 {
        *GUARDED.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}
