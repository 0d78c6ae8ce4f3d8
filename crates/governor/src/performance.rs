//! What is done for an agent outside its own cage: a command, in a second cage, under a permit. Its permit is spent before
//! anything of it exists, it is let go by a decision of its own, and it ends with its agent at the latest.

use eparch_domain::{
    Action, AgentId, BreakGlassId, Digest, InOrder, Moment, PermitId, Phase, RunId, Span, Tier, limits,
};
use eparch_pipeline::SandboxMode;
use eparch_policy::reasons;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action;
use crate::agent;
use crate::break_glass;
use crate::decision::Refusal;
use crate::effect::Effect;
use crate::fact::Fact;
use crate::governor::Turn;
use crate::lock;
use crate::opening::{self, Opening, Reach, Shut};
use crate::permit::PermitFault;
use crate::revocation;
use crate::spending;
use crate::state::Attempt;
use crate::until::Until;

/// By now something has to be covered that the cage shows.
const ELSE_IS_COVERED: &str = reasons::LESS_IS_WITHIN_REACH;

/// The only machine that commands are performed on so far.
pub(crate) const THIS_MACHINE: &str = "localhost";

/// A command to be performed under a permit, with everything resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Performance {
    /// For which agent.
    pub agent: AgentId,
    /// Under which of its permits, which is spent.
    pub permit: PermitId,
    /// The agent's run.
    pub run: RunId,
    /// What was allowed.
    pub action: Action,
    /// To what.
    pub target: String,
    /// The program and its arguments: those the permit is for.
    pub command: Vec<String>,
    /// The agent's tier.
    pub tier: Tier,
    /// The project's folder.
    pub root: String,
    /// What it may reach beyond what its agent's tier may.
    pub reach: Reach,
    /// What stays shut of that.
    #[serde(flatten)]
    pub shut: Shut,
    /// Whether missing confinement refuses.
    pub sandbox: SandboxMode,
    /// How long it may run.
    pub timeout: Span,
    /// When it must be over, by either time, however late it is let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

impl Performance {
    /// How long it may run when it is let go now: opening a cage takes its time, and what it may have ends all the same.
    pub fn time_left(&self, now: Moment) -> Span {
        self.until.map_or(self.timeout, |until| until.left(now).min(self.timeout))
    }
}

/// How a performance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum PerformanceEnd {
    /// By itself; 0 is success.
    Code {
        /// Its exit code.
        code: i32,
    },
    /// By a signal nobody here sent.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// It took longer than it may.
    TimedOut,
    /// Its agent ended, and it was ended with it.
    Stopped,
    /// Nothing of it ran.
    NeverRan {
        /// A stable code.
        code: String,
        /// Why.
        reason: String,
    },
    /// It was ended before it was over, since it was not let be done any more; how far it came nobody knows (G7).
    Cut {
        /// Why.
        because: String,
    },
    /// It was let go, and nobody was left to see what came of it (G7).
    Unknown,
}

impl PerformanceEnd {
    /// Whether it did what it should, as far as its exit code says.
    pub fn is_ok(&self) -> bool {
        matches!(self, PerformanceEnd::Code { code: 0 })
    }

    /// Whether something of it may have run.
    fn ran(&self) -> bool {
        !matches!(self, PerformanceEnd::NeverRan { .. })
    }

    /// The stable code of an end that was not its program's own.
    pub fn code(&self) -> Option<&str> {
        match self {
            PerformanceEnd::Code { .. } | PerformanceEnd::Signal { .. } => None,
            PerformanceEnd::TimedOut => Some("EP0637"),
            PerformanceEnd::Stopped | PerformanceEnd::Cut { .. } | PerformanceEnd::Unknown => Some("EP0638"),
            PerformanceEnd::NeverRan { code, .. } => Some(code),
        }
    }
}

