//! Who could approve here: what a check of a pipeline needs to know of the home (R062).

use std::collections::BTreeSet;

use eparch_daemon::{Client, Home, TENANT, wire};
use eparch_domain::Name;
use eparch_governor::{Fact, OperatorRole, Record};
use eparch_ledger::Reader;
use eparch_pipeline::Known;

use crate::context::Context;
use crate::failure::Failure;

/// Everybody that a gate may list: operators, their groups, and roles. Asks the holder when there is one, else reads the
/// ledger; where there is no home yet, there are roles only. The variables it may read are those of the settings.
pub(crate) async fn known(context: &Context) -> Result<Known, Failure> {
    let mut names: BTreeSet<String> = OperatorRole::ALL.iter().map(|role| role.as_str().to_owned()).collect();
    if let Ok(home) = Home::open(&context.home_root()) {
        match from_holder(&home).await {
            Some(found) => names.extend(found),
            None => names.extend(from_ledger(&home)),
        }
    }
    let settings = context.settings(&context.home_root())?;
    Ok(Known { approvers: Some(names), env: Some(settings.environment.allow) })
}

async fn from_holder(home: &Home) -> Option<BTreeSet<String>> {
    let key = home.operator_key(&home.owner().ok()?).ok()?;
    let operators: Vec<wire::OperatorView> =
        Client::new(&home.socket(), key).get("/api/operators").await.ok()?;
    let names = operators.iter().flat_map(|known| std::iter::once(&known.name).chain(&known.groups));
    Some(names.map(ToString::to_string).collect())
}

fn from_ledger(home: &Home) -> BTreeSet<String> {
    let mut known = std::collections::BTreeMap::<Name, Vec<Name>>::new();
    // A home that nobody has held yet has its owner.
    if let Ok(owner) = home.owner() {
        known.insert(owner, Vec::new());
    }
    let tenant = Name::new(TENANT).expect("a word is a name");
    if let Ok(reader) = Reader::open(&home.journal()) {
        // What cannot be read is not an error of the pipeline: `ledger verify` is the place for it.
        for entry in reader.entries(&tenant, 1).map_while(Result::ok) {
            // Most entries are about agents; reading them in full would take most of the time.
            if !contains(&entry.body, b"\"operator_") {
                continue;
            }
            for fact in
                Record::from_bytes(&entry.body).map(|record| record.decision.facts).unwrap_or_default()
            {
                match fact {
                    Fact::OperatorKnown { operator, .. } => {
                        drop(known.insert(operator.name, operator.groups))
                    }
                    Fact::OperatorForgotten { name } => drop(known.remove(&name)),
                    _ => {}
                }
            }
        }
    }
    known
        .iter()
        .flat_map(|(name, groups)| std::iter::once(name).chain(groups))
        .map(ToString::to_string)
        .collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
