//! Who could approve here: what a check of a pipeline needs to know of the home (R062).

use std::collections::{BTreeMap, BTreeSet};

use eparch_daemon::driver::SavedState;
use eparch_daemon::{Client, Home, TENANT, wire};
use eparch_domain::Name;
use eparch_governor::{Fact, OperatorRole, Record};
use eparch_ledger::{LedgerKey, Reader};
use eparch_pipeline::Known;

use crate::context::Context;
use crate::failure::Failure;

/// Everybody that a gate may list: operators, their groups, and roles. Asks the holder when there is one, else reads the
/// ledger; where there is no home yet, there are roles only. The variables it may read are those of the settings.
pub(crate) async fn known(context: &Context) -> Result<Known, Failure> {
    let mut names: BTreeSet<String> = OperatorRole::ALL.iter().map(|role| role.as_str().to_owned()).collect();
    if let Ok(home) = Home::at_rest(&context.home_root()) {
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

/// What the last saved state says, and the entries after it, which are few. What cannot be read is not an error of the
/// pipeline: `ledger verify` is the place for it.
fn from_ledger(home: &Home) -> BTreeSet<String> {
    let mut known = BTreeMap::<Name, Vec<Name>>::new();
    // A home that nobody has held yet has its owner.
    if let Ok(owner) = home.owner() {
        known.insert(owner, Vec::new());
    }
    let tenant = Name::new(TENANT).expect("a word is a name");
    if let Ok(reader) = Reader::open(&home.journal()) {
        let mut saved_at = 0;
        if let Some((seq, saved)) = last_saved(home, &reader, &tenant) {
            saved_at = seq;
            let operators = saved.snapshot().operators();
            known = operators.map(|known| (known.name.clone(), known.groups.clone())).collect();
        }
        for entry in reader.entries(&tenant, saved_at + 1).map_while(Result::ok) {
            take_in(&entry.body, &mut known);
        }
    }
    let names = known.iter().flat_map(|(name, groups)| std::iter::once(name).chain(groups));
    names.map(ToString::to_string).collect()
}

/// The last saved state that can be believed and read, and its entry.
fn last_saved(home: &Home, reader: &Reader, tenant: &Name) -> Option<(u64, SavedState)> {
    let key = LedgerKey::load_verifier(&home.keys()).ok()?;
    let (saved, _) = reader.snapshot(tenant, &key).ok()?;
    let saved = saved?;
    Some((saved.seq, SavedState::from_bytes(&saved.body).ok()?))
}

/// Takes in what an entry says of operators.
fn take_in(body: &[u8], known: &mut BTreeMap<Name, Vec<Name>>) {
    // Most entries are about agents; reading them in full would take most of the time.
    if !contains(body, b"\"operator_") {
        return;
    }
    for fact in Record::from_bytes(body).map(|record| record.decision.facts).unwrap_or_default() {
        match fact {
            Fact::OperatorKnown { operator, .. } => drop(known.insert(operator.name, operator.groups)),
            Fact::OperatorForgotten { name } => drop(known.remove(&name)),
            _ => {}
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
