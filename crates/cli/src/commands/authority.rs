//! Who has authority, and taking it away from an agent, or from a run.

use eparch_daemon::wire::{Decided, Revoke, RevokeRun, Revoked, TokenOwed, TokenShown};
use eparch_domain::{AgentId, Name, Phase, RunId, StageStatus, Tier, Timestamp};
use eparch_ledger::views::RunDetail;
use serde::Serialize;

use super::runs::newest;
use super::standing;
use super::{block_on, emergencies};
use crate::args::{Agent, Token};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::table::{Table, plain};
use crate::when;

/// `eparch agent …`.
pub(crate) fn agent(context: &Context, command: Agent) -> Result<u8, Failure> {
    block_on(async {
        let desk = Desk::open(context)?;
        match command {
            Agent::List { earned: true, .. } => standing::list(context, &desk).await?,
            Agent::List { limit, .. } => list(context, &desk, limit).await?,
            Agent::Show { id } => standing::show(context, &desk, &id).await?,
            Agent::Promote(asked) => standing::promote(context, &asked).await?,
            Agent::Demote { id, reason } => standing::demote(context, &desk, &id, reason).await?,
            Agent::Revoke { agent, reason } => {
                let path = format!("/api/agents/{agent}/revoke");
                let revoked: Revoked = desk.post_again(&path, &Revoke { reason }).await?;
                if context.is_json() {
                    print_json(&revoked)?;
                } else {
                    outln!("{agent} has no authority any more; what it runs is being ended.");
                }
            }
        }
        Ok(exit::DONE)
    })
}

/// An agent that lives.
#[derive(Debug, Serialize)]
struct Living {
    agent_id: AgentId,
    pipeline_id: RunId,
    pipeline: Name,
    stage: Name,
    attempt: u32,
    phase: Option<Phase>,
    tier: Option<Tier>,
    began: Option<Timestamp>,
}

async fn list(context: &Context, desk: &Desk<'_>, limit: u32) -> Result<(), Failure> {
    let mut living = Vec::new();
    for run in newest(desk, true, limit).await? {
        let detail: RunDetail = desk.get(&format!("/api/runs/{}", run.pipeline_id)).await?;
        living.extend(detail.stages.into_iter().filter_map(|stage| {
            let at_work = stage.status == StageStatus::Running;
            Some(Living {
                agent_id: stage.agent.filter(|_| at_work)?,
                pipeline_id: run.pipeline_id,
                pipeline: run.name.clone(),
                stage: stage.name,
                attempt: stage.attempts,
                phase: stage.phase,
                tier: stage.tier,
                began: stage.started_at,
            })
        }));
    }
    emergencies::shout(context, desk).await?;
    if context.is_json() {
        return print_json(&living);
    }
    if living.is_empty() {
        context.say("No agents live. `eparch run FILE` starts some.");
        return Ok(());
    }
    let mut table = Table::new(&["AGENT", "PIPELINE", "STAGE", "PHASE", "TIER", "TRY", "BEGAN"]);
    for agent in &living {
        let shown = |known: Option<String>| plain(known.unwrap_or_default());
        table.row([
            plain(agent.agent_id.to_string()),
            plain(agent.pipeline.to_string()),
            plain(agent.stage.to_string()),
            shown(agent.phase.map(|phase| phase.to_string())),
            shown(agent.tier.map(|tier| tier.to_string())),
            plain(agent.attempt.to_string()),
            shown(agent.began.map(when::ago)),
        ]);
    }
    table.print();
    Ok(())
}

/// The stable code of a token that is to be ended in the vault and has not been.
const NOT_ENDED: &str = "EP0918";

async fn status(context: &Context, desk: &Desk<'_>, run: RunId) -> Result<u8, Failure> {
    let shown: TokenShown = desk.get(&format!("/api/pipeline/token?pipeline_id={run}")).await?;
    if context.is_json() {
        print_json(&shown)?;
        return Ok(exit::DONE);
    }
    for owed in &shown.owed {
        let why = match (&owed.code, &owed.detail) {
            (Some(code), Some(detail)) => format!("{code}: {detail}"),
            _ => "it was not asked yet".to_owned(),
        };
        let TokenOwed { vault_accessor, asked, .. } = owed;
        outln!("{NOT_ENDED} the vault has not ended {vault_accessor} yet, asked {asked} times: {why}");
    }
    let Some(lease) = shown.lease else {
        outln!("{run} has no lease: nobody of it works.");
        return Ok(exit::DONE);
    };
    outln!("{}", lease.accessor);
    outln!("  ends in    {} ({}), unless it is renewed", lease.ttl, lease.expires_at);
    outln!("  renewed    {} times", lease.renewals);
    outln!("  policies   {}", lease.policies.join(", "));
    if let Some(accessor) = &lease.vault_accessor {
        outln!("  in vault   {accessor}");
    }
    if lease.agents.is_empty() {
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&["AGENT", "TOKEN", "ENDS IN", "RENEWED", "POLICIES", "IN VAULT"]);
    for agent in &lease.agents {
        table.row([
            plain(agent.agent_id.to_string()),
            plain(agent.round.to_string()),
            plain(agent.ttl.to_string()),
            plain(agent.renewals.to_string()),
            plain(agent.policies.join(", ")),
            plain(agent.vault_accessor.clone().unwrap_or_default()),
        ]);
    }
    table.print();
    Ok(exit::DONE)
}

/// `eparch token …`.
pub(crate) fn token(context: &Context, command: Token) -> Result<u8, Failure> {
    block_on(async {
        let desk = Desk::open(context)?;
        let (run, reason) = match command {
            Token::Status { run } => return status(context, &desk, run).await,
            Token::TrustClock => {
                let decided: serde_json::Value =
                    desk.post_again("/api/clock/trust", &serde_json::json!({})).await?;
                if context.is_json() {
                    print_json(&decided)?;
                } else {
                    outln!("The clock is taken as right.");
                }
                return Ok(exit::DONE);
            }
            Token::Revoke { run, reason } => (run, reason),
        };
        let asked = RevokeRun { pipeline_id: run, reason };
        let revoked: Decided<RunDetail> = desk.post_again("/api/pipeline/revoke", &asked).await?;
        if context.is_json() {
            print_json(&revoked)?;
            return Ok(exit::DONE);
        }
        if let Decided::Unseen { read_models, .. } = &revoked {
            context.say_unseen(read_models);
        }
        outln!("{run} has no authority any more; its agents are being ended.");
        Ok(exit::DONE)
    })
}
