//! Who an agent is among others, and how strict its project is.

use crate::wire::wire_enum;

wire_enum! {
    /// An agent's part in a council (X09). The wire keeps the seeds' letters.
    Role ("agent role") {
        /// Researches, analyses, proposes.
        Researcher = "ALPHA",
        /// Synthesises, evaluates, builds solutions.
        Synthesizer = "BETA",
        /// Mediates when the two do not get on.
        Mediator = "GAMMA",
    }
}

wire_enum! {
    /// How strict a project is; a pipeline may only tighten it (1.9).
    Profile ("profile") {
        /// The lightest thresholds.
        Startup = "startup",
        /// Approvals signed by keys this home never held.
        Enterprise = "enterprise",
        /// The strictest; nothing is ever reduced.
        Healthcare = "healthcare",
    }
}
