//! What people hand in that is too large, said before it is written down.

use eparch_domain::limits;

use crate::decision::Refusal;
use crate::event::Event;
use crate::{request, written};

impl Event {
    /// Why the event is larger than anybody may make it: the governor's own refusal, wherever it has one. Whoever hands in
    /// what people say asks for it first, since a record keeps its event whole, also when what it asks for is refused.
    pub fn too_large(&self) -> Option<Refusal> {
        let larger = |what: &str, bytes: usize, limit: usize| {
            (bytes > limit).then(|| Refusal::TooLarge { what: what.to_owned(), bytes, limit })
        };
        match self {
            Event::RunRequested(request) => request::too_large(request),
            Event::PromotionRequested { rationale, .. } => {
                larger("the rationale", rationale.len(), limits::RATIONALE_BYTES)
            }
            Event::BreakGlassRequested(request) => {
                larger("the reason", request.reason.len(), limits::RATIONALE_BYTES)
                    .or_else(|| {
                        larger("what is to be let pass", request.allows.len(), limits::BREAK_GLASS_ALLOWS)
                    })
                    .or_else(|| {
                        let longest = request.allows.iter().map(|allowed| allowed.target.len()).max();
                        larger("a target", longest.unwrap_or(0), limits::RESOURCE_BYTES)
                    })
            }
            Event::BreakGlassAnswered(answer) => {
                larger("the rationale", answer.rationale.len(), limits::RATIONALE_BYTES)
            }
            Event::PromotionAnswered(answer) => {
                larger("the rationale", answer.rationale.len(), limits::RATIONALE_BYTES)
            }
            Event::PoliciesAnswered(answer) => {
                larger("the rationale", answer.rationale.len(), limits::RATIONALE_BYTES)
            }
            Event::StopAllRequested { reason, .. }
            | Event::StopAllLifted { reason, .. }
            | Event::BreakGlassEndRequested { reason, .. }
            | Event::StopRequested { reason, .. }
            | Event::DemotionRequested { reason, .. }
            | Event::LockReleaseRequested { reason, .. }
            | Event::RevokeRequested { reason, .. } => {
                larger("the reason", reason.len(), limits::RATIONALE_BYTES)
            }
            Event::GateAnswered(answer) if answer.rationale.len() > limits::RATIONALE_BYTES => {
                Some(Refusal::BadRationale { limit: limits::RATIONALE_BYTES })
            }
            Event::OperatorAdded { operator, .. } => {
                larger("the groups", written::length(&operator.groups), limits::OPERATOR_GROUPS_BYTES)
            }
            Event::ActionAsked(asked) => larger("the target", asked.target.len(), limits::RESOURCE_BYTES)
                .or_else(|| larger("the key", asked.key.len(), limits::IDEMPOTENCY_KEY_BYTES))
                .or_else(|| {
                    let bytes = asked.given.as_ref().map_or(0, String::len);
                    larger("the arguments", bytes, limits::ARGUMENTS_SHOWN_BYTES)
                }),
            Event::PerformanceAsked { command, .. } => {
                larger("the command", written::length(command), limits::COMMAND_BYTES)
            }
            Event::ActionEnded { detail, .. } => {
                larger("the detail", detail.len(), limits::ACTION_DETAIL_BYTES)
            }
            Event::SecretAsked { path, .. } => {
                larger("the path of the secret", path.len(), limits::VAULT_PATH_BYTES)
            }
            // The others hold nothing of anybody's own length, or are the shell's.
            Event::GateAnswered(_)
            | Event::OperatorRotated { .. }
            | Event::OperatorRemoved { .. }
            | Event::Booted { .. }
            | Event::ClockTurned
            | Event::ClockJumped { .. }
            | Event::CallsLimited { .. }
            | Event::TokenShown { .. }
            | Event::PoliciesOffered { .. }
            | Event::PermitUsed { .. }
            | Event::PerformanceReady { .. }
            | Event::PerformanceEnded { .. }
            | Event::SecretServed { .. }
            | Event::CredentialIssued { .. }
            | Event::CredentialTold { .. }
            | Event::CredentialsFound { .. }
            | Event::ClockVouched { .. }
            | Event::AgentAdvanced { .. }
            | Event::AgentSignalled { .. }
            | Event::DiagnosticOffered { .. }
            | Event::TreeProvenDead { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use eparch_domain::{Digest, GateId, Name, OperatorRole, RunId, Tier};

    use super::*;
    use crate::event::{GateAnswer, GateDecision, Kept, Lineage, RunRequest};
    use crate::operator::{Key, Operator};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn request() -> RunRequest {
        RunRequest {
            run: RunId::from_bits(1),
            pipeline: Digest::of(b"pipeline"),
            inputs: BTreeMap::new(),
            env: BTreeMap::new(),
            requester: name("ada"),
            grant: None,
            root: "/project".to_owned(),
            idempotency_key: None,
            lineage: None,
        }
    }

    fn requested(with: impl Fn(&mut RunRequest)) -> Event {
        let mut request = request();
        with(&mut request);
        Event::RunRequested(Box::new(request))
    }

    fn added(groups: usize) -> Event {
        let operator = Operator {
            name: name("bob"),
            role: OperatorRole::Viewer,
            groups: vec![name("abc"); groups],
            max_tier: Tier::T0,
            key: Key::Home { hash: Digest::of(b"key") },
        };
        Event::OperatorAdded { by: Some(name("ada")), operator }
    }

    fn answered(rationale: String) -> Event {
        let (gate, subject) = (GateId::from_bits(1), Digest::of(b"subject"));
        let decision = GateDecision::Approve;
        Event::GateAnswered(GateAnswer { gate, by: name("bob"), signed: None, decision, subject, rationale })
    }

    fn stop(reason: String) -> Event {
        Event::StopRequested { run: RunId::from_bits(1), by: name("ada"), reason }
    }

    fn asked(path: String) -> Event {
        let access = crate::secrets::SecretAccess::Read { version: None };
        Event::SecretAsked { by: name("ada"), path, tier: Tier::T4, access }
    }

    fn performed(word: String) -> Event {
        let (agent, permit) = (eparch_domain::AgentId::from_bits(1), eparch_domain::PermitId::from_bits(2));
        Event::PerformanceAsked { agent, permit, command: vec![word] }
    }

    #[test]
    fn every_text_that_people_hand_in_has_a_length_that_is_too_large() {
        let text = |bytes: usize| "x".repeat(bytes);
        let value = |bytes: usize| BTreeMap::from([("i".to_owned(), text(bytes).into())]);
        let kept = |bytes: usize| {
            let left = Kept { outputs: value(bytes), artifacts: Vec::new() };
            let (run, from, kept) = (RunId::from_bits(2), name("from"), [(name("kept"), left)].into());
            Some(Lineage { run, from, kept, forgiven: BTreeMap::new() })
        };
        // What stands around a text is counted where it is one of several: `{"i":""}`, `"i":"",` and `["abc",…]`.
        let cases: [(&dyn Fn(usize) -> Event, usize); 10] = [
            (&|most| performed(text(most)), limits::COMMAND_BYTES - 4),
            (
                &|most| requested(|asked| asked.idempotency_key = Some(text(most))),
                limits::IDEMPOTENCY_KEY_BYTES,
            ),
            (&|most| requested(|asked| asked.root = text(most)), limits::ROOT_BYTES),
            (&|most| requested(|asked| asked.inputs = value(most)), limits::RUN_INPUTS_BYTES - 8),
            (
                &|most| requested(|asked| asked.env = [("e".to_owned(), text(most))].into()),
                limits::RUN_INPUTS_BYTES - 8,
            ),
            (&|most| requested(|asked| asked.lineage = kept(most)), limits::RUN_OUTPUTS_BYTES - 7),
            (&|most| stop(text(most)), limits::RATIONALE_BYTES),
            (&|most| asked(text(most)), limits::VAULT_PATH_BYTES),
            (&|most| answered(text(most)), limits::RATIONALE_BYTES),
            (&added, (limits::OPERATOR_GROUPS_BYTES - 1) / 6),
        ];
        for (at, (event, most)) in cases.into_iter().enumerate() {
            assert_eq!(event(most).too_large(), None, "case {at}");
            let refusal = event(most + 1).too_large();
            assert!(
                matches!(refusal, Some(Refusal::TooLarge { .. } | Refusal::BadRationale { .. })),
                "case {at}: {refusal:?}"
            );
        }
    }
}
