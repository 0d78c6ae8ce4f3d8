//! What holds after every decision, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, Moment, Phase, RunId, RunStatus, Severity, StageStatus, Tier, limits};
use eparch_governor::{AttemptEnd, Decision, Event, Fact, GateOpened, GatePurpose, Governor};
use serde_json::Value;

use crate::ends;
use crate::glass;
use crate::leases;
use crate::locks;
use crate::owed::Owed;
use crate::permits;
use crate::seen::{Seen, SeenAgent};

/// Checks one decision against everything seen before it, fact by fact, and takes it in.
///
/// # Errors
///
/// The first thing that does not hold, in words.
pub(crate) fn check(
    seen: &mut Seen,
    event: &Event,
    decision: &Decision,
    governor: &Governor,
    now: Moment,
) -> Result<(), String> {
    seen.now = now;
    let mut owed = Owed::of(seen, event);
    alerts(decision)?;
    let mut ended: BTreeSet<RunId> = BTreeSet::new();
    for fact in &decision.facts {
        before(seen, fact)?;
        permits::before(seen, fact, now)?;
        leases::before(seen, fact, now)?;
        locks::before(seen, fact, now)?;
        glass::before(seen, fact, now)?;
        ends::before(seen, fact, now)?;
        if let Some(run) = run_of(seen, fact)
            && (ended.contains(&run) || seen.runs.get(&run).is_some_and(|status| status.is_terminal()))
        {
            return Err(format!("after {run} had ended came {fact:?}"));
        }
        owed.follows(seen, fact);
        seen.take(fact);
        if let Fact::RunChanged { run, status, .. } = fact
            && status.is_terminal()
        {
            ended.insert(*run);
        }
    }
    owed.settled(seen, &decision.effects)?;
    locks::standing(seen)?;
    glass::standing(seen)?;
    // After a long sleep more is due than one turn takes.
    if governor.next_deadline().is_none_or(|deadline| deadline.at > now.ledger) {
        leases::standing(seen, decision, now)?;
        ends::standing(seen, now)?;
    }
    standing(seen, governor, now)
}

/// Every violation that is HIGH or worse is followed by its one alert, and nothing else raises any (R079).
fn alerts(decision: &Decision) -> Result<(), String> {
    let bad = decision.facts.iter().filter_map(|fact| match fact {
        Fact::ViolationFound { agent, violation, .. } if violation.severity() >= Severity::High => {
            Some((*agent, *violation))
        }
        _ => None,
    });
    let told = decision.facts.iter().filter_map(|fact| match fact {
        Fact::AlertRaised { agent, violation, .. } => Some((*agent, *violation)),
        _ => None,
    });
    if bad.eq(told) { Ok(()) } else { Err("not every bad violation raised one alert".to_owned()) }
}

/// The run a fact is about.
fn run_of(seen: &Seen, fact: &Fact) -> Option<RunId> {
    match fact {
        Fact::RunEnding { run, .. }
        | Fact::RunChanged { run, .. }
        | Fact::StageChanged { run, .. }
        | Fact::StageKept { run, .. }
        | Fact::ConditionDecided { run, .. }
        | Fact::AttemptBegan { run, .. }
        | Fact::StageExpired { run, .. }
        | Fact::RetryScheduled { run, .. }
        | Fact::LockWaiting { run, .. }
        | Fact::LockWaitOver { run, .. }
        | Fact::LockAcquired { run, .. }
        | Fact::BackoffOver { run, .. } => Some(*run),
        Fact::GateOpened(opened) => Some(opened.run),
        Fact::GateClosed { gate, .. } | Fact::VoteCast { gate, .. } => {
            seen.gates.get(gate).map(|gate| gate.opened.run)
        }
        Fact::PhaseEntered { agent, .. }
        | Fact::AttemptEnded { agent, .. }
        | Fact::ProgramReleased { agent, .. }
        | Fact::PermitSpent { agent, .. }
        | Fact::PerformanceBegan { agent, .. }
        | Fact::PerformanceReleased { agent, .. }
        | Fact::PerformanceEnded { agent, .. }
        | Fact::PermitRefused { agent, .. }
        | Fact::ActionEnded { agent, .. } => seen.agents.get(agent).map(|agent| agent.run),
        Fact::ActionDecided(ruled) => seen.agents.get(&ruled.agent).map(|agent| agent.run),
        _ => None,
    }
}

