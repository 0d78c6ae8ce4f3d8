//! Break-glass: two people let pass, for a while, what policy denies an agent. One asks, another approves; it is for what they
//! name and nothing else, ends by itself, and is told to everybody. It opens nothing that a policy holds inviolable: policy is
//! asked first, as always, and only where it denies what may be broken is its answer another one.

mod grant;

use std::collections::BTreeMap;

use eparch_domain::{Action, AgentId, BreakGlassId, Digest, LedgerTime, Moment, Name, RunId, Span, limits};
use eparch_pipeline::StageIx;
use eparch_policy::{Decision as Says, PolicySet, Verdict, one_form, reasons};

use crate::alarm::{self, Alarm};
use crate::decision::Refusal;
use crate::ending::cut;
use crate::event::GateDecision;
use crate::fact::{Fact, Ruled};
use crate::gate::least_separation;
use crate::governor::{Governor, Turn};
use crate::operator::Separation;
use crate::operators;
use crate::people::{self, Wish};
use crate::performance;
use crate::person::{Apart, Asker};
use crate::proof;
use crate::state::Run;
use crate::stop_all;
use crate::target;
use crate::until::{self, is_over};

pub(crate) use grant::Glasses;
pub use grant::{
    Allowed, BreakGlass, BreakGlassAnswer, BreakGlassAsked, BreakGlassRequest, GlassEnd, GlassScope,
    GlassStands, UnderGlass,
};

/// What people may let pass: work on hosts, on files, with tools and with models. What governs, what is people's, what makes or
/// ends agents, and secrets, which the vault keeps by tier, are none of it.
const MAY_BE_NAMED: [Action; 12] = [
    Action::LlmChat,
    Action::CallTool,
    Action::ReadFile,
    Action::ListDirectory,
    Action::SearchCode,
    Action::WriteFile,
    Action::ExecuteCommand,
    Action::AnsibleCheck,
    Action::AnsibleRun,
    Action::TerraformPlan,
    Action::TerraformApply,
    Action::DockerRun,
];

/// Whether people may ever let an action pass: whatever policies say of it.
pub fn may_be_let_pass(action: Action) -> bool {
    MAY_BE_NAMED.contains(&action)
}

impl Governor {
    /// Every break-glass grant that is remembered: those that wait or are open, then the last that are over, newest first.
    pub fn break_glasses(&self) -> impl Iterator<Item = &BreakGlass> {
        let glasses = &self.state.emergencies.glasses;
        glasses.live.values().chain(glasses.over.iter().rev())
    }
}

/// Somebody asks that something be let pass.
pub(crate) fn requested(turn: &mut Turn<'_>, request: &BreakGlassRequest) {
    match examine_request(turn, request) {
        Err(Some(refusal)) => turn.refuse(refusal),
        Err(None) => {}
        Ok(asked) => turn.record(Fact::BreakGlassAsked(Box::new(asked))),
    }
}

fn examine_request(
    turn: &mut Turn<'_>,
    request: &BreakGlassRequest,
) -> Result<BreakGlassAsked, Option<Refusal>> {
    let by = request.by.clone();
    operators::require(turn, &by, "ask for break-glass", |known| known.role.may_run()).ok_or(None)?;
    if let Some(stopped) = stop_all::refusal(turn.governor) {
        return Err(Some(stopped));
    }
    let glasses = &turn.governor.state.emergencies.glasses;
    if glasses.live.len() >= limits::BREAK_GLASS_AT_ONCE {
        return Err(Some(Refusal::TooManyBreakGlasses { limit: limits::BREAK_GLASS_AT_ONCE }));
    }
    check_reason(&request.reason).map_err(Some)?;
    let allows = named(&request.allows).map_err(Some)?;
    if request.time == Span::ZERO || request.time > limits::BREAK_GLASS_TIME {
        let why = format!("it lasts more than nothing and {} at most", limits::BREAK_GLASS_TIME);
        return Err(Some(Refusal::BadBreakGlass { why }));
    }
    let separation = separation_for(turn.governor, &request.scope).map_err(Some)?;
    let (scope, time, reason, at) = (request.scope.clone(), request.time, request.reason.clone(), turn.now);
    let number = glasses.count.to_be_bytes();
    let grant = BreakGlassId::derived(&Digest::of_parts(&[b"break-glass", &number]));
    let until = until::end(at, limits::BREAK_GLASS_WAIT);
    let written = serde_json::to_vec(&(grant, &by, &scope, &allows, time, &reason, at, separation));
    let subject = Digest::of_parts(&[b"break-glass", &written.expect("a request is plain data")]);
    Ok(BreakGlassAsked { grant, by, scope, allows, time, reason, at, until, separation, subject })
}

