//! Taking authority away (F7): agents ask over HTTP without a pause, an operator revokes one after the other over HTTP, and both
//! are timed: from sending the revoke to its answer, and to the last action that its agent was still let do, as its callers saw
//! it. They go on asking afterwards, and nothing may be accepted that was sent after the revoke had returned. Everything is
//! real but what agents are made of: they are callers in this process, and share the cores with what answers them. The operator
//! has threads of their own, as another program would.
//!
//! `cargo run --release -p eparch-daemon --example revoke [--quick] [FOLDER]` prints one JSON line per measurement.

mod door;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use door::{Asked, Took, line, runtime};
use eparch_daemon::stand::{Agent, CROWD, Caller, Stand};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Connections of one agent, all of which ask at once.
const AT_ONCE: usize = 4;

/// Calls an agent makes in all: fewer than would be limited.
const CALLS: usize = 96;

/// Crowds of agents, all of which are revoked: more than 1,000 agents.
const CROWDS: usize = 32;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let asked = Asked::read("revoke");
    for line in measure(&asked.folder, if asked.quick { 1 } else { CROWDS }) {
        println!("{line}");
    }
}

fn measure(folder: &Path, crowds: usize) -> [Value; 3] {
    std::fs::create_dir_all(folder).expect("a folder that can be written");
    let (holder, callers, operators) = (runtime("holder"), runtime("callers"), runtime("operators"));
    let mut stand = holder.block_on(Stand::new(folder));
    let mut seen = Seen::default();
    // The first crowd warms everything up and does not count.
    for number in 0..=crowds {
        let (_, crowd) = holder.block_on(stand.crowd());
        let of_crowd = callers.block_on(revoke_all(&stand, &crowd, operators.handle()));
        // What must never be counts from the beginning.
        seen.too_late += of_crowd.too_late;
        if number > 0 {
            seen.revokes.merge(&of_crowd.revokes);
            seen.last.merge(&of_crowd.last);
            seen.asked_after += of_crowd.asked_after;
        }
    }
    drop(stand);
    callers.shutdown_background();
    operators.shutdown_background();
    // The ledger is closed with the last who has it.
    holder.shutdown_timeout(Duration::from_secs(5));
    std::fs::remove_dir_all(folder).expect("a folder of our own");
    let asking = json!({ "asking_at_once": CROWD * AT_ONCE });
    let count = |took: &Took| json!({ "revokes": took.count() });
    [
        line(&[
            json!({ "what": "revoke, to its answer" }),
            count(&seen.revokes),
            asking.clone(),
            seen.revokes.fields(""),
        ]),
        line(&[
            json!({ "what": "revoke, to the last action allowed" }),
            count(&seen.last),
            asking,
            seen.last.fields(""),
        ]),
        json!({ "what": "sent after the revoke had returned", "asked": seen.asked_after, "accepted": seen.too_late }),
    ]
}

/// What was seen of revocations.
#[derive(Default)]
struct Seen {
    revokes: Took,
    last: Took,
    asked_after: u64,
    too_late: u64,
}

/// What is seen of one agent.
struct Tally {
    left: AtomicUsize,
    /// With so many calls left it is revoked.
    revoke_at: usize,
    reached: Notify,
    /// The revoke has returned.
    returned: AtomicBool,
    /// When the last answer came that let it do something.
    accepted_at: Mutex<Instant>,
    asked_after: AtomicU64,
    too_late: AtomicU64,
}

