//! How soon the shipped binary decides, and what it weighs: from nothing to a holder that answers, in an empty home and
//! in one with some history; its memory when idle; its size.
//!
//! `cargo run --release -p eparch-cli --example start [BINARY]` prints JSON lines; the binary is the one beside it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

/// Starts measured in each home; the median is printed with the spread.
const STARTS: usize = 15;

/// Runs made for the home with history; each is some fourteen entries.
const RUNS: usize = 40;

const PIPELINE: &str = "name: tiny\nstages:\n  - {name: one, type: agent, config: {command: ['true']}}\n  - {name: two, type: agent, requires: [one], config: {command: ['true']}}\n";

fn main() {
    let beside = || std::env::current_exe().ok()?.parent()?.parent().map(|folder| folder.join("eparch"));
    let binary = std::env::args().nth(1).map(PathBuf::from).or_else(beside).expect("a binary");
    let folder = std::env::temp_dir().join(format!("eparch-start-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let home = folder.join("home");
    run(&binary, &home, &folder, &["init"]);

    let (times, rss) = starts(&binary, &home);
    print("start, empty home", &times, rss);
    std::fs::write(folder.join("p.yaml"), PIPELINE).expect("a file");
    let begun = Instant::now();
    for _ in 0..RUNS {
        run(&binary, &home, &folder, &["-q", "run", "p.yaml"]);
    }
    let whole = begun.elapsed().as_secs_f64() / RUNS as f64;
    println!(
        "{}",
        json!({ "what": "run of two real agents, whole command", "ms": (whole * 1e4).round() / 10.0 })
    );
    let (times, rss) = starts(&binary, &home);
    print("start, some history", &times, rss);
    let size = std::fs::metadata(&binary).map_or(0, |meta| meta.len());
    println!("{}", json!({ "what": "binary", "mb": (size as f64 / 1e5).round() / 10.0 }));
    let _ = std::fs::remove_dir_all(&folder);
}

fn print(what: &str, times: &[f64], rss_kb: u64) {
    let line = json!({
        "what": what,
        "ms": times[times.len() / 2],
        "min_ms": times[0],
        "max_ms": times[times.len() - 1],
        "idle_rss_mb": (rss_kb as f64 / 102.4).round() / 10.0,
    });
    println!("{line}");
}

fn run(binary: &Path, home: &Path, folder: &Path, words: &[&str]) {
    let status = Command::new(binary)
        .arg("--home")
        .arg(home)
        .args(words)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{words:?}");
}

/// Milliseconds from starting a holder to its first answer about its governor, sorted; and its memory then.
fn starts(binary: &Path, home: &Path) -> (Vec<f64>, u64) {
    let mut times = Vec::new();
    let mut rss = 0;
    wait_gone(home);
    for _ in 0..STARTS {
        let (mut begun, mut holder) = hold(binary, home);
        while !ready(home) {
            assert!(begun.elapsed() < Duration::from_secs(10), "the holder does not answer");
            // The one before may still be letting go of its lock.
            if matches!(holder.try_wait(), Ok(Some(_))) {
                (begun, holder) = hold(binary, home);
            }
        }
        times.push((begun.elapsed().as_secs_f64() * 1e4).round() / 10.0);
        rss = resident(&holder);
        end(&mut holder);
    }
    times.sort_by(f64::total_cmp);
    (times, rss)
}

fn hold(binary: &Path, home: &Path) -> (Instant, Child) {
    let begun = Instant::now();
    let mut command = Command::new(binary);
    command.args(["__hold", "--home"]).arg(home).stdin(Stdio::null()).stderr(Stdio::null());
    (begun, command.spawn().expect("a holder"))
}

fn ready(home: &Path) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = UnixStream::connect(home.join("control.sock"))?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn wait_gone(home: &Path) {
    while home.join("control.sock").exists() {
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn resident(holder: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", holder.id())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

fn end(holder: &mut Child) {
    let _ = Command::new("kill").arg(holder.id().to_string()).status();
    let _ = holder.wait();
}