impl std::fmt::Display for PerformanceEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PerformanceEnd::Code { code } => write!(f, "exited with {code}"),
            PerformanceEnd::Signal { signal } => write!(f, "ended by signal {signal}"),
            PerformanceEnd::TimedOut => f.write_str("it took too long and was ended"),
            PerformanceEnd::Stopped => f.write_str("ended with its agent"),
            PerformanceEnd::NeverRan { reason, .. } => write!(f, "it did not run: {reason}"),
            PerformanceEnd::Cut { because } => write!(f, "cut off: {because}; what it did is unknown"),
            PerformanceEnd::Unknown => f.write_str("cut off; what it did is unknown"),
        }
    }
}

/// The cage of a performance, for whoever has to prove it dead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceCage {
    /// Under which permit it was opened; with its agent's id it names the cage.
    pub permit: PermitId,
    /// How to find its tree, as recorded before it was let go. Without it nothing of it ran.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub tree: Option<Value>,
}

/// A performance that is not over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Performing {
    /// Its command was let go.
    pub(crate) released: bool,
    /// What its cage keeps shut, until it is let go.
    #[serde(flatten)]
    pub(crate) shut: Shut,
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub(crate) tree: Option<Value>,
    /// Why it is being ended, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ending: Option<String>,
}

/// The digest of the arguments of a command that is to be performed: of `{"command":["…","…"]}`, without spaces. Whoever asks
/// for leave with these arguments gets a permit for this command and no other.
pub fn command_params(command: &[String]) -> Digest {
    Digest::of(command_text(command).as_bytes())
}

/// The text that this is the digest of.
pub fn command_text(command: &[String]) -> String {
    let params = serde_json::json!({ "command": command });
    serde_json::to_string(&InOrder(&params)).expect("words are plain data")
}

/// An agent shows a permit and the command that it is for.
pub(crate) fn asked(turn: &mut Turn<'_>, agent: AgentId, permit: PermitId, command: &[String]) {
    if action::with_authority(turn, agent).is_none() {
        return;
    }
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.phase != Phase::Execute {
        let phase = attempt.phase;
        return turn.refuse(Refusal::NotExecuting { agent, phase });
    }
    if attempt.performing.len() >= limits::PERFORMANCES_AT_ONCE {
        return turn.refuse(Refusal::TooManyPerformances { limit: limits::PERFORMANCES_AT_ONCE });
    }
    if !spending::is_good(turn, agent, permit, Some(&command_params(command))) {
        return;
    }
    let (Some((run, ix, attempt)), Some(work)) = (turn.governor.attempt(agent), agent::work_of(turn, agent))
    else {
        return;
    };
    let (Some(live), Some(asked)) = (turn.governor.run(run), attempt.actions.permitted(permit)) else {
        return;
    };
    let ruled = &asked.ruled;
    if ruled.approvals > 0 && !ruled.seen {
        return turn.refuse(Refusal::NotSeen { permit });
    }
    let Opening { reach, shut } = match opening::of(turn, run, asked) {
        Ok(opening) => opening,
        Err(refusal) => {
            if let Refusal::Permit { fault, .. } = &refusal {
                let reason = fault.reason().to_owned();
                turn.record(Fact::PermitRefused { agent, permit, reason });
            }
            return turn.refuse(refusal);
        }
    };
    let ends = [attempt.execute_by, live.stage(ix).deadline];
    let left = ends.into_iter().flatten().map(|by| by.since(turn.now.ledger));
    // What is let pass for a while is not done for longer.
    let left = left.chain(break_glass::time_left(turn, ruled));
    let timeout = left.fold(limits::PERFORMANCE_TIMEOUT, Span::min);
    let until = Until::after(turn.now, timeout);
    let performance = Performance {
        agent,
        permit,
        run,
        action: ruled.action,
        target: ruled.target.clone(),
        command: command.to_vec(),
        tier: turn.governor.tier_at(live, ix),
        root: live.spawned.root.clone(),
        reach,
        shut: shut.clone(),
        sandbox: work.sandbox,
        timeout,
        until: Some(until),
    };
    turn.record(Fact::PermitSpent { agent, permit });
    turn.record(Fact::PerformanceBegan { agent, permit, until: until.ledger, shut });
    turn.ask(Effect::Perform(Box::new(performance)));
}

