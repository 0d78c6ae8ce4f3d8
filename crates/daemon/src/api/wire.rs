//! What callers send and get back. What the read models show is in `eparch_ledger::views`.

use std::collections::BTreeMap;

use eparch_domain::{
    Action, AgentId, BreakGlassId, BreakerState, Digest, LeaseId, Name, RunId, RunStatus, Span, StandingId,
    Tier, Timestamp,
};
use eparch_governor::{Allowed, GateDecision, GlassScope, GlassStands, OperatorRole, Separation};
use eparch_ledger::views::{PromotionRow, ViolationRow};
pub use eparch_vault::{Fields, Secret};
use serde::{Deserialize, Serialize};

use super::problem::Problem;

mod locks;

pub use locks::{LockReleased, LockView, ReleaseLock};

/// A run to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// What the pipeline's file is called, for messages.
    pub file: String,
    /// The pipeline, as text.
    pub pipeline: String,
    /// Its inputs, as text; each is read as its declared type.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// The highest tier to grant; what the caller may grant, at most `limits::GRANT_UNASKED`, when absent.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// A shorter timeout for the whole run, such as `10m`.
    #[serde(default)]
    pub timeout: Option<eparch_domain::Span>,
    /// The project's folder.
    pub root: String,
    /// Environment variables that the pipeline's expressions may read.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A second request with the same key is the same request.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    pub pipeline_id: RunId,
    /// The pipeline's name.
    pub name: Name,
    /// How it stands.
    pub status: RunStatus,
    /// The highest tier granted.
    pub tier: Tier,
    /// Definition and inputs.
    pub plan_id: Digest,
    /// The entry it began with: events from here on are its own.
    pub seq: u64,
}

/// The policies in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// The set.
    pub digest: Digest,
    /// Each policy, as `eparch policy show --format json` has it.
    pub policies: Vec<serde_json::Value>,
}

/// The home's policies were read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutInForce {
    /// The entry that says so.
    pub decided: u64,
    /// The set.
    pub digest: Digest,
    /// Where it was read.
    pub place: String,
    /// How many policies it has.
    pub policies: usize,
    /// Whether others were in force before.
    pub changed: bool,
}

/// What something that was decided is like now. It counts whatever can be shown of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decided<T> {
    /// As the read models show it.
    Shown(T),
    /// The read models are not well.
    Unseen {
        /// The entry it was decided in.
        decided: u64,
        /// What is wrong with the read models.
        read_models: String,
    },
}

/// A run to stop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRun {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Why an agent's authority is taken away.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A promotion that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskPromotion {
    /// To which tier; the next one when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Tier>,
    /// Why.
    pub rationale: String,
}

/// What one kind of agent has earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingView {
    /// The standing: that of a template, a command and a model.
    pub standing: StandingId,
    /// `pipeline/stage`, where it worked last; empty when it has not.
    pub agent_name: String,
    /// The tier it has earned.
    pub tier: Tier,
    /// Runs, which are attempts that ended by their own doing.
    pub total_runs: u32,
    /// Those that ended well and violated nothing.
    pub compliant_runs: u32,
    /// Those of them in which it planned, and did nothing else.
    pub plan_only_runs: u32,
    /// The last ones of them in a row.
    pub consecutive_compliant: u32,
    /// What was done in compliant runs.
    pub actions: Vec<Action>,
    /// Compliant runs in which it asked for what only a person may allow.
    pub escalations: u32,
    /// Violations of the last 30 days.
    pub violations_30d: u64,
    /// What the next tier takes; none above T4.
    pub next: Option<NextTier>,
    /// The promotion that waits for answers.
    pub promotion: Option<Waiting>,
}

/// What a tier takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextTier {
    /// Which.
    pub tier: Tier,
    /// Compliant runs.
    pub compliant_runs: u32,
    /// Whether only those count in which it did nothing but plan.
    pub plan_only: bool,
    /// So many of them in a row.
    pub consecutive: u32,
    /// Actions done in compliant runs.
    pub actions: Vec<Action>,
    /// Correct escalations.
    pub escalations: u32,
    /// How long nothing was violated.
    pub without_violation: Span,
    /// Approvals of people who did not ask for it.
    pub approvals: u16,
    /// What is missing, for people.
    pub missing: Vec<String>,
}

/// A promotion that waits for answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The tier it has.
    pub from: Tier,
    /// The tier it would have.
    pub to: Tier,
    /// Who asked; they may not approve it.
    pub requested_by: Name,
    /// Why.
    pub rationale: String,
    /// How many approvals it takes.
    pub approvals: u16,
    /// Who approved it so far.
    pub approved_by: Vec<Name>,
    /// How far apart an answer's key must be.
    pub separation: Separation,
    /// The digest of what is approved.
    pub subject: Digest,
}

