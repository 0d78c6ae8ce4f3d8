//! The machine beside its figures: what it is, and how fast its disk can possibly be.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::steps::Problem;

/// Writes of one page, each followed by `fsync`: enough to see a 99th percentile, and done in seconds on a slow disk.
const WRITES: usize = 500;

/// Processor, cores, memory and kernel in one line.
pub(super) fn line() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processor =
        field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    // The kernel counts in KiB and keeps some for itself.
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let gib = memory.unwrap_or(0).div_ceil(1 << 20);
    format!("{processor}, {cores} cores, {gib} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

/// How many programs wanted a core on average over the last minute, as the kernel prints it; on a machine that was
/// quiet, far fewer than it has.
pub(super) fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// How long the disk under `folder` needs to make one page durable, in microseconds.
pub(super) fn fsync_floor(folder: &Path) -> Result<Value, Problem> {
    let path = folder.join(format!("eparch-fsync-floor-{}", std::process::id()));
    let result = timed_writes(&path);
    let _ = std::fs::remove_file(&path);
    let mut micros =
        result.map_err(|cause| Problem::while_doing("measuring how long an fsync takes", &cause))?;
    micros.sort_by(f64::total_cmp);
    let share = |part: usize| (micros[(micros.len() - 1) * part / 1_000] * 10.0).round() / 10.0;
    Ok(json!({ "unit": "µs", "p50": share(500), "p99": share(990), "writes": WRITES }))
}

fn timed_writes(path: &Path) -> std::io::Result<Vec<f64>> {
    let mut file = std::fs::File::create(path)?;
    let page = [0x5a; 4096];
    let mut micros = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_line_a_load_and_a_floor_and_nothing_is_left_behind() {
        assert!(line().contains(" cores, "));
        assert!(load().parse::<f64>().is_ok());
        let folder = tempfile::tempdir().unwrap();
        let floor = fsync_floor(folder.path()).unwrap();
        assert!(floor["p50"].as_f64() <= floor["p99"].as_f64());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
