//! Counts what the fuzzer tries, and says it when it ends.

use std::ffi::c_int;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use checks::STREAMED;

static INPUTS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    /// man: atexit(3). libFuzzer ends with `exit`, unless it has found something.
    safe fn atexit(tell: extern "C" fn()) -> c_int;
}

extern "C" fn tell() {
    let [inputs, bytes, streamed] = [&INPUTS, &BYTES, &STREAMED].map(|n| n.load(Relaxed));
    eprintln!("tried: {inputs} inputs, {bytes} bytes, {streamed} streamed");
}

/// Counts one input, whatever comes of it.
pub fn count(input: &[u8]) {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| assert_eq!(atexit(tell), 0, "atexit"));
    INPUTS.fetch_add(1, Relaxed);
    BYTES.fetch_add(input.len() as u64, Relaxed);
}
