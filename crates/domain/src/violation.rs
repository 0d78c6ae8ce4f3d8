//! What an agent can do wrong: fourteen kinds, four severities, six kinds of revocation.

use crate::wire::wire_enum;

wire_enum! {
    /// How bad a violation is (1.4); the order is from harmless to worst.
    Severity ("severity") {
        /// Recorded; blocks promotion only.
        Low = "LOW",
        /// Limits or warns, then revokes on repeat.
        Medium = "MEDIUM",
        /// Counts as a procedure violation; standing falls by one tier.
        High = "HIGH",
        /// The whole run is revoked at once; standing falls to T0.
        Critical = "CRITICAL",
    }
}

wire_enum! {
    /// The fourteen kinds of violation (1.4).
    ViolationType ("violation type") {
        /// Tried to change policy, ledger or its own standing.
        GovernanceTampering = "GOVERNANCE_TAMPERING",
        /// Tried to reach the root secret.
        RootSecretAccess = "ROOT_SECRET_ACCESS",
        /// Acted above its effective tier without a permit.
        TierEscalation = "TIER_ESCALATION",
        /// Used another's token, permit, vote or lock.
        IdentityForgery = "IDENTITY_FORGERY",
        /// Read a secret, then sent outside.
        SecretExfiltration = "SECRET_EXFILTRATION",
        /// Attempted a forbidden action without a permit.
        ForbiddenAction = "FORBIDDEN_ACTION",
        /// Attempted an action on a forbidden target without a permit.
        ForbiddenTarget = "FORBIDDEN_TARGET",
        /// The kernel stopped an attempt to leave confinement.
        SandboxBreach = "SANDBOX_BREACH",
        /// Left out a step: EXECUTE without PLAN, PACKAGE skipped, a lock not held.
        ProcedureSkipped = "PROCEDURE_SKIPPED",
        /// Did something without, or other than, what was approved.
        ApprovalBypass = "APPROVAL_BYPASS",
        /// Exceeded its error, token or money budget.
        BudgetExceeded = "BUDGET_EXCEEDED",
        /// Exceeded its call rate.
        RateLimitExceeded = "RATE_LIMIT_EXCEEDED",
        /// Made no progress for too long.
        NoProgress = "NO_PROGRESS",
        /// Left no evidence.
        EvidenceMissing = "EVIDENCE_MISSING",
    }
}

wire_enum! {
    /// The six coarse causes of a revocation, kept for older readers (X07).
    RevocationType ("revocation type") {
        /// A rule was broken.
        Policy = "POLICY",
        /// A step was left out.
        Procedure = "PROCEDURE",
        /// Somebody pretended to be somebody else.
        Identity = "IDENTITY",
        /// Too many errors.
        ErrorBudget = "ERROR_BUDGET",
        /// Too much was used.
        Resource = "RESOURCE",
        /// Nothing moved.
        Liveness = "LIVENESS",
    }
}

impl ViolationType {
    /// How bad it is; the seeds' `VIOLATION_SEVERITY_MAP`, total by `match`.
    pub const fn severity(self) -> Severity {
        use ViolationType as V;
        match self {
            V::GovernanceTampering
            | V::RootSecretAccess
            | V::TierEscalation
            | V::IdentityForgery
            | V::SecretExfiltration => Severity::Critical,
            V::ForbiddenAction
            | V::ForbiddenTarget
            | V::SandboxBreach
            | V::ProcedureSkipped
            | V::ApprovalBypass => Severity::High,
            V::BudgetExceeded | V::RateLimitExceeded | V::NoProgress => Severity::Medium,
            V::EvidenceMissing => Severity::Low,
        }
    }

    /// The coarse cause it stands for; total by `match` (X07).
    pub const fn revocation(self) -> RevocationType {
        use ViolationType as V;
        match self {
            V::IdentityForgery => RevocationType::Identity,
            V::ProcedureSkipped | V::ApprovalBypass | V::EvidenceMissing => RevocationType::Procedure,
            V::BudgetExceeded => RevocationType::ErrorBudget,
            V::RateLimitExceeded => RevocationType::Resource,
            V::NoProgress => RevocationType::Liveness,
            V::GovernanceTampering
            | V::RootSecretAccess
            | V::TierEscalation
            | V::SecretExfiltration
            | V::ForbiddenAction
            | V::ForbiddenTarget
            | V::SandboxBreach => RevocationType::Policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourteen_kinds_four_severities_six_revocations() {
        assert_eq!(ViolationType::ALL.len(), 14);
        assert_eq!(Severity::ALL.len(), 4);
        assert_eq!(RevocationType::ALL.len(), 6);
        assert!(Severity::Low < Severity::Critical);
        for kind in RevocationType::ALL {
            assert!(
                ViolationType::ALL.iter().any(|violation| violation.revocation() == *kind),
                "{kind} is never used"
            );
        }
    }
}
