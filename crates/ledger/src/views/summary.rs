//! An entry in one line, for people.

use eparch_domain::{AgentId, Name, RunId};
use eparch_governor::{
    AgentSpec, Answer, Bearer, BreakGlassAsked, CredentialOutcome, Effect, Event, Fact, GateDecision,
    GateOutcome, GlassEnd, GlassScope, LeaseEnd, Outcome, PerformanceEnd, Record, Ruled, SecretAccess,
    SecretOutcome, Signal,
};
use eparch_pipeline::StageIx;

use super::{Views, ViewsError};

/// Facts that are told; of more, the number is.
const TOLD: usize = 12;

/// What a record says, in one line: who asked for what, what was answered, and what was found to be so. A stage is told
/// by its name where the record has it and by its place where it does not; [`Views::summary`] knows every name.
pub fn of(record: &Record) -> String {
    with_names(record, &|_, _| None, &|_| None)
}

impl Views {
    /// [`of`] with the names of stages, as far as the views have come.
    pub fn summary(&self, tenant: &Name, record: &Record) -> Result<String, ViewsError> {
        let mut stages = std::collections::BTreeMap::new();
        let mut agents = std::collections::BTreeMap::new();
        for fact in &record.decision.facts {
            if let Some((run, ix)) = place_of(fact) {
                let query = "SELECT name FROM stages WHERE tenant_id = ?1 AND run_id = ?2 AND ix = ?3";
                let found = self
                    .list(query, (tenant.as_str(), run.to_string(), ix.0), |columns| columns.text("name"))?;
                stages.extend(found.into_iter().map(|name| ((run, ix), name)));
            }
        }
        let spoken_of = record.decision.facts.iter().filter_map(agent_of).chain(actor_of(&record.event));
        for agent in spoken_of {
            let query = "SELECT stage FROM agents WHERE tenant_id = ?1 AND agent_id = ?2";
            let found =
                self.list(query, (tenant.as_str(), agent.to_string()), |columns| columns.text("stage"))?;
            agents.extend(found.into_iter().map(|name| (agent, name)));
        }
        Ok(with_names(record, &|run, ix| stages.get(&(run, ix)).cloned(), &|agent| {
            agents.get(&agent).cloned()
        }))
    }
}

/// How stages and agents are told.
struct Names<'n> {
    record: &'n Record,
    stage: &'n dyn Fn(RunId, StageIx) -> Option<String>,
    agent: &'n dyn Fn(AgentId) -> Option<String>,
}

impl Names<'_> {
    fn specs(&self) -> impl Iterator<Item = &AgentSpec> {
        self.record.decision.effects.iter().filter_map(|effect| match effect {
            Effect::Prepare(spec) => Some(spec.as_ref()),
            _ => None,
        })
    }

    fn stage(&self, run: RunId, ix: StageIx) -> String {
        let here = || {
            self.specs().find(|spec| spec.run == run && spec.stage == ix).map(|spec| spec.name.to_string())
        };
        here().or_else(|| (self.stage)(run, ix)).unwrap_or_else(|| format!("#{}", ix.0))
    }

    /// What bore authority.
    fn bearer(&self, bearer: &Bearer) -> String {
        match bearer {
            Bearer::Agent { agent } => self.agent(*agent),
            Bearer::Run { run } => format!("run {run}"),
        }
    }

    /// An agent, with its stage in front where that is known.
    fn agent(&self, agent: AgentId) -> String {
        let here = || self.specs().find(|spec| spec.agent == agent).map(|spec| spec.name.to_string());
        match here().or_else(|| (self.agent)(agent)) {
            Some(stage) => format!("{stage} ({agent})"),
            None => agent.to_string(),
        }
    }
}

fn with_names(
    record: &Record,
    stage: &dyn Fn(RunId, StageIx) -> Option<String>,
    agent: &dyn Fn(AgentId) -> Option<String>,
) -> String {
    let names = Names { record, stage, agent };
    let mut line = event(&names, &record.event);
    match &record.decision.answer {
        Answer::Taken => {}
        Answer::Ruled(ruled) => line.push_str(&format!(": as before, {}", ruling(ruled))),
        Answer::Already { run } => line.push_str(&format!(": already done as {run}")),
        Answer::Refused(refusal) => line.push_str(&format!(": refused {}, {refusal}", refusal.code())),
    }
    let facts: Vec<String> = record.decision.facts.iter().filter_map(|found| fact(&names, found)).collect();
    let told = facts.len().min(TOLD);
    if told > 0 {
        line.push_str(": ");
        line.push_str(&facts[..told].join("; "));
    }
    if facts.len() > told {
        line.push_str(&format!("; and {} more", facts.len() - told));
    }
    one_line(&line)
}

