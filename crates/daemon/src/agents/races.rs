//! F7 (G2): agents ask over HTTP while their authority is taken away over HTTP. Whatever is asked after the revoke has returned
//! is refused, and the ledger has nothing allowed to an agent behind its revocation. Everything is real but what agents are
//! made of.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use eparch_domain::{AgentId, LedgerTime, ManualClock, Moment, Timestamp};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::stand::{Agent, CROWD, Caller, Stand, is_told};
use super::*;

/// Attempts of agents, at least; `EPARCH_RACES` asks for more.
const RACES: usize = 100_000;

/// Connections of one agent, all of which ask at once.
const AT_ONCE: usize = 12;

/// Calls an agent makes in all: fewer than would be limited.
const CALLS: usize = 96;

/// What came of the attempts of one agent.
#[derive(Default)]
struct Tally {
    /// The revoke has returned.
    returned: AtomicBool,
    left: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    /// Accepted although it was sent after the revoke had returned.
    too_late: AtomicUsize,
}

impl Tally {
    /// Makes one attempt, if the agent may still call.
    async fn attempt(&self, client: &mut Caller, path: &str, body: &Value) -> Option<Value> {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()?;
        let sent_late = self.returned.load(Ordering::SeqCst);
        let (status, answer) = client.post(path, body).await;
        let is_accepted = status.is_success() && answer["decision"] != "deny";
        if is_accepted {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            self.too_late.fetch_add(usize::from(sent_late), Ordering::SeqCst);
        } else {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        Some(if is_accepted { answer } else { Value::Null })
    }
}

/// Asks for permits and uses them, and says what else an agent may say, until it may not call any more.
async fn ask_on(at: String, token: String, number: usize, tally: Arc<Tally>) {
    let mut client = Caller::to(&at, &token).await;
    for ask in 0.. {
        let (path, said) = match (number + ask) % 4 {
            0 => ("/api/agent/heartbeat", json!({})),
            1 => ("/api/agent/output", json!({ "name": "progress", "value": ask })),
            2 => ("/api/agent/log", json!({ "line": format!("{number}-{ask}") })),
            _ => ("/api/agent/message", json!({ "content": format!("{number}-{ask}") })),
        };
        if tally.attempt(&mut client, path, &said).await.is_none() {
            return;
        }
        let wish = json!({
            "action": "read_file", "target": format!("docs/{number}/{ask}"), "idempotency_key": format!("{number}-{ask}"),
        });
        let Some(answer) = tally.attempt(&mut client, "/api/agent/act", &wish).await else { return };
        if let Some(permit) = answer["permit"].as_str() {
            let path = format!("/api/agent/act/{permit}/result");
            let _ = tally.attempt(&mut client, &path, &json!({ "ok": true })).await;
        }
    }
}

/// Takes an agent's authority away once it has made some of its calls.
async fn revoke_after(mut client: Caller, agent: AgentId, calls: usize, tally: Arc<Tally>) {
    while tally.left.load(Ordering::SeqCst) + calls > CALLS {
        tokio::task::yield_now().await;
    }
    let (status, answer) =
        client.post(&format!("/api/agents/{agent}/revoke"), &json!({ "reason": "a race" })).await;
    // From here on everything the agent says is refused, a heartbeat and a line of its log too.
    tally.returned.store(true, Ordering::SeqCst);
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// Reads the live stream until so many agents are revoked; those that were allowed something behind their revocation.
async fn watch_the_cut(mut client: Caller, agents: usize) -> (usize, Vec<String>) {
    let mut body = client.get("/api/events?since=0").await;
    let (mut revoked, mut allowed, mut wrong, mut rest) = (BTreeSet::new(), 0, Vec::new(), Vec::new());
    while revoked.len() < agents {
        let frame = body.frame().await.expect("the stream goes on").unwrap();
        rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
            let data = &event["data"];
            let agent = data["agent_id"].as_str().unwrap_or_default().to_owned();
            let is_allowed = match event["type"].as_str().unwrap_or_default() {
                "revoked" => {
                    revoked.insert(agent.clone());
                    false
                }
                "action_decided" => data["permit"].is_object(),
                "permit_spent" => true,
                _ => false,
            };
            allowed += usize::from(is_allowed);
            if is_allowed && revoked.contains(&agent) {
                wrong.push(event.to_string());
            }
        }
    }
    (allowed, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f7_g2_nothing_is_accepted_after_a_revoke_has_returned() {
    let asked = std::env::var("EPARCH_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(RACES);
    let agents = asked.div_ceil(CALLS).next_multiple_of(CROWD);
    let folder = tempfile::tempdir().unwrap();
    let mut stand = Stand::new(folder.path()).await;
    let stream = tokio::spawn(watch_the_cut(stand.operator().await, agents));
    let (mut accepted, mut refused, mut too_late) = (0, 0, 0);
    for _ in 0..agents / CROWD {
        let mut open = JoinSet::new();
        let mut tallies = Vec::new();
        let (_, crowd) = stand.crowd().await;
        for (number, agent) in crowd.iter().enumerate() {
            let tally = Arc::new(Tally { left: AtomicUsize::new(CALLS), ..Tally::default() });
            for connection in 0..AT_ONCE {
                open.spawn(ask_on(agent.at.clone(), agent.token.clone(), connection, tally.clone()));
            }
            let operator = stand.operator().await;
            open.spawn(revoke_after(operator, agent.id, 2 * number + 1, tally.clone()));
            tallies.push(tally);
        }
        open.join_all().await;
        for tally in tallies {
            let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
            accepted += count(&tally.accepted);
            refused += count(&tally.refused);
            too_late += count(&tally.too_late);
        }
    }
    let (allowed, wrong) = stream.await.unwrap();
    println!("{} attempts of {agents} agents: {accepted} accepted, {refused} refused", accepted + refused);
    assert!(accepted + refused >= asked && refused > asked / 10 && accepted > asked / 10);
    assert_eq!(too_late, 0, "accepted although sent after the revoke had returned");
    assert!(allowed > 0 && wrong.is_empty(), "allowed behind a revocation: {wrong:?}");
}

/// An agent whose door is told of its end.
async fn somebody(stand: &mut Stand) -> Agent {
    let (_, mut crowd) = stand.crowd().await;
    crowd.retain(|agent| is_told(agent.id));
    crowd.swap_remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g2_a_revoke_that_has_returned_has_cut_calls_in_flight_and_refuses_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut stand = Stand::new(folder.path()).await;
    let agent = somebody(&mut stand).await;
    // It is let in, and goes on for as long as it pleases: its body never comes.
    let mut slow = TcpStream::connect(&agent.at).await.unwrap();
    let head = format!(
        "POST /api/agent/output HTTP/1.1\r\nHost: eparch\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        agent.token
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut client = Caller::to(&agent.at, &agent.token).await;
    let (status, _) = client.post("/api/agent/heartbeat", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let mut ada = stand.operator().await;
    let revoke = format!("/api/agents/{}/revoke", agent.id);
    let (status, answer) = ada.post(&revoke, &json!({ "reason": "enough" })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(agent.doom.is_sealed(), "the signal is set before the answer (2.C rule 5)");
    let act = json!({ "action": "read_file", "target": "docs/a", "idempotency_key": "late" });
    for (path, body) in [
        ("heartbeat", json!({})),
        ("output", json!({ "name": "late", "value": 1 })),
        ("log", json!({ "line": "late" })),
        ("message", json!({ "content": "late" })),
        ("act", act),
    ] {
        let (status, answer) = client.post(&format!("/api/agent/{path}"), &body).await;
        assert_eq!((status, answer["code"].as_str()), (StatusCode::GONE, Some("EP0603")), "{path}: {answer}");
    }
    let mut told = String::new();
    let mut lines = BufReader::new(slow);
    lines.read_line(&mut told).await.unwrap();
    assert_eq!(told.trim_end(), "HTTP/1.1 410 Gone", "the call in flight is cut");
}

/// However many calls bring it at once. What nobody has is no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r082_anothers_token_is_told_once_and_an_invented_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let mut stand = Stand::new(folder.path()).await;
    let (_, crowd) = stand.crowd().await;
    let (thieves, others): (Vec<_>, Vec<_>) = crowd.iter().partition(|agent| is_told(agent.id));
    let (thief, other) = (thieves[0], others[0]);
    let show = async |token: &str| {
        let mut open = JoinSet::new();
        for _ in 0..8 {
            let (at, token) = (thief.at.clone(), token.to_owned());
            open.spawn(async move {
                let mut client = Caller::to(&at, &token).await;
                client.post("/api/agent/heartbeat", &json!({})).await.0
            });
        }
        open.join_all().await
    };
    let told = || {
        let page = stand.app().tools.ledger.read().page(&stand.app().tools.tenant, 1, 10_000).unwrap();
        let events = page.iter().map(|entry| eparch_governor::Record::from_bytes(&entry.body).unwrap().event);
        let shown = |event: &Event| matches!(event, Event::TokenShown { agent, .. } if *agent == thief.id);
        events.filter(shown).count()
    };
    let refused = [StatusCode::UNAUTHORIZED, StatusCode::GONE];
    assert!(show("ept_invented").await.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
    assert_eq!(told(), 0);
    assert!(show(&other.token).await.iter().all(|status| refused.contains(status)));
    assert_eq!(told(), 1);
    let standing = async |agent| {
        let now = stand.app().tools.clock.now();
        stand.driver().look(move |governor| governor.agent_standing(agent, now)).await.unwrap()
    };
    assert_eq!(
        (standing(thief.id).await, standing(other.id).await),
        (AgentStanding::Nothing, AgentStanding::Nothing)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r134_f17_no_heartbeat_and_no_line_counts_on_a_token_that_is_over() {
    let clock = Arc::new(ManualClock::at(Moment {
        ledger: LedgerTime::from_millis(1_000),
        wall: Timestamp::from_millis(1_767_225_600_000),
    }));
    let folder = tempfile::tempdir().unwrap();
    let mut stand = Stand::by(folder.path(), clock.clone()).await;
    let agent = somebody(&mut stand).await;
    let id = agent.id;
    let mut client = Caller::to(&agent.at, &agent.token).await;
    let standing = async || {
        let now = clock.now();
        let look = stand.driver().look(move |governor| {
            let round = governor.token(id).map(|token| token.round);
            (governor.agent_standing(id, now), round)
        });
        look.await.unwrap()
    };
    let mut round = 1;
    for (path, body) in [
        ("heartbeat", json!({})),
        ("log", json!({ "line": "on" })),
        ("message", json!({ "content": "on" })),
        ("output", json!({ "name": "on", "value": 1 })),
        ("heartbeat", json!({})),
    ] {
        assert_eq!(standing().await, (AgentStanding::Holds, Some(round)), "before {path}");
        // The wall clock jumps, and nobody has told the governor yet.
        clock.jump_wall(3_600_000);
        assert_eq!(standing().await.0, AgentStanding::Expired, "before {path}");
        let (status, answer) = client.post(&format!("/api/agent/{path}"), &body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        // It counts on the token that follows, and on none that is over.
        round += 1;
        assert_eq!(standing().await, (AgentStanding::Holds, Some(round)), "after {path}");
    }
}

/// Waves of agents, each of which is stopped with everything else.
const STOPS: usize = 8;

/// The same for a stop of everything: one call takes the authority of all agents, nothing that is asked after it has returned is
/// accepted of any of them, no run begins, and after it was lifted the next ones work.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f7_g2_nothing_is_accepted_after_everything_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut stand = Stand::new(folder.path()).await;
    let (mut accepted, mut refused) = (0, 0);
    for wave in 0..STOPS {
        let mut open = JoinSet::new();
        // One tally for all: whoever asks after the one call has returned asks too late.
        let tally = Arc::new(Tally { left: AtomicUsize::new(CALLS * CROWD), ..Tally::default() });
        let (_, crowd) = stand.crowd().await;
        for agent in &crowd {
            // Fewer of each than would be limited, however unevenly they come to call.
            for connection in 0..2 {
                open.spawn(ask_on(agent.at.clone(), agent.token.clone(), connection, tally.clone()));
            }
        }
        let (mut client, stops) = (stand.operator().await, tally.clone());
        open.spawn(async move {
            while stops.left.load(Ordering::SeqCst) + CROWD * (wave + 1) > CALLS * CROWD {
                tokio::task::yield_now().await;
            }
            let (status, answer) = client.post("/api/stop-all", &json!({ "reason": "a race" })).await;
            stops.returned.store(true, Ordering::SeqCst);
            assert_eq!((status, &answer["stopped"]["by"]), (StatusCode::OK, &"ada".into()), "{answer}");
            // Whatever they ask from here on is too late; some of it is enough.
            stops.left.fetch_min(CROWD * 8, Ordering::SeqCst);
        });
        open.join_all().await;
        let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        assert_eq!(count(&tally.too_late), 0, "accepted although sent after everything was stopped");
        (accepted, refused) = (accepted + count(&tally.accepted), refused + count(&tally.refused));
        let (_, answer) = stand.begin().await;
        assert!(matches!(&answer, Answer::Refused(refusal) if refusal.code() == "EP0650"), "{answer:?}");
        let mut client = stand.operator().await;
        let (status, answer) = client.post("/api/stop-all/lift", &json!({ "reason": "the next" })).await;
        assert_eq!((status, &answer["stopped"]), (StatusCode::OK, &Value::Null), "{answer}");
    }
    println!("{STOPS} stops: {accepted} accepted, {refused} refused");
    assert!(accepted > STOPS * CROWD && refused > STOPS * CROWD);
}
