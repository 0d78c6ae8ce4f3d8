//! The records agents and stages leave (R020–R024); each has a published JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::id::{AgentId, RunId};
use crate::limits;
use crate::name::Name;
use crate::phase::{Grade, Phase};
use crate::span::Span;
use crate::status::StageStatus;
use crate::tier::Tier;

/// A file an agent left, kept by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its path inside the workspace, as declared.
    pub path: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// How finished it is.
    pub grade: Grade,
}

/// What an agent put out in one phase (R020).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentOutput {
    /// Who.
    pub agent: AgentId,
    /// In which phase; a revoked agent puts out nothing.
    pub phase: Phase,
    /// How finished it is; follows from the phase.
    pub grade: Grade,
    /// Values by name.
    #[serde(serialize_with = "crate::in_order")]
    pub values: BTreeMap<String, serde_json::Value>,
    /// Files.
    pub artifacts: Vec<Artifact>,
    /// When.
    pub at: Timestamp,
}

/// A plan issued again because errors crossed the threshold (R021).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClarifiedPlan {
    /// The plan it replaces.
    pub replaces: Digest,
    /// The new plan.
    pub plan: Digest,
    /// Which crossing this answers, from 1: one clarification for each.
    pub crossing: u32,
    /// Why.
    pub reason: String,
}

/// How many errors an agent may still make (R022): the seeds' 8 / 2 / 1. A budget is exceeded by the error after the
/// last one within it (2.C rule 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBudget {
    /// Errors in all.
    pub max_total_errors: u32,
    /// Repeats of one error.
    pub max_same_error_repeats: u32,
    /// Violations of procedure.
    pub max_procedure_violations: u32,
    /// Errors so far.
    pub total_errors: u32,
    /// Occurrences so far, by error code.
    pub by_code: BTreeMap<String, u32>,
    /// Procedure violations so far.
    pub procedure_violations: u32,
}

impl Default for ErrorBudget {
    fn default() -> Self {
        ErrorBudget {
            max_total_errors: limits::MAX_TOTAL_ERRORS,
            max_same_error_repeats: limits::MAX_SAME_ERROR_REPEATS,
            max_procedure_violations: limits::MAX_PROCEDURE_VIOLATIONS,
            total_errors: 0,
            by_code: BTreeMap::new(),
            procedure_violations: 0,
        }
    }
}

impl ErrorBudget {
    /// Counts one error. Past the limit of distinct codes an error counts in the total only, so that an agent cannot
    /// grow the record.
    pub fn count_error(&mut self, code: &str) {
        self.total_errors = self.total_errors.saturating_add(1);
        if let Some(count) = self.by_code.get_mut(code) {
            *count = count.saturating_add(1);
        } else if self.by_code.len() < limits::ERROR_CODES {
            self.by_code.insert(code.to_owned(), 1);
        }
    }

    /// Counts one violation of procedure.
    pub fn count_procedure_violation(&mut self) {
        self.procedure_violations = self.procedure_violations.saturating_add(1);
    }

    /// Errors left before the budget is exceeded; never negative.
    pub fn errors_left(&self) -> u32 {
        self.max_total_errors.saturating_sub(self.total_errors)
    }

    /// Whether any of the three limits is exceeded. `max_same_error_repeats: 2` allows an error twice; its third
    /// occurrence exceeds (R198).
    pub fn is_exceeded(&self) -> bool {
        self.total_errors > self.max_total_errors
            || self.procedure_violations > self.max_procedure_violations
            || self.by_code.values().any(|count| *count > self.max_same_error_repeats)
    }
}

/// How a stage ended (R023); every stage that ran leaves one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageResult {
    /// The stage's name.
    pub stage: Name,
    /// How it ended.
    pub status: StageStatus,
    /// Attempts made.
    pub attempts: u32,
    /// Why it ended so, for people.
    pub reason: String,
    /// Its outputs.
    #[serde(serialize_with = "crate::in_order")]
    pub outputs: BTreeMap<String, serde_json::Value>,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
    /// From its first attempt to its end.
    pub took: Span,
}

/// What later stages know (R024): the inputs and the results so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineContext {
    /// The run.
    pub run: RunId,
    /// The highest tier granted to it.
    pub grant: Tier,
    /// Its inputs.
    #[serde(serialize_with = "crate::in_order")]
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// Results by stage.
    pub results: BTreeMap<Name, StageResult>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r022_the_eighth_error_is_within_the_budget_and_the_ninth_exceeds_it() {
        let mut budget = ErrorBudget::default();
        for number in 1..=8 {
            budget.count_error(&format!("E{number}"));
            assert!(!budget.is_exceeded(), "error {number}");
        }
        budget.count_error("E9");
        assert!(budget.is_exceeded());
    }

    #[test]
    fn r022_repeats_and_procedure_have_limits_of_their_own() {
        let mut repeats = ErrorBudget::default();
        repeats.count_error("same");
        repeats.count_error("same");
        assert!(!repeats.is_exceeded());
        repeats.count_error("same");
        assert!(repeats.is_exceeded());

        let mut procedure = ErrorBudget::default();
        procedure.count_procedure_violation();
        assert!(!procedure.is_exceeded());
        procedure.count_procedure_violation();
        assert!(procedure.is_exceeded());
    }

    proptest! {
        #[test]
        fn r022_what_is_left_and_what_was_counted_add_up(codes in prop::collection::vec("[a-z]{1,2}", 0..40)) {
            let mut budget = ErrorBudget::default();
            for code in &codes {
                budget.count_error(code);
            }
            prop_assert_eq!(usize::try_from(budget.total_errors).unwrap(), codes.len());
            prop_assert_eq!(budget.errors_left(), 8u32.saturating_sub(budget.total_errors));
            prop_assert!(budget.by_code.len() <= 64);
        }
    }
}
