//! What ships: the schema, and the policies for T0 to T4 and for people.

use crate::load::PolicyText;

/// What policies may speak of.
pub const SCHEMA: &str = include_str!("../../../policies/eparch.cedarschema");

/// The policies of a home that has none of its own.
pub const DEFAULTS: [PolicyText<'static>; 7] = [
    PolicyText { name: "always.cedar", text: include_str!("../../../policies/always.cedar") },
    PolicyText { name: "people.cedar", text: include_str!("../../../policies/people.cedar") },
    PolicyText { name: "t0-observer.cedar", text: include_str!("../../../policies/t0-observer.cedar") },
    PolicyText { name: "t1-operator.cedar", text: include_str!("../../../policies/t1-operator.cedar") },
    PolicyText { name: "t2-builder.cedar", text: include_str!("../../../policies/t2-builder.cedar") },
    PolicyText { name: "t3-steward.cedar", text: include_str!("../../../policies/t3-steward.cedar") },
    PolicyText { name: "t4-architect.cedar", text: include_str!("../../../policies/t4-architect.cedar") },
];
