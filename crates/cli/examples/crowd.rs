//! The most memory that the shipped holder takes while runs of real agents are in flight at once: confined processes
//! that print lines, hand in an artifact and then stay.
//!
//! `cargo run --release -p eparch-cli --example crowd [BINARY]` prints a JSON line; the binary is the one beside it.

mod place;

use std::time::{Duration, Instant};

use place::{Place, megabytes};
use serde_json::json;

/// As many as work at once when nothing else is configured.
const RUNS: usize = 64;

/// Long enough for all to have started on a slow machine.
const STAY_SECS: u32 = 20;

const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let place = Place::new("crowd");
    place.write("p.yaml", &pipeline());
    let holder = place.hold();
    let idle = holder.memory("VmRSS:");
    for _ in 0..RUNS {
        place.run(&["-q", "run", "--detach", "p.yaml"]);
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut at_once, mut resident) = (0, 0);
    loop {
        let live =
            place.ready().and_then(|ready| ready["live_runs"].as_u64()).expect("a holder that answers");
        at_once = live.max(at_once);
        resident = holder.memory("VmRSS:").max(resident);
        if live == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the runs do not end");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    println!(
        "{}",
        json!({
            "what": "crowd", "runs": RUNS, "live_runs": at_once, "idle_rss_mb": megabytes(idle),
            "seen_rss_mb": megabytes(resident), "peak_rss_mb": megabytes(holder.memory("VmHWM:")),
        })
    );
    holder.end();
}

/// Some hundred kilobytes of lines, a megabyte of artifact, and a long rest.
fn pipeline() -> String {
    let script = format!(
        "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); \
         echo \"$i of a thousand lines, each about as long as a line of a log usually is: some hundred bytes or so\"; \
         done; mkdir -p \"$EPARCH_ARTIFACTS\"; head -c 1000000 /dev/urandom >\"$EPARCH_ARTIFACTS/data\"; sleep {STAY_SECS}"
    );
    format!(
        "name: crowd\nstages:\n  - name: one\n    type: agent\n    config:\n      artifacts: [data]\n      command:\n        - sh\n        - -c\n        - |\n          {script}\n"
    )
}
