//! What the governor found to be so. State is what facts have been applied to it, and nothing else; recovery applies
//! recorded facts and never decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eparch_domain::{
    AgentId, AgentStatus, AlertId, Artifact, BreakGlassId, ClarifiedPlan, Digest, GateId, LeaseId,
    LedgerTime, Moment, Name, PermitId, Phase, RunId, RunStatus, Severity, StageStatus, StandingId, Tier,
    Timestamp, ViolationType,
};
use eparch_pipeline::StageIx;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::alarm::Alarm;
use crate::attempt_end::AttemptEnd;
use crate::break_glass::{BreakGlassAsked, GlassEnd};
use crate::credential::Credential;
use crate::event::{GateDecision, Kept};
use crate::governing::{PoliciesProposed, ProposalEnd};
use crate::lease::LeaseEnd;
use crate::lock::{LockLoss, LockWait};
use crate::opening::Shut;
use crate::operator::{Key, Operator, Separation};
use crate::performance::PerformanceEnd;
use crate::promotion::PromotionOpened;
use crate::revocation::{Bearer, Cause};
use crate::secrets::SecretAccess;
use crate::standing::Lowered;

mod gates;
mod ruled;
mod spawned;

pub use gates::{GateOpened, GateOutcome, GatePurpose};
pub use ruled::{Permit, Ruled};
pub use spawned::{RunSpawned, SpawnedBy};