/// What is named, in the form that policies know it and each once; or why it cannot be.
fn named(wanted: &[Allowed]) -> Result<Vec<Allowed>, Refusal> {
    let bad = |why: String| Refusal::BadBreakGlass { why };
    if wanted.is_empty() || wanted.len() > limits::BREAK_GLASS_ALLOWS {
        return Err(bad(format!("it names one to {} actions", limits::BREAK_GLASS_ALLOWS)));
    }
    let mut allows = Vec::with_capacity(wanted.len());
    for Allowed { action, target } in wanted {
        if !may_be_let_pass(*action) {
            return Err(bad(format!("{action} is never let pass")));
        }
        let target = one_form(*action, target).map_err(|why| bad(format!("{action} {target}: {why}")))?;
        if target.contains('*') {
            return Err(bad(format!("{action} {target}: each target is named")));
        }
        let allowed = Allowed { action: *action, target };
        if !allows.contains(&allowed) {
            allows.push(allowed);
        }
    }
    Ok(allows)
}

fn check_reason(text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() || text.len() > limits::RATIONALE_BYTES {
        return Err(Refusal::BadRationale { limit: limits::RATIONALE_BYTES });
    }
    Ok(())
}

/// How far apart an approval must be, as at the gates of the run it is for. Of a run that is not there yet that is looked at
/// when it begins.
fn separation_for(governor: &Governor, scope: &GlassScope) -> Result<Separation, Refusal> {
    let run = match scope {
        GlassScope::NextRun { of } => {
            return match governor.state.operators.contains_key(of) {
                true => Ok(Separation::SameHome),
                false => Err(Refusal::UnknownOperator { name: of.clone() }),
            };
        }
        GlassScope::Agent { agent } => {
            governor.attempt(*agent).ok_or(Refusal::UnknownAgent { agent: *agent })?.0
        }
        GlassScope::Run { run } | GlassScope::Stage { run, .. } => *run,
    };
    let live = governor.run(run).filter(|live| live.ending.is_none()).ok_or(Refusal::UnknownRun { run })?;
    if let GlassScope::Stage { stage, .. } = scope
        && live.graph().pipeline.find(stage.as_str()).is_none()
    {
        return Err(Refusal::UnknownStage { stage: stage.clone() });
    }
    Ok(least_separation(live))
}

/// Somebody answers.
pub(crate) fn answered(turn: &mut Turn<'_>, answer: &BreakGlassAnswer) {
    let (asked, separation) = match examine(turn, answer) {
        Err(refusal) => return turn.refuse(refusal),
        Ok(found) => found,
    };
    let (grant, by) = (answer.grant, answer.by.clone());
    if answer.decision == GateDecision::Deny {
        return over(turn, grant, GlassEnd::Denied { by, rationale: answer.rationale.clone() });
    }
    turn.record(Fact::BreakGlassOpened {
        grant,
        by,
        rationale: answer.rationale.clone(),
        separation,
        public_key: answer.signed.as_ref().map(|signed| signed.public_key.clone()),
        expires: until::end(turn.now, asked.time),
    });
    alarm::raise(turn, Alarm::BreakGlassOpened { grant });
}

