//! Everything that can happen to the governor.

use std::collections::BTreeMap;

use eparch_domain::{
    Action, AgentId, Artifact, BreakGlassId, Digest, GateId, LeaseId, Name, PermitId, Phase, RunId,
    StageStatus, StandingId, Tier, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::break_glass::{BreakGlassAnswer, BreakGlassRequest};
use crate::credential::{Credential, CredentialOutcome};
use crate::governing::PoliciesAnswer;
use crate::operator::Operator;
use crate::performance::PerformanceEnd;
use crate::promotion::PromotionAnswer;
use crate::revocation::Bearer;
use crate::secrets::{SecretAccess, SecretOutcome};

/// How a holder that begins finds the wall clock: moved by more than `limits::CLOCK_SKEW` against what was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMoved {
    /// By how many milliseconds, negative when it went back.
    pub by_ms: i64,
    /// What it said at the last entry.
    pub from: Timestamp,
}

/// Something that happened. Ids and randomness arrive in it; it carries no secret: tokens by hash, bodies by digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A holder took the home. Whatever was in flight under an earlier epoch is in doubt.
    Booted {
        /// The holder's number, rising with each boot.
        epoch: u64,
        /// The version of the program.
        version: String,
        /// How many agents may work at once.
        agents_at_once: u32,
        /// How the wall clock was moved while nobody held the home, as far as can be told. Decided on with the boot: an
        /// entry before it would begin agents only to have them cut off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock_moved: Option<ClockMoved>,
    },
    /// A deadline has come.
    ClockTurned,
    /// The wall clock moved by more than `limits::CLOCK_SKEW` against the monotonic one while its holder lived.
    ClockJumped {
        /// By how many milliseconds, negative when it went back.
        by_ms: i64,
    },
    /// Somebody who may act was made known.
    OperatorAdded {
        /// Who added them; nobody for a home's first operator.
        by: Option<Name>,
        /// Who.
        operator: Operator,
    },
    /// An operator got another key.
    OperatorRotated {
        /// Who asked.
        by: Name,
        /// Whose key.
        name: Name,
        /// The new one.
        key: crate::operator::Key,
    },
    /// Somebody may act no longer.
    OperatorRemoved {
        /// Who asked.
        by: Name,
        /// Who goes.
        name: Name,
    },
    /// Somebody asked for a run.
    RunRequested(Box<RunRequest>),
    /// Somebody asked a run to end.
    StopRequested {
        /// Which run.
        run: RunId,
        /// Who asked.
        by: Name,
        /// Why.
        reason: String,
    },
    /// Somebody takes authority away, at once.
    RevokeRequested {
        /// Whose.
        #[serde(flatten)]
        bearer: Bearer,
        /// Who asked.
        by: Name,
        /// Why.
        reason: String,
    },
    /// Somebody stops everything: every agent is revoked, every run ends, and nothing new begins.
    StopAllRequested {
        /// Who.
        by: Name,
        /// Why.
        reason: String,
    },
    /// Somebody lets things begin again.
    StopAllLifted {
        /// Who.
        by: Name,
        /// Why.
        reason: String,
    },
    /// Somebody asks that something be let pass for a while which policy denies.
    BreakGlassRequested(Box<BreakGlassRequest>),
    /// Somebody answered such a request.
    BreakGlassAnswered(Box<BreakGlassAnswer>),
    /// Somebody ends what was let pass, or the request for it.
    BreakGlassEndRequested {
        /// Which.
        grant: BreakGlassId,
        /// Who.
        by: Name,
        /// Why.
        reason: String,
    },
    /// Somebody asks that an agent be promoted.
    PromotionRequested {
        /// Whose standing.
        standing: StandingId,
        /// Who asks.
        by: Name,
        /// To which tier; the next one when nobody says.
        to: Option<Tier>,
        /// Why.
        rationale: String,
    },
    /// Somebody answered a request to promote an agent.
    PromotionAnswered(PromotionAnswer),
    /// Somebody lowers what an agent has earned, by one tier.
    DemotionRequested {
        /// Whose standing.
        standing: StandingId,
        /// Who asks.
        by: Name,
        /// Why.
        reason: String,
    },
    /// The calls of an agent were limited: it called more than `limits::CALLS_PER_MINUTE` times within a minute. Told once
    /// for each minute in which it did.
    CallsLimited {
        /// Which agent.
        agent: AgentId,
    },
    /// A token that is not its own was shown at an agent's listener, and is that of another agent who works now. Any other is only
    /// refused, and no event.
    TokenShown {
        /// Whose listener it was.
        agent: AgentId,
        /// The hash of what was shown.
        token: Digest,
    },
    /// Somebody asks for a secret. Nothing is read, written or answered before this is durable (G1).
    SecretAsked {
        /// Who asks.
        by: Name,
        /// Where it lies.
        path: String,
        /// The lowest tier whose agents may read there.
        tier: Tier,
        /// What they want of it.
        #[serde(flatten)]
        access: SecretAccess,
    },
    /// The vault answered what was asked; whoever asked is told when this is durable. The entry itself is the record.
    SecretServed {
        /// The entry in which it was asked.
        asked: u64,
        /// Who asked.
        by: Name,
        /// Where it lies.
        path: String,
        /// What came of it.
        #[serde(flatten)]
        outcome: SecretOutcome,
    },
    /// Somebody takes a lock away from the attempt that has it.
    LockReleaseRequested {
        /// Which lock.
        lock: Name,
        /// Who asked.
        by: Name,
        /// Why.
        reason: String,
    },
    /// A vault issued a token for a lease, or for an agent's token of it. Told before the token is used for anything.
    CredentialIssued {
        /// The lease it was issued for.
        lease: LeaseId,
        /// What it is called, and whose it is.
        #[serde(flatten)]
        credential: Credential,
    },
    /// What came of renewing or ending a token of a vault.
    CredentialTold {
        /// What it is called.
        accessor: String,
        /// What came of it.
        #[serde(flatten)]
        outcome: CredentialOutcome,
    },
    /// Tokens of this home that a search of the vault found, at most `limits::CREDENTIALS_FOUND` at once.
    CredentialsFound {
        /// Which.
        found: Vec<Credential>,
    },
    /// Somebody says that the wall clock is right, although it is behind what was recorded.
    ClockVouched {
        /// Who.
        by: Name,
    },
    /// The shell carried an agent through one or more phases.
    AgentAdvanced {
        /// Which agent.
        agent: AgentId,
        /// What came of each phase, in order.
        outcomes: Vec<Outcome>,
    },
    /// An agent said something on its own listener.
    AgentSignalled {
        /// Which agent.
        agent: AgentId,
        /// What it said.
        signal: Signal,
    },
    /// A pipeline is to look at runs from now on whose agents make too many errors (R089). A holder offers it when it begins.
    DiagnosticOffered {
        /// The pipeline, by the digest of its checked definition.
        pipeline: Digest,
    },
    /// Policies are to be in force from now on.
    PoliciesOffered {
        /// Who offers them; nobody when a holder began with them.
        by: Option<Name>,
        /// The set, by the digest of its document.
        policies: Digest,
    },
    /// Somebody answers for policies that wait for another person.
    PoliciesAnswered(Box<PoliciesAnswer>),
    /// An agent asks whether it may do something.
    ActionAsked(Box<ActionAsked>),
    /// An agent is about to do what a permit is for.
    PermitUsed {
        /// Which agent.
        agent: AgentId,
        /// The permit it shows.
        permit: PermitId,
        /// The digest of the arguments it is about to use.
        params: Digest,
    },
    /// An agent shows a permit, and wants a command to be performed under it, outside its own cage.
    PerformanceAsked {
        /// Which agent.
        agent: AgentId,
        /// The permit it shows.
        permit: PermitId,
        /// The program and its arguments; the digest of these is what the permit has to be for.
        command: Vec<String>,
    },
    /// The cage of a performance is open, and nothing has run in it yet.
    PerformanceReady {
        /// For which agent.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// How a later holder finds its process tree; opaque here.
        #[serde(serialize_with = "eparch_domain::in_order")]
        tree: Option<Value>,
        /// What confinement is in force, and what is missing.
        confinement: Vec<Measure>,
    },
    /// A performance is over, and nothing of it lives.
    PerformanceEnded {
        /// For which agent it was.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// How it ended.
        end: PerformanceEnd,
        /// As in [`Usage`].
        #[serde(default, skip_serializing_if = "is_none")]
        breaches: u32,
    },
    /// What was done under a permit has ended.
    ActionEnded {
        /// Which agent did it.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// Whether it did what it should.
        ok: bool,
        /// What came of it, in words.
        detail: String,
    },
    /// The process tree of an agent is proven dead, as [`crate::Effect::Reap`] asked for it.
    TreeProvenDead {
        /// Which agent.
        agent: AgentId,
        /// Whether it had to be killed, rather than being found dead.
        killed: bool,
    },
    /// Somebody answered a gate.
    GateAnswered(GateAnswer),
}

