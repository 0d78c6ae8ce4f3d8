//! Who an agent says it is. Each has a listener of its own, so that who calls there is known; what it shows there is its own
//! token, or it says that it is somebody else.

use eparch_domain::{AgentId, Digest, ViolationType};

use crate::governor::{Governor, Turn};
use crate::revocation;

impl Governor {
    /// The other agent whose token this is, by its hash, if it stands for something now. What stands for nothing any more is as
    /// good as invented, and so is what an agent that was cut off has left for the next attempt at its stage.
    pub fn shows_anothers(&self, agent: AgentId, token: &Digest) -> Option<AgentId> {
        let shows =
            self.attempt(agent).is_some_and(|(_, _, attempt)| attempt.end.is_none() && !attempt.cut_off);
        let mut others = self.agents.keys().copied().filter(|other| *other != agent && shows);
        others.find(|other| self.token(*other).is_some_and(|held| held.hash == *token))
    }
}

/// An agent showed another's token at its own listener: it pretends to be somebody else (1.4, R082). Of one that has lost its
/// authority nothing more is found, so that it is found once.
pub(crate) fn token_shown(turn: &mut Turn<'_>, agent: AgentId, token: &Digest) {
    let Some(other) = turn.governor.shows_anothers(agent, token) else { return };
    let detail = format!("it showed the token of {other}");
    revocation::violation(turn, agent, ViolationType::IdentityForgery, &detail);
}
