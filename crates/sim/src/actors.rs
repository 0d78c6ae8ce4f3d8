//! The agents of a world: several tempers, and what each of them does.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Digest, Phase, limits};
use eparch_governor::{Check, Ended, Outcome, Signal, Usage};

use crate::dice::Dice;

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
    /// Asks for far more than it uses.
    Greedy,
}

impl Temper {
    /// A random temper; nearly half of the agents are diligent.
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
            Temper::Greedy,
        ])
    }
}

/// The digest of the evidence that an honest agent packages.
fn manifest() -> Digest {
    Digest::of(b"manifest")
}

fn held(name: &str) -> Check {
    Check { name: name.to_owned(), ok: true, detail: "seen".to_owned() }
}

/// The hash of an agent's token: each has its own.
pub(crate) fn token_of(agent: AgentId) -> Digest {
    Digest::of_parts(&[b"token", &agent.bits().to_be_bytes()])
}

/// What comes of a phase when it goes well, or badly.
pub(crate) fn outcome(dice: &mut Dice, agent: AgentId, phase: Phase, well: bool) -> Outcome {
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
            Outcome::Bootstrap { token: token_of(agent), packet: Digest::of(b"packet"), tree }
        }
        Phase::Preflight => {
            let names = ["sandbox", "inventory", "dependencies"];
            // What goes badly may be that nobody looked.
            let forgets = !well && dice.chance(40);
            let mut checks: Vec<Check> = if forgets { names.map(held).into() } else { checks(dice, &names) };
            if forgets {
                checks.remove(usize::try_from(dice.below(3)).expect("a few"));
            }
            Outcome::Preflight { checks, confinement: Vec::new() }
        }
        Phase::Plan => {
            let problem = (!well && dice.chance(60)).then(|| "it is not valid".to_owned());
            let named = if dice.chance(30) { "read_file docs" } else { "execute_command" };
            let mut actions = if well || problem.is_some() { vec![named.to_owned()] } else { Vec::new() };
            if !actions.is_empty() && dice.chance(60) {
                actions.push("ansible_run staging-*".to_owned());
            }
            Outcome::Plan { plan: Digest::of(b"plan"), actions, problem }
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
    if dice.chance(1) {
        let many = |at: usize| (format!("many{at:03}"), at.into());
        outputs.extend((0..limits::STAGE_OUTPUTS + 44).map(many));
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
