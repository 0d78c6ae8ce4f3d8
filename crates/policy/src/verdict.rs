//! What the answer is, and why.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rule::Change;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the answer is.
    pub decision: Decision,
    /// Why, as a code that stays the same: a policy's `@reason`, or one of [`reasons`].
    #[serde(rename = "reason_code", with = "text")]
    pub reason: Arc<str>,
    /// The policies that decided, in order.
    #[serde(with = "texts")]
    pub policies: Vec<Arc<str>>,
    /// Whether asking for the same again later can have another answer.
    pub retryable: bool,
    /// What would unlock it, for people, where a policy says so. [`crate::PolicySet::unlock`] looks for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlock: Option<String>,
    /// What has to be changed about it, when the decision is [`Decision::Modify`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// How many policies were looked at.
    pub candidates: usize,
    /// What policies that are only watched would have said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<Shadowed>,
}

impl Verdict {
    /// Which of [`Verdict::shadowed`] would have made the answer another one, each had it alone been enforced: what says less
    /// than the answer changes nothing, and where nothing permits it, whatever permits it does.
    pub fn otherwise(&self) -> impl Iterator<Item = &Shadowed> {
        let nothing_permits = self.decision == Decision::Deny && &*self.reason == reasons::NO_POLICY_ALLOWS;
        self.shadowed.iter().filter(move |shadow| match nothing_permits {
            true => shadow.decision != Decision::Deny,
            false => shadow.decision > self.decision,
        })
    }
}

/// What the answer is. The order is that of precedence: the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may be done.
    Allow,
    /// It may be done in another way ([`Verdict::changes`]).
    Modify,
    /// Somebody is to be asked first.
    Ask,
    /// It may not be done.
    Deny,
}

impl Decision {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Modify => "modify",
            Decision::Ask => "ask",
            Decision::Deny => "deny",
        }
    }

    /// The decision with this name.
    pub fn named(name: &str) -> Option<Decision> {
        [Decision::Allow, Decision::Modify, Decision::Ask, Decision::Deny]
            .into_iter()
            .find(|decision| decision.as_str() == name)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a policy that is only watched (`@shadow`) would have said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadowed {
    /// The policy.
    #[serde(with = "text")]
    pub policy: Arc<str>,
    /// What it would have said. One that cannot be evaluated would have denied.
    pub decision: Decision,
    /// Its reason, or `evaluation_error`.
    #[serde(rename = "reason_code", with = "text")]
    pub reason: Arc<str>,
}

/// Shared text, as text.
pub(crate) mod text {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &Arc<str>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(text)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}

mod texts {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(texts: &[Arc<str>], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(texts.iter().map(|text| &**text))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<Arc<str>>, D::Error> {
        Ok(Vec::<String>::deserialize(from)?.into_iter().map(Arc::from).collect())
    }
}

/// Reasons that come from no policy. A policy cannot have one of them: whoever is told one is to know who says so.
pub mod reasons {
    /// Nobody that is known asks.
    pub const ANONYMOUS: &str = "anonymous";
    /// The token's time is over.
    pub const CREDENTIAL_EXPIRED: &str = "credential_expired";
    /// The token was taken away.
    pub const CREDENTIAL_REVOKED: &str = "credential_revoked";
    /// It is another tenant's, or does not exist: which of them is not told (G9).
    pub const OTHER_TENANT: &str = "other_tenant";
    /// The action cannot be done to such a thing.
    pub const WRONG_RESOURCE: &str = "wrong_resource";
    /// An agent asks for something to be done to itself: nobody changes their own standing (G5).
    pub const ABOUT_ITSELF: &str = "about_itself";
    /// The run has done more than can be told to a policy.
    pub const HISTORY_OVERFLOW: &str = "history_overflow";
    /// No policy permits it (G4).
    pub const NO_POLICY_ALLOWS: &str = "no_policy_allows";
    /// A policy that may matter cannot be evaluated.
    pub const EVALUATION_ERROR: &str = "evaluation_error";
    /// Policy denies it, and two people let it pass for a while. No decision of a set has it: the governor says so, of a
    /// verdict that [`crate::PolicySet::is_breakable`].
    pub const BREAK_GLASS: &str = "break_glass";

    /// No policies are in force, so nothing is allowed (G4). This and what follows the governor says, beside any set.
    pub const NO_POLICIES: &str = "no_policies";
    /// Somebody said no to this in this run.
    pub const PEOPLE_SAID_NO: &str = "people_said_no";
    /// People said no so often in this run that one more could not be remembered.
    pub const TOO_MANY_DENIALS: &str = "too_many_denials";
    /// Somebody who was asked said no.
    pub const APPROVAL_DENIED: &str = "approval_denied";
    /// Nobody answered in time, or whoever asked came back too late.
    pub const APPROVAL_TIMED_OUT: &str = "approval_timed_out";
    /// What was approved is not what it would be now.
    pub const APPROVAL_VOID: &str = "approval_void";
    /// By now something has to be covered that a cage shows.
    pub const LESS_IS_WITHIN_REACH: &str = "less_is_within_reach";

    /// All of them.
    pub const ALL: [&str; 17] = [
        NO_POLICIES,
        PEOPLE_SAID_NO,
        TOO_MANY_DENIALS,
        APPROVAL_DENIED,
        APPROVAL_TIMED_OUT,
        APPROVAL_VOID,
        LESS_IS_WITHIN_REACH,
        ANONYMOUS,
        CREDENTIAL_EXPIRED,
        CREDENTIAL_REVOKED,
        OTHER_TENANT,
        WRONG_RESOURCE,
        ABOUT_ITSELF,
        HISTORY_OVERFLOW,
        NO_POLICY_ALLOWS,
        EVALUATION_ERROR,
        BREAK_GLASS,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(decision: Decision, reason: &str, shadowed: &[Decision]) -> Verdict {
        let shadow = |decision: &Decision| Shadowed {
            policy: "watched".into(),
            decision: *decision,
            reason: "r".into(),
        };
        Verdict {
            decision,
            reason: reason.into(),
            policies: Vec::new(),
            retryable: false,
            unlock: None,
            changes: Vec::new(),
            candidates: 1,
            shadowed: shadowed.iter().map(shadow).collect(),
        }
    }

    #[test]
    fn what_says_as_much_as_the_answer_changes_nothing() {
        const ALL: [Decision; 4] = [Decision::Allow, Decision::Modify, Decision::Ask, Decision::Deny];
        let otherwise = |decision, reason| -> Vec<Decision> {
            verdict(decision, reason, &ALL).otherwise().map(|shadow| shadow.decision).collect()
        };
        for (at, decision) in ALL.into_iter().enumerate() {
            assert_eq!(otherwise(decision, "r"), ALL[at + 1..], "{decision}");
        }
        assert_eq!(otherwise(Decision::Deny, reasons::NO_POLICY_ALLOWS), ALL[..3]);
    }

    #[test]
    fn a_decision_has_one_name() {
        for decision in [Decision::Allow, Decision::Modify, Decision::Ask, Decision::Deny] {
            assert_eq!(Decision::named(decision.as_str()), Some(decision));
            assert_eq!(format!("{decision:>7}"), format!("{:>7}", decision.as_str()));
        }
        assert_eq!(Decision::named("allowed"), None);
    }
}
