//! What followed from an event, as lines that people read: `→` what was found to be so, `⇒` what is to be done, `=`
//! what whoever asked is told.

use std::collections::BTreeMap;

use eparch_domain::{Artifact, limits};
use eparch_governor::{
    Alarm, Answer, AttemptEnd, Bearer, Cause, Decision, Effect, Fact, GateDecision, GatePurpose, GlassEnd,
    GlassScope, Key, Lowered, ProposalEnd, Ruled, SecretAccess, Separation, Until,
};
use serde_json::Value;

use crate::home::Home;
use crate::words::clock;

/// The lines of a decision.
pub(crate) fn lines(home: &mut Home, decision: &Decision) -> Vec<String> {
    let mut lines: Vec<String> = decision
        .facts
        .iter()
        .filter(|fact| home.tells_leases || !is_of_leases(fact))
        .map(|fact| format!("→ {}", said(home, fact)))
        .collect();
    lines.extend(decision.effects.iter().map(|effect| format!("⇒ {}", asked(home, effect))));
    match &decision.answer {
        Answer::Taken => {}
        Answer::Ruled(ruled) => lines.push(format!("= as before: {}", ruling(ruled))),
        Answer::Already { run } => lines.push(format!("= already {run}")),
        Answer::Refused(refusal) => lines.push(format!("= refused {}: {refusal}", refusal.code())),
    }
    lines.iter().map(|line| home.names.replace(line)).collect()
}

/// The lines that say how stages, runs and gates stand, for scenarios about them: an agent's phases are left out.
pub(crate) fn outline(home: &mut Home, decision: &Decision) -> Vec<String> {
    let matters = |fact: &Fact| {
        matches!(
            fact,
            Fact::RunChanged { .. }
                | Fact::RunEnding { .. }
                | Fact::StageChanged { .. }
                | Fact::StageKept { .. }
                | Fact::StageExpired { .. }
                | Fact::ConditionDecided { .. }
                | Fact::AttemptBegan { .. }
                | Fact::AttemptEnded { .. }
                | Fact::AgentEnding { .. }
                | Fact::StageEnding { .. }
                | Fact::AgentLingers { .. }
                | Fact::LockWaiting { .. }
                | Fact::LockWaitOver { .. }
                | Fact::LockAcquired { .. }
                | Fact::LockLost { .. }
                | Fact::LockReleased { .. }
                | Fact::RetryScheduled { .. }
                | Fact::GateOpened(_)
                | Fact::GateClosed { .. }
                | Fact::VoteCast { .. }
                | Fact::ReportMisplaced { .. }
                | Fact::ViolationFound { .. }
                | Fact::AlertRaised { .. }
                | Fact::StandingLowered { .. }
                | Fact::PromotionRequested(_)
                | Fact::PromotionAnswered { .. }
                | Fact::PromotionApproved { .. }
                | Fact::PromotionDenied { .. }
                | Fact::DiagnosticKnown { .. }
                | Fact::DiagnosisSkipped { .. }
                | Fact::AllStopped { .. }
                | Fact::AllLifted { .. }
                | Fact::BreakGlassAsked(_)
                | Fact::BreakGlassOpened { .. }
                | Fact::BreakGlassBound { .. }
                | Fact::BreakGlassOver { .. }
                | Fact::AlarmRaised { .. }
        ) || is_spawned(fact)
            || is_of_leases(fact)
    };
    let facts = decision.facts.iter().filter(|fact| matters(fact)).cloned().collect();
    let kept = |effect: &&Effect| {
        !matches!(effect, Effect::Prepare(_) | Effect::Execute { .. } | Effect::Conclude { .. })
    };
    let effects = decision.effects.iter().filter(kept).cloned().collect();
    lines(home, &Decision { facts, effects, answer: decision.answer.clone() })
}

/// A run that nobody asked for.
fn is_spawned(fact: &Fact) -> bool {
    matches!(fact, Fact::RunSpawned(spawned) if spawned.parent.is_some())
}