/// Whether the answer counts, to what, and how far apart whoever gave it is.
fn examine(turn: &Turn<'_>, answer: &BreakGlassAnswer) -> Result<(BreakGlassAsked, Separation), Refusal> {
    let (grant, state) = (answer.grant, &turn.governor.state);
    let waits = waiting(turn.governor, grant, turn.now)?;
    let (asked, approves) = (&waits.asked, answer.decision == GateDecision::Approve);
    let operator = state.operators.get(&answer.by);
    let operator = operator.ok_or_else(|| Refusal::UnknownOperator { name: answer.by.clone() })?;
    let name = operator.name.clone();
    // Whoever asked may take it back, and nothing else.
    let (own, askers) = (name == asked.by, askers(turn.governor, waits));
    if approves && askers.iter().any(|asker| *asker.name == name) {
        return Err(Refusal::OwnBreakGlass { name });
    }
    if !own && !operator.role.may_vouch() {
        let role = operator.role.as_str().to_owned();
        return Err(Refusal::RoleForbids { name, role, what: "answer for break-glass".to_owned() });
    }
    if approves && let Some(stopped) = stop_all::refusal(turn.governor) {
        return Err(stopped);
    }
    if answer.subject != asked.subject {
        return Err(Refusal::BreakGlassDiffers { expected: asked.subject, found: answer.subject });
    }
    check_reason(&answer.rationale)?;
    // To take back is to give nobody anything: any key of theirs proves enough.
    let separation = if own { Separation::SameHome } else { asked.separation };
    let votes = BTreeMap::new();
    // Wherever keys lie: what is let pass here is what nobody may. Whoever asked for the run may say no to it.
    let (askers, apart) = match (own, approves, separation) {
        (true, ..) => (&[][..], Apart::Named),
        (false, true, _) => (&askers[..], Apart::Ever),
        (false, false, Separation::RemoteKey) => (&askers[..1], Apart::Since),
        (false, false, Separation::SameHome) => (&[][..], Apart::Named),
    };
    let proves = proof::Asked { askers, apart, separation, votes: &votes };
    let separation = proof::examine(state, operator, answer.signed.as_ref(), &proves)?;
    if approves {
        people::refusal(turn.governor, operator, &Wish::let_pass(grant, &asked.by)).map_or(Ok(()), Err)?;
    }
    Ok((asked.clone(), separation))
}

/// Whose wish it is: whoever asks for it, and whoever asked for the run, or will, since they approve nothing of what its agents
/// do.
fn askers<'g>(governor: &'g Governor, waits: &'g BreakGlass) -> Vec<Asker<'g>> {
    let BreakGlass { asked, keys_before, .. } = waits;
    let of_run = |run: RunId| {
        let live = governor.run(run)?;
        Some(Asker { name: &live.spawned.requester, keys_before: live.keys_before })
    };
    let of = match &asked.scope {
        GlassScope::NextRun { of } => Some(Asker { name: of, keys_before: *keys_before }),
        GlassScope::Run { run } | GlassScope::Stage { run, .. } => of_run(*run),
        GlassScope::Agent { agent } => governor.attempt(*agent).and_then(|(run, ..)| of_run(run)),
    };
    [Asker { name: &asked.by, keys_before: *keys_before }].into_iter().chain(of).collect()
}

fn live(governor: &Governor, grant: BreakGlassId) -> Result<&BreakGlass, Refusal> {
    let glasses = &governor.state.emergencies.glasses;
    match glasses.live.get(&grant) {
        Some(found) => Ok(found),
        None if glasses.over.iter().any(|over| over.asked.grant == grant) => {
            Err(Refusal::BreakGlassOver { grant })
        }
        None => Err(Refusal::UnknownBreakGlass { grant }),
    }
}

fn waiting(governor: &Governor, grant: BreakGlassId, now: Moment) -> Result<&BreakGlass, Refusal> {
    let found = live(governor, grant)?;
    match found.stands {
        GlassStands::Waiting if !is_over(found.asked.until, now) => Ok(found),
        _ => Err(Refusal::BreakGlassOver { grant }),
    }
}

/// Somebody ends it before its time. That gives nobody anything, so everybody may whose word counts here.
pub(crate) fn end_requested(turn: &mut Turn<'_>, grant: BreakGlassId, by: &Name, reason: &str) {
    if operators::require(turn, by, "end break-glass", |known| known.role.may_answer()).is_none() {
        return;
    }
    if let Err(refusal) = live(turn.governor, grant) {
        return turn.refuse(refusal);
    }
    let reason = cut(reason, limits::RATIONALE_BYTES).to_owned();
    over(turn, grant, GlassEnd::Ended { by: by.clone(), reason });
}