/// What a fact may follow on.
fn before(seen: &Seen, fact: &Fact) -> Result<(), String> {
    let no = |why: &str| Err(format!("{why}: {fact:?}"));
    match fact {
        Fact::EpochBegan { epoch, .. } if *epoch <= seen.epoch => no("an epoch began twice"),
        // Nothing has authority once everything was stopped, whoever asks and however late it is heard (G2).
        Fact::RunSpawned(_)
        | Fact::AttemptBegan { .. }
        | Fact::ProgramReleased { .. }
        | Fact::PermitSpent { .. }
        | Fact::PerformanceBegan { .. }
        | Fact::PerformanceReleased { .. }
        | Fact::SecretGranted { .. }
        | Fact::PromotionRequested(_)
        | Fact::PromotionApproved { .. }
        | Fact::BreakGlassAsked(_)
        | Fact::BreakGlassOpened { .. }
            if seen.stopped =>
        {
            no("something was let begin although everything is stopped")
        }
        Fact::ActionDecided(ruled) if seen.stopped && ruled.permit.is_some() => {
            no("something was allowed although everything is stopped")
        }
        Fact::RunSpawned(spawned) if seen.runs.contains_key(&spawned.run) => no("a run spawned twice"),
        // Nobody vouches for a run that no person asked for (X35), and there is one for each run at most, none for its own kind.
        Fact::RunSpawned(spawned) => spawned.parent.as_ref().map_or(Ok(()), |parent| {
            let looks = |run: &RunId| seen.looked_at.values().any(|looking| looking == run);
            let runs = |run: &RunId| seen.runs.get(run) == Some(&RunStatus::Running);
            if spawned.grant > Tier::T0 {
                no("a run was begun by nobody above T0")
            } else if !runs(&parent.run) {
                no("a run looks at one that does not run")
            } else if seen.looked_at.contains_key(&parent.run) {
                no("a run is looked at twice")
            } else if looks(&parent.run) {
                no("a run looks at one that looks")
            } else if seen.looked_at.values().filter(|run| runs(run)).count() >= 8 {
                no("more than eight runs look at others")
            } else {
                Ok(())
            }
        }),
        Fact::RunChanged { run, status, .. } => {
            let open =
                seen.stages.iter().filter(|((of, _), status)| of == run && !status.is_terminal()).count();
            match (seen.runs.get(run), status) {
                (Some(RunStatus::Spawned), RunStatus::Running) => Ok(()),
                (Some(RunStatus::Running), status) if status.is_terminal() && open == 0 => Ok(()),
                (Some(RunStatus::Running), status) if status.is_terminal() => {
                    no("a run ended before its stages")
                }
                _ => no("a run changed as it cannot"),
            }
        }
        Fact::StageChanged { run, stage, status, .. } => {
            let from = seen.stage(*run, *stage);
            // A failure that was forgiven is taken over from the run that is repeated.
            let over = (from, *status) == (StageStatus::Pending, StageStatus::TimedOut)
                && seen.repeating.contains(run);
            if over || may_become(from, *status) {
                Ok(())
            } else {
                no(&format!("a stage changed from {from}"))
            }
        }
        Fact::StageKept { run, stage, .. } if seen.stage(*run, *stage) != StageStatus::Pending => {
            no("a stage was kept late")
        }
        Fact::AttemptBegan { run, stage, agent, attempt, .. } => {
            if seen.agents.contains_key(agent) {
                return no("an agent began twice");
            }
            let earlier = seen.agents.values().filter(|other| other.run == *run && other.stage == *stage);
            if earlier.clone().any(|other| other.alive) {
                return no("a second attempt lives beside the first");
            }
            if usize::try_from(*attempt).ok() != Some(earlier.count() + 1) {
                return no("an attempt has the wrong number");
            }
            if seen.alive().count() >= usize::try_from(seen.agents_at_once).unwrap_or(usize::MAX) {
                return no("more agents work at once than may");
            }
            Ok(())
        }
        Fact::PhaseEntered { agent, phase } => {
            let Some(of) = seen.agents.get(agent).filter(|of| of.alive) else {
                return no("an agent that does not live moved");
            };
            let fits = of.phase.map_or(*phase == Phase::Bootstrap, |from| from.may_become(*phase));
            if fits { Ok(()) } else { no(&format!("an agent moved from {:?}", of.phase)) }
        }
        // Whatever it asked for, it came too late (G2).
        Fact::PlanSettled { agent, .. }
        | Fact::ProgramReleased { agent, .. }
        | Fact::OutputSeen { agent, .. }
        | Fact::ProgressSeen { agent }
        | Fact::HeartbeatSeen { agent }
        | Fact::HeartbeatsMissed { agent, .. }
        | Fact::ErrorCounted { agent, .. }
        | Fact::Packaged { agent, .. }
        | Fact::Reported { agent, .. }
            if seen.agents.get(agent).is_some_and(|of| of.revoked) =>
        {
            no("an agent without authority did something that counts")
        }
        Fact::ProgramReleased { agent, .. } => match seen.agents.get(agent) {
            Some(of) if of.alive && !of.released && of.phase == Some(Phase::Execute) => Ok(()),
            _ => no("a program was let go out of turn"),
        },
        Fact::OutputSeen { agent, .. }
            if !seen.agents.get(agent).is_some_and(|of| of.alive && of.released) =>
        {
            no("a program that never ran put something out")
        }
        Fact::OutputSeen { agent, outputs, .. } if puts_out_too_much(seen, *agent, outputs) => {
            no("a stage has more outputs than it may")
        }
        Fact::PlanClarified { agent, .. }
            if seen.agents.get(agent).is_none_or(|of| !of.alive || of.clarified) =>
        {
            no("a plan was clarified twice")
        }
        Fact::AgentEnding { agent, .. } | Fact::AttemptSpoiled { agent, .. }
            if seen.agents.get(agent).is_none_or(|of| !of.alive || of.cut_off) =>
        {
            no("how an agent will have ended was decided when nobody knew whether it lives")
        }
        Fact::AttemptEnded { agent, end } => match seen.agents.get(agent) {
            Some(of) if of.alive && ends_so(of, end) => Ok(()),
            Some(of) if of.alive => no(&format!("an attempt ended otherwise than was known of it, {of:?}")),
            _ => no("an attempt ended twice"),
        },
        Fact::GateOpened(opened) if seen.gates.contains_key(&opened.gate) => no("a gate opened twice"),
        Fact::VoteCast { gate, by, .. } => match seen.gates.get(gate) {
            Some(open) if open.opened.purpose != GatePurpose::Interrupted && *by == open.opened.requester => {
                no("somebody approved their own request")
            }
            Some(open) if !open.closed && !open.votes.contains(by) => Ok(()),
            _ => no("a vote was cast twice or at a closed gate"),
        },
        Fact::GateClosed { gate, .. } if seen.gates.get(gate).is_none_or(|open| open.closed) => {
            no("a gate closed twice")
        }
        _ => Ok(()),
    }
}