/// Every run has a lease and every agent a token, as every agent has phases: only scenarios about them tell of it.
fn is_of_leases(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::LeaseBegan { .. }
            | Fact::LeaseRenewed { .. }
            | Fact::LeaseEnded { .. }
            | Fact::TokenIssued { .. }
            | Fact::TokenRenewed { .. }
    )
}

fn said(home: &Home, fact: &Fact) -> String {
    let until = |end: &eparch_domain::Moment| ends((*end).into());
    let at = |time: eparch_domain::LedgerTime| clock(time.millis());
    match fact {
        Fact::EpochBegan { epoch, agents_at_once } => {
            format!("epoch {epoch}, {agents_at_once} agents at once")
        }
        Fact::OperatorKnown { operator, .. } => {
            let groups: Vec<&str> = operator.groups.iter().map(|group| group.as_str()).collect();
            let groups =
                if groups.is_empty() { String::new() } else { format!(", in {}", groups.join(", ")) };
            let (name, role, tier) = (&operator.name, operator.role.as_str(), operator.max_tier);
            format!("{name} is known: {role}, up to {tier}{groups}, {}", kept(&operator.key))
        }
        Fact::OperatorRekeyed { name, key, .. } => format!("{name} has another key, {}", kept(key)),
        Fact::OperatorForgotten { name } => format!("{name} is known no longer"),
        Fact::RunSpawned(spawned) => {
            let repeats = spawned
                .repeats
                .as_ref()
                .map_or(String::new(), |(run, from)| format!(", repeats {run} from {from}"));
            let (by, grant, deadline) = (&spawned.requester, spawned.grant, at(spawned.deadline));
            let looks = spawned.parent.as_ref().map_or(String::new(), |parent| {
                let told: Vec<String> =
                    spawned.inputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let (run, agent, reason) = (parent.run, parent.agent, &parent.reason);
                format!(", looks at {run} because of {agent}: {reason}; told {}", told.join(" "))
            });
            format!(
                "{} spawned for {by}, granted {grant}, must end by {deadline}{repeats}{looks}",
                spawned.run
            )
        }
        Fact::RunEnding { run, status, reason, by } => {
            let by = by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
            format!("{run} will end {status}{by}: {}", short(reason))
        }
        Fact::RunChanged { run, status, reason } => format!("{run} {status}{}", because(reason)),
        Fact::StageChanged { run, stage, status, reason } => {
            format!("{} {status}{}", home.stage_name(*run, *stage), because(reason))
        }
        Fact::StageKept { run, stage, kept } => {
            format!("{} kept{}", home.stage_name(*run, *stage), left(&kept.outputs, &kept.artifacts))
        }
        Fact::ConditionDecided { run, stage, holds, .. } => {
            format!("{} {}", home.stage_name(*run, *stage), if *holds { "holds" } else { "does not hold" })
        }
        Fact::AttemptBegan { agent, start_by, .. } => {
            format!("{agent} begins, must be ready by {}", at(*start_by))
        }
        Fact::PhaseEntered { agent, phase } => format!("{agent} in {phase}"),
        Fact::TreeKnown { agent, .. } => format!("{agent} has a known process tree"),
        Fact::PlanSettled { agent, plan, actions } => match actions[..] == ["execute_command"] {
            true => format!("{agent} plans {plan}"),
            false => format!("{agent} plans {plan}: {}", actions.join(", ")),
        },
        Fact::PoliciesInForce { policies, by, approved_by, alone } => {
            let by = by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
            let also: String = approved_by.iter().map(|name| format!(" and {name}")).collect();
            let alone = if *alone { ", and nobody else could look" } else { "" };
            format!("{policies} is in force{by}{also}{alone}")
        }
        Fact::PoliciesProposed(proposed) => {
            let (policies, by, approvals) = (&proposed.policies, &proposed.by, proposed.approvals);
            format!("{policies} by {by} waits for {approvals} other, until {}", until(&proposed.until))
        }
        Fact::PoliciesApproved { policies, by, .. } => format!("{by} approves {policies}"),
        Fact::PoliciesProposalOver { policies, because } => {
            let why = match because {
                ProposalEnd::Denied { by, .. } => format!("{by} said no"),
                ProposalEnd::NotAnswered => "nobody answered".to_owned(),
                ProposalEnd::Replaced { by } => format!("{by} offers others"),
                ProposalEnd::PersonLeft => "whose they are is known no longer".to_owned(),
                ProposalEnd::HolderLeft => "their holder has gone".to_owned(),
                ProposalEnd::OthersInForce => "others come into force".to_owned(),
            };
            format!("{policies} waits no longer: {why}")
        }
        Fact::ActionDecided(ruled) => format!("{} {}", ruled.agent, ruling(ruled)),
        Fact::PermitSpent { agent, permit } => format!("{agent} uses {permit}"),
        Fact::PerformanceBegan { agent, permit, until, shut } => {
            let file = if shut.file_only { ", a file" } else { "" };
            let without = || format!(", without {}", shut.covered.join(", "));
            let covered = if shut.covered.is_empty() { String::new() } else { without() };
            format!("what {permit} of {agent} is for is performed{covered}{file}, must end by {}", at(*until))
        }
        Fact::PerformanceReleased { permit, .. } => format!("what {permit} is for is let go"),
        Fact::PerformanceEnding { permit, because, .. } => {
            format!("what {permit} is for is to be ended: {because}")
        }
        Fact::PerformanceEnded { permit, end, .. } => format!("what {permit} is for is over: {end}"),
        Fact::PermitRefused { agent, permit, reason } => {
            format!("{agent} shows {permit}, which is no good: {reason}")
        }
        Fact::ActionEnded { agent, permit, ok, detail } => {
            let how = if *ok { "did" } else { "failed at" };
            format!("{agent} {how} what {permit} was for: {detail}")
        }
        Fact::PlanClarified { agent, clarified, document } => {
            assert_eq!(clarified.plan, eparch_domain::Digest::of(document.as_bytes()));
            let (plan, old, why) = (clarified.plan, clarified.replaces, &clarified.reason);
            format!(
                "{agent} is told {plan} about {old}, clarification {}: {why}: {document}",
                clarified.crossing
            )
        }
        Fact::DiagnosticKnown { pipeline } => format!("{pipeline} looks at what goes wrong"),
        Fact::DiagnosisSkipped { run, agent, reason } => {
            format!("nothing looks at {run} because of {agent}: {reason}")
        }
        Fact::ProgramReleased { agent, execute_by } => {
            format!("{agent} is let go, must end by {}", at(*execute_by))
        }
        Fact::AgentEnding { agent, end, to_prove: false } => format!("{agent} will end {}", ended(end)),
        Fact::AgentEnding { agent, end, to_prove: true } => {
            format!("{agent} goes no further, and will end {}", ended(end))
        }
        Fact::HeartbeatSeen { agent } => format!("{agent} lives"),
        Fact::HeartbeatsMissed { agent, last, severity } => {
            format!("{agent} has missed three heartbeats ({severity}), the last came at {}", at(*last))
        }
        Fact::ProgressSeen { agent } => format!("{agent} moves"),
        Fact::OutputSeen { agent, outputs, artifacts } => {
            format!("{agent} puts out{}", left(outputs, artifacts))
        }
        Fact::OutputDropped { agent, outputs, artifacts } => {
            format!("{agent} put out {outputs} values and {artifacts} files too many")
        }
        Fact::ErrorCounted { agent, code } => format!("{agent} made error {code}"),
        Fact::ReportMisplaced { agent, detail } => {
            format!("what was reported of {agent} is out of order: {detail}")
        }
        Fact::ViolationFound { agent, violation, detail } => {
            format!("{agent} violates {violation} ({}): {detail}", violation.severity())
        }
        Fact::AlertRaised { alert, agent, violation, severity, .. } => {
            format!("{alert} tells that {agent} violated {violation} ({severity})")
        }
        Fact::StandingLowered { standing, from, to, because } => {
            let why = match because {
                Lowered::Violation { agent, violation } => format!("{violation} of {agent}"),
                Lowered::Person { by, reason } => format!("{by} says: {reason}"),
            };
            let anew = if because.starts_anew() { " and begins anew" } else { "" };
            format!("{standing} falls from {from} to {to}{anew}: {why}")
        }
        Fact::PromotionRequested(opened) => {
            let (standing, to, by, takes) = (opened.standing, opened.to, &opened.by, opened.approvals);
            let far = far(opened.separation);
            format!("{by} asks for {standing} to have {to}: takes {takes}, {far}, for {}", opened.subject)
        }
        Fact::PromotionAnswered { standing, by, decision, rationale, separation, .. } => {
            let word = if *decision == GateDecision::Approve { "approves" } else { "denies" };
            format!("{by} {word} it for {standing} ({}): {rationale}", far(*separation))
        }
        Fact::PromotionApproved { standing, from, to, by } => {
            let by: Vec<&str> = by.iter().map(|by| by.as_str()).collect();
            format!("{standing} rises from {from} to {to} by {}", by.join(", "))
        }
        Fact::PromotionDenied { standing, by } => {
            let by = by.as_ref().map_or("nobody's wish", |by| by.as_str());
            format!("{standing} is not promoted, by {by}")
        }
        Fact::CallsLimited { agent } => format!("{agent} called too often"),
        Fact::LeaseBegan { run, lease, expires, renew_at, .. } => {
            format!("{run} has {lease} until {}, renewed at {}", until(expires), at(*renew_at))
        }
        Fact::LeaseRenewed { lease, expires, renew_at, .. } => {
            format!("{lease} goes on until {}, renewed at {}", until(expires), at(*renew_at))
        }
        Fact::LeaseEnded { lease, because: why, .. } => format!("{lease} ends: {}", spelled(why)),
        Fact::TokenIssued { agent, lease, round, expires, renew_at, .. } => {
            format!(
                "{agent} has token {round} of {lease} until {}, renewed at {}",
                until(expires),
                at(*renew_at)
            )
        }
        Fact::TokenRenewed { agent, round, expires, renew_at } => {
            format!("{agent}'s token {round} goes on until {}, renewed at {}", until(expires), at(*renew_at))
        }
        Fact::LockWaiting { run, stage, wait, .. } => {
            let live = home.stage_name(*run, *stage);
            format!("{live} is {wait}")
        }
        Fact::LockWaitOver { run, stage } => format!("{} can have its locks", home.stage_name(*run, *stage)),
        Fact::LockAcquired { lock, fence, agent, expires, renew_at, .. } => {
            let until = until(expires);
            format!(
                "{agent} has the lock {lock}, number {fence}, until {until}, renewed at {}",
                at(*renew_at)
            )
        }
        Fact::LocksRenewed { agent, expires, renew_at } => {
            format!("{agent}'s locks go on until {}, renewed at {}", until(expires), at(*renew_at))
        }
        Fact::LockLost { lock, fence, agent, because } => {
            format!("{agent} has lost the lock {lock}, number {fence}: {because}")
        }
        Fact::LockMissed { agent, lock } => format!("{agent} goes on without the lock {lock}"),
        Fact::LockReleased { lock, fence, .. } => format!("the lock {lock}, number {fence}, is free"),
        Fact::CredentialKnown { accessor, lease, agent, round, .. } => match agent {
            Some(agent) => format!("{accessor} stands behind token {round} of {agent}"),
            None => format!("{accessor} stands behind {lease}"),
        },
        Fact::CredentialEnding(credential) => format!("{} is good for nothing any more", credential.accessor),
        Fact::EndingGoesOn { again_at, .. } => match again_at {
            Some(when) => format!("more tokens are to end in the vault, from {}", at(*when)),
            None => "all tokens that are to end in the vault were asked for".to_owned(),
        },
        Fact::CredentialEnded { accessor } => format!("{accessor} is over in the vault, too"),
        Fact::CredentialLost { accessor } => format!("{accessor} is over before its time"),
        Fact::ClockSetBack { seen } => {
            format!(
                "the clock was set back from {}",
                clock((seen.millis() - crate::home::BEGINS).max(0).unsigned_abs())
            )
        }
        Fact::ClockDoubted { until, look_at } => format!(
            "nothing begins until the clock says {}, looked at again at {}",
            clock((until.millis() - crate::home::BEGINS).max(0).unsigned_abs()),
            at(*look_at)
        ),
        Fact::EndsSooner => "what ends by the wall clock ends sooner by it".to_owned(),
        Fact::ClockTrusted { by } => {
            format!(
                "the clock is believed again{}",
                by.as_ref().map_or(String::new(), |by| format!(", {by} says"))
            )
        }
        Fact::SecretGranted { by, path, access } => {
            let what = match access {
                SecretAccess::Read { version: None } => "read".to_owned(),
                SecretAccess::Read { version: Some(version) } => format!("read version {version} of"),
                SecretAccess::Write { expected: None } => "write".to_owned(),
                SecretAccess::Write { expected: Some(version) } => {
                    format!("write after version {version} of")
                }
            };
            format!("{by} may {what} {path}")
        }
        Fact::AllStopped { by, reason } => format!("{by} stops everything{}", because(reason)),
        Fact::StoppingGoesOn { again_at } => match again_at {
            Some(when) => format!("more is stopped at {}", at(*when)),
            None => "everything has stopped".to_owned(),
        },
        Fact::AllLifted { by, reason } => format!("{by} lets things begin again{}", because(reason)),
        Fact::BreakGlassAsked(asked) => {
            let what: Vec<String> =
                asked.allows.iter().map(|allowed| format!("{} {}", allowed.action, allowed.target)).collect();
            let whom = match &asked.scope {
                GlassScope::Run { run } => run.to_string(),
                GlassScope::Stage { run, stage } => format!("{run}/{stage}"),
                GlassScope::Agent { agent } => agent.to_string(),
                GlassScope::NextRun { of } => format!("the next run of {of}"),
            };
            let (by, grant, time, separation) = (&asked.by, asked.grant, asked.time, far(asked.separation));
            format!(
                "{by} asks for {grant}: {} for {whom}, {time}, {separation}{}",
                what.join(", "),
                because(&asked.reason)
            )
        }
        Fact::BreakGlassOpened { grant, by, separation, expires, .. } => {
            format!("{by} lets {grant} pass ({}) until {}", far(*separation), until(expires))
        }
        Fact::BreakGlassBound { grant, run } => format!("{grant} is for {run}"),
        Fact::BreakGlassOver { grant, because: why } => format!("{grant} is over: {}", glass_end(why)),
        Fact::AlarmRaised { alert, severity, alarm } => match alarm {
            Alarm::StoppedAll => format!("{alert} is raised, {severity}: everything is stopped"),
            Alarm::BreakGlassOpened { grant } => format!("{alert} is raised, {severity}: {grant} is open"),
            Alarm::BreakGlassUsed { grant, agent, action, target } => {
                format!("{alert} is raised, {severity}: {agent} uses {grant} for {action} {target}")
            }
        },
        Fact::Revoked { bearer, cause, reason } => {
            let whose = match bearer {
                Bearer::Agent { agent } => agent.to_string(),
                Bearer::Run { run } => run.to_string(),
            };
            let why = match cause {
                Cause::Person { by } => format!("{by} says"),
                Cause::Violation { violation } => violation.to_string(),
            };
            format!("{whose} has lost its authority, {why}{}", because(reason))
        }
        Fact::AttemptSpoiled { agent, end } => format!("{agent} goes on, and will end {}", ended(end)),
        Fact::Packaged { agent, .. } => format!("{agent} has its evidence packaged"),
        Fact::Reported { agent, .. } => format!("{agent} has reported"),
        Fact::AttemptCutOff { agent } => format!("{agent} is cut off"),
        Fact::AgentLingers { agent, asked, again_at } => {
            format!("{agent} is not gone, asked {asked} times in vain, again at {}", at(*again_at))
        }
        Fact::StageEnding { run, stage, status, reason } => {
            format!("{} will end {status}{}", home.stage_name(*run, *stage), because(reason))
        }
        Fact::AttemptEnded { agent, end } => format!("{agent} ended {}", ended(end)),
        Fact::StageExpired { run, stage } => format!("{} is out of time", home.stage_name(*run, *stage)),
        Fact::RetryScheduled { run, stage, at: when } => {
            format!("{} is tried again at {}", home.stage_name(*run, *stage), at(*when))
        }
        Fact::BackoffOver { run, stage } => {
            format!("{} has waited long enough", home.stage_name(*run, *stage))
        }
        Fact::GateOpened(opened) => {
            let who: Vec<&str> = opened.approvers.iter().map(|entry| entry.as_str()).collect();
            let why = match &opened.sought {
                Some(sought) => format!(
                    "asks whether {} may {} {}{}, and waits",
                    sought.agent,
                    sought.action,
                    sought.target,
                    sought.given.as_ref().map(|given| format!(" with {given}")).unwrap_or_default()
                ),
                None if opened.purpose == GatePurpose::Interrupted => {
                    "asks whether to do it again".to_owned()
                }
                None => "waits".to_owned(),
            };
            let (quorum, who, until) = (opened.quorum, who.join(", "), ends(opened.deadline));
            let far = far(opened.separation);
            format!(
                "{} {why} for {quorum} of {who} until {until}, {far}, for {}",
                opened.gate, opened.subject
            )
        }
        Fact::VoteCast { gate, by, decision, rationale, separation, .. } => {
            let word = if *decision == GateDecision::Approve { "approves" } else { "denies" };
            format!("{by} {word} {gate} ({}): {rationale}", far(*separation))
        }
        Fact::GateClosed { gate, outcome } => format!("{gate} closes: {}", spelled(outcome)),
    }
}

