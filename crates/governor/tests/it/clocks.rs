//! F17: each limit a moment before it, at it and a moment after it, while the wall clock is put an hour ahead or back before
//! it, at it or after it. Whatever the clock does, a limit that is measured in ledger time comes when it comes, no token is
//! alive past its time by either clock, what nobody renews ends by whichever clock comes first, and nobody loses authority by
//! mistake.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, LedgerTime, Moment, RunId, Span, limits};
use eparch_governor::{Answer, AttemptEnd, Fact};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::{millis, words};

/// When somebody loses authority by a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Never.
    Never,
    /// As long as it has not come.
    Before,
    /// When it has come.
    FromThenOn,
}

/// What the wall clock has to do with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByWall {
    /// Nothing.
    Nothing,
    /// It is of authority that ends by it as well, and is renewed: a jump is followed by what is not over by it.
    Renewed,
    /// It is of what ends by it as well, and nobody renews.
    Ends,
}

const HOUR: i64 = 3_600_000;

/// One limit, and how to see that it has come.
struct Limit {
    /// Its name, and the rows it is of.
    name: &'static str,
    header: &'static [&'static str],
    /// What comes before, with times.
    before: &'static [&'static str],
    /// When it comes, in ledger time.
    at: Span,
    /// What is asked then.
    probe: &'static str,
    /// Whether it has come, by the answer and what was found since the last line of `before`.
    has_come: fn(&Answer, &[Fact]) -> bool,
    /// What the wall clock has to do with it.
    by_wall: ByWall,
    /// When somebody loses authority.
    takes_authority: Takes,
}

const AGENT: &[&str] = &["pipeline main timeout=20h", "  agent a timeout=19h"];

const ASKS: &[&str] = &["pipeline main timeout=20h", "  agent a tier=T2 timeout=30m"];
const QUESTION: &str = "2s asks a#1 ansible_run staging-1 key=k1";

