//! Who acts in a world: agents of several tempers, and people who answer gates well or badly.

use std::collections::BTreeMap;

use eparch_domain::{Digest, Name, Phase, Tier};
use eparch_governor::{
    Check, Ended, GateAnswer, GateDecision, Key, Operator, OperatorRole, Outcome, Separation, Signal, Usage,
};

use crate::dice::Dice;
use crate::seen::SeenGate;

/// How an agent and its program behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Does its work.
    Diligent,
    /// Fails in some phase.
    Failing,
    /// Says nothing until it is killed.
    Stuck,
    /// Says far too much while it works.
    Noisy,
    /// Has outcomes forged in its name, in any order.
    Dishonest,
}

impl Temper {
    /// A random temper; half of the agents are diligent.
    pub(crate) fn random(dice: &mut Dice) -> Temper {
        *dice.pick(&[
            Temper::Diligent,
            Temper::Diligent,
            Temper::Diligent,
            Temper::Diligent,
            Temper::Failing,
            Temper::Stuck,
            Temper::Noisy,
            Temper::Dishonest,
        ])
    }
}

/// The digest of the evidence that an honest agent packages.
fn manifest() -> Digest {
    Digest::of(b"manifest")
}

/// What comes of a phase when it goes well, or badly.
pub(crate) fn outcome(dice: &mut Dice, phase: Phase, well: bool) -> Outcome {
    let checks = |dice: &mut Dice, names: &[&str]| {
        let bad =
            if well { usize::MAX } else { usize::try_from(dice.below(3)).expect("a few") % names.len() };
        let check = |(at, name): (usize, &&str)| Check {
            name: (*name).to_owned(),
            ok: at != bad,
            detail: "seen".to_owned(),
        };
        names.iter().enumerate().map(check).collect()
    };
    if !well && dice.chance(30) {
        return Outcome::Failed {
            in_phase: phase,
            code: "EP0240".to_owned(),
            reason: "it could not be done".to_owned(),
        };
    }
    match phase {
        Phase::Bootstrap => {
            let tree = dice.chance(80).then(|| "a tree".into());
            Outcome::Bootstrap { token: Digest::of(b"token"), packet: Digest::of(b"packet"), tree }
        }
        Phase::Preflight => Outcome::Preflight {
            checks: checks(dice, &["sandbox", "inventory", "dependencies"]),
            confinement: Vec::new(),
        },
        Phase::Plan => {
            let problem = (!well).then(|| "it names no action".to_owned());
            Outcome::Plan { plan: Digest::of(b"plan"), actions: vec!["execute_command".to_owned()], problem }
        }
        Phase::Execute => {
            let ended = match (well, dice.below(2)) {
                (true, _) => Ended::Code { code: 0 },
                (false, 0) => Ended::Code { code: 1 },
                (false, _) => Ended::Signal { signal: 9 },
            };
            executed(dice, ended)
        }
        Phase::Verify => Outcome::Verify { checks: checks(dice, &["tests", "artifacts"]) },
        Phase::Package => Outcome::Package { manifest: manifest() },
        Phase::Report => {
            let package = if well { manifest() } else { Digest::of(b"another") };
            Outcome::Report { report: Digest::of(b"report"), package }
        }
        Phase::Exit | Phase::Revoked => Outcome::Exit,
    }
}

/// A program has ended.
pub(crate) fn executed(dice: &mut Dice, ended: Ended) -> Outcome {
    let mut outputs = BTreeMap::new();
    if dice.chance(70) {
        outputs.insert("n".to_owned(), dice.below(6).into());
    }
    if dice.chance(20) {
        // A fraction with all its digits, which has to survive being written and read.
        let fraction = f64::from(u32::try_from(dice.below(1 << 32)).expect("32 bits")) / 3.0;
        outputs.insert("fraction".to_owned(), fraction.into());
    }
    Outcome::Execute { ended, outputs, artifacts: Vec::new(), leftovers: 0, usage: Usage::default() }
}

/// Something an agent says while it works.
pub(crate) fn signal(dice: &mut Dice) -> Signal {
    match dice.below(6) {
        0 => Signal::Heartbeat,
        1 => Signal::Progress,
        2 => Signal::Output { name: "n".to_owned(), value: dice.below(6).into() },
        3 => Signal::Message { to: None, content: Digest::of(b"hello") },
        _ => Signal::Error { code: format!("E{}", dice.below(9)) },
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a word is a name")
}

/// Everybody who is known in a world, the first of them an admin.
pub(crate) fn people() -> Vec<Operator> {
    let home = || Key::Home { hash: Digest::of(b"key") };
    let remote = || Key::Remote { public_key: "ab".repeat(32) };
    let person = |who: &str, role, max_tier, groups: &[&str], key| {
        let groups = groups.iter().map(|group| name(group)).collect();
        Operator { name: name(who), role, groups, max_tier, key }
    };
    vec![
        person("root", OperatorRole::Admin, Tier::T4, &[], home()),
        person("alice", OperatorRole::Operator, Tier::T3, &[], home()),
        person("bob", OperatorRole::Approver, Tier::T0, &[], home()),
        person("carol", OperatorRole::Approver, Tier::T0, &["leads"], home()),
        person("dave", OperatorRole::Viewer, Tier::T0, &[], home()),
        person("erin", OperatorRole::Approver, Tier::T0, &["leads"], remote()),
        person("frank", OperatorRole::Operator, Tier::T1, &[], home()),
    ]
}

/// Somebody's answer at a gate: mostly from somebody who may, about what is shown, with a reason. Now and then from
/// somebody who has answered already.
pub(crate) fn answer(dice: &mut Dice, gate: &SeenGate) -> GateAnswer {
    let opened = &gate.opened;
    let anybody = ["bob", "bob", "carol", "erin", "erin", "alice", "dave", "root", "mallory"];
    let again = gate.votes.first().filter(|_| dice.chance(25)).cloned();
    let by = again.unwrap_or_else(|| name(dice.pick::<&str>(&anybody)));
    let separation =
        if by.as_str() == "erin" || dice.chance(10) { Separation::RemoteKey } else { Separation::SameHome };
    GateAnswer {
        gate: opened.gate,
        by,
        separation,
        decision: if dice.chance(80) { GateDecision::Approve } else { GateDecision::Deny },
        subject: if dice.chance(92) { opened.subject } else { Digest::of(b"something else") },
        rationale: if dice.chance(92) { "looks right".to_owned() } else { " ".to_owned() },
    }
}
