//! What a policy's annotations say about it.

use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PrincipalConstraint};
use eparch_domain::{ViolationType, limits};
use serde::{Deserialize, Serialize};

use crate::names::Type;
use crate::problem::codes;
use crate::verdict::{self, Decision, reasons};

/// One policy as people speak of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its `@id`, the same for as long as it means the same.
    #[serde(serialize_with = "verdict::text::serialize")]
    pub id: Arc<str>,
    /// Its `@reason`: the code that is told when it decides.
    #[serde(serialize_with = "verdict::text::serialize")]
    pub reason: Arc<str>,
    /// What it says when it applies.
    pub decision: Decision,
    /// What has to be changed, when it says modify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// What would unlock it, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlock: Option<String>,
    /// Whether asking for the same again can help.
    pub retryable: bool,
    /// It is watched, not enforced.
    pub shadow: bool,
    /// Two people may let pass for a while what it forbids. A forbid that does not say so is inviolable.
    pub breakable: bool,
    /// What it is to ask again and again for what this forbids; a forbidden action where it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<ViolationType>,
    /// It speaks of people alone. It takes of what their role lets them do in code, and never adds to it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub for_people: bool,
    /// It would keep people from taking authority away, if anything could: nobody is asked about that.
    #[serde(skip)]
    pub against_revoking: bool,
    /// The file it stands in.
    pub file: String,
    /// The line it begins at.
    pub line: usize,
    /// Its text.
    #[serde(skip)]
    pub text: String,
}

/// A way in which an action is changed before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// What is handed over is wrapped: it can be opened once, for a short time.
    Wrap,
}

impl Change {
    /// The name in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Wrap => "wrap",
        }
    }
}

/// The annotations there are.
const KNOWN: [&str; 9] =
    ["breakable", "change", "id", "reason", "retryable", "shadow", "unlock", "verdict", "violation"];

/// Something wrong with annotations: a code, what is wrong, what to try, and the annotation it is about.
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) about: Option<String>,
}