/// The cage of a performance is open and nothing has run in it: its command is let go, unless its agent has lost its
/// authority, or its program has ended, meanwhile, or it would not be let do this any more. Whoever is refused puts the cage away.
pub(crate) fn ready(turn: &mut Turn<'_>, agent: AgentId, permit: PermitId, tree: Option<&Value>) {
    lock::look(turn, agent);
    if action::authority_of(turn, agent).is_none() {
        return;
    }
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.phase != Phase::Execute {
        let phase = attempt.phase;
        return turn.refuse(Refusal::NotExecuting { agent, phase });
    }
    match attempt.performing.get(&permit) {
        Some(performing) if !performing.released => {
            let asked = attempt.actions.permitted(permit).map(|asked| asked.ruled.clone());
            if asked.is_some_and(|ruled| !break_glass::still_stands(turn, &ruled)) {
                let fault = PermitFault::Void { reason: reasons::BREAK_GLASS.to_owned() };
                return turn.refuse(Refusal::Permit { permit, fault });
            }
        }
        Some(_) => return turn.refuse(Refusal::Permit { permit, fault: PermitFault::Spent }),
        None => return turn.refuse(Refusal::Permit { permit, fault: PermitFault::Unknown }),
    }
    if let Some(fault) = no_longer(turn, run, agent, permit) {
        turn.record(Fact::PermitRefused { agent, permit, reason: fault.reason().to_owned() });
        return turn.refuse(Refusal::Permit { permit, fault });
    }
    turn.record(Fact::PerformanceReleased { agent, permit, tree: tree.cloned() });
}

/// Why a command that was to be let go is not: policy is asked a third time, since opening a cage takes its time, and what stays
/// covered of what it may reach is looked at again.
fn no_longer(turn: &Turn<'_>, run: RunId, agent: AgentId, permit: PermitId) -> Option<PermitFault> {
    let attempt = turn.governor.attempt(agent).map(|(_, _, attempt)| attempt);
    let asked = attempt.and_then(|attempt| attempt.actions.permitted(permit));
    let performing = attempt.and_then(|attempt| attempt.performing.get(&permit));
    let (Some(asked), Some(performing)) = (asked, performing) else { return Some(PermitFault::Unknown) };
    if let Some(fault) = spending::no_longer(turn, run, asked) {
        return Some(fault);
    }
    match opening::of(turn, run, asked) {
        Ok(Opening { shut, .. }) if performing.shut.holds(&shut) => None,
        Err(Refusal::Permit { fault, .. }) => Some(fault),
        Ok(_) | Err(_) => Some(PermitFault::Void { reason: ELSE_IS_COVERED.to_owned() }),
    }
}

/// A performance is over, and nothing of it lives. What comes of one that is over already is late and changes nothing; nor
/// does anything count that is said to have run without having been let go.
pub(crate) fn ended(
    turn: &mut Turn<'_>,
    agent: AgentId,
    permit: PermitId,
    end: &PerformanceEnd,
    breaches: u32,
) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(performing) = attempt.performing.get(&permit) else { return };
    if attempt.cut_off {
        return;
    }
    if end.ran() && !performing.released {
        let detail = format!("{permit} was not let go, and is said to have run");
        return turn.record(Fact::ReportMisplaced { agent, detail });
    }
    // How it ended by itself is known; how far it came that was ended is not.
    let by_itself = matches!(
        end,
        PerformanceEnd::Code { .. } | PerformanceEnd::Signal { .. } | PerformanceEnd::NeverRan { .. }
    );
    let end = match performing.ending.clone().filter(|_| !by_itself) {
        Some(because) => PerformanceEnd::Cut { because },
        None => end.clone(),
    };
    turn.record(Fact::PerformanceEnded { agent, permit, end });
    revocation::breached(turn, agent, breaches);
}