const LIMITS: &[Limit] = &[
    Limit {
        name: "R134: a token of 30 min that nobody looked at is over, and followed by the next",
        header: AGENT,
        before: &["0s start r1", "1s ready a#1"],
        at: Span::from_secs(30 * 60 + 1),
        probe: "output a#1 out.n=1",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::TokenIssued { .. })),
        by_wall: ByWall::Renewed,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "R134: a token is renewed at two thirds of its 30 min",
        header: AGENT,
        before: &["0s start r1", "1s ready a#1"],
        at: Span::from_secs(20 * 60 + 1),
        probe: "tick",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::TokenRenewed { .. })),
        by_wall: ByWall::Renewed,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "R135: a lease is renewed after 30 min",
        header: AGENT,
        before: &["0s start r1", "1s ready a#1", "20m1s tick", "29m tick"],
        at: limits::LEASE_RENEW_EVERY,
        probe: "tick",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::LeaseRenewed { .. })),
        by_wall: ByWall::Renewed,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "R134: a lease of 2 h that nobody looked at is over, and followed by the next",
        header: AGENT,
        before: &["0s start r1", "1s ready a#1"],
        at: limits::LEASE_TTL,
        probe: "heartbeat a#1",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::LeaseEnded { .. })),
        by_wall: ByWall::Renewed,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "X15: a token has two hours in all, however often it is renewed",
        header: AGENT,
        before: &["0s start r1", "0s ready a#1", "20m tick", "40m tick", "60m tick", "80m tick"],
        at: Span::from_mins(100),
        probe: "tick",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::TokenIssued { .. })),
        by_wall: ByWall::Renewed,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "a permit is good for a minute",
        header: AGENT,
        before: &[
            "0s policies defaults",
            "0s start r1",
            "1s ready a#1 may=read_file:docs",
            "2s asks a#1 read_file docs/x key=k1",
        ],
        at: Span::from_secs(62),
        probe: "uses a#1 permit-1",
        has_come: |answer, _| refused_with(answer, "EP0617"),
        by_wall: ByWall::Ends,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "R080: the sixth error within a minute revokes, 2.C rule 2",
        header: AGENT,
        before: &[
            "0s start r1",
            "0s ready a#1",
            "1s error a#1 one",
            "1s error a#1 two",
            "1s error a#1 three",
            "1s error a#1 four",
            "2s error a#1 five",
        ],
        at: Span::from_secs(61),
        probe: "error a#1 six",
        has_come: |_, facts| !facts.iter().any(|fact| matches!(fact, Fact::Revoked { .. })),
        by_wall: ByWall::Nothing,
        takes_authority: Takes::Before,
    },
    Limit {
        name: "R083: the third limited window within ten minutes revokes",
        header: AGENT,
        before: &["0s start r1", "0s ready a#1", "1s limited a#1", "5m limited a#1"],
        at: Span::from_secs(601),
        probe: "limited a#1",
        has_come: |_, facts| !facts.iter().any(|fact| matches!(fact, Fact::Revoked { .. })),
        by_wall: ByWall::Nothing,
        takes_authority: Takes::Before,
    },
    Limit {
        name: "a gate waits for 30 min",
        header: &["pipeline main timeout=20h", "  gate ok approvers=bob timeout=30m"],
        before: &["0s start r1"],
        at: Span::from_mins(30),
        probe: "approve gate:ok by=bob rationale=right",
        has_come: |answer, _| !matches!(answer, Answer::Taken),
        by_wall: ByWall::Ends,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "a question of an agent waits as long as its stage has time",
        header: ASKS,
        before: &["0s policies defaults", "0s start r1", "1s ready a#1 may=ansible_run:staging-*", QUESTION],
        at: Span::from_mins(30),
        probe: "approve question-1 by=bob",
        has_come: |answer, _| !matches!(answer, Answer::Taken),
        by_wall: ByWall::Ends,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "what people approved is let be done for as long",
        header: ASKS,
        before: &[
            "0s policies defaults",
            "0s start r1",
            "1s ready a#1 may=ansible_run:staging-*",
            QUESTION,
            "3s approve question-1 by=bob",
        ],
        at: Span::from_mins(30),
        probe: "asks a#1 ansible_run staging-1 key=k1",
        has_come: |_, facts| !is_permitted(facts),
        by_wall: ByWall::Ends,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "what two people let pass is let pass for as long as they said",
        header: AGENT,
        before: &[
            "0s policies defaults",
            "0s add oscar role=operator tier=T2 by=root",
            "0s start r1",
            "1s ready a#1 may=read_file:docs",
            "2s break-glass r1 by=oscar allow=execute_command:prod-1 time=20m",
            "3s let-pass glass-1 by=bob",
        ],
        at: Span::from_secs(20 * 60 + 3),
        probe: "asks a#1 execute_command prod-1 key=k1",
        has_come: |_, facts| !is_permitted(facts),
        by_wall: ByWall::Ends,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "an agent is made ready within its start timeout",
        header: &["pipeline main timeout=20h", "  agent a timeout=19h start_timeout=5m"],
        before: &["0s start r1"],
        at: Span::from_mins(5),
        probe: "ready a#1",
        has_come: |_, facts| ends_by(facts, "start"),
        by_wall: ByWall::Nothing,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "an attempt ends within its stage's timeout",
        header: &["pipeline main timeout=20h", "  agent a timeout=10m"],
        before: &["0s start r1", "0s ready a#1"],
        at: Span::from_mins(10),
        probe: "heartbeat a#1",
        has_come: |_, facts| ends_by(facts, "stage") || ends_by(facts, "attempt"),
        by_wall: ByWall::Nothing,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "2.C rule 3: a heartbeat keeps nobody from an idle timeout",
        header: &["pipeline main timeout=20h", "  agent a timeout=19h idle_timeout=2m"],
        before: &["0s start r1", "0s ready a#1", "30s progress a#1"],
        at: Span::from_secs(150),
        probe: "heartbeat a#1",
        has_come: |_, facts| {
            let stalled =
                |fact: &Fact| matches!(fact, Fact::AgentEnding { end: AttemptEnd::Stalled { .. }, .. });
            facts.iter().any(stalled)
        },
        by_wall: ByWall::Nothing,
        takes_authority: Takes::FromThenOn,
    },
    Limit {
        name: "2.C rule 3: three heartbeats are missed 90 s after the last one",
        header: AGENT,
        before: &["0s start r1", "0s ready a#1", "10s heartbeat a#1"],
        at: Span::from_secs(100),
        probe: "tick",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::HeartbeatsMissed { .. })),
        by_wall: ByWall::Nothing,
        takes_authority: Takes::Never,
    },
    Limit {
        name: "a run ends within its timeout",
        header: &["pipeline main timeout=15m", "  agent a timeout=14m start_timeout=14m"],
        before: &["0s start r1"],
        at: Span::from_mins(15),
        probe: "tick",
        has_come: |_, facts| facts.iter().any(|fact| matches!(fact, Fact::RunEnding { .. })),
        by_wall: ByWall::Nothing,
        takes_authority: Takes::Never,
    },
];