/// Everything about a standing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingDetail {
    /// The standing in a list.
    #[serde(flatten)]
    pub standing: StandingView,
    /// Its last violations, newest first.
    pub violations: Vec<ViolationRow>,
    /// What was asked and decided about it, newest first.
    pub promotions: Vec<PromotionRow>,
}

/// A run whose authority is taken away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRun {
    /// Which.
    pub pipeline_id: RunId,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What a run bears; never a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenShown {
    /// Which run.
    pub pipeline_id: RunId,
    /// Its lease; none while nobody of it works.
    #[serde(flatten)]
    pub lease: Option<LeaseShown>,
    /// Its tokens of the vault that are to be ended there and are not known to be. Here they are good for nothing any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<TokenOwed>,
}

/// A token that is over here and that the vault has not ended yet (EP0918).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenOwed {
    /// What it is called in the vault.
    pub vault_accessor: String,
    /// Whose it was, unless it was the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// How often the vault was asked in vain.
    pub asked: u32,
    /// The stable code of why it was in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A run's lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseShown {
    /// What it is called.
    pub accessor: LeaseId,
    /// What it has left, unless it is renewed.
    pub ttl: Span,
    /// When it is over, unless it is renewed.
    pub expires_at: Timestamp,
    /// How often it was.
    pub renewals: u32,
    /// Its policies.
    pub policies: Vec<String>,
    /// What its token is called in the vault, where it has one there.
    pub vault_accessor: Option<String>,
    /// Its agents' tokens.
    pub agents: Vec<AgentTokenShown>,
}

/// An agent's token of its run's lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentTokenShown {
    /// Whose.
    pub agent_id: AgentId,
    /// Which of the agent's, from 1.
    pub round: u32,
    /// What it has left, unless it is renewed.
    pub ttl: Span,
    /// When it is over, unless it is renewed.
    pub expires_at: Timestamp,
    /// How often it was.
    pub renewals: u32,
    /// Its policies.
    pub policies: Vec<String>,
    /// What it is called in the vault, where it has one there.
    pub vault_accessor: Option<String>,
}

/// An agent has no authority any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revoked {
    /// Which.
    pub agent_id: AgentId,
    /// The entry it was decided in, or, when it had been before, that in which it was asked for again.
    pub decided: u64,
}

/// A run to repeat in part.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRun {
    /// The stage to begin with.
    pub from: Name,
    /// A second request with the same key is the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// An answer at a gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Yes or no.
    pub decision: GateDecision,
    /// Why.
    pub rationale: String,
    /// The digest of what was looked at.
    pub subject: Digest,
    /// For an operator whose key this home never held.
    #[serde(default)]
    pub signed: Option<Signed>,
}

/// A signature of an answer, see [`crate::gate_statement`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Who signed.
    pub by: Name,
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
}

/// An operator to add.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddOperator {
    /// Their name.
    pub name: Name,
    /// What they may do.
    pub role: OperatorRole,
    /// Groups they belong to.
    #[serde(default)]
    pub groups: Vec<Name>,
    /// The highest tier they may grant; T2 when absent.
    #[serde(default)]
    pub max_tier: Option<Tier>,
    /// Their Ed25519 public key, 64 hexadecimal digits, when their key is kept elsewhere. Otherwise the home makes one.
    #[serde(default)]
    pub public_key: Option<String>,
}

/// An operator, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorView {
    /// Their name.
    pub name: Name,
    /// What they may do.
    pub role: OperatorRole,
    /// Groups they belong to.
    pub groups: Vec<Name>,
    /// The highest tier they may grant.
    pub max_tier: Tier,
    /// `home` when the key lies in this home, `remote` when it never did.
    pub key: String,
    /// The key's fingerprint.
    pub fingerprint: String,
}

/// A captured line with its place, as in `GET /api/runs/{id}/logs` and `runs logs --format json`, whether the run is followed
/// or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunLogLine {
    /// The stage.
    pub stage: Name,
    /// The attempt at it.
    pub attempt: u32,
    /// The line.
    #[serde(flatten)]
    pub line: crate::agents::capture::LogLine,
}

/// One JSON line of `GET /api/runs/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RunLogNews {
    /// A captured line.
    Line(RunLogLine),
    /// The last line of a stream that its holder ends before the run has ended; its kind is [`crate::END`].
    End(crate::LiveEvent),
}

/// The fields of a secret in the open. They are written out between a holder and its caller, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct OpenFields(pub Fields);

impl Serialize for OpenFields {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|(name, secret)| (name, secret.expose())))
    }
}

/// A new version of a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    /// What it holds, by name.
    pub fields: OpenFields,
    /// Only when this is the newest version; 0 says that there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<u32>,
}

/// A secret that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretWritten {
    /// Where.
    pub path: String,
    /// The new version.
    pub version: u32,
}

/// A secret that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretShown {
    /// Where it lies.
    pub path: String,
    /// Which version it is.
    pub version: u32,
    /// What it holds, by name.
    pub fields: OpenFields,
}