fn puts_out_too_much(seen: &Seen, agent: AgentId, more: &BTreeMap<String, Value>) -> bool {
    let before = seen.agents.get(&agent).map(|of| &of.outputs);
    let all: BTreeSet<&String> = before.into_iter().flatten().chain(more.keys()).collect();
    all.len() > limits::STAGE_OUTPUTS
}

/// Whether an attempt may be recorded to have ended so: as it was decided while its holder lived, and otherwise, when it
/// was cut off, as what it is: unknown, but for whether its program was let go (G7).
fn ends_so(of: &SeenAgent, end: &AttemptEnd) -> bool {
    match &of.decided {
        Some(decided) => decided == end,
        None if of.cut_off => *end == AttemptEnd::Interrupted { ran: of.released },
        None => !matches!(end, AttemptEnd::Interrupted { .. }),
    }
}

/// Which status a stage may have after another.
fn may_become(from: StageStatus, to: StageStatus) -> bool {
    use StageStatus::{
        AwaitingApproval, Cancelled, Completed, Failed, Pending, Ready, Running, Skipped, TimedOut,
    };
    match from {
        Pending => !matches!(to, Pending | TimedOut | Completed),
        Ready => matches!(to, Running | Failed | TimedOut | Cancelled),
        Running => matches!(to, Ready | AwaitingApproval | Completed | Failed | TimedOut | Cancelled),
        AwaitingApproval => matches!(to, Ready | Completed | Failed | TimedOut | Cancelled | Skipped),
        Completed | Failed | Skipped | TimedOut | Cancelled => false,
    }
}

/// What holds of the governor as it stands now.
fn standing(seen: &Seen, governor: &Governor, now: Moment) -> Result<(), String> {
    if let Some(deadline) = governor.next_deadline()
        && deadline.at < now.ledger
    {
        return Err(format!("the governor wants to be woken in the past, for {}", deadline.why));
    }
    let live: BTreeSet<_> = governor.live_run_ids().collect();
    let running: BTreeSet<_> =
        seen.runs.iter().filter(|(_, status)| !status.is_terminal()).map(|(run, _)| *run).collect();
    if live != running {
        return Err("the runs that live are not those the facts say live".to_owned());
    }
    let agents: BTreeSet<_> = governor.live_agents().collect();
    let alive: BTreeSet<_> = seen.alive().map(|(agent, of)| (agent, of.run)).collect();
    if agents != alive {
        return Err("the agents that live are not those the facts say live".to_owned());
    }
    if let Some((agent, run)) = agents.iter().find(|(_, run)| !live.contains(run)) {
        return Err(format!("{agent} outlives {run}"));
    }
    if let Some((agent, _)) = agents.iter().find(|(agent, _)| governor.agent_deadline(*agent).is_none()) {
        return Err(format!("nothing will ever be decided about {agent}"));
    }
    let asker = |opened: &GateOpened| opened.sought.as_ref().map(|sought| sought.agent);
    let may_come_back = |agent: AgentId| {
        let of = seen.agents.get(&agent).filter(|of| of.has_authority());
        of.is_some_and(|of| of.phase.is_some_and(|phase| phase <= Phase::Execute))
    };
    let for_nobody = |opened: &&GateOpened| asker(opened).is_some_and(|agent| !may_come_back(agent));
    if let Some(opened) = seen.open_gates().find(for_nobody) {
        return Err(format!("people are asked at {} for an agent that cannot come back", opened.gate));
    }
    let waiting = seen.open_gates().find(|opened| governor.gate(opened.gate) != Some(*opened));
    if let Some(opened) = waiting {
        return Err(format!("{} is open in the facts and not in the governor, or not the same", opened.gate));
    }
    Ok(())
}