/// What an agent asks to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionAsked {
    /// Which agent.
    pub agent: AgentId,
    /// Whose tenant it works in.
    pub tenant: Name,
    /// The project it works for.
    pub project: Name,
    /// What it wants to do.
    pub action: Action,
    /// To what; what kind of thing that is follows from the action.
    pub target: String,
    /// The digest of the arguments; that of nothing for an action without any.
    pub params: Digest,
    /// The arguments themselves, as the text that the digest is of: JSON with its keys in order and without spaces, at most
    /// [`eparch_domain::limits::ARGUMENTS_SHOWN_BYTES`]. `None` where there are none, or nobody here was told more than their
    /// digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// A key of the agent's own: asking again with the same one is the same request.
    pub key: String,
}

/// What somebody who wants a run hands over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The id the run will have.
    pub run: RunId,
    /// The pipeline, by the digest of its checked definition.
    pub pipeline: Digest,
    /// Its inputs, checked and with defaults.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub inputs: BTreeMap<String, Value>,
    /// The environment variables its expressions read, as they were when it was asked for.
    pub env: BTreeMap<String, String>,
    /// Who asks.
    pub requester: Name,
    /// The highest tier asked for; `None` is the requester's own maximum.
    pub grant: Option<Tier>,
    /// The project's folder on the holder's machine.
    pub root: String,
    /// A second request with the same key is the same request.
    pub idempotency_key: Option<String>,
    /// The run this one repeats in part.
    pub lineage: Option<Lineage>,
}