/// Its time has come.
pub(crate) fn timed_out(turn: &mut Turn<'_>, grant: BreakGlassId) {
    let Ok(found) = live(turn.governor, grant) else { return };
    let because = match found.stands {
        GlassStands::Waiting => GlassEnd::NotAnswered,
        _ => GlassEnd::Expired,
    };
    over(turn, grant, because);
}

/// Ends what is over by now: its time has come by either clock, or whom it is for has ended.
pub(crate) fn look(turn: &mut Turn<'_>) {
    let now = turn.now;
    let timed: Vec<BreakGlassId> =
        of_live(turn.governor, |found| found.ends().is_some_and(|ends| is_over(ends, now)));
    for grant in timed {
        timed_out(turn, grant);
    }
    let goes_on = |run: RunId| turn.governor.run(run).is_some_and(|live| live.ending.is_none());
    let works = |agent: AgentId| {
        let attempt = turn.governor.attempt(agent);
        attempt.is_some_and(|(run, _, attempt)| attempt.end.is_none() && goes_on(run))
    };
    let idle = of_live(turn.governor, |found| {
        let gone = matches!(&found.asked.scope, GlassScope::Agent { agent } if !works(*agent));
        gone || found.run().is_some_and(|run| !goes_on(run))
    });
    end(turn, idle, &GlassEnd::ItsRunEnded);
}

/// Somebody is known here no longer: what they asked for or approved is over.
pub(crate) fn person_left(turn: &mut Turn<'_>, name: &Name) {
    let theirs = of_live(turn.governor, |found| {
        let approved = matches!(&found.stands, GlassStands::Open { by, .. } if by == name);
        // Whoever has their name later is somebody else.
        let next = matches!(&found.asked.scope, GlassScope::NextRun { of } if of == name);
        found.asked.by == *name || approved || next
    });
    end(turn, theirs, &GlassEnd::PersonLeft { name: name.clone() });
}

/// Authority was taken away in a run: nothing is let pass for it any more.
pub(crate) fn revoked(turn: &mut Turn<'_>, run: RunId) {
    let of_run = of_live(turn.governor, |found| {
        let agents = match &found.asked.scope {
            GlassScope::Agent { agent } => turn.governor.attempt(*agent).is_some_and(|(of, ..)| of == run),
            _ => false,
        };
        agents || found.run() == Some(run)
    });
    end(turn, of_run, &GlassEnd::Revoked);
}

/// Everything was stopped.
pub(crate) fn end_all(turn: &mut Turn<'_>) {
    let all = of_live(turn.governor, |_| true);
    end(turn, all, &GlassEnd::AllStopped);
}

fn of_live(governor: &Governor, which: impl Fn(&BreakGlass) -> bool) -> Vec<BreakGlassId> {
    let live = governor.state.emergencies.glasses.live.iter();
    live.filter(|(_, found)| which(found)).map(|(grant, _)| *grant).collect()
}

fn end(turn: &mut Turn<'_>, which: Vec<BreakGlassId>, because: &GlassEnd) {
    for grant in which {
        over(turn, grant, because.clone());
    }
}

/// It is over, and so is what is being done under it.
fn over(turn: &mut Turn<'_>, grant: BreakGlassId, because: GlassEnd) {
    turn.record(Fact::BreakGlassOver { grant, because });
    performance::grant_over(turn, grant);
}

/// A run begins: it is the next one of whoever asked for it, and what was granted for that is for it. Where its gates take only
/// keys that this home never held, so does this.
pub(crate) fn bind(turn: &mut Turn<'_>, run: RunId) {
    // What begins by itself is nobody's next run.
    let asked_for = |live: &&Run| live.spawned.parent.is_none();
    let Some(begun) = turn.governor.run(run).filter(asked_for) else { return };
    let (requester, needed) = (begun.spawned.requester.clone(), least_separation(begun));
    let theirs = of_live(turn.governor, |found| {
        let unbound =
            matches!(&found.stands, GlassStands::Open { run: None, separation, .. } if *separation >= needed);
        unbound && matches!(&found.asked.scope, GlassScope::NextRun { of } if *of == requester)
    });
    for grant in theirs {
        turn.record(Fact::BreakGlassBound { grant, run });
    }
}

