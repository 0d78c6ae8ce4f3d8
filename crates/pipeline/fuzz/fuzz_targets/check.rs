//! Any bytes are a diagnostic or a pipeline, never a panic.
#![no_main]

use eparch_pipeline::{Catalogue, Known, Pipeline, check_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let checked = check_bytes("fuzz.yaml", bytes, &Catalogue::default(), &Known::default());
    checked.to_text();
    checked.to_json();
    if let Some(pipeline) = checked.pipeline {
        let again = Pipeline::from_bytes(&pipeline.to_bytes()).expect("a definition can be read back");
        assert_eq!(again.digest(), pipeline.digest());
    }
});
