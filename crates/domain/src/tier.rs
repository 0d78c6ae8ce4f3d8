//! T0 Observer to T4 Architect: how much an agent may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wire::UnknownWord;

/// A privilege tier (requirements 1.8). A number 0–4 on the wire; `1`, `T1`, `operator` and the seeds' aliases are accepted
/// on the command line (X20). A pipeline file writes the number or `T1`: one spelling less to know when one is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Tier {
    /// Reads inside allowed paths, writes only its own workspace.
    #[default]
    T0,
    /// Works in the sandbox and on localhost.
    T1,
    /// Authors modules and templates; staging with an approved plan.
    T2,
    /// Production through an approved gate.
    T3,
    /// Proposes changes of policy, each with two human approvals.
    T4,
}

impl Tier {
    /// Every tier, lowest first.
    pub const ALL: [Tier; 5] = [Tier::T0, Tier::T1, Tier::T2, Tier::T3, Tier::T4];

    /// The tier's number, 0–4.
    pub const fn number(self) -> u8 {
        match self {
            Tier::T0 => 0,
            Tier::T1 => 1,
            Tier::T2 => 2,
            Tier::T3 => 3,
            Tier::T4 => 4,
        }
    }

    /// The tier with this number; `None` above 4.
    pub fn from_number(number: u64) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| u64::from(tier.number()) == number)
    }

    /// The tier's name, as in `observer`.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::T0 => "observer",
            Tier::T1 => "operator",
            Tier::T2 => "builder",
            Tier::T3 => "steward",
            Tier::T4 => "architect",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.number())
    }
}

impl FromStr for Tier {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "0" | "T0" | "t0" | "observer" => Ok(Tier::T0),
            "1" | "T1" | "t1" | "operator" | "executor" => Ok(Tier::T1),
            "2" | "T2" | "t2" | "builder" | "admin" => Ok(Tier::T2),
            "3" | "T3" | "t3" | "steward" => Ok(Tier::T3),
            "4" | "T4" | "t4" | "architect" => Ok(Tier::T4),
            _ => Err(UnknownWord::new("tier", text)),
        }
    }
}

impl Serialize for Tier {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Tier {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(input)?;
        Tier::from_number(number)
            .ok_or_else(|| serde::de::Error::custom(format!("no tier {number}; tiers are 0 to 4")))
    }
}

impl schemars::JsonSchema for Tier {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tier".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x20_five_tiers_with_names_and_aliases() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse::<Tier>().unwrap(), tier);
            assert_eq!(tier.name().parse::<Tier>().unwrap(), tier);
            let json = serde_json::to_string(&tier).unwrap();
            assert_eq!(json, tier.number().to_string());
            assert_eq!(serde_json::from_str::<Tier>(&json).unwrap(), tier);
        }
        assert_eq!("executor".parse::<Tier>().unwrap(), Tier::T1);
        assert!("5".parse::<Tier>().is_err());
        for unknown in ["TT1", "toperator", "Tadmin", "T", "t5"] {
            assert!(unknown.parse::<Tier>().is_err(), "{unknown}");
        }
        assert!(serde_json::from_str::<Tier>("5").is_err());
        assert!(Tier::T0 < Tier::T4);
    }
}