/// Reads a policy's annotations; everything that is wrong with them goes into `faults`.
pub(crate) fn read(policy: &Policy, file: &str, line: usize, text: &str, faults: &mut Vec<Fault>) -> Rule {
    let mut fault = |code, about: Option<&str>, message: String, hint: Option<&str>| {
        let (hint, about) = (hint.map(str::to_owned), about.map(str::to_owned));
        faults.push(Fault { code, message, hint, about });
    };
    let mut names: Vec<&str> = policy.annotations().map(|(name, _)| name).collect();
    names.sort_unstable();
    for name in names.into_iter().filter(|name| !KNOWN.contains(name)) {
        let known = KNOWN.map(|known| format!("@{known}")).join(", ");
        let hint = format!("annotations are {known}");
        fault(
            codes::ANNOTATION_UNKNOWN,
            Some(name),
            format!("nobody knows the annotation @{name}"),
            Some(&hint),
        );
    }
    let forbids = policy.effect() == Effect::Forbid;

    let id = policy.annotation("id");
    match id {
        None => fault(
            codes::ANNOTATION_MISSING,
            None,
            "the policy has no @id".to_owned(),
            Some("begin it with @id(\"what-it-does\"): verdicts and records name it so"),
        ),
        Some(id) if !is_id(id) => fault(
            codes::ANNOTATION_WRONG,
            Some("id"),
            format!("{id:?} cannot be an @id"),
            Some("an id has 1 to 128 of a–z, 0–9, '.', '_' and '-', and begins with a letter or digit"),
        ),
        Some(_) => {}
    }
    let reason = policy.annotation("reason");
    match reason {
        None => fault(
            codes::ANNOTATION_MISSING,
            None,
            "the policy has no @reason".to_owned(),
            Some("add @reason(\"a_code\"): whoever asks is told it when this policy decides"),
        ),
        Some(reason) if !is_reason(reason) => fault(
            codes::ANNOTATION_WRONG,
            Some("reason"),
            format!("{reason:?} cannot be a @reason"),
            Some("a reason has 1 to 64 of a–z, 0–9 and '_', and begins with a letter"),
        ),
        Some(reason) if reasons::ALL.contains(&reason) => fault(
            codes::ANNOTATION_WRONG,
            Some("reason"),
            format!("the reason {reason:?} is Eparch's own"),
            Some("take another word: this one tells of something that no policy decided"),
        ),
        Some(_) => {}
    }
    let decision = match (policy.annotation("verdict"), forbids) {
        (None, true) => Decision::Deny,
        (None, false) => Decision::Allow,
        (Some(_), true) => {
            fault(
                codes::ANNOTATION_WRONG,
                Some("verdict"),
                "a forbid always denies; @verdict belongs to a permit".to_owned(),
                Some("leave @verdict out, or make it a permit"),
            );
            Decision::Deny
        }
        (Some("ask"), false) => Decision::Ask,
        (Some("modify"), false) => Decision::Modify,
        (Some(other), false) => {
            fault(
                codes::ANNOTATION_WRONG,
                Some("verdict"),
                format!("{other:?} is no @verdict"),
                Some("a permit allows unless it says @verdict(\"ask\") or @verdict(\"modify\")"),
            );
            Decision::Allow
        }
    };
    let change = match (policy.annotation("change"), decision) {
        (None, Decision::Modify) => {
            fault(
                codes::ANNOTATION_MISSING,
                None,
                "the policy says modify, and not what to change".to_owned(),
                Some("add @change(\"wrap\")"),
            );
            None
        }
        (Some(word), Decision::Modify) if word == Change::Wrap.as_str() => Some(Change::Wrap),
        (Some(other), Decision::Modify) => {
            fault(
                codes::ANNOTATION_WRONG,
                Some("change"),
                format!("{other:?} is no @change"),
                Some("there is \"wrap\""),
            );
            None
        }
        (Some(_), _) => {
            let message = "@change goes with @verdict(\"modify\") only".to_owned();
            fault(codes::ANNOTATION_WRONG, Some("change"), message, None);
            None
        }
        (None, _) => None,
    };
    let mut flag = |name: &'static str| match policy.annotation(name) {
        None => false,
        Some("") => true,
        Some(value) => {
            let message = format!("@{name} takes no value, and has {value:?}");
            let hint = format!("write @{name} alone, or leave it out");
            fault(codes::ANNOTATION_WRONG, Some(name), message, Some(&hint));
            false
        }
    };
    let (retryable, shadow, breakable) = (flag("retryable"), flag("shadow"), flag("breakable"));
    if breakable && decision != Decision::Deny {
        let message = "@breakable belongs to a forbid: what is permitted needs nobody to break it".to_owned();
        fault(codes::ANNOTATION_WRONG, Some("breakable"), message, None);
    }
    if retryable && decision != Decision::Deny {
        let message = "@retryable belongs to a forbid: what is asked can always be asked again".to_owned();
        fault(codes::ANNOTATION_WRONG, Some("retryable"), message, None);
    }
    let violation = policy.annotation("violation").and_then(|name| match name.parse::<ViolationType>() {
        Ok(violation) if decision == Decision::Deny => Some(violation),
        Ok(_) => {
            let message =
                "@violation belongs to a forbid: nobody is held to insist on what is permitted".to_owned();
            fault(codes::ANNOTATION_WRONG, Some("violation"), message, None);
            None
        }
        Err(_) => {
            let known: Vec<&str> = ViolationType::ALL.iter().map(|known| known.as_str()).collect();
            let hint = format!("there are {}", known.join(", "));
            let message = format!("{name:?} is no @violation");
            fault(codes::ANNOTATION_WRONG, Some("violation"), message, Some(&hint));
            None
        }
    });
    let unlock = policy.annotation("unlock");
    if let Some(text) = unlock
        && (text.trim().is_empty()
            || text.len() > limits::POLICY_UNLOCK_BYTES
            || text.contains(eparch_domain::is_harmful))
    {
        let message = "@unlock is not a line of text that people can read".to_owned();
        fault(codes::ANNOTATION_WRONG, Some("unlock"), message, Some("one line of at most 512 bytes"));
    }
    Rule {
        id: id.unwrap_or_default().into(),
        reason: reason.unwrap_or_default().into(),
        decision,
        change,
        unlock: unlock.map(str::to_owned),
        retryable: retryable || decision == Decision::Ask,
        shadow,
        breakable,
        violation,
        for_people: is_for_people(policy),
        against_revoking: decision != Decision::Allow && is_for_people(policy) && is_about_revoking(policy),
        file: file.to_owned(),
        line,
        text: text.to_owned(),
    }
}

/// Whether it may be about taking authority away, among other things.
fn is_about_revoking(policy: &Policy) -> bool {
    let names = |action: &EntityUid| matches!(action.id().unescaped(), "revoke" | "effect");
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => names(&action),
        ActionConstraint::In(actions) => actions.iter().any(names),
    }
}

/// Whether its scope leaves nobody but people.
fn is_for_people(policy: &Policy) -> bool {
    let named = |kind: &EntityTypeName| Type::named(kind.basename());
    match policy.principal_constraint() {
        PrincipalConstraint::Any => false,
        PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => {
            named(&kind) == Some(Type::Operator)
        }
        PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) => {
            matches!(named(uid.type_name()), Some(Type::Operator | Type::Role | Type::Group))
        }
    }
}

fn is_id(id: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    id.len() <= limits::POLICY_ID_BYTES
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(fits)
}

fn is_reason(reason: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    reason.len() <= limits::POLICY_REASON_BYTES
        && reason.starts_with(|c: char| c.is_ascii_lowercase())
        && reason.chars().all(fits)
}