fn glass_end(why: &GlassEnd) -> String {
    match why {
        GlassEnd::Denied { by, rationale } => format!("{by} says no: {rationale}"),
        GlassEnd::NotAnswered => "nobody answered".to_owned(),
        GlassEnd::Expired => "its time has come".to_owned(),
        GlassEnd::Ended { by, reason } => format!("{by} ends it{}", because(reason)),
        GlassEnd::PersonLeft { name } => format!("{name} is known no longer"),
        GlassEnd::ItsRunEnded => "whom it is for has ended".to_owned(),
        GlassEnd::Revoked => "authority was taken away".to_owned(),
        GlassEnd::AllStopped => "everything is stopped".to_owned(),
    }
}

/// When something is over. The wall clock of a scenario begins with its ledger time.
fn ends(until: Until) -> String {
    let ledger = clock(until.ledger.millis());
    let wall = until.wall.map(|wall| clock((wall.millis() - crate::home::BEGINS).max(0).unsigned_abs()));
    match wall.filter(|wall| *wall != ledger) {
        Some(wall) => format!("{ledger}, or {wall} by the wall clock"),
        None => ledger,
    }
}

fn ruling(ruled: &Ruled) -> String {
    let (action, target, verdict) = (ruled.action, &ruled.target, &ruled.verdict);
    let mut text = format!("{action} {target}: {} ({}", verdict.decision, verdict.reason);
    for policy in &verdict.policies {
        text.push_str(&format!(", {policy}"));
    }
    if verdict.retryable {
        text.push_str("; ask again");
    }
    if verdict.unlock.is_some() {
        text.push_str("; may be unlocked");
    }
    text.push(')');
    if let Some(given) = ruled.permit {
        text.push_str(&format!(", {} until {}", given.permit, ends(given.expires)));
    }
    if let Some(gate) = ruled.gate {
        text.push_str(&format!(", {gate}"));
    }
    if let Some(under) = &ruled.break_glass {
        text.push_str(&format!(", {under}"));
    }
    if !ruled.decided_by.is_empty() {
        let names: Vec<&str> = ruled.decided_by.iter().map(|name| name.as_str()).collect();
        text.push_str(&format!(", by {}", names.join(" and ")));
    }
    text
}

