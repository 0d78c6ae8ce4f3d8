//! What an agent seeks people's approval for.

use eparch_domain::{Action, AgentId, Digest};
use serde::{Deserialize, Serialize};

/// What an agent seeks people's approval for: everything that an approval is bound to, and why it takes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sought {
    /// Which agent.
    pub agent: AgentId,
    /// What it wants to do.
    pub action: Action,
    /// To what; at most `limits::RESOURCE_BYTES`.
    pub target: String,
    /// The digest of the arguments.
    pub params: Digest,
    /// The arguments, as the text that the digest is of; `None` where there are none, or only their digest is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// The policies that ask for it.
    pub policy: Digest,
    /// Their reason, as a code that stays the same.
    pub reason: String,
    /// What they say would do, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlock: Option<String>,
}

impl Sought {
    /// The program and its arguments, where a command is to be performed and its words are known.
    pub fn command(&self) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            command: Vec<String>,
        }
        let Given { command } = serde_json::from_str(self.given.as_deref()?).ok()?;
        Some(command)
    }

    /// Whether there are arguments of which nobody here was told more than the digest.
    pub fn is_unseen(&self) -> bool {
        self.given.is_none() && self.params != Digest::of(b"")
    }

    /// The digest of what is approved: who does what to what with which arguments, under which policies. Another agent, other
    /// arguments or other policies are another thing.
    pub fn subject(&self) -> Digest {
        let agent = self.agent.bits().to_be_bytes();
        let parts: [&[u8]; 6] = [
            b"action",
            &agent,
            self.action.as_str().as_bytes(),
            self.target.as_bytes(),
            self.params.as_bytes(),
            self.policy.as_bytes(),
        ];
        Digest::of_parts(&parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(given: Option<&str>, params: &[u8]) -> Sought {
        Sought {
            agent: AgentId::from_bits(1),
            action: Action::ExecuteCommand,
            target: "localhost".to_owned(),
            params: Digest::of(params),
            given: given.map(str::to_owned),
            policy: Digest::of(b"policy"),
            reason: "approval_needed".to_owned(),
            unlock: None,
        }
    }

    #[test]
    fn g5_a_command_is_shown_where_its_words_are_known_and_are_all_there_is() {
        let words = |given: Option<&str>| sought(given, b"x").command();
        assert_eq!(
            words(Some(r#"{"command":["make","all"]}"#)),
            Some(vec!["make".to_owned(), "all".to_owned()])
        );
        assert_eq!(words(Some(r#"{"command":["make"],"cwd":"/etc"}"#)), None);
        assert_eq!((words(Some("make all")), words(None)), (None, None));
    }

    #[test]
    fn g5_what_was_never_shown_is_known_to_be_unseen() {
        let unseen = [(Some("x"), &b"x"[..], false), (None, b"x", true), (None, b"", false)];
        for (given, params, is) in unseen {
            assert_eq!(sought(given, params).is_unseen(), is, "{given:?}");
        }
    }
}