/// A grant is over: what runs under it is ended. What was not let go yet never will be, and an agent that ends takes everything
/// with it.
pub(crate) fn grant_over(turn: &mut Turn<'_>, grant: BreakGlassId) {
    let because = format!("{grant} is over");
    let agents: Vec<AgentId> = turn.governor.agents.keys().copied().collect();
    for agent in agents {
        let Some((_, _, attempt)) = turn.governor.attempt(agent) else { continue };
        if attempt.being_killed || attempt.cut_off {
            continue;
        }
        let runs = attempt.performing.iter().filter(|(_, performing)| performing.released);
        let under = runs.map(|(permit, _)| *permit).filter(|permit| {
            let ruled = attempt.actions.permitted(*permit).map(|asked| &asked.ruled);
            ruled.and_then(|ruled| ruled.break_glass.as_ref()).is_some_and(|under| under.grant == grant)
        });
        for permit in under.collect::<Vec<_>>() {
            turn.record(Fact::PerformanceEnding { agent, permit, because: because.clone() });
            turn.ask(Effect::EndPerformance { agent, permit, because: because.clone() });
        }
    }
}

/// Its agent ends, and everything of it is dead: nobody will report on what is not over. What was let go may have done
/// anything; what was not did nothing.
pub(crate) fn abandon(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let left: Vec<_> =
        attempt.performing.iter().map(|(permit, performing)| (*permit, performing.released)).collect();
    for (permit, released) in left {
        let end = match released {
            true => PerformanceEnd::Unknown,
            false => PerformanceEnd::NeverRan {
                code: "EP0638".to_owned(),
                reason: "its agent ended before it was let go".to_owned(),
            },
        };
        turn.record(Fact::PerformanceEnded { agent, permit, end });
    }
}

/// The cages that are to be proven dead with an agent.
pub(crate) fn cages(attempt: &Attempt) -> Vec<PerformanceCage> {
    let cage = |(permit, performing): (&PermitId, &Performing)| PerformanceCage {
        permit: *permit,
        tree: performing.tree.clone(),
    };
    attempt.performing.iter().map(cage).collect()
}

#[cfg(test)]
mod tests {
    use eparch_domain::{LedgerTime, Moment, Span, Timestamp};

    use super::*;

    #[test]
    fn f17_what_opens_late_has_what_its_permit_has_left_by_either_clock() {
        let now = |ledger, wall| Moment {
            ledger: LedgerTime::from_millis(ledger),
            wall: Timestamp::from_millis(wall),
        };
        let until = Until::after(now(1_000, 50_000), Span::from_secs(30));
        let asked = |until| Performance {
            agent: AgentId::from_bits(1),
            permit: PermitId::from_bits(1),
            run: RunId::from_bits(1),
            action: Action::ExecuteCommand,
            target: "localhost".to_owned(),
            command: vec!["make".to_owned()],
            tier: Tier::T1,
            root: "/project".to_owned(),
            reach: Reach::Project,
            shut: Shut::default(),
            sandbox: SandboxMode::Required,
            timeout: Span::from_secs(20),
            until,
        };
        let left = |until, at| asked(until).time_left(at).millis();
        assert_eq!(left(None, now(90_000, 90_000)), 20_000);
        assert_eq!(left(Some(until), now(1_000, 50_000)), 20_000);
        assert_eq!(left(Some(until), now(29_000, 50_000)), 2_000);
        assert_eq!(left(Some(until), now(1_000, 79_500)), 500);
        assert_eq!(left(Some(until), now(31_000, 50_000)), 0);
    }

    #[test]
    fn an_end_that_was_not_the_programs_own_has_a_code() {
        let never = PerformanceEnd::NeverRan { code: "EP0635".to_owned(), reason: "no sandbox".to_owned() };
        let cut = PerformanceEnd::Cut { because: "enough".to_owned() };
        let ends = [
            (PerformanceEnd::Code { code: 0 }, None),
            (PerformanceEnd::Signal { signal: 9 }, None),
            (PerformanceEnd::TimedOut, Some("EP0637")),
            (PerformanceEnd::Stopped, Some("EP0638")),
            (cut, Some("EP0638")),
            (PerformanceEnd::Unknown, Some("EP0638")),
            (never, Some("EP0635")),
        ];
        for (end, code) in ends {
            assert_eq!((end.code(), end.is_ok()), (code, end == PerformanceEnd::Code { code: 0 }), "{end:?}");
        }
    }
}