/// What people and programs said may hold anything; a line stays a line, and a terminal is not written to.
fn one_line(text: &str) -> String {
    text.chars().map(|found| if found.is_control() { ' ' } else { found }).collect()
}

fn event(names: &Names<'_>, event: &Event) -> String {
    match event {
        Event::Booted { epoch, version, clock_moved, .. } => {
            let moved = clock_moved.map_or_else(String::new, |moved| {
                format!(", after the wall clock was moved by {} ms", moved.by_ms)
            });
            format!("a holder began epoch {epoch} with version {version}{moved}")
        }
        Event::ClockTurned => "a deadline came".to_owned(),
        Event::ClockJumped { by_ms } => format!("the wall clock jumped by {by_ms} ms"),
        Event::OperatorAdded { by: None, operator } => {
            format!("{} is the first operator, {}", operator.name, operator.role.as_str())
        }
        Event::OperatorAdded { by: Some(by), operator } => {
            format!("{by} adds {} as {}", operator.name, operator.role.as_str())
        }
        Event::OperatorRotated { by, name, .. } => format!("{by} gives {name} another key"),
        Event::OperatorRemoved { by, name } => format!("{by} removes {name}"),
        Event::RunRequested(request) => format!("{} asks for {}", request.requester, request.run),
        Event::StopRequested { run, by, reason } => because(&format!("{by} stops {run}"), reason),
        Event::RevokeRequested { bearer, by, reason } => {
            because(&format!("{by} takes the authority of {} away", names.bearer(bearer)), reason)
        }
        Event::StopAllRequested { by, reason } => because(&format!("{by} stops everything"), reason),
        Event::StopAllLifted { by, reason } => because(&format!("{by} lets things begin again"), reason),
        Event::BreakGlassRequested(request) => {
            because(&format!("{} asks for break-glass", request.by), &request.reason)
        }
        Event::BreakGlassAnswered(answer) => {
            let word = if answer.decision == GateDecision::Approve { "approves" } else { "denies" };
            because(&format!("{} {word} {}", answer.by, answer.grant), &answer.rationale)
        }
        Event::BreakGlassEndRequested { grant, by, reason } => because(&format!("{by} ends {grant}"), reason),
        Event::PromotionRequested { standing, by, rationale, .. } => {
            because(&format!("{by} asks for {standing} to be promoted"), rationale)
        }
        Event::PromotionAnswered(answer) => {
            let word = if answer.decision == GateDecision::Approve { "approves" } else { "denies" };
            because(&format!("{} {word} the promotion of {}", answer.by, answer.standing), &answer.rationale)
        }
        Event::DemotionRequested { standing, by, reason } => {
            because(&format!("{by} demotes {standing}"), reason)
        }
        Event::PoliciesOffered { by: Some(by), policies } => format!("{by} offers the policies {policies}"),
        Event::PoliciesAnswered(answer) => {
            let word = if answer.decision == GateDecision::Approve { "approves" } else { "denies" };
            because(&format!("{} {word} the policies {}", answer.by, answer.policies), &answer.rationale)
        }
        Event::PoliciesOffered { by: None, policies } => format!("the holder has the policies {policies}"),
        Event::ActionAsked(asked) => {
            format!("{} asks for {} {}", names.agent(asked.agent), asked.action, asked.target)
        }
        Event::PermitUsed { agent, permit, .. } => format!("{} shows {permit}", names.agent(*agent)),
        Event::PerformanceAsked { agent, permit, command } => {
            let program = command.first().map_or("nothing", String::as_str);
            format!("{} shows {permit}, to have `{program}` performed", names.agent(*agent))
        }
        Event::PerformanceReady { permit, .. } => format!("there is a sandbox for what {permit} is for"),
        Event::PerformanceEnded { permit, end, .. } => {
            because(&format!("what {permit} is for is over"), &end.to_string())
        }
        Event::ActionEnded { agent, permit, ok, detail } => {
            let how = if *ok { "has done" } else { "has failed at" };
            because(&format!("{} {how} what {permit} is for", names.agent(*agent)), detail)
        }
        Event::SecretAsked { by, path, access, .. } => {
            let what = match access {
                SecretAccess::Read { version: None } => "to read".to_owned(),
                SecretAccess::Read { version: Some(version) } => format!("to read version {version} of"),
                SecretAccess::Write { expected: None } => "to write".to_owned(),
                SecretAccess::Write { expected: Some(version) } => {
                    format!("to write after version {version} of")
                }
            };
            format!("{by} asks {what} the secret {path}")
        }
        Event::LockReleaseRequested { lock, by, reason } => {
            because(&format!("{by} takes the lock {lock} away"), reason)
        }
        Event::CredentialIssued { credential, .. } => {
            let of = credential.agent.map_or_else(|| "a run".to_owned(), |agent| names.agent(agent));
            format!("the vault issued {} for {of}", credential.accessor)
        }
        Event::CredentialTold { accessor, outcome } => match outcome {
            CredentialOutcome::Renewed { ttl } => format!("the vault renewed {accessor} for {ttl}"),
            CredentialOutcome::Ended => format!("the vault has ended {accessor}"),
            CredentialOutcome::Over { code } => format!("the vault did not renew {accessor} ({code})"),
        },
        Event::CredentialsFound { found } => format!("{} tokens were found in the vault", found.len()),
        Event::ClockVouched { by } => format!("{by} says that the clock is right"),
        Event::SecretServed { asked, by, path, outcome } => {
            let what = match outcome {
                SecretOutcome::Read { version } => format!("{by} read version {version} of"),
                SecretOutcome::Written { version } => format!("{by} wrote version {version} of"),
                SecretOutcome::Failed { code } => format!("{by} did not get what they wanted ({code}) of"),
            };
            format!("{what} the secret {path}, as asked in entry {asked}")
        }
        Event::CallsLimited { agent } => format!("{} called too often", names.agent(*agent)),
        Event::TokenShown { agent, .. } => format!("{} shows another agent's token", names.agent(*agent)),
        Event::AgentAdvanced { agent, outcomes } => {
            let phases: Vec<String> = outcomes.iter().map(outcome).collect();
            format!("{} came through {}", names.agent(*agent), phases.join(", "))
        }
        Event::AgentSignalled { agent, signal } => format!("{} {}", names.agent(*agent), said(signal)),
        Event::DiagnosticOffered { .. } => "a pipeline is to look at what goes wrong".to_owned(),
        Event::TreeProvenDead { agent, killed: true } => format!("{} was killed", names.agent(*agent)),
        Event::TreeProvenDead { agent, killed: false } => format!("{} was found dead", names.agent(*agent)),
        Event::GateAnswered(answer) => {
            let verb = if answer.decision == GateDecision::Approve { "approves" } else { "denies" };
            because(&format!("{} {verb} {}", answer.by, answer.gate), &answer.rationale)
        }
    }
}