fn refused_with(answer: &Answer, code: &str) -> bool {
    matches!(answer, Answer::Refused(refusal) if refusal.code() == code)
}

/// Whether an agent was let do something.
fn is_permitted(facts: &[Fact]) -> bool {
    facts.iter().any(|fact| matches!(fact, Fact::ActionDecided(ruled) if ruled.permit.is_some()))
}

/// Whether an agent is to end because a limit of this name passed.
fn ends_by(facts: &[Fact], wanted: &str) -> bool {
    let ends = |fact: &Fact| match fact {
        Fact::AgentEnding { end, .. } => end.reason().contains(&format!("the {wanted} timeout")),
        _ => false,
    };
    facts.iter().any(ends)
}

/// When the wall clock is moved, seen from the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// As soon as everything before is done.
    Before,
    /// At the moment of the probe, ahead of it.
    At,
    /// At the moment of the probe, behind it; and everything is looked at once more.
    After,
}

/// What is alive, by what the facts say and nothing else.
#[derive(Default)]
struct Alive {
    leases: BTreeMap<RunId, Moment>,
    tokens: BTreeMap<AgentId, (RunId, LedgerTime, Moment)>,
    runs: BTreeMap<AgentId, RunId>,
}

fn is_over(ends: Moment, now: Moment) -> bool {
    now.ledger >= ends.ledger || now.wall >= ends.wall
}

/// Whether an end is so far away at most, by each clock.
fn is_within(ends: Moment, now: Moment, most: Span) -> bool {
    let wall = ends.wall.millis().saturating_sub(now.wall.millis());
    ends.ledger.since(now.ledger) <= most && wall <= most.millis().cast_signed()
}

impl Alive {
    /// Takes in what was decided at a moment. Nothing may be done on a token past its time, or made longer than it may be.
    fn take(&mut self, facts: &[Fact], now: Moment, case: &str) {
        for fact in facts {
            match fact {
                Fact::AttemptBegan { run, agent, .. } => drop(self.runs.insert(*agent, *run)),
                Fact::LeaseBegan { run, expires, .. } | Fact::LeaseRenewed { run, expires, .. } => {
                    if let (Fact::LeaseRenewed { .. }, Some(ends)) = (fact, self.leases.get(run)) {
                        assert!(!is_over(*ends, now), "{case}: a lease was renewed past its time");
                    }
                    assert!(is_within(*expires, now, limits::LEASE_TTL), "{case}: {fact:?}");
                    self.leases.insert(*run, *expires);
                }
                Fact::LeaseEnded { run, .. } => {
                    self.leases.remove(run);
                    self.tokens.retain(|_, (of, ..)| of != run);
                }
                Fact::TokenIssued { agent, expires, .. } => {
                    assert!(is_within(*expires, now, limits::CHILD_TTL), "{case}: {fact:?}");
                    self.tokens.insert(*agent, (self.runs[agent], now.ledger, *expires));
                }
                Fact::TokenRenewed { agent, expires, .. } => {
                    let (_, issued, ends) = self.tokens.get_mut(agent).expect("it has a token");
                    assert!(!is_over(*ends, now), "{case}: a token was renewed past its time");
                    assert!(is_within(*expires, now, limits::CHILD_TTL), "{case}: {fact:?}");
                    let in_all = expires.ledger.since(*issued);
                    assert!(in_all <= limits::LEASE_TTL, "{case}: a token lives for {in_all} in all");
                    *ends = *expires;
                }
                Fact::AgentEnding { agent, .. } => drop(self.tokens.remove(agent)),
                Fact::OutputSeen { agent, .. }
                | Fact::ErrorCounted { agent, .. }
                | Fact::PermitSpent { agent, .. } => {
                    let (.., ends) = self.tokens.get(agent).expect("whoever is heard has a token");
                    assert!(!is_over(*ends, now), "{case}: heard on a token past its time: {fact:?}");
                }
                _ => {}
            }
        }
        // Whoever works has authority, and none of it is past its time.
        for (run, ends) in &self.leases {
            assert!(!is_over(*ends, now), "{case}: the lease of {run} is alive past its time");
        }
        for (agent, (run, _, ends)) in &self.tokens {
            assert!(!is_over(*ends, now), "{case}: the token of {agent} is alive past its time");
            let lease = self.leases.get(run).expect("a token is of a lease");
            let outlives = ends.ledger > lease.ledger || ends.wall > lease.wall;
            assert!(!outlives, "{case}: the token of {agent} outlives its lease");
        }
    }
}