/// What is asked, and of whom.
#[derive(Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) run: RunId,
    pub(crate) stage: StageIx,
    pub(crate) agent: AgentId,
    pub(crate) action: Action,
    pub(crate) target: &'a str,
}

/// The grant that is for exactly this, now.
pub(crate) fn covering<'g>(
    governor: &'g Governor,
    sought: Sought<'_>,
    now: Moment,
) -> Option<&'g BreakGlass> {
    let live = governor.run(sought.run)?;
    let root = live.spawned.root.as_str();
    let for_it = |found: &&BreakGlass| {
        let GlassStands::Open { expires, .. } = &found.stands else { return false };
        let whom = match &found.asked.scope {
            GlassScope::Run { run } => *run == sought.run,
            GlassScope::Stage { run, stage } => {
                *run == sought.run && live.graph().pipeline.stage(sought.stage).name == *stage
            }
            GlassScope::Agent { agent } => *agent == sought.agent,
            GlassScope::NextRun { .. } => found.run() == Some(sought.run),
        };
        let named = |allowed: &Allowed| {
            allowed.action == sought.action
                && target::one_name(allowed.action, &allowed.target, root) == sought.target
        };
        whom && !is_over(*expires, now) && found.asked.allows.iter().any(named)
    };
    governor.state.emergencies.glasses.live.values().find(for_it)
}

/// What policy said, or that it is let pass: where it denies what may be broken, and two people named exactly this. The policies
/// that deny it are told all the same.
pub(crate) fn let_pass(
    governor: &Governor,
    policies: &PolicySet,
    said: Verdict,
    sought: Sought<'_>,
    now: Moment,
) -> Verdict {
    if !policies.is_breakable(&said) || covering(governor, sought, now).is_none() {
        return said;
    }
    Verdict {
        decision: Says::Allow,
        reason: reasons::BREAK_GLASS.into(),
        retryable: false,
        unlock: None,
        changes: Vec::new(),
        ..said
    }
}

/// Whether an answer lets pass what policy denies.
pub(crate) fn is(verdict: &Verdict) -> bool {
    &*verdict.reason == reasons::BREAK_GLASS
}

/// Under which grant an answer was given, and until when that lasts.
pub(crate) fn under(turn: &Turn<'_>, ruled: &Ruled) -> Option<(UnderGlass, Moment)> {
    if !is(&ruled.verdict) {
        return None;
    }
    let (run, stage, _) = turn.governor.attempt(ruled.agent)?;
    let (agent, action, target) = (ruled.agent, ruled.action, &*ruled.target);
    let found = covering(turn.governor, Sought { run, stage, agent, action, target }, turn.now)?;
    let GlassStands::Open { by, expires, .. } = &found.stands else { return None };
    let (grant, requested_by) = (found.asked.grant, found.asked.by.clone());
    Some((UnderGlass { grant, requested_by, approved_by: by.clone() }, *expires))
}

/// Whether what was let pass is let pass still, by the same grant.
pub(crate) fn still_stands(turn: &Turn<'_>, ruled: &Ruled) -> bool {
    under(turn, ruled).map(|(under, _)| under) == ruled.break_glass
}

/// How much of its time is left, by the earlier of both clocks; `None` where it was not let pass.
pub(crate) fn time_left(turn: &Turn<'_>, ruled: &Ruled) -> Option<Span> {
    under(turn, ruled).map(|(_, expires)| until::left(expires, turn.now))
}

/// Something was allowed under a grant. The first time that it was this, everybody is told.
pub(crate) fn note_use(turn: &mut Turn<'_>, ruled: &Ruled) {
    let Some(UnderGlass { grant, .. }) = ruled.break_glass.clone() else { return };
    let (agent, action, target) = (ruled.agent, ruled.action, ruled.target.clone());
    let Ok(found) = live(turn.governor, grant) else { return };
    if !found.used.iter().any(|used| used.action == action && used.target == target) {
        alarm::raise(turn, Alarm::BreakGlassUsed { grant, agent, action, target });
    }
}

/// When it is over by itself, for whoever wakes for it.
pub(crate) fn wakes(found: &BreakGlass) -> Option<LedgerTime> {
    found.ends().map(|ends| ends.ledger)
}