/// How a run follows from an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The earlier run.
    pub run: RunId,
    /// The stage it is repeated from.
    pub from: Name,
    /// The stages it completed, with what they left.
    pub kept: BTreeMap<Name, Kept>,
    /// The stages it went on without, as their pipeline lets it (`continue_on_error`), with how they ended.
    #[serde(default)]
    pub forgiven: BTreeMap<Name, StageStatus>,
}

/// A completed stage kept from an earlier run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Its outputs.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub outputs: BTreeMap<String, Value>,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
}

/// What came of one phase of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// The agent has an identity.
    Bootstrap {
        /// The hash of its token.
        token: Digest,
        /// The digest of its signed instruction packet.
        packet: Digest,
        /// How a later holder finds its process tree; opaque here.
        #[serde(serialize_with = "eparch_domain::in_order")]
        tree: Option<Value>,
    },
    /// Sandbox, inventory and dependencies were checked (R005).
    Preflight {
        /// Each check; those three have to be among them.
        checks: Vec<Check>,
        /// What confinement is in force, and what is missing.
        confinement: Vec<Measure>,
    },
    /// What will be done is settled (R006).
    Plan {
        /// The digest of the plan's document.
        plan: Digest,
        /// The actions it names, at least one. What is let go is compared with the plan itself, by its digest (R007).
        actions: Vec<String>,
        /// Why the plan is not valid; `None` when it is.
        problem: Option<String>,
    },
    /// The program ended and nothing of its tree is left.
    Execute {
        /// How.
        ended: Ended,
        /// What it put out.
        #[serde(serialize_with = "eparch_domain::in_order")]
        outputs: BTreeMap<String, Value>,
        /// The files it left, already kept by content.
        artifacts: Vec<Artifact>,
        /// Processes that outlived its main program and were killed.
        leftovers: u32,
        /// What it used.
        usage: Usage,
    },
    /// Its results were checked (R008).
    Verify {
        /// Each check.
        checks: Vec<Check>,
    },
    /// Its evidence was bundled (R009).
    Package {
        /// The digest of the manifest.
        manifest: Digest,
    },
    /// Its report was written (R010).
    Report {
        /// The digest of the report.
        report: Digest,
        /// The package it refers to.
        package: Digest,
    },
    /// Everything it held is released (R011).
    Exit,
    /// A phase could not be carried out.
    #[serde(rename = "FAILED")]
    Failed {
        /// Which.
        in_phase: Phase,
        /// A stable code.
        code: String,
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// The phase it is of.
    pub fn phase(&self) -> Phase {
        match self {
            Outcome::Bootstrap { .. } => Phase::Bootstrap,
            Outcome::Preflight { .. } => Phase::Preflight,
            Outcome::Plan { .. } => Phase::Plan,
            Outcome::Execute { .. } => Phase::Execute,
            Outcome::Verify { .. } => Phase::Verify,
            Outcome::Package { .. } => Phase::Package,
            Outcome::Report { .. } => Phase::Report,
            Outcome::Exit => Phase::Exit,
            Outcome::Failed { in_phase, .. } => *in_phase,
        }
    }
}

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// One measure of confinement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Which.
    pub name: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// What is in force, or why it is missing.
    pub detail: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ended {
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
    /// Killed because the governor asked for it.
    Killed,
}