/// Hands one line in.
fn say(home: &mut Home, line: &str, at: u64, alive: &mut Alive, case: &str) -> (Answer, Vec<Fact>) {
    let mut told = (Answer::Taken, Vec::new());
    for event in script::events(home, &words(line)) {
        let decision = home.handle(&event, at);
        alive.take(&decision.facts, home.last, case);
        told.0 = decision.answer;
        told.1.extend(decision.facts);
    }
    told
}

/// Plays one limit with the probe so far from it, and the wall clock moved so. Whether it had come.
fn play(limit: &Limit, offset: i64, moved: Option<(When, i64)>) -> bool {
    let case = format!("{}, {offset:+} ms, {moved:?}", limit.name);
    let mut home = set_up(limit.header);
    let (mut alive, mut last) = (Alive::default(), 0);
    for line in limit.before {
        let mut words = words(line);
        last = millis(&words.remove(0)).expect("a line begins with its time");
        say(&mut home, &words.join(" "), last, &mut alive, &case);
    }
    let at = limit.at.millis().strict_add_signed(offset);
    let moves =
        |when: When| moved.filter(|(wanted, _)| *wanted == when).map(|(_, by_ms)| format!("jump {by_ms}"));
    let mut all = Vec::new();
    if let Some(line) = moves(When::Before) {
        all.extend(say(&mut home, &line, last + 1, &mut alive, &case).1);
    }
    // What is renewed by a jump before it is not what comes by itself.
    let mut found = Vec::new();
    if let Some(line) = moves(When::At) {
        found.extend(say(&mut home, &line, at, &mut alive, &case).1);
    }
    let (answer, facts) = say(&mut home, limit.probe, at, &mut alive, &case);
    found.extend(facts);
    let came = (limit.has_come)(&answer, &found);
    all.extend(found);
    for line in moves(When::After).into_iter().chain(["tick".to_owned()]) {
        all.extend(say(&mut home, &line, at, &mut alive, &case).1);
    }
    let is_revoked = all.iter().any(|fact| matches!(fact, Fact::Revoked { .. }));
    let rightly = match limit.takes_authority {
        Takes::Never => false,
        Takes::Before => !came,
        Takes::FromThenOn => came,
    };
    assert!(!is_revoked || rightly, "{case}: authority was taken by mistake");
    came
}

#[test]
fn f17_r134_every_limit_comes_at_its_moment_whatever_the_wall_clock_does() {
    let mut cases = 0;
    for limit in LIMITS {
        for offset in [-1, 0, 1] {
            let expected = offset >= 0;
            assert_eq!(play(limit, offset, None), expected, "{} at {offset:+} ms", limit.name);
            for by_ms in [HOUR, -HOUR] {
                for when in [When::Before, When::At, When::After] {
                    let came = play(limit, offset, Some((when, by_ms)));
                    let by_wall = if when == When::After { ByWall::Nothing } else { limit.by_wall };
                    let expected = match by_wall {
                        ByWall::Nothing => Some(expected),
                        // Put ahead by more than is left it has come; set back, it comes when ledger time says so.
                        ByWall::Ends => Some(expected || by_ms > 0),
                        // What a jump comes ahead of has been renewed by it: that nothing of it is alive past its time is
                        // all there is to say then.
                        ByWall::Renewed => None,
                    };
                    let name = limit.name;
                    assert!(
                        expected.is_none_or(|expected| came == expected),
                        "{name} at {offset:+} ms, moved by {by_ms} {when:?}"
                    );
                    cases += 1;
                }
            }
            cases += 1;
        }
    }
    assert_eq!(cases, LIMITS.len() * 21);
}