fn asked(home: &Home, effect: &Effect) -> String {
    match effect {
        Effect::Prepare(spec) => {
            let mut text = format!("prepare {} at {}", spec.agent, spec.tier);
            let command: Vec<&str> = spec.command.iter().map(String::as_str).collect();
            if command != ["true"] {
                text.push_str(&format!(" to run {}", command.join(" ")));
            }
            if let Some(objective) = &spec.objective {
                text.push_str(&format!(" to \"{objective}\""));
            }
            for (key, value) in &spec.env {
                text.push_str(&format!(", {key}={value}"));
            }
            for (key, value) in &spec.inputs {
                text.push_str(&format!(", input {key}={value}"));
            }
            if let Some(earlier) = spec.follows {
                text.push_str(&format!(", after {earlier}"));
            }
            for (stage, files) in &spec.inputs_from {
                let files: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
                text.push_str(&format!(", given {} of {stage}", files.join(" ")));
            }
            text
        }
        Effect::Execute { agent, plan } => format!("execute {agent} as planned in {plan}"),
        Effect::Conclude { agent, from, failure } => {
            let after = failure.as_ref().map_or(String::new(), |why| format!(", knowing that {why}"));
            format!("conclude {agent} from {from}{after}")
        }
        Effect::Kill { agent, because } => format!("kill {agent} because {}", short(because)),
        Effect::EndPerformance { permit, because, .. } => {
            format!("end what {permit} is for because {because}")
        }
        Effect::Release { agent } => format!("release what {agent} holds"),
        Effect::Perform(performance) => {
            let (command, reach) = (performance.command.join(" "), &performance.reach);
            let (what, tier, time) = (&performance.action, performance.tier, performance.timeout);
            format!(
                "perform `{command}` for {} at {tier}: {what}, {reach:?}, at most {time}",
                performance.agent
            )
        }
        Effect::Reap { agent, tree, performances } => {
            let also: Vec<String> = performances
                .iter()
                .map(|cage| format!(", and what {} is for{}", cage.permit, by_its_tree(cage.tree.as_ref())))
                .collect();
            format!("prove {agent} dead{}{}", by_its_tree(tree.as_ref()), also.concat())
        }
        Effect::RenewCredential { accessor, ttl } => format!("renew {accessor} for {ttl}"),
        Effect::EndCredential { accessor, at: Some(at), .. } => format!("end {accessor} at {at}"),
        Effect::EndCredential { accessor, .. } => format!("end {accessor}"),
        Effect::Seal { run } => format!("seal {}", home.names.runs[run]),
    }
}