fn ruling(ruled: &Ruled) -> String {
    let verdict = &ruled.verdict;
    let mut said = match &ruled.break_glass {
        Some(under) => format!("{}, {under}", verdict.decision),
        None => format!("{} ({})", verdict.decision, verdict.reason),
    };
    if let Some(given) = ruled.permit {
        said.push_str(&format!(" with {}", given.permit));
    }
    for shadow in &verdict.shadowed {
        said.push_str(&format!(", watched {} would say {}", shadow.policy, shadow.decision));
    }
    said
}

/// What two people let pass, for whom and for how long.
fn glass(names: &Names<'_>, asked: &BreakGlassAsked) -> String {
    let what: Vec<String> =
        asked.allows.iter().map(|allowed| format!("{} {}", allowed.action, allowed.target)).collect();
    let whom = match &asked.scope {
        GlassScope::Run { run } => format!("run {run}"),
        GlassScope::Stage { run, stage } => format!("stage {stage} of run {run}"),
        GlassScope::Agent { agent } => names.agent(*agent),
        GlassScope::NextRun { of } => format!("the next run of {of}"),
    };
    format!("{} waits: {} for {whom}, {}", asked.grant, what.join(", "), asked.time)
}

fn glass_end(because: &GlassEnd) -> String {
    match because {
        GlassEnd::Denied { by, .. } => format!("{by} said no"),
        GlassEnd::NotAnswered => "nobody answered in time".to_owned(),
        GlassEnd::Expired => "its time is over".to_owned(),
        GlassEnd::Ended { by, .. } => format!("{by} ended it"),
        GlassEnd::PersonLeft { name } => format!("{name} is known no longer"),
        GlassEnd::ItsRunEnded => "whom it was for has ended".to_owned(),
        GlassEnd::Revoked => "authority was taken away".to_owned(),
        GlassEnd::AllStopped => "everything was stopped".to_owned(),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed { in_phase, code, .. } => format!("{in_phase}, which failed with {code}"),
        other => other.phase().to_string(),
    }
}

