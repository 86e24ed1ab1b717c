#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz_targets::count(input);
    checks::fast_lines(input);
});