async fn revoke_all(stand: &Stand, crowd: &[Agent], operators: &Handle) -> Seen {
    let (mut asking, mut revoking) = (JoinSet::new(), JoinSet::new());
    let mut tallies = Vec::new();
    for (number, agent) in crowd.iter().enumerate() {
        // One after the other, and each while its agent has calls left to try it with.
        let after = CALLS / 8 + number * CALLS / (2 * CROWD);
        let tally = Arc::new(Tally {
            left: AtomicUsize::new(CALLS),
            revoke_at: CALLS - after,
            reached: Notify::new(),
            returned: AtomicBool::new(false),
            accepted_at: Mutex::new(Instant::now()),
            asked_after: AtomicU64::new(0),
            too_late: AtomicU64::new(0),
        });
        for connection in 0..AT_ONCE {
            asking.spawn(ask_on(agent.at.clone(), agent.token.clone(), connection, tally.clone()));
        }
        let path = format!("/api/agents/{}/revoke", agent.id);
        revoking.spawn_on(revoke(stand.operator(), path, number, tally.clone()), operators);
        tallies.push(tally);
    }
    asking.join_all().await;
    let mut seen = Seen::default();
    for (number, sent, took) in revoking.join_all().await {
        let tally: &Tally = &tallies[number];
        let last = *tally.accepted_at.lock().unwrap_or_else(PoisonError::into_inner);
        seen.revokes.add(took);
        seen.last.add(last.saturating_duration_since(sent));
        seen.asked_after += tally.asked_after.load(Ordering::SeqCst);
        seen.too_late += tally.too_late.load(Ordering::SeqCst);
    }
    seen
}

/// Takes an agent's authority away once it has made some of its calls: when that was sent, and how long it took.
async fn revoke(
    operator: impl Future<Output = Caller>,
    path: String,
    number: usize,
    tally: Arc<Tally>,
) -> (usize, Instant, Duration) {
    let mut operator = operator.await;
    tally.reached.notified().await;
    let sent = Instant::now();
    let (status, answer) = operator.post(&path, &json!({ "reason": "to see how fast it is" })).await;
    let took = sent.elapsed();
    tally.returned.store(true, Ordering::SeqCst);
    assert!(status.is_success(), "{status}: {answer}");
    (number, sent, took)
}

/// Asks for permits and uses them, until it may not call any more.
async fn ask_on(at: String, token: String, number: usize, tally: Arc<Tally>) {
    let mut caller = Caller::to(&at, &token).await;
    for ask in 0.. {
        let wish = json!({
            "action": "read_file", "target": format!("docs/{number}/{ask}"), "idempotency_key": format!("{number}-{ask}"),
        });
        let Some(answer) = tally.attempt(&mut caller, "/api/agent/act", &wish).await else { return };
        if let Some(permit) = answer["permit"].as_str() {
            let path = format!("/api/agent/act/{permit}/result");
            let _ = tally.attempt(&mut caller, &path, &json!({ "ok": true })).await;
        }
    }
}

impl Tally {
    /// Makes one attempt, if the agent may still call.
    async fn attempt(&self, caller: &mut Caller, path: &str, body: &Value) -> Option<Value> {
        let before =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()?;
        if before == self.revoke_at {
            self.reached.notify_one();
        }
        let sent_after = self.returned.load(Ordering::SeqCst);
        let (status, answer) = caller.post(path, body).await;
        let is_accepted = status.is_success() && answer["decision"] != "deny";
        self.asked_after.fetch_add(u64::from(sent_after), Ordering::SeqCst);
        if !is_accepted {
            return Some(Value::Null);
        }
        self.too_late.fetch_add(u64::from(sent_after), Ordering::SeqCst);
        let mut last = self.accepted_at.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Instant::now().max(*last);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_g2_nothing_is_accepted_that_was_sent_after_a_revoke_had_returned() {
        let folder = tempfile::tempdir().expect("a folder");
        let [answer, last, after] = measure(&folder.path().join("revoke"), 1);
        assert_eq!((&answer["revokes"], &last["revokes"]), (&json!(CROWD), &json!(CROWD)));
        assert!(answer["p99_us"].is_f64() && last["p99_us"].is_f64());
        assert!(after["asked"].as_u64() > Some(0), "{after}");
        assert_eq!(after["accepted"], 0);
        assert!(!folder.path().join("revoke").exists());
    }
}