/// What a program used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident set of its main program, in bytes.
    pub max_rss_bytes: u64,
    /// Lines captured.
    pub lines: u64,
    /// Lines that were not kept because there were too many.
    pub lines_dropped: u64,
    /// How long it ran.
    pub wall_ms: u64,
    /// Whether the kernel ended it, or a process of it, because memory ran out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub out_of_memory: bool,
    /// Processes of it that the kernel ended because they tried to leave their sandbox, of those whose end was seen.
    #[serde(default, skip_serializing_if = "is_none")]
    pub breaches: u32,
}

/// What is the rule is not written down: earlier records of it stay as they are.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// What an agent says while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Signal {
    /// It lives.
    Heartbeat,
    /// Something moved: a captured line, an artifact, processor time (2.C rule 3).
    Progress,
    /// An output.
    Output {
        /// Its name.
        name: String,
        /// Its value.
        #[serde(serialize_with = "eparch_domain::in_order")]
        value: Value,
    },
    /// A message to another agent, or to everybody.
    Message {
        /// To whom; `None` is everybody in the run.
        to: Option<String>,
        /// The digest of what was said.
        content: Digest,
    },
    /// An error of its own doing.
    Error {
        /// A code of its own, at most 64 characters.
        code: String,
    },
}

/// Somebody's answer at a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// Which gate.
    pub gate: GateId,
    /// Who, as proven by their key.
    pub by: Name,
    /// What proved it, for a key that this home never held; `None` for a key of this home.
    pub signed: Option<SignedAnswer>,
    /// What they say.
    pub decision: GateDecision,
    /// The digest of what they saw.
    pub subject: Digest,
    /// Why.
    pub rationale: String,
}

/// How a signed answer was proven, so that whoever reads the record can check it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAnswer {
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
    /// The public key it was checked with, 64 hexadecimal digits.
    pub public_key: String,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDecision {
    /// Yes.
    Approve,
    /// No.
    Deny,
}
