//! The fuzzer's seeds, and what it once found, through its targets: on every compiler, in a moment.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]
#![expect(clippy::expect_used, reason = "the targets say what they expect")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let entries = fs::read_dir(folder.join(target)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_seed_passes_its_target() {
    for (target, run) in targets::TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            run(&bytes);
            // And with its end missing, at each place.
            let step = (bytes.len() / 200).max(1);
            for length in (0..bytes.len()).step_by(step) {
                run(&bytes[..length]);
            }
        }
    }
}

#[test]
fn every_folder_of_seeds_has_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.contains('.') {
            assert!(
                targets::TARGETS.iter().any(|(target, _)| *target == name),
                "{name}"
            );
        }
    }
}