fn said(signal: &Signal) -> String {
    match signal {
        Signal::Heartbeat => "lives".to_owned(),
        Signal::Progress => "makes progress".to_owned(),
        Signal::Output { name, .. } => format!("puts out {name}"),
        Signal::Message { to: Some(to), .. } => format!("writes to {to}"),
        Signal::Message { to: None, .. } => "writes to everybody".to_owned(),
        Signal::Error { code } => format!("reports error {code}"),
    }
}

fn fact(names: &Names<'_>, fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::RunChanged { run, status, reason } => because(&format!("run {run} {status}"), reason),
        Fact::RunEnding { run, status, reason, .. } => {
            because(&format!("run {run} will end {status}"), reason)
        }
        Fact::StageChanged { run, stage, status, reason } => {
            because(&format!("stage {} {status}", names.stage(*run, *stage)), reason)
        }
        Fact::StageKept { run, stage, .. } => format!("stage {} kept", names.stage(*run, *stage)),
        Fact::StageExpired { run, stage } => format!("stage {} has no time left", names.stage(*run, *stage)),
        Fact::RetryScheduled { run, stage, .. } => {
            format!("stage {} will be tried again", names.stage(*run, *stage))
        }
        Fact::ConditionDecided { run, stage, holds, .. } => {
            format!("stage {} takes {holds}", names.stage(*run, *stage))
        }
        Fact::AttemptBegan { run, stage, agent, attempt, .. } => {
            format!("attempt {attempt} of stage {} begins as {agent}", names.stage(*run, *stage))
        }
        Fact::PhaseEntered { agent, phase } => format!("{} enters {phase}", names.agent(*agent)),
        Fact::ProgramReleased { agent, .. } => format!("{} may execute", names.agent(*agent)),
        Fact::AgentEnding { agent, end, .. } => {
            because(&format!("{} is being ended", names.agent(*agent)), &end.reason())
        }
        Fact::PlanClarified { agent, clarified, .. } => {
            because(&format!("{} gets a clarified plan", names.agent(*agent)), &clarified.reason)
        }
        Fact::DiagnosticKnown { pipeline } => format!("{pipeline} looks at what goes wrong"),
        Fact::DiagnosisSkipped { run, reason, .. } => because(&format!("nothing looks at {run}"), reason),
        Fact::RunSpawned(spawned) => {
            let parent = spawned.parent.as_ref()?;
            because(&format!("{} begins and looks at {}", spawned.run, parent.run), &parent.reason)
        }
        Fact::AttemptSpoiled { agent, end } => {
            because(&format!("{} went wrong", names.agent(*agent)), &end.reason())
        }
        Fact::AttemptCutOff { agent } => format!("{} was cut off with its holder", names.agent(*agent)),
        Fact::AgentLingers { agent, asked, .. } => {
            format!("{} is not gone, although it was asked for {asked} times", names.agent(*agent))
        }
        Fact::OutputDropped { agent, outputs, artifacts } => format!(
            "{outputs} outputs and {artifacts} files of {} are too many and do not count",
            names.agent(*agent)
        ),
        Fact::StageEnding { run, stage, status, reason } => {
            because(&format!("stage {} will end {status}", names.stage(*run, *stage)), reason)
        }
        Fact::AttemptEnded { agent, end } => {
            because(&format!("{} ended {}", names.agent(*agent), end.stage_status()), &end.reason())
        }
        Fact::ErrorCounted { agent, code } => format!("error {code} of {} counted", names.agent(*agent)),
        Fact::HeartbeatsMissed { agent, severity, .. } => {
            format!("{} has missed three heartbeats ({severity})", names.agent(*agent))
        }
        Fact::ReportMisplaced { agent, detail } => {
            because(&format!("what was reported of {} is out of order", names.agent(*agent)), detail)
        }
        Fact::ViolationFound { agent, violation, detail } => {
            because(&format!("{} violated {violation}", names.agent(*agent)), detail)
        }
        Fact::AlertRaised { alert, .. } => format!("{alert} is raised"),
        Fact::StandingLowered { standing, from, to, .. } if from == to => {
            format!("{standing} has to be earned again")
        }
        Fact::StandingLowered { standing, from, to, .. } => format!("{standing} falls from {from} to {to}"),
        Fact::PromotionApproved { standing, from, to, .. } => format!("{standing} rises from {from} to {to}"),
        Fact::PromotionDenied { standing, .. } => format!("{standing} is not promoted"),
        Fact::PoliciesInForce { by: Some(by), alone: true, .. } => {
            format!("they are in force: nobody but {by} could have looked")
        }
        Fact::PoliciesInForce { by: Some(by), approved_by, .. } if !approved_by.is_empty() => {
            let all: Vec<&str> = [by].into_iter().chain(approved_by).map(|name| name.as_str()).collect();
            format!("they are in force, by {}", all.join(" and "))
        }
        Fact::PoliciesInForce { .. } => "they are in force".to_owned(),
        Fact::PoliciesProposed(_) => "they wait for a second person".to_owned(),
        Fact::PoliciesProposalOver { policies, because: why } => {
            because(&format!("{policies} waits no longer"), &why.to_string())
        }
        Fact::ActionDecided(ruled) => ruling(ruled),
        Fact::PermitSpent { permit, .. } => format!("{permit} is spent"),
        Fact::PerformanceReleased { permit, .. } => format!("what {permit} is for is let go"),
        Fact::PerformanceEnding { permit, because: why, .. } => {
            because(&format!("what {permit} is for is to be ended"), why)
        }
        Fact::PerformanceEnded { permit, end, .. }
            if matches!(end, PerformanceEnd::Unknown | PerformanceEnd::Cut { .. }) =>
        {
            because(&format!("what {permit} is for is over"), &end.to_string())
        }
        Fact::PermitRefused { permit, reason, .. } => because(&format!("{permit} is no good"), reason),
        Fact::CallsLimited { agent } => format!("{} is kept from calling", names.agent(*agent)),
        Fact::Revoked { bearer, reason, .. } => {
            because(&format!("the authority of {} is gone", names.bearer(bearer)), reason)
        }
        Fact::AllStopped { .. } => "nothing has authority any more, and nothing begins".to_owned(),
        Fact::StoppingGoesOn { again_at: Some(_) } => "more runs are to be ended".to_owned(),
        Fact::StoppingGoesOn { again_at: None } => "the last run is being ended".to_owned(),
        Fact::AllLifted { .. } => "what is asked for from here on may begin".to_owned(),
        Fact::BreakGlassAsked(asked) => glass(names, asked),
        Fact::BreakGlassOpened { grant, expires, .. } => format!("{grant} is open until {}", expires.wall),
        Fact::BreakGlassBound { grant, run } => format!("{grant} is for run {run}"),
        Fact::BreakGlassOver { grant, because: why } => because(&format!("{grant} is over"), &glass_end(why)),
        Fact::AlarmRaised { alert, severity, .. } => format!("{alert} is raised ({severity})"),
        Fact::GateOpened(opened) => match &opened.sought {
            Some(sought) => {
                let who = names.agent(sought.agent);
                format!("gate {} waits: {who} seeks to {} {}", opened.gate, sought.action, sought.target)
            }
            None => format!("gate {} waits at stage {}", opened.gate, names.stage(opened.run, opened.stage)),
        },
        Fact::GateClosed { gate, outcome } => {
            let how = match outcome {
                GateOutcome::Approved => "was approved",
                GateOutcome::Denied => "was denied",
                GateOutcome::TimedOut => "timed out",
                GateOutcome::Cancelled => "was cancelled",
            };
            format!("gate {gate} {how}")
        }
        Fact::LeaseEnded { lease, because: LeaseEnd::Expired, .. } => {
            format!("{lease} was over before it was renewed, and another one began")
        }
        Fact::LockWaiting { run, stage, wait, .. } => {
            format!("stage {} is {wait}", names.stage(*run, *stage))
        }
        Fact::LockWaitOver { run, stage } => {
            format!("stage {} can have its locks", names.stage(*run, *stage))
        }
        Fact::LockAcquired { lock, fence, agent, .. } => {
            format!("{} has the lock {lock}, fencing number {fence}", names.agent(*agent))
        }
        Fact::LockLost { lock, agent, because: why, .. } => {
            because(&format!("{} has lost the lock {lock}", names.agent(*agent)), &why.to_string())
        }
        Fact::LockReleased { lock, .. } => format!("the lock {lock} is free"),
        Fact::CredentialEnding(credential) => format!("{} is to end", credential.accessor),
        Fact::CredentialLost { accessor } => format!("{accessor} is over before its time"),
        Fact::ClockSetBack { seen } => format!("the clock was set back, from {seen}"),
        Fact::ClockDoubted { until, .. } => {
            format!("the clock is behind what was recorded: nothing begins until it says {until}")
        }
        Fact::EndsSooner => "what ends by the wall clock ends sooner, since that was set back".to_owned(),
        Fact::ClockTrusted { .. } => "the clock is believed again".to_owned(),
        // A lease comes and goes with those who work.
        Fact::LeaseBegan { .. }
        | Fact::LeaseRenewed { .. }
        | Fact::LeaseEnded { .. }
        | Fact::TokenIssued { .. }
        | Fact::TokenRenewed { .. }
        | Fact::CredentialKnown { .. }
        | Fact::LocksRenewed { .. }
        | Fact::LockMissed { .. }
        | Fact::CredentialEnded { .. }
        | Fact::EndingGoesOn { .. } => return None,
        // The event or another fact has said it.
        Fact::EpochBegan { .. }
        | Fact::OperatorKnown { .. }
        | Fact::OperatorRekeyed { .. }
        | Fact::OperatorForgotten { .. }
        | Fact::SecretGranted { .. }
        | Fact::PromotionRequested(_)
        | Fact::PromotionAnswered { .. }
        | Fact::PoliciesApproved { .. }
        | Fact::TreeKnown { .. }
        | Fact::PerformanceBegan { .. }
        | Fact::PerformanceEnded { .. }
        | Fact::ActionEnded { .. }
        | Fact::PlanSettled { .. }
        | Fact::ProgressSeen { .. }
        | Fact::HeartbeatSeen { .. }
        | Fact::BackoffOver { .. }
        | Fact::OutputSeen { .. }
        | Fact::Packaged { .. }
        | Fact::Reported { .. }
        | Fact::VoteCast { .. } => return None,
    })
}

