//! Durable decisions over HTTP: agents ask at their doors, `POST /api/agent/act`, and tell what came of it; each answer has its
//! record in the ledger by then, hash-chained, and signed within a second. Everything is real but what agents are made of:
//! they are callers in this process, without a program or a sandbox, and their doors listen on loopback. They share the cores
//! with what answers them.
//!
//! `cargo run --release -p eparch-daemon --example act [--quick] [--clients 1|32|256] [FOLDER]` prints one JSON line per measurement. Beside them
//! stand the floors, on the same disk: one bare commit, and a bare server that only writes what it is sent and syncs once for
//! all that wait, asked by the same callers.

mod door;
#[path = "door/fsync.rs"]
mod fsync;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use door::{Asked, Took, line, runtime};
use eparch_daemon::stand::{Agent, CROWD, Caller, Stand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Calls of one agent: fewer than would be limited. Half ask, half tell what came of it.
const CALLS: usize = 96;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One measurement.
struct Round {
    /// Callers at once, each of whom waits for its answer and asks again.
    clients: usize,
    /// Crowds of agents that they speak for in turn: the round ends early when all have said what they may.
    crowds: usize,
    /// How long, after an eighth of it for warming up.
    lasts: Duration,
}

fn main() {
    let asked = Asked::read("act");
    let round = |clients, crowds| match asked.quick {
        true => Round { clients, crowds: clients.div_ceil(CROWD), lasts: Duration::from_millis(200) },
        false => Round { clients, crowds, lasts: Duration::from_secs(3) },
    };
    let rounds = [round(1, 4), round(32, 20), round(256, 32)];
    let wanted = |round: &Round| asked.clients.is_none_or(|clients| clients == round.clients);
    let rounds: Vec<Round> = rounds.into_iter().filter(wanted).collect();
    for line in measure(&asked.folder, &rounds) {
        println!("{line}");
    }
}

fn measure(folder: &Path, rounds: &[Round]) -> Vec<Value> {
    std::fs::create_dir_all(folder).expect("a folder that can be written");
    let (holder, callers) = (runtime("holder"), runtime("callers"));
    let commit = commits(&folder.join("floor.db"), rounds[0].lasts);
    let mut lines =
        vec![line(&[json!({ "what": "one commit", "commits": commit.count() }), commit.fields("")])];
    let mut stand = holder.block_on(Stand::new(&folder.join("stand")));
    for round in rounds {
        lines.push(floor(folder, &holder, &callers, round));
        let (said, decided) = decisions(&mut stand, &holder, &callers, round);
        if round.clients == 1 {
            let above = said.act.micros(0.5) - commit.micros(0.5);
            lines.push(json!({ "what": "above one commit", "p50_us": (above * 10.0).round() / 10.0 }));
        }
        lines.push(decided);
    }
    drop(stand);
    callers.shutdown_background();
    // The ledger is closed with the last who has it.
    holder.shutdown_timeout(Duration::from_secs(5));
    std::fs::remove_dir_all(folder).expect("a folder of our own");
    lines
}

/// Decisions: what was asked, and what came of it was told.
fn decisions(stand: &mut Stand, holder: &Runtime, callers: &Runtime, round: &Round) -> (Said, Value) {
    let mut runs = Vec::new();
    let mut agents = VecDeque::new();
    for _ in 0..round.crowds {
        let (run, crowd) = holder.block_on(stand.crowd());
        runs.push(run);
        agents.extend(crowd.into_iter().map(Voice::of));
    }
    let before = stand.recorded();
    let (said, lasted) = ask_all(callers, agents, round);
    let records = stand.recorded() - before;
    assert!(said.all >= said.counted() && records >= said.all, "{} of {} have a record", records, said.all);
    // Whoever has said what it may makes room for the next.
    callers.block_on(async {
        let mut operator = stand.operator().await;
        for run in runs {
            let over = json!({ "pipeline_id": run, "reason": "it has served" });
            let (status, answer) = operator.post("/api/pipeline/revoke", &over).await;
            assert!(status.is_success(), "{status}: {answer}");
        }
    });
    let decided = line(&[
        json!({ "what": "durable decision", "clients": round.clients, "calls": said.counted() }),
        json!({ "calls_per_s": said.rate(lasted), "records": records }),
        said.act.fields(""),
        said.result.fields("result_"),
    ]);
    (said, decided)
}

/// The same callers at a bare server that only syncs.
fn floor(folder: &Path, holder: &Runtime, callers: &Runtime, round: &Round) -> Value {
    let (at, server) = holder.block_on(fsync::serve(&folder.join("floor")));
    let voice = |_| Voice { at: at.clone(), token: "token".to_owned(), _agent: None };
    let voices = (0..round.crowds * CROWD * 4).map(voice).collect();
    let (said, lasted) = ask_all(callers, voices, round);
    server.abort();
    line(&[
        json!({ "what": "bare group fsync", "clients": round.clients, "calls": said.counted() }),
        json!({ "calls_per_s": said.rate(lasted) }),
        said.act.fields(""),
    ])
}

/// One small row after the other, each committed: what the disk gives to whoever asks alone.
fn commits(path: &Path, lasts: Duration) -> Took {
    let connection = rusqlite::Connection::open(path).expect("a new file");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a new file");
    connection.pragma_update(None, "synchronous", "FULL").expect("a new file");
    connection.execute_batch("CREATE TABLE row (id INTEGER PRIMARY KEY, value INTEGER)").expect("a new file");
    let mut took = Took::default();
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        let asked = Instant::now();
        let mut insert =
            connection.prepare_cached("INSERT INTO row (value) VALUES (1)").expect("a statement");
        insert.execute([]).expect("a healthy disk");
        if begun.elapsed() > lasts / 8 {
            took.add(asked.elapsed());
        }
    }
    took
}

