#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidemark_fuzz::standing(input));