/// What lies below a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretNames {
    /// Below which; nothing is the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Names of secrets, and of folders with a `/` behind them, in order.
    pub names: Vec<String>,
}

/// How the vault is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultStatus {
    /// `embedded` in a sealed file of the home, or `server`.
    pub kind: String,
    /// The folder of the file, or the address of the server.
    pub place: String,
    /// Whether there is one: the sealed file is made when something is first written.
    pub made: bool,
    /// Whether secrets and authority can be had from it, or, where there is none yet, could.
    pub usable: bool,
    /// Whether it waits for its keys; unknown when nobody answers.
    pub sealed: Option<bool>,
    /// How far the clock is behind what was recorded last; no token gives authority meanwhile.
    pub clock_behind: Option<Span>,
    /// What is wrong, when something is.
    pub problem: Option<Problem>,
    /// The policies in force for runs and agents, by name. A server may hold others under these names.
    pub policies: Vec<String>,
    /// Who holds tokens to them: `eparch`, or `server`.
    pub enforced_by: String,
}

/// Whether the holder is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether decisions can be made.
    pub ok: bool,
    /// The holder's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its epoch.
    pub epoch: u64,
    /// The ledger's last entry.
    pub seq: u64,
    /// Runs alive.
    pub live_runs: usize,
    /// Why the ledger cannot be written, if it cannot.
    pub ledger_failure: Option<String>,
    /// Folders for signed checkpoints that cannot be written to, and why.
    #[serde(default)]
    pub anchors_behind: Vec<String>,
    /// What else was met that is worth knowing and stops nothing.
    #[serde(default)]
    pub notices: Vec<String>,
    /// The digest of the settings it works with: those there were when it began.
    #[serde(default)]
    pub settings: Option<Digest>,
    /// Where it serves over TCP, if it does.
    #[serde(default)]
    pub url: Option<String>,
    /// What decisions and agents need, each for itself. One that is not well stops what needs it, and nothing else.
    #[serde(default)]
    pub components: Vec<Component>,
    /// What is enforced, rather than loaded.
    #[serde(default)]
    pub enforced: Enforced,
    /// Who stopped everything, when and why, until an admin lifts it: nothing has authority meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedShown>,
    /// What two people let pass now although policy denies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<BreakGlassShown>,
}

/// Everything is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedShown {
    /// Who did it.
    pub by: Name,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Whether everything is stopped, as it stands after what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopAllShown {
    /// Who stopped everything, when and why; nothing when it is not stopped.
    pub stopped: Option<StoppedShown>,
    /// The entry in which this was decided.
    pub decided: u64,
    /// Agents whose processes are being ended still. None of them has authority.
    pub ending: usize,
}

/// Stops everything, or lets things begin again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopAll {
    /// Why.
    pub reason: String,
}

/// Asks two people's leave for what policy denies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskBreakGlass {
    /// For whom.
    pub scope: GlassScope,
    /// What.
    pub allows: Vec<Allowed>,
    /// For how long.
    pub time: Span,
    /// Why.
    pub reason: String,
}

/// What two people let pass, or one asks another to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassShown {
    /// Its name.
    pub grant: BreakGlassId,
    /// For whom.
    pub scope: GlassScope,
    /// What.
    pub allows: Vec<Allowed>,
    /// Who asked.
    pub requested_by: Name,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// For how long, from when it is approved.
    pub time: Span,
    /// The least separation an approval must have.
    pub needs: Separation,
    /// How it stands.
    #[serde(flatten)]
    pub stands: GlassStands,
    /// When it is over by itself, by the wall clock; nothing when it is over.
    pub ends_at: Option<Timestamp>,
    /// What was allowed under it, each once.
    pub used: Vec<Allowed>,
    /// The digest of what is asked for: what an answer is to.
    pub subject: Digest,
}

/// Something that decisions or agents need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What it is.
    pub name: String,
    /// Whether it can be relied on.
    pub healthy: bool,
    /// What was seen.
    pub detail: String,
    /// How the breaker before it stands, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
}

/// What is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enforced {
    /// The policies in force, by their digest; without any nothing is allowed.
    pub policies: Option<Digest>,
    /// How many of them decide.
    pub deciding: usize,
    /// Those that only record what they would have decided, by name.
    pub shadowed: Vec<String>,
    /// How often these spoke since this holder began, and what was decided meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<WatchedShown>,
    /// What confines agents here; nothing where it was not tried yet.
    pub confinement: Option<Vec<Confinement>>,
}

/// How often a watched policy said something beside a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedShown {
    /// The policy.
    pub policy: String,
    /// What it would have said.
    pub would: String,
    /// What was decided.
    pub decided: String,
    /// How often.
    pub times: u64,
}

/// A measure that confines agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Which.
    pub measure: String,
    /// Whether it holds.
    pub in_force: bool,
    /// By what, or why not.
    pub detail: String,
}