/// Somebody to speak for.
struct Voice {
    at: String,
    token: String,
    /// Its door is open for as long.
    _agent: Option<Agent>,
}

impl Voice {
    fn of(agent: Agent) -> Voice {
        Voice { at: agent.at.clone(), token: agent.token.clone(), _agent: Some(agent) }
    }
}

/// What callers were answered.
#[derive(Default)]
struct Said {
    act: Took,
    result: Took,
    /// Everything, from the first call to the last.
    all: u64,
}

impl Said {
    /// The calls that count.
    fn counted(&self) -> u64 {
        self.act.count() + self.result.count()
    }

    fn rate(&self, lasted: Duration) -> f64 {
        (self.counted() as f64 / lasted.as_secs_f64()).round()
    }
}

/// When answers count.
struct Counting {
    from: Instant,
    until: Instant,
    /// When somebody found nobody left to speak for: fewer ask from then on.
    over: OnceLock<Instant>,
}

impl Counting {
    fn end(&self) -> Instant {
        self.over.get().copied().unwrap_or(self.until).min(self.until)
    }
}

fn ask_all(callers: &Runtime, voices: VecDeque<Voice>, round: &Round) -> (Said, Duration) {
    let begun = Instant::now();
    let (from, until) = (begun + round.lasts / 8, begun + round.lasts + round.lasts / 8);
    let counting = Arc::new(Counting { from, until, over: OnceLock::new() });
    let voices = Arc::new(Mutex::new(voices));
    let said = callers.block_on(async {
        let mut asking = JoinSet::new();
        for _ in 0..round.clients {
            asking.spawn(ask_on(voices.clone(), counting.clone()));
        }
        asking.join_all().await
    });
    let mut sum = Said::default();
    for said in said {
        sum.act.merge(&said.act);
        sum.result.merge(&said.result);
        sum.all += said.all;
    }
    (sum, counting.end().duration_since(counting.from))
}

/// One caller: speaks for one agent after the other.
async fn ask_on(voices: Arc<Mutex<VecDeque<Voice>>>, counting: Arc<Counting>) -> Said {
    let mut said = Said::default();
    loop {
        let next = voices.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(voice) = next else {
            let _ = counting.over.set(Instant::now());
            return said;
        };
        let mut caller = Caller::to(&voice.at, &voice.token).await;
        for ask in 0..CALLS / 2 {
            let wish = json!({
                "action": "read_file", "target": format!("docs/{ask}.md"), "idempotency_key": format!("ask-{ask}"),
            });
            let answer = call(&mut caller, "/api/agent/act", &wish, &counting, &mut said.act).await;
            let permit = answer["permit"].as_str().expect("what it asks for is allowed");
            let path = format!("/api/agent/act/{permit}/result");
            call(&mut caller, &path, &json!({ "ok": true }), &counting, &mut said.result).await;
            said.all += 2;
            if Instant::now() >= counting.end() {
                return said;
            }
        }
    }
}

/// One call; its time counts when all of it lies in the time that counts.
async fn call(caller: &mut Caller, path: &str, body: &Value, counting: &Counting, took: &mut Took) -> Value {
    let asked = Instant::now();
    let (status, answer) = caller.post(path, body).await;
    let answered = Instant::now();
    assert!(status.is_success(), "{status}: {answer}");
    if asked >= counting.from && answered <= counting.end() {
        took.add(answered - asked);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_that_is_answered_has_a_record_beside_both_floors() {
        let folder = tempfile::tempdir().expect("a folder");
        let lasts = Duration::from_millis(100);
        let rounds = [1, 2].map(|clients| Round { clients, crowds: 1, lasts });
        let lines = measure(&folder.path().join("act"), &rounds);
        let of = |what: &str| lines.iter().filter(|line| line["what"] == what).collect::<Vec<_>>();
        assert_eq!(of("one commit").len(), 1);
        assert_eq!(of("above one commit").len(), 1);
        assert_eq!(of("bare group fsync").len(), 2);
        let decided = of("durable decision");
        assert_eq!(decided.len(), 2);
        for line in decided {
            assert!(line["records"].as_u64() >= line["calls"].as_u64(), "{line}");
            assert!(line["p50_us"].is_f64() && line["result_p99_us"].is_f64(), "{line}");
        }
        assert!(!folder.path().join("act").exists());
    }
}
