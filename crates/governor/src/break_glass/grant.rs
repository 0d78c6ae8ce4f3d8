//! What two people let pass, as it is asked for, recorded and remembered.

use std::collections::{BTreeMap, VecDeque};

use eparch_domain::{Action, AgentId, BreakGlassId, Digest, Moment, Name, RunId, Span};
use serde::{Deserialize, Serialize};

use crate::event::{GateDecision, SignedAnswer};
use crate::operator::Separation;

/// Whom it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "whom", rename_all = "snake_case")]
pub enum GlassScope {
    /// Every agent of a run.
    Run {
        /// Which.
        run: RunId,
    },
    /// The agents of one stage of a run, however often it is tried.
    Stage {
        /// Of which run.
        run: RunId,
        /// Which.
        stage: Name,
    },
    /// One agent.
    Agent {
        /// Which.
        agent: AgentId,
    },
    /// Every agent of the next run that somebody asks for.
    NextRun {
        /// Who.
        of: Name,
    },
}

/// One thing that is let pass: exactly this action and this target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Allowed {
    /// What may be done.
    pub action: Action,
    /// To what; in the form that policies know.
    pub target: String,
}

/// Somebody asks that something be let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassRequest {
    /// Who asks.
    pub by: Name,
    /// For whom.
    pub scope: GlassScope,
    /// What.
    pub allows: Vec<Allowed>,
    /// For how long, from when it is approved; at most `limits::BREAK_GLASS_TIME`.
    pub time: Span,
    /// Why.
    pub reason: String,
}

/// Somebody's answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassAnswer {
    /// To which.
    pub grant: BreakGlassId,
    /// Who answers, as proven by their key.
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

/// What was asked for, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassAsked {
    /// Its name, as a request and as a grant.
    pub grant: BreakGlassId,
    /// Who asked.
    pub by: Name,
    /// For whom.
    pub scope: GlassScope,
    /// What.
    pub allows: Vec<Allowed>,
    /// For how long.
    pub time: Span,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Moment,
    /// Unless it is approved before, it is over then.
    pub until: Moment,
    /// The least separation an approval must have.
    pub separation: Separation,
    /// The digest of all of this: what an approval is of.
    pub subject: Digest,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stands", rename_all = "snake_case")]
pub enum GlassStands {
    /// A second person is waited for.
    Waiting,
    /// It is granted.
    Open {
        /// Who approved it.
        by: Name,
        /// How far apart they are from whoever asked, as was found.
        separation: Separation,
        /// It is over when either time has come.
        expires: Moment,
        /// The run it is for; nothing while somebody's next run is waited for.
        run: Option<RunId>,
    },
    /// It is over.
    Over {
        /// Who had approved it, if anybody had.
        approved_by: Option<Name>,
        /// Why.
        #[serde(flatten)]
        because: GlassEnd,
    },
}

/// Why it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum GlassEnd {
    /// A second person said no, or whoever asked took it back.
    Denied {
        /// Who.
        by: Name,
        /// Why, where it was written down. Where a grant is shown, `reason` is why it was asked for.
        #[serde(default, rename = "why", skip_serializing_if = "String::is_empty")]
        rationale: String,
    },
    /// Nobody answered in time.
    NotAnswered,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Ended {
        /// Who.
        by: Name,
        /// Why. Where a grant is shown, `reason` is why it was asked for.
        #[serde(rename = "why")]
        reason: String,
    },
    /// One of the two is known here no longer.
    PersonLeft {
        /// Who.
        name: Name,
    },
    /// Whom it was for has ended, or was ended.
    ItsRunEnded,
    /// Authority was taken away from an agent it was for.
    Revoked,
    /// Everything was stopped.
    AllStopped,
}

/// A request, a grant, or one that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// What was asked for.
    pub asked: BreakGlassAsked,
    /// How it stands.
    pub stands: GlassStands,
    /// What was allowed under it, each once.
    pub used: Vec<Allowed>,
    /// How many keys operators had been given when it was asked for.
    pub(crate) keys_before: u64,
}

impl BreakGlass {
    /// When it is over by itself, while it is not.
    pub fn ends(&self) -> Option<Moment> {
        match &self.stands {
            GlassStands::Waiting => Some(self.asked.until),
            GlassStands::Open { expires, .. } => Some(*expires),
            GlassStands::Over { .. } => None,
        }
    }

    /// The run it is for, as far as that is known. Of an agent the agent itself is asked.
    pub(super) fn run(&self) -> Option<RunId> {
        match (&self.stands, &self.asked.scope) {
            (GlassStands::Open { run, .. }, GlassScope::NextRun { .. }) => *run,
            (_, GlassScope::Run { run } | GlassScope::Stage { run, .. }) => Some(*run),
            _ => None,
        }
    }
}

/// What a decision was made under, when policy alone would have denied it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderGlass {
    /// The grant.
    pub grant: BreakGlassId,
    /// Who asked for it.
    pub requested_by: Name,
    /// Who approved it.
    pub approved_by: Name,
}

impl std::fmt::Display for UnderGlass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "break-glass {} by {} and {}", self.grant, self.requested_by, self.approved_by)
    }
}

/// What the governor remembers of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Glasses {
    /// How many there were: the next one's name follows from it.
    pub(crate) count: u64,
    /// Those that wait or are granted.
    pub(crate) live: BTreeMap<BreakGlassId, BreakGlass>,
    /// The last that are over, oldest first.
    pub(crate) over: VecDeque<BreakGlass>,
}