fn by_its_tree(tree: Option<&Value>) -> &'static str {
    if tree.is_some() { ", by its tree" } else { "" }
}

fn kept(key: &Key) -> &'static str {
    match key {
        Key::Home { .. } => "key in this home",
        Key::Remote { .. } => "key elsewhere",
    }
}

fn far(separation: Separation) -> &'static str {
    match separation {
        Separation::SameHome => "same home",
        Separation::RemoteKey => "remote key",
    }
}

fn spelled(outcome: &impl serde::Serialize) -> String {
    serde_json::to_value(outcome)
        .ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .expect("an outcome is a word")
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {}", short(reason)) }
}

fn short(text: &str) -> String {
    if text.len() < limits::STAGE_REASON_BYTES {
        text.to_owned()
    } else {
        format!("{}… of {} bytes", text.chars().take(10).collect::<String>(), text.len())
    }
}

fn ended(end: &AttemptEnd) -> String {
    let word = match end {
        AttemptEnd::Completed => "well",
        AttemptEnd::Failed { code, .. } => &format!("failed {code}"),
        AttemptEnd::TimedOut { .. } => "timed out",
        AttemptEnd::Cancelled { .. } => "cancelled",
        AttemptEnd::Revoked { .. } => "revoked",
        AttemptEnd::Stalled { .. } => "stalled",
        AttemptEnd::LockLost { .. } => "lock lost",
        AttemptEnd::Interrupted { .. } => "interrupted",
    };
    format!("{word}{}", because(&end.reason()))
}

fn left(outputs: &BTreeMap<String, Value>, artifacts: &[Artifact]) -> String {
    let values = outputs.iter().map(|(name, value)| format!(" {name}={value}"));
    let files = artifacts.iter().map(|file| format!(" {}", file.path));
    let all: Vec<String> = values.chain(files).collect();
    match all.len() {
        0 => " nothing".to_owned(),
        1..=8 => all.concat(),
        many => format!("{} … {many} in all", all[..2].concat()),
    }
}