fn because(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what} ({why})") }
}

/// The stage a fact is about.
fn place_of(fact: &Fact) -> Option<(RunId, StageIx)> {
    match fact {
        Fact::StageChanged { run, stage, .. }
        | Fact::StageKept { run, stage, .. }
        | Fact::StageExpired { run, stage }
        | Fact::StageEnding { run, stage, .. }
        | Fact::LockWaiting { run, stage, .. }
        | Fact::LockWaitOver { run, stage }
        | Fact::RetryScheduled { run, stage, .. }
        | Fact::ConditionDecided { run, stage, .. }
        | Fact::AttemptBegan { run, stage, .. } => Some((*run, *stage)),
        Fact::GateOpened(opened) => Some((opened.run, opened.stage)),
        _ => None,
    }
}

/// The agent a fact is about.
fn agent_of(fact: &Fact) -> Option<AgentId> {
    match fact {
        Fact::PhaseEntered { agent, .. }
        | Fact::PlanClarified { agent, .. }
        | Fact::ProgramReleased { agent, .. }
        | Fact::AgentEnding { agent, .. }
        | Fact::AttemptSpoiled { agent, .. }
        | Fact::AttemptCutOff { agent }
        | Fact::AgentLingers { agent, .. }
        | Fact::OutputDropped { agent, .. }
        | Fact::AttemptEnded { agent, .. }
        | Fact::ErrorCounted { agent, .. }
        | Fact::HeartbeatsMissed { agent, .. }
        | Fact::ReportMisplaced { agent, .. }
        | Fact::PermitSpent { agent, .. }
        | Fact::PerformanceBegan { agent, .. }
        | Fact::PerformanceReleased { agent, .. }
        | Fact::PerformanceEnding { agent, .. }
        | Fact::PerformanceEnded { agent, .. }
        | Fact::PermitRefused { agent, .. }
        | Fact::ActionEnded { agent, .. }
        | Fact::LockAcquired { agent, .. }
        | Fact::LockLost { agent, .. }
        | Fact::ViolationFound { agent, .. } => Some(*agent),
        Fact::ActionDecided(ruled) => Some(ruled.agent),
        _ => None,
    }
}

/// The agent an event is of.
fn actor_of(event: &Event) -> Option<AgentId> {
    match event {
        Event::AgentAdvanced { agent, .. }
        | Event::AgentSignalled { agent, .. }
        | Event::PermitUsed { agent, .. }
        | Event::TokenShown { agent, .. }
        | Event::PerformanceAsked { agent, .. }
        | Event::PerformanceReady { agent, .. }
        | Event::PerformanceEnded { agent, .. }
        | Event::ActionEnded { agent, .. }
        | Event::TreeProvenDead { agent, .. } => Some(*agent),
        Event::ActionAsked(asked) => Some(asked.agent),
        _ => None,
    }
}
