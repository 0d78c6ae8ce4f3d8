//! What the governor answers: facts, effects, and a word to whoever asked.

use eparch_domain::{
    Action, AgentId, BreakGlassId, Digest, GateId, Name, PermitId, Phase, RunId, RunStatus, StandingId, Tier,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::fact::{Fact, Ruled};
use crate::operator::Separation;
use crate::permit::PermitFault;

/// Everything that follows from one event.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Decision {
    /// What was found to be so, in order.
    pub facts: Vec<Fact>,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// What whoever asked is told.
    pub answer: Answer,
}

/// What whoever asked is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was taken.
    #[default]
    Taken,
    /// It had been done before; this is the run that came of it.
    Already {
        /// That run.
        run: RunId,
    },
    /// It was asked before, with the same key; this is what was answered.
    Ruled(Box<Ruled>),
    /// It was refused.
    Refused(Refusal),
}

/// Why something that was asked for was refused. Each has a stable code and a page under `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are named in the messages below")]
pub enum Refusal {
    /// The id is taken by another run.
    RunExists { run: RunId },
    /// No such run is alive.
    UnknownRun { run: RunId },
    /// The run has ended.
    RunEnded { run: RunId, status: RunStatus },
    /// Nobody of that name is known.
    UnknownOperator { name: Name },
    /// The operator's role does not allow it.
    RoleForbids { name: Name, role: String, what: String },
    /// Their role does, and policy does not.
    PolicyForbids {
        name: Name,
        action: Action,
        target: Box<str>,
        /// Policy would have somebody asked first.
        asks: bool,
        reason: Box<str>,
        policies: Box<[String]>,
        unlock: Option<Box<str>>,
    },
    /// The grant is more than the operator may give.
    GrantTooHigh { asked: Tier, max: Tier },
    /// A stage needs more than was granted (R043).
    TierAboveGrant { stage: Name, tier: Tier, grant: Tier },
    /// The definition is not at hand.
    UnknownPipeline { pipeline: Digest },
    /// The policies are not at hand.
    UnknownPolicies { policies: Digest },
    /// The stage asked for does not exist.
    UnknownStage { stage: Name },
    /// This build has nothing that carries the stage out.
    RuntimeMissing { stage: Name, runtime: String },
    /// The same key was used for something else.
    KeyReused { run: RunId },
    /// Too many runs are alive.
    TooManyRuns { limit: usize },
    /// Something of the request is too large.
    TooLarge { what: String, bytes: usize, limit: usize },
    /// No such agent lives.
    UnknownAgent { agent: AgentId },
    /// The agent is being ended, or was never let go: nothing it asks for counts (G2).
    AuthorityOver { agent: AgentId },
    /// What is asked for is done in EXECUTE only, and the agent is in another phase.
    NotExecuting { agent: AgentId, phase: Phase },
    /// What stands for what the agent has is over, and was not renewed yet.
    TokenExpired { agent: AgentId },
    /// The agent has lost a lock, and may do nothing more.
    LockLost { agent: AgentId, lock: Name },
    /// Nobody has the lock.
    LockIsFree { lock: Name },
    /// What a token of the vault was issued for is over.
    LeaseOver { run: RunId },
    /// The same key was used for another action.
    ActionKeyReused { key: String },
    /// The agent has as many permits as it may, and has not said what became of them.
    TooManyPermits { limit: usize },
    /// The agent has as many questions put to people as it may.
    TooManyQuestions { limit: usize },
    /// The arguments that were handed in are not those of the digest.
    ArgumentsDiffer { expected: Digest, found: Digest },
    /// People approved a digest, and were not shown what it is of.
    NotSeen { permit: PermitId },
    /// There can be no such thing to do something to.
    BadTarget { action: Action, why: String },
    /// The permit that was shown is no good.
    Permit { permit: PermitId, fault: PermitFault },
    /// As much is performed for the agent as may be at once.
    TooManyPerformances { limit: usize },
    /// No command is performed for such an action.
    NotPerformed { action: Action },
    /// A folder cannot be opened: policy judges what lies in it by names that nobody was asked about.
    FolderByName { path: String },
    /// The machine cannot be reached from here.
    HostOutOfReach { host: String },
    /// Nothing is known of such a standing.
    UnknownStanding { standing: StandingId },
    /// What its agents have done does not suffice for the tier.
    EvidenceTooThin { standing: StandingId, to: Tier, missing: Vec<String> },
    /// A standing is raised one tier at a time.
    NotTheNextTier { from: Tier, next: Option<Tier> },
    /// A promotion waits already.
    PromotionWaits { standing: StandingId, by: Name },
    /// No promotion waits.
    NoPromotionWaits { standing: StandingId },
    /// The one who approves asked for it.
    OwnPromotion { name: Name },
    /// There is no tier below.
    NothingToLower { standing: StandingId },
    /// What was answered is not what waits.
    PromotionDiffers { expected: Digest, found: Digest },
    /// They answered before.
    PromotionAnsweredBefore { name: Name },
    /// No policies wait for another person.
    NoPoliciesWait { policies: Digest },
    /// Whoever would have had to look at policies is known no longer, or has another key.
    NobodyLooks { name: Name },
    /// Through whose hands the key of whoever offers them has come is not known.
    KeyFromAnywhere { name: Name },
    /// The one who approves offered them.
    OwnPolicies { name: Name },
    /// What was answered is not what waits.
    PoliciesDiffer { expected: Digest, found: Digest },
    /// No such gate waits.
    UnknownGate { gate: GateId },
    /// The gate has closed.
    GateClosed { gate: GateId },
    /// The gate's time is over.
    GateTimedOut { gate: GateId },
    /// The one who answers is not listed.
    NotAnApprover { name: Name, approvers: Vec<Name> },
    /// The one who answers asked for the run.
    OwnRequest { name: Name },
    /// What was answered is not what waits.
    SubjectDiffers { expected: Digest, found: Digest },
    /// They answered before.
    AnsweredBefore { name: Name },
    /// No reason was given, or one that is too long.
    BadRationale { limit: usize },
    /// The key is not kept far enough apart.
    SeparationTooWeak { needed: Separation },
    /// The key may be that of whoever asked, or of somebody who has said yes already.
    KeyTooYoung { name: Name, requester: Name },
    /// The answer is not proven by the key its operator has.
    KeyDiffers { name: Name },
    /// The same key has answered already, in another name.
    KeyAnsweredBefore { name: Name },
    /// The name is taken.
    OperatorExists { name: Name },
    /// Somebody must be left who may add operators, and can.
    LastAdmin { name: Name },
    /// An operator may not give more than they have.
    BeyondOwnTier { name: Name, max: Tier },
    /// The key is somebody else's.
    KeyTaken { name: Name },
    /// Everything is stopped.
    Stopped { by: Name, at: Timestamp, reason: String },
    /// Everything is being stopped, and not all of it is yet.
    StillStopping,
    /// No such break-glass request or grant is known.
    UnknownBreakGlass { grant: BreakGlassId },
    /// It was answered, or is over.
    BreakGlassOver { grant: BreakGlassId },
    /// It cannot be asked for.
    BadBreakGlass { why: String },
    /// The one who approves asked for it, or for the run that it is for.
    OwnBreakGlass { name: Name },
    /// What was answered is not what waits.
    BreakGlassDiffers { expected: Digest, found: Digest },
    /// As many as may wait or be granted at once do.
    TooManyBreakGlasses { limit: usize },
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::RunExists { .. } => "EP0201",
            Refusal::UnknownRun { .. } => "EP0202",
            Refusal::RunEnded { .. } => "EP0203",
            Refusal::UnknownOperator { .. } => "EP0204",
            Refusal::RoleForbids { .. } => "EP0205",
            Refusal::PolicyForbids { .. } => "EP0216",
            Refusal::GrantTooHigh { .. } => "EP0206",
            Refusal::TierAboveGrant { .. } => "EP0207",
            Refusal::UnknownPipeline { .. } => "EP0208",
            Refusal::UnknownStage { .. } => "EP0209",
            Refusal::RuntimeMissing { .. } => "EP0210",
            Refusal::KeyReused { .. } => "EP0211",
            Refusal::TooManyRuns { .. } => "EP0212",
            Refusal::TooLarge { .. } => "EP0213",
            Refusal::UnknownAgent { .. } => "EP0214",
            Refusal::UnknownPolicies { .. } => "EP0215",
            Refusal::AuthorityOver { .. } => "EP0610",
            Refusal::NotExecuting { .. } => "EP0625",
            Refusal::TokenExpired { .. } => "EP0660",
            Refusal::LockLost { .. } => "EP0670",
            Refusal::LockIsFree { .. } => "EP0671",
            Refusal::LeaseOver { .. } => "EP0661",
            Refusal::ActionKeyReused { .. } => "EP0611",
            Refusal::TooManyPermits { .. } => "EP0612",
            Refusal::TooManyQuestions { .. } => "EP0621",
            Refusal::ArgumentsDiffer { .. } => "EP0622",
            Refusal::NotSeen { .. } => "EP0623",
            Refusal::BadTarget { .. } => "EP0613",
            Refusal::Permit { fault, .. } => fault.code(),
            Refusal::TooManyPerformances { .. } => "EP0630",
            Refusal::NotPerformed { .. } => "EP0631",
            Refusal::FolderByName { .. } => "EP0624",
            Refusal::HostOutOfReach { .. } => "EP0632",
            Refusal::UnknownStanding { .. } => "EP0640",
            Refusal::EvidenceTooThin { .. } => "EP0641",
            Refusal::NotTheNextTier { .. } => "EP0642",
            Refusal::PromotionWaits { .. } => "EP0643",
            Refusal::NoPromotionWaits { .. } => "EP0644",
            Refusal::OwnPromotion { .. } => "EP0645",
            Refusal::NothingToLower { .. } => "EP0646",
            Refusal::PromotionDiffers { .. } => "EP0647",
            Refusal::PromotionAnsweredBefore { .. } => "EP0648",
            Refusal::NoPoliciesWait { .. } => "EP0814",
            Refusal::OwnPolicies { .. } => "EP0815",
            Refusal::NobodyLooks { .. } => "EP0817",
            Refusal::KeyFromAnywhere { .. } => "EP0818",
            Refusal::PoliciesDiffer { .. } => "EP0816",
            Refusal::UnknownGate { .. } => "EP0301",
            Refusal::GateClosed { .. } => "EP0302",
            Refusal::GateTimedOut { .. } => "EP0303",
            Refusal::NotAnApprover { .. } => "EP0304",
            Refusal::OwnRequest { .. } => "EP0305",
            Refusal::SubjectDiffers { .. } => "EP0306",
            Refusal::AnsweredBefore { .. } | Refusal::KeyAnsweredBefore { .. } => "EP0307",
            Refusal::BadRationale { .. } => "EP0308",
            Refusal::SeparationTooWeak { .. } => "EP0309",
            Refusal::KeyTooYoung { .. } => "EP0311",
            Refusal::KeyDiffers { .. } => "EP0312",
            Refusal::OperatorExists { .. } => "EP0401",
            Refusal::LastAdmin { .. } => "EP0402",
            Refusal::BeyondOwnTier { .. } => "EP0403",
            Refusal::KeyTaken { .. } => "EP0404",
            Refusal::Stopped { .. } => "EP0650",
            Refusal::StillStopping => "EP0651",
            Refusal::UnknownBreakGlass { .. } => "EP0652",
            Refusal::BreakGlassOver { .. } => "EP0653",
            Refusal::BadBreakGlass { .. } => "EP0654",
            Refusal::OwnBreakGlass { .. } => "EP0655",
            Refusal::BreakGlassDiffers { .. } => "EP0656",
            Refusal::TooManyBreakGlasses { .. } => "EP0657",
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::RunExists { .. } => "ask for a new run; an id is used once",
            Refusal::UnknownRun { .. } => "`eparch runs list` shows the runs of this home",
            Refusal::RunEnded { .. } => {
                "`eparch runs retry ID --from STAGE` makes a new run from one that has ended"
            }
            Refusal::UnknownOperator { .. } => {
                "`eparch operator list` shows who is known; `eparch operator add NAME --role ROLE` adds somebody"
            }
            Refusal::RoleForbids { .. } => "ask somebody whose role allows it",
            Refusal::PolicyForbids { .. } => {
                "`eparch policy explain --operator ROLE` says what the policies say of it; what lies in the home's folder `policies` is in force when the home is next held"
            }
            Refusal::GrantTooHigh { .. } => {
                "ask for a lower --tier, or let somebody with a higher maximum start the run"
            }
            Refusal::TierAboveGrant { .. } => "grant a higher --tier, or lower the stage's tier",
            Refusal::UnknownPipeline { .. } => "hand in the pipeline's file again",
            Refusal::UnknownPolicies { .. } => "hand the policies in together with the offer",
            Refusal::UnknownStage { .. } => "`eparch runs show ID` lists the stages",
            Refusal::RuntimeMissing { .. } => "give the stage a `command`, which makes it a process agent",
            Refusal::KeyReused { .. } => "use a new idempotency key for a new request",
            Refusal::TooManyRuns { .. } => "wait until some runs have ended",
            Refusal::TooLarge { .. } => "ask for less; large inputs belong in a file of the project",
            Refusal::UnknownAgent { .. } => {
                "one that has ended can do nothing any more; `eparch agent list` shows those that live"
            }
            Refusal::AuthorityOver { .. } => "nothing: a person can start a new run",
            Refusal::NotExecuting { .. } => "ask for it while the agent's program runs",
            Refusal::TokenExpired { .. } => "try again in a moment: it is renewed while the agent works",
            Refusal::LockLost { .. } => {
                "stop: what it worked on may be another's by now; its stage can be run again"
            }
            Refusal::LockIsFree { .. } => "`eparch lock list` shows the locks that somebody has",
            Refusal::LeaseOver { .. } => "nothing: the run is over, or somebody took its authority away",
            Refusal::ActionKeyReused { .. } => "use a new key for each action, and the same one to ask again",
            Refusal::TooManyPermits { .. } => {
                "use a permit, or say what came of it, before asking for the next one"
            }
            Refusal::TooManyQuestions { .. } => {
                "wait until somebody has answered, and come back for the answer with the same key"
            }
            Refusal::ArgumentsDiffer { .. } => {
                "send the arguments, or their digest: the SHA-256 of them as JSON with keys in order and without spaces"
            }
            Refusal::NotSeen { .. } => {
                "ask with the command itself, short enough to be shown: `eparch act … -- COMMAND` sends it"
            }
            Refusal::BadTarget { .. } => {
                "name the target as it is: a path without `..`, a host, a tool, a secret; in letters that everybody sees"
            }
            Refusal::Permit { fault, .. } => fault.hint(),
            Refusal::TooManyPerformances { .. } => "wait until one of them is over",
            Refusal::NotPerformed { .. } => {
                "commands are performed for paths that are read or written, and for work on localhost"
            }
            Refusal::FolderByName { .. } => "ask for each file that is needed, by its name",
            Refusal::HostOutOfReach { .. } => {
                "only localhost is worked on so far; a person can do it with what the run left"
            }
            Refusal::UnknownStanding { .. } => {
                "`eparch agent list --earned` shows every standing; one begins when an agent's first attempt ends"
            }
            Refusal::EvidenceTooThin { .. } => "`eparch agent show ID` says what it has and what it takes",
            Refusal::NotTheNextTier { .. } => "leave --to out, or name the next tier",
            Refusal::PromotionWaits { .. } => "`eparch agent promote ID --approve` or `--deny` answers it",
            Refusal::NoPromotionWaits { .. } => "`eparch agent promote ID --rationale TEXT` asks for one",
            Refusal::OwnPromotion { .. } => {
                "an approver or an admin who did not ask for it has to approve it"
            }
            Refusal::NothingToLower { .. } => {
                "it can do nothing that needs a higher tier, unless a person grants it to a run"
            }
            Refusal::PromotionDiffers { .. } => {
                "look at it again with `eparch agent show ID`, then answer what it shows"
            }
            Refusal::PromotionAnsweredBefore { .. } => "each person answers once",
            Refusal::NoPoliciesWait { .. } => "`eparch policy load` offers those of the home",
            Refusal::NobodyLooks { .. } => {
                "what lies in the home's folder `policies` is in force when the home is next held; or have somebody else than whoever offers give a key to another who can look"
            }
            Refusal::KeyFromAnywhere { .. } => {
                "have another admin, of whose key it is known, give you a new one: `eparch operator rotate NAME`"
            }
            Refusal::OwnPolicies { .. } => {
                "an approver or an admin who did not offer them has to approve them"
            }
            Refusal::PoliciesDiffer { .. } => {
                "look at those that wait, whose digest `eparch policy check` says as well, then answer what you saw"
            }
            Refusal::UnknownGate { .. } => "`eparch approvals list` shows the gates that wait",
            Refusal::GateClosed { .. } => "an approval is used once; the gate has been decided",
            Refusal::GateTimedOut { .. } => "start the run again, or retry it from the gate's stage",
            Refusal::NotAnApprover { .. } => "somebody listed at the gate must answer it",
            Refusal::OwnRequest { .. } => "whoever asks for a run may not approve it; somebody else must",
            Refusal::SubjectDiffers { .. } => {
                "look at the gate again with `eparch approvals show ID`, then answer what it shows"
            }
            Refusal::AnsweredBefore { .. } | Refusal::KeyAnsweredBefore { .. } => {
                "each person has one vote at a gate"
            }
            Refusal::BadRationale { .. } => "say why with --rationale",
            Refusal::SeparationTooWeak { .. } => {
                "sign the answer with a key this home never held, known before it was asked for or added by somebody else than who asked: `eparch operator add NAME --role approver --public-key KEY`, then the same answer with `--key FILE`"
            }
            Refusal::KeyTooYoung { .. } => {
                "let somebody answer whose key never came from them, or have another admin, whose own key came from neither, give the approver a new one"
            }
            Refusal::KeyDiffers { .. } => {
                "`eparch operator list` shows everybody's key; sign with the private half of that one"
            }
            Refusal::OperatorExists { .. } => {
                "choose another name, or rotate the key with `eparch operator rotate NAME`"
            }
            Refusal::LastAdmin { .. } => "add another admin with a key in this home first",
            Refusal::BeyondOwnTier { .. } => "nobody disposes of a higher tier than their own maximum",
            Refusal::KeyTaken { .. } => "everybody has a key of their own: make a new pair",
            Refusal::Stopped { .. } => "an admin lifts it with `eparch stop-all --lift --reason TEXT`",
            Refusal::StillStopping => "try again in a moment",
            Refusal::UnknownBreakGlass { .. } => {
                "`eparch break-glass list` shows those that wait or are granted"
            }
            Refusal::BreakGlassOver { .. } => {
                "`eparch break-glass show ID` says why; it can be asked for again"
            }
            Refusal::BadBreakGlass { .. } => {
                "name each action and target, such as --allow \"execute_command prod-web-1\", and at most an hour"
            }
            Refusal::OwnBreakGlass { .. } => {
                "an approver or an admin has to approve it who asked neither for it nor for the run"
            }
            Refusal::BreakGlassDiffers { .. } => {
                "look at it again with `eparch break-glass show ID`, then answer what it shows"
            }
            Refusal::TooManyBreakGlasses { .. } => "end one with `eparch break-glass end ID`, or wait",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::RunExists { run } => write!(f, "{run} exists already"),
            Refusal::UnknownRun { run } => write!(f, "no run {run} is known"),
            Refusal::RunEnded { run, status } => write!(f, "{run} has ended {status}"),
            Refusal::UnknownOperator { name } => write!(f, "no operator {name} is known"),
            Refusal::RoleForbids { name, role, what } => write!(f, "{name} is {role} and may not {what}"),
            Refusal::PolicyForbids { name, action, target, asks, reason, policies, unlock } => {
                write!(f, "policy does not let {name} {action} {target}: {reason}")?;
                if !policies.is_empty() {
                    write!(f, ", by {}", policies.join(", "))?;
                }
                if *asks {
                    write!(f, "; it wants people asked first, and nobody is for what a person does")?;
                }
                unlock.iter().try_for_each(|unlock| write!(f, "; what would unlock it: {unlock}"))
            }
            Refusal::GrantTooHigh { asked, max } => {
                write!(f, "{asked} was asked for, but the operator may grant {max} at most")
            }
            Refusal::TierAboveGrant { stage, tier, grant } => {
                write!(f, "stage {stage} works at {tier}, but the run is granted {grant}")
            }
            Refusal::UnknownPipeline { pipeline } => write!(f, "the definition {pipeline} is not at hand"),
            Refusal::UnknownPolicies { policies } => write!(f, "the policies {policies} are not at hand"),
            Refusal::UnknownStage { stage } => write!(f, "there is no stage {stage}"),
            Refusal::RuntimeMissing { stage, runtime } => {
                write!(f, "stage {stage} needs the {runtime} runtime, which this build does not have")
            }
            Refusal::KeyReused { run } => {
                write!(f, "the idempotency key was used for another request, {run}")
            }
            Refusal::TooManyRuns { limit } => write!(f, "{limit} runs are alive, which is the limit"),
            Refusal::TooLarge { what, bytes, limit } => {
                write!(f, "{what}: {bytes} bytes, and {limit} are the limit")
            }
            Refusal::UnknownAgent { agent } => write!(f, "no agent {agent} lives"),
            Refusal::AuthorityOver { agent } => write!(f, "{agent} may do nothing any more"),
            Refusal::NotExecuting { agent, phase } => {
                write!(f, "{agent} is in {phase}: commands are performed in EXECUTE only")
            }
            Refusal::TokenExpired { agent } => write!(f, "the token of {agent} has expired"),
            Refusal::LockLost { agent, lock } => write!(f, "{agent} has lost the lock {lock}"),
            Refusal::LockIsFree { lock } => write!(f, "nobody has the lock {lock}"),
            Refusal::LeaseOver { run } => write!(f, "{run} has no lease any more that this could be for"),
            Refusal::ActionKeyReused { key } => {
                write!(f, "the key {key:?} was used for another action")
            }
            Refusal::TooManyPermits { limit } => {
                write!(f, "{limit} permits are open, which is the limit")
            }
            Refusal::TooManyQuestions { limit } => {
                write!(f, "people are asked for {limit} things of this agent already, which is the limit")
            }
            Refusal::ArgumentsDiffer { expected, found } => {
                write!(f, "the arguments have the digest {found}, and not {expected}")
            }
            Refusal::NotSeen { permit } => {
                write!(
                    f,
                    "whoever approved what {permit} is for was not shown this command, but a digest of it"
                )
            }
            Refusal::BadTarget { action, why } => write!(f, "nothing can be asked of {action} there: {why}"),
            Refusal::Permit { permit, fault } => write!(f, "{permit} {fault}"),
            Refusal::TooManyPerformances { limit } => {
                write!(f, "{limit} commands are being performed for the agent, which is the limit")
            }
            Refusal::NotPerformed { action } => write!(f, "no command is performed for {action}"),
            Refusal::FolderByName { path } => {
                write!(f, "{path} is a folder, and policy judges what lies in it by each file's name")
            }
            Refusal::HostOutOfReach { host } => write!(f, "{host} cannot be worked on from here"),
            Refusal::UnknownStanding { standing } => write!(f, "nothing is known of {standing}"),
            Refusal::EvidenceTooThin { standing, to, missing } => {
                write!(f, "{standing} has not earned {to} yet; missing: {}", missing.join(", "))
            }
            Refusal::NotTheNextTier { from, next: Some(next) } => {
                write!(f, "from {from} the next tier is {next}, and tiers are earned one at a time")
            }
            Refusal::NotTheNextTier { from, next: None } => write!(f, "there is no tier above {from}"),
            Refusal::PromotionWaits { standing, by } => {
                write!(f, "{by} has asked for {standing} to be promoted, and that waits")
            }
            Refusal::NoPromotionWaits { standing } => {
                write!(f, "nobody has asked for {standing} to be promoted")
            }
            Refusal::OwnPromotion { name } => {
                write!(f, "{name} asked for this promotion and may not approve it")
            }
            Refusal::NothingToLower { standing } => write!(f, "{standing} stands at T0 already"),
            Refusal::PromotionDiffers { expected, found } => {
                write!(f, "what was answered, {found}, is not the promotion that waits, {expected}")
            }
            Refusal::PromotionAnsweredBefore { name } => write!(f, "{name} has answered this request before"),
            Refusal::NoPoliciesWait { policies } => write!(f, "{policies} waits for nobody"),
            Refusal::KeyFromAnywhere { name } => {
                write!(f, "the key of {name} has come through too many hands to say who is another person")
            }
            Refusal::NobodyLooks { name } => {
                write!(
                    f,
                    "nobody can look at the policies of {name} who is as far from them as whoever could before: those were removed, \
                     or given other keys, since the home is held"
                )
            }
            Refusal::OwnPolicies { name } => {
                write!(f, "{name} offered these policies and may not approve them")
            }
            Refusal::PoliciesDiffer { expected, found } => {
                write!(f, "what was answered, {found}, is not what waits, {expected}")
            }
            Refusal::UnknownGate { gate } => write!(f, "no gate {gate} is known"),
            Refusal::GateClosed { gate } => write!(f, "{gate} has been decided"),
            Refusal::GateTimedOut { gate } => write!(f, "{gate} has timed out"),
            Refusal::NotAnApprover { name, approvers } => {
                let list: Vec<&str> = approvers.iter().map(Name::as_str).collect();
                write!(f, "{name} is not an approver of this gate; it lists {}", list.join(", "))
            }
            Refusal::OwnRequest { name } => write!(f, "{name} asked for this run and may not approve it"),
            Refusal::SubjectDiffers { expected, found } => {
                write!(f, "what was answered, {found}, is not what waits, {expected}")
            }
            Refusal::AnsweredBefore { name } => write!(f, "{name} has answered this gate before"),
            Refusal::BadRationale { limit } => write!(f, "a rationale of 1 to {limit} bytes is required"),
            Refusal::SeparationTooWeak { needed } => match needed {
                Separation::RemoteKey => {
                    write!(f, "it takes only answers signed by a key this home never held")
                }
                Separation::SameHome => write!(f, "it takes only answers proven by a key"),
            },
            Refusal::KeyTooYoung { name, requester } => {
                write!(
                    f,
                    "as far as keys can tell {name} may be {requester}: one of them may have given the other their key"
                )
            }
            Refusal::KeyDiffers { name } => write!(f, "the answer is not proven by the key that {name} has"),
            Refusal::KeyAnsweredBefore { name } => {
                write!(f, "this key has answered this gate before, as {name}")
            }
            Refusal::OperatorExists { name } => write!(f, "there is an operator {name} already"),
            Refusal::LastAdmin { name } => write!(f, "{name} is the last admin with a key in this home"),
            Refusal::BeyondOwnTier { name, max } => write!(f, "{name} may grant {max} at most"),
            Refusal::KeyTaken { name } => write!(f, "the key is that of {name}"),
            Refusal::Stopped { by, at, reason } => {
                write!(f, "{by} stopped everything at {at}")?;
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            Refusal::StillStopping => write!(f, "everything is still being stopped"),
            Refusal::UnknownBreakGlass { grant } => write!(f, "no {grant} is known"),
            Refusal::BreakGlassOver { grant } => write!(f, "{grant} was answered already, or is over"),
            Refusal::BadBreakGlass { why } => write!(f, "this cannot be let pass: {why}"),
            Refusal::OwnBreakGlass { name } => {
                write!(f, "{name} asked for this, or for the run it is for, and may not approve it")
            }
            Refusal::BreakGlassDiffers { expected, found } => {
                write!(f, "what was answered, {found}, is not what waits, {expected}")
            }
            Refusal::TooManyBreakGlasses { limit } => {
                write!(f, "{limit} break-glass requests wait or are granted, which is the limit")
            }
        }
    }
}