/// One thing found to be so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fact {
    /// A holder's epoch began.
    EpochBegan {
        /// Its number.
        epoch: u64,
        /// How many agents may work at once in it.
        agents_at_once: u32,
    },
    /// An operator is known from now on.
    OperatorKnown {
        /// Who.
        operator: Operator,
        /// Who made them known, and so gave them their key; nobody for a home's first operator.
        by: Option<Name>,
    },
    /// An operator has another key from now on.
    OperatorRekeyed {
        /// Who.
        name: Name,
        /// The key.
        key: Key,
        /// Who gave it to them.
        by: Option<Name>,
    },
    /// An operator is known no longer.
    OperatorForgotten {
        /// Who.
        name: Name,
    },
    /// A run exists.
    RunSpawned(Box<RunSpawned>),
    /// A run is being ended by a person or its deadline.
    RunEnding {
        /// Which.
        run: RunId,
        /// How it will have ended.
        status: RunStatus,
        /// Why.
        reason: String,
        /// Who asked; nobody when its deadline passed.
        by: Option<Name>,
    },
    /// A run's status changed.
    RunChanged {
        /// Which.
        run: RunId,
        /// To what.
        status: RunStatus,
        /// Why, when it ended.
        reason: String,
    },
    /// A stage's status changed.
    StageChanged {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
        /// To what.
        status: StageStatus,
        /// Why; empty when it goes without saying.
        reason: String,
    },
    /// A stage was kept from an earlier run.
    StageKept {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
        /// What it had left.
        kept: Kept,
    },
    /// A condition was evaluated, once.
    ConditionDecided {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
        /// What it yielded.
        holds: bool,
        /// The digest of everything it could see.
        scope: Digest,
    },
    /// An attempt began.
    AttemptBegan {
        /// Of which run.
        run: RunId,
        /// At which stage.
        stage: StageIx,
        /// The agent it makes.
        agent: AgentId,
        /// Which attempt, from 1.
        attempt: u32,
        /// When it must be ready to execute.
        start_by: LedgerTime,
    },
    /// An agent entered a phase.
    PhaseEntered {
        /// Which agent.
        agent: AgentId,
        /// Which phase.
        phase: Phase,
    },
    /// How an agent's process tree can be found later.
    TreeKnown {
        /// Which agent.
        agent: AgentId,
        /// Opaque here.
        #[serde(serialize_with = "eparch_domain::in_order")]
        tree: Value,
    },
    /// What an agent will do is settled.
    PlanSettled {
        /// Which agent.
        agent: AgentId,
        /// The digest of its plan's document.
        plan: Digest,
        /// The actions it may ask for: `read_file docs`.
        #[serde(default)]
        actions: Vec<String>,
    },
    /// Policies are in force from now on.
    PoliciesInForce {
        /// The set, by the digest of its document.
        policies: Digest,
        /// Who offered them; nobody when a holder began with them.
        by: Option<Name>,
        /// The others who approved them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approved_by: Vec<Name>,
        /// Nobody else could have looked at them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        alone: bool,
    },
    /// Policies are offered, and wait for others to approve them.
    PoliciesProposed(Box<PoliciesProposed>),
    /// Somebody approved them.
    PoliciesApproved {
        /// The set.
        policies: Digest,
        /// Who.
        by: Name,
        /// Why.
        rationale: String,
        /// How far apart they are from whoever offered them, as far as keys can say it.
        separation: Separation,
        /// The key it was signed with, for one that this home never held.
        public_key: Option<String>,
    },
    /// They wait no longer, and are not in force.
    PoliciesProposalOver {
        /// The set.
        policies: Digest,
        /// Why.
        #[serde(flatten)]
        because: ProposalEnd,
    },
    /// An agent asked whether it may do something, and this is the answer.
    ActionDecided(Arc<Ruled>),
    /// A permit was used: what it is for is being done.
    PermitSpent {
        /// Whose.
        agent: AgentId,
        /// Which.
        permit: PermitId,
    },
    /// A command is performed for an agent, outside its own cage. It is not let go yet.
    PerformanceBegan {
        /// For whom.
        agent: AgentId,
        /// Under which permit, which is spent.
        permit: PermitId,
        /// When it must be over.
        until: LedgerTime,
        /// What stays shut of what it may reach.
        #[serde(flatten)]
        shut: Shut,
    },
    /// The command of a performance was let go.
    PerformanceReleased {
        /// For whom.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// How its process tree is found; opaque here.
        #[serde(serialize_with = "eparch_domain::in_order")]
        tree: Option<Value>,
    },
    /// The command of a performance is to be ended before it is over.
    PerformanceEnding {
        /// For whom.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// Why.
        because: String,
    },
    /// A performance is over.
    PerformanceEnded {
        /// For whom it was.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// How it ended.
        end: PerformanceEnd,
    },
    /// A permit was shown and is no good.
    PermitRefused {
        /// By whom.
        agent: AgentId,
        /// Which.
        permit: PermitId,
        /// Why, as a code that stays the same.
        reason: String,
    },
    /// What was done under a permit has ended.
    ActionEnded {
        /// Who did it.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// Whether it did what it should.
        ok: bool,
        /// What came of it.
        detail: String,
    },
    /// An agent made so many errors that its plan is issued again, clarified (R021).
    PlanClarified {
        /// Which agent.
        agent: AgentId,
        /// The new plan, and the one it replaces.
        clarified: ClarifiedPlan,
        /// The new plan's document, JSON: the plan it was let go with, by its digest, and what has gone wrong so far. The agent
        /// is told it in answer to the error it reported; what may be executed stays what it was.
        document: String,
    },
    /// A pipeline looks at runs from now on whose agents make too many errors (R089).
    DiagnosticKnown {
        /// Which, by the digest of its checked definition.
        pipeline: Digest,
    },
    /// An agent made too many errors, and nothing looks at its run.
    DiagnosisSkipped {
        /// The run.
        run: RunId,
        /// The agent.
        agent: AgentId,
        /// Why not.
        reason: String,
    },
    /// An agent's program was let go.
    ProgramReleased {
        /// Which agent.
        agent: AgentId,
        /// When it must have ended.
        execute_by: LedgerTime,
    },
    /// An agent is being ended; the end follows when its tree is dead.
    AgentEnding {
        /// Which agent.
        agent: AgentId,
        /// How it will have ended.
        end: AttemptEnd,
        /// It goes no further by itself: nothing is left to be stopped in it, and it has ended when it is proven dead. Otherwise
        /// it is killed, and the outcome of its phase follows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        to_prove: bool,
    },
    /// Something moved.
    ProgressSeen {
        /// Which agent.
        agent: AgentId,
    },
    /// An agent said that it lives. That is no progress.
    HeartbeatSeen {
        /// Which agent.
        agent: AgentId,
    },
    /// An agent that gives heartbeats has missed three of them. Said once for each silence.
    HeartbeatsMissed {
        /// Which agent.
        agent: AgentId,
        /// When the last one came.
        last: LedgerTime,
        /// How bad that is.
        severity: Severity,
    },
    /// An agent put something out.
    OutputSeen {
        /// Which agent.
        agent: AgentId,
        /// What.
        #[serde(serialize_with = "eparch_domain::in_order")]
        outputs: BTreeMap<String, Value>,
        /// Which files.
        artifacts: Vec<Artifact>,
    },
    /// What an agent put out past `limits::STAGE_OUTPUTS` and `limits::STAGE_ARTIFACTS`, or past the
    /// `limits::RUN_OUTPUTS_BYTES` of its run, does not count.
    OutputDropped {
        /// Which agent.
        agent: AgentId,
        /// How many outputs.
        outputs: u32,
        /// How many files.
        artifacts: u32,
    },
    /// An error of an agent's own doing was counted.
    ErrorCounted {
        /// Which agent.
        agent: AgentId,
        /// Its code.
        code: String,
    },
    /// Something was reported of an agent that cannot have come next, and nothing of it counted. Only whoever carries
    /// agents through their phases reports on them: it is not held against the agent.
    ReportMisplaced {
        /// Which agent.
        agent: AgentId,
        /// What was reported, and when.
        detail: String,
    },
    /// A run has a lease: somebody of it works from now on.
    LeaseBegan {
        /// Which run.
        run: RunId,
        /// The lease.
        lease: LeaseId,
        /// Which of the run's, from 1.
        round: u32,
        /// When it is over, unless it is renewed.
        expires: Moment,
        /// When it is renewed.
        renew_at: LedgerTime,
    },
    /// A lease goes on.
    LeaseRenewed {
        /// Of which run.
        run: RunId,
        /// The lease.
        lease: LeaseId,
        /// When it is over, unless it is renewed again.
        expires: Moment,
        /// When it is.
        renew_at: LedgerTime,
    },
    /// A run has no lease any more.
    LeaseEnded {
        /// Which run.
        run: RunId,
        /// The lease it had.
        lease: LeaseId,
        /// Why.
        because: LeaseEnd,
    },
    /// A token of the lease stands for what an agent has, in the place of the one before.
    TokenIssued {
        /// Which agent.
        agent: AgentId,
        /// The lease.
        lease: LeaseId,
        /// Which of the agent's, from 1.
        round: u32,
        /// The hash of what the agent has.
        token: Digest,
        /// When it is over, unless it is renewed.
        expires: Moment,
        /// When it is renewed.
        renew_at: LedgerTime,
    },
    /// An agent's token goes on.
    TokenRenewed {
        /// Which agent.
        agent: AgentId,
        /// Which of the agent's.
        round: u32,
        /// When it is over, unless it is renewed again.
        expires: Moment,
        /// When it is.
        renew_at: LedgerTime,
    },
    /// A token of the vault stands behind a lease, or behind an agent's token.
    CredentialKnown {
        /// What it is called.
        accessor: String,
        /// Of which run.
        run: RunId,
        /// Behind which lease.
        lease: LeaseId,
        /// The agent, unless it is the run's own.
        agent: Option<AgentId>,
        /// Behind which of the agent's tokens; 0 for the run's own.
        round: u32,
        /// Which vault issued it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// A token of the vault is good for nothing any more: it is to be ended there, too.
    CredentialEnding(Credential),
    /// A token of the vault that was to end has ended, or its time is over.
    CredentialEnded {
        /// What it is called.
        accessor: String,
    },
    /// There are more tokens to ask the vault for, after a boot, than one decision asks for.
    EndingGoesOn {
        /// The last one that was asked for, in the order of what they are called; nothing when all were.
        after: Option<String>,
        /// When the next are asked for; nothing when the last were.
        again_at: Option<LedgerTime>,
    },
    /// A token of the vault is over before its time. Another one is issued when somebody needs it.
    CredentialLost {
        /// What it is called.
        accessor: String,
    },
    /// The wall clock was set back while nobody held the home.
    ClockSetBack {
        /// What it said before.
        seen: Timestamp,
    },
    /// A holder began with the wall clock before what was recorded: nothing that needs authority begins.
    ClockDoubted {
        /// Until the clock says so much, or somebody vouches for it.
        until: Timestamp,
        /// When it is looked at again.
        look_at: LedgerTime,
    },
    /// The wall clock is believed again.
    ClockTrusted {
        /// Who says so; nobody when it has caught up.
        by: Option<Name>,
    },
    /// The wall clock was set back. What ends by it, and is renewed by nobody, ends no later by it than ledger time says: permits,
    /// approvals, the waiting of gates, what two people let pass.
    EndsSooner,
    /// A violation was found.
    ViolationFound {
        /// By which agent.
        agent: AgentId,
        /// Which kind.
        violation: ViolationType,
        /// What exactly.
        detail: String,
    },
    /// A bad violation was found, and somebody should know (R079). There is one for each that is HIGH or worse, under an id
    /// that follows from the violation.
    AlertRaised {
        /// Which.
        alert: AlertId,
        /// In which run.
        run: RunId,
        /// By which agent.
        agent: AgentId,
        /// Which kind.
        violation: ViolationType,
        /// How bad.
        severity: Severity,
    },
    /// Somebody asked for a promotion, and the evidence suffices so far.
    PromotionRequested(Box<PromotionOpened>),
    /// Somebody answered.
    PromotionAnswered {
        /// Whose promotion.
        standing: StandingId,
        /// Who.
        by: Name,
        /// What.
        decision: GateDecision,
        /// Why.
        rationale: String,
        /// How far apart they are from whoever asked, as was found.
        separation: Separation,
        /// The public key their answer was signed with; `None` when they proved themselves with a key of this home.
        public_key: Option<String>,
    },
    /// Enough people approved it. The new tier counts from here on, and so never before it is written down (R088).
    PromotionApproved {
        /// Whose.
        standing: StandingId,
        /// The tier it had.
        from: Tier,
        /// The tier it has.
        to: Tier,
        /// Who approved it.
        by: Vec<Name>,
    },
    /// There will be no promotion.
    PromotionDenied {
        /// Whose.
        standing: StandingId,
        /// Who said no; nobody when its standing was lowered meanwhile.
        by: Option<Name>,
    },
    /// A standing is lower than it was (R087), or has to be shown again from the beginning.
    StandingLowered {
        /// Which.
        standing: StandingId,
        /// The tier it had.
        from: Tier,
        /// The tier it has.
        to: Tier,
        /// Why.
        #[serde(flatten)]
        because: Lowered,
    },
    /// An agent called too often: it was kept from calling for a while.
    CallsLimited {
        /// Which agent.
        agent: AgentId,
    },
    /// Somebody may have what they asked of a secret.
    SecretGranted {
        /// Who.
        by: Name,
        /// Where it lies.
        path: String,
        /// What they wanted of it.
        #[serde(flatten)]
        access: SecretAccess,
    },
    /// A stage cannot have its locks yet: it waits, has none of them, and takes no agent's place. Said again when it waits
    /// for somebody else.
    LockWaiting {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
        /// All it is to have.
        names: BTreeSet<Name>,
        /// What it waits for.
        #[serde(flatten)]
        wait: LockWait,
    },
    /// A stage can have all its locks: it waits for a free agent now.
    LockWaitOver {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
    },
    /// An attempt has a lock, and nobody else.
    LockAcquired {
        /// Which.
        lock: Name,
        /// The number of this taking: higher than that of any before it.
        fence: u64,
        /// Whose.
        agent: AgentId,
        /// Of which run.
        run: RunId,
        /// At which stage.
        stage: StageIx,
        /// When it is over, unless it is renewed.
        expires: Moment,
        /// When it is renewed.
        renew_at: LedgerTime,
    },
    /// The locks of an attempt go on.
    LocksRenewed {
        /// Whose.
        agent: AgentId,
        /// When they are over, unless they are renewed again.
        expires: Moment,
        /// When they are.
        renew_at: LedgerTime,
    },
    /// An attempt has lost a lock and is being ended. Nobody else can have it before nothing of it lives.
    LockLost {
        /// Which.
        lock: Name,
        /// The number it was taken with.
        fence: u64,
        /// Who had it.
        agent: AgentId,
        /// Why.
        #[serde(flatten)]
        because: LockLoss,
    },
    /// An agent asked for something after it had lost a lock; said the first time, when it is told, and the second time, which is
    /// a violation.
    LockMissed {
        /// Who.
        agent: AgentId,
        /// Which lock.
        lock: Name,
    },
    /// A lock is free: nothing lives of the attempt that had it.
    LockReleased {
        /// Which.
        lock: Name,
        /// The number it was taken with.
        fence: u64,
        /// Who had it.
        agent: AgentId,
    },
    /// Authority was taken away. What bore it is being ended, and nothing it asks for from here on counts (G2).
    Revoked {
        /// Whose.
        #[serde(flatten)]
        bearer: Bearer,
        /// Because of what.
        #[serde(flatten)]
        cause: Cause,
        /// Why.
        reason: String,
    },
    /// Everything was stopped: from here on nothing has authority, and nothing new begins.
    AllStopped {
        /// Who did it.
        by: Name,
        /// Why.
        reason: String,
    },
    /// There are more runs to end than one decision ends.
    StoppingGoesOn {
        /// When the next are ended; nothing when the last were.
        again_at: Option<LedgerTime>,
    },
    /// Things may begin again. What was stopped stays stopped.
    AllLifted {
        /// Who says so.
        by: Name,
        /// Why.
        reason: String,
    },
    /// Somebody asked that something be let pass for a while which policy denies.
    BreakGlassAsked(Box<BreakGlassAsked>),
    /// It is let pass.
    BreakGlassOpened {
        /// Which.
        grant: BreakGlassId,
        /// Who approved it.
        by: Name,
        /// Why.
        rationale: String,
        /// How far apart they are from whoever asked, as was found.
        separation: Separation,
        /// The public key their answer was signed with; `None` when they proved themselves with a key of this home.
        public_key: Option<String>,
        /// It is over when either time has come.
        expires: Moment,
    },
    /// What was granted for somebody's next run is for this one.
    BreakGlassBound {
        /// Which.
        grant: BreakGlassId,
        /// The run.
        run: RunId,
    },
    /// It is let pass no longer, or will not be.
    BreakGlassOver {
        /// Which.
        grant: BreakGlassId,
        /// Why.
        #[serde(flatten)]
        because: GlassEnd,
    },
    /// Something happened that somebody should know at once, and that is no violation.
    AlarmRaised {
        /// Which; no other alert has this id.
        alert: AlertId,
        /// How bad it is.
        severity: Severity,
        /// What it is about.
        #[serde(flatten)]
        alarm: Alarm,
    },
    /// What went wrong with an attempt that still goes through its last phases.
    AttemptSpoiled {
        /// Which agent.
        agent: AgentId,
        /// How it will have ended.
        end: AttemptEnd,
    },
    /// An agent's evidence exists.
    Packaged {
        /// Which agent.
        agent: AgentId,
        /// The digest of the manifest.
        manifest: Digest,
    },
    /// An agent's report exists.
    Reported {
        /// Which agent.
        agent: AgentId,
        /// The digest of the report.
        report: Digest,
    },
    /// An agent of an earlier epoch was cut off; said at every boot until its tree is proven dead. Until then nothing of
    /// its stage can run, and no time of the stage passes.
    AttemptCutOff {
        /// Which agent.
        agent: AgentId,
    },
    /// Nothing was reported of an agent that is to be dead. It is asked for again, and again later, for ever.
    AgentLingers {
        /// Which agent.
        agent: AgentId,
        /// How often its death was asked for in vain.
        asked: u32,
        /// When it is asked for once more.
        again_at: LedgerTime,
    },
    /// An attempt ended.
    AttemptEnded {
        /// Which agent.
        agent: AgentId,
        /// How.
        end: AttemptEnd,
    },
    /// A stage whose attempt was cut off, or stood still, is given up. That decides how the stage will have ended; what is known of the
    /// attempt stays as it is, and the end follows when its tree is proven dead.
    StageEnding {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
        /// How it will have ended.
        status: StageStatus,
        /// Why.
        reason: String,
    },
    /// A stage's time is over: it is not tried again.
    StageExpired {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
    },
    /// A stage will be tried again.
    RetryScheduled {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
        /// When.
        at: LedgerTime,
    },
    /// A stage has waited long enough to be tried again; it waits for a free agent now.
    BackoffOver {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: StageIx,
    },
    /// A gate waits.
    GateOpened(Box<GateOpened>),
    /// Somebody answered.
    VoteCast {
        /// At which gate.
        gate: GateId,
        /// Who.
        by: Name,
        /// What.
        decision: GateDecision,
        /// Why.
        rationale: String,
        /// How far apart they are from the requester, as was found.
        separation: Separation,
        /// The public key their answer was signed with; `None` when they proved themselves with a key of this home.
        public_key: Option<String>,
    },
    /// A gate waits no longer.
    GateClosed {
        /// Which.
        gate: GateId,
        /// How.
        outcome: GateOutcome,
    },
}

impl Fact {
    /// How an agent stands after it, if it says so (R016): PENDING until it has an identity, RUNNING from then on,
    /// WAITING once it is cut off, until its process tree is proven dead.
    pub fn agent_status(&self) -> Option<(AgentId, AgentStatus)> {
        match self {
            Fact::AttemptBegan { agent, .. } => Some((*agent, AgentStatus::Pending)),
            Fact::PhaseEntered { phase: Phase::Bootstrap | Phase::Revoked, .. } => None,
            Fact::PhaseEntered { agent, .. } => Some((*agent, AgentStatus::Running)),
            Fact::AttemptCutOff { agent } => Some((*agent, AgentStatus::Waiting)),
            Fact::AttemptEnded { agent, end } => Some((*agent, end.agent_status())),
            _ => None,
        }
    }
}
