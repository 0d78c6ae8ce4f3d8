//! What a caller is told when something did not work: `application/problem+json`, with a stable code and a hint.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use eparch_domain::redact::redact;
use eparch_governor::Refusal;
use serde::{Deserialize, Serialize};

use crate::driver::SubmitError;

/// Something that did not work, as every door tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code; `docs/errors/` has a page for it.
    pub code: String,
    /// What happened, in one line.
    pub title: String,
    /// More of it; empty when the title says all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Whether trying again later can help.
    pub retryable: bool,
}

impl Problem {
    /// A problem with its code.
    pub fn new(status: StatusCode, code: &str, title: &str) -> Problem {
        Problem {
            status: status.as_u16(),
            code: code.to_owned(),
            title: title.to_owned(),
            detail: String::new(),
            hint: String::new(),
            retryable: false,
        }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Problem {
        hint.clone_into(&mut self.hint);
        self
    }

    /// The same, with more detail.
    #[must_use]
    pub fn detail(mut self, detail: &str) -> Problem {
        detail.clone_into(&mut self.detail);
        self
    }

    /// The same, worth trying again.
    #[must_use]
    pub fn retryable(mut self) -> Problem {
        self.retryable = true;
        self
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        let (code, hint) = match error {
            SubmitError::Ledger(_) => (
                "EP0510",
                "nothing was done; free disk space or repair the disk of the home (`eparch doctor` says what is wrong), then try again",
            ),
            SubmitError::Unknown(_) => {
                return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0513", &error.to_string()).hint(
                    "see what became of it before you ask again: `eparch runs list`, `eparch approvals list`, `eparch operator list`, `eparch secrets get`",
                );
            }
            SubmitError::Unreadable(_) => {
                return Problem::new(StatusCode::BAD_REQUEST, "EP0519", &error.to_string())
                    .hint("values nest too deeply, are not plain data, or are too many; make them simpler or smaller");
            }
            SubmitError::Gone => ("EP0511", "try again; a new holder starts by itself"),
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, &error.to_string()).hint(hint).retryable()
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Problem {
        let status = match refusal {
            Refusal::UnknownRun { .. }
            | Refusal::NoPoliciesWait { .. }
            | Refusal::UnknownAgent { .. }
            | Refusal::UnknownGate { .. }
            | Refusal::UnknownStanding { .. }
            | Refusal::UnknownBreakGlass { .. }
            | Refusal::NoPromotionWaits { .. }
            | Refusal::LockIsFree { .. }
            | Refusal::UnknownOperator { .. } => StatusCode::NOT_FOUND,
            Refusal::UnknownStage { .. }
            | Refusal::UnknownPipeline { .. }
            | Refusal::UnknownPolicies { .. }
            | Refusal::ArgumentsDiffer { .. }
            | Refusal::BadTarget { .. }
            | Refusal::NotTheNextTier { .. }
            | Refusal::BadBreakGlass { .. }
            | Refusal::BadRationale { .. }
            | Refusal::TooLarge { .. } => StatusCode::BAD_REQUEST,
            Refusal::RunExists { .. }
            | Refusal::RunEnded { .. }
            | Refusal::KeyReused { .. }
            | Refusal::GateClosed { .. }
            | Refusal::GateTimedOut { .. }
            | Refusal::EvidenceTooThin { .. }
            | Refusal::PromotionWaits { .. }
            | Refusal::NothingToLower { .. }
            | Refusal::PromotionDiffers { .. }
            | Refusal::BreakGlassDiffers { .. }
            | Refusal::PoliciesDiffer { .. }
            | Refusal::BreakGlassOver { .. }
            | Refusal::StillStopping
            | Refusal::PromotionAnsweredBefore { .. }
            | Refusal::SubjectDiffers { .. }
            | Refusal::AnsweredBefore { .. }
            | Refusal::KeyAnsweredBefore { .. }
            | Refusal::KeyTaken { .. }
            | Refusal::ActionKeyReused { .. }
            | Refusal::LeaseOver { .. }
            | Refusal::NotExecuting { .. }
            | Refusal::NotSeen { .. }
            | Refusal::Permit { .. }
            | Refusal::OperatorExists { .. }
            | Refusal::LastAdmin { .. } => StatusCode::CONFLICT,
            Refusal::TokenExpired { .. } => StatusCode::UNAUTHORIZED,
            Refusal::TooManyRuns { .. }
            | Refusal::TooManyPermits { .. }
            | Refusal::TooManyQuestions { .. }
            | Refusal::TooManyBreakGlasses { .. }
            | Refusal::TooManyPerformances { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NotPerformed { .. } | Refusal::HostOutOfReach { .. } => StatusCode::NOT_IMPLEMENTED,
            Refusal::AuthorityOver { .. } | Refusal::LockLost { .. } => StatusCode::GONE,
            Refusal::Stopped { .. } => StatusCode::LOCKED,
            Refusal::RuntimeMissing { .. } => StatusCode::NOT_IMPLEMENTED,
            Refusal::RoleForbids { .. }
            | Refusal::PolicyForbids { .. }
            | Refusal::GrantTooHigh { .. }
            | Refusal::FolderByName { .. }
            | Refusal::TierAboveGrant { .. }
            | Refusal::NotAnApprover { .. }
            | Refusal::OwnRequest { .. }
            | Refusal::OwnPromotion { .. }
            | Refusal::OwnBreakGlass { .. }
            | Refusal::OwnPolicies { .. }
            | Refusal::NobodyLooks { .. }
            | Refusal::KeyFromAnywhere { .. }
            | Refusal::SeparationTooWeak { .. }
            | Refusal::KeyTooYoung { .. }
            | Refusal::KeyDiffers { .. }
            | Refusal::BeyondOwnTier { .. } => StatusCode::FORBIDDEN,
        };
        Problem::new(status, refusal.code(), &refusal.to_string()).hint(refusal.hint())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // It may quote what somebody sent in the wrong place; what looks like a secret is not said again (G8).
        let clean = |text: &str| redact(text, &[]).into_owned();
        let (title, detail, hint) = (clean(&self.title), clean(&self.detail), clean(&self.hint));
        let body = serde_json::to_vec(&Problem { title, detail, hint, ..self });
        let body = body.expect("a problem is plain data");
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        (status, kind, body).into_response()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.title)
    }
}

impl std::error::Error for Problem {}
