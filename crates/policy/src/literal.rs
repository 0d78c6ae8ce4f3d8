//! Names that stand in policies. What is asked about always has its name in the one form, so that a policy which names it in
//! another never applies: a forbid like that is a door its author believes closed.

use cedar_policy::{Policy, ResourceConstraint};
use eparch_domain::{Name, RunId};

use crate::names::Type;
use crate::resource::{ResourceKind, canonical};

/// A name that nothing can have.
#[derive(Debug)]
pub(crate) struct Unreachable {
    /// Where it stands in the policy's text, in bytes.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// How it is written instead, where that is known.
    pub(crate) hint: String,
}

/// The names in a policy that no request can carry, in the order of their places.
pub(crate) fn unreachable(policy: &Policy, source: &str) -> Vec<Unreachable> {
    let mut found = Vec::new();
    for literal in policy.entity_literals() {
        let Some(kind) = Type::named(literal.type_name().basename()) else { continue };
        let id: &str = literal.id().unescaped();
        if let Err(hint) = is_reached(kind, id) {
            found.push(told(kind, id, hint, source));
        }
    }
    // A group is in no request: what is in it is.
    if let ResourceConstraint::Eq(literal) = policy.resource_constraint()
        && let (Some(Type::Host), Some(group)) =
            (Type::named(literal.type_name().basename()), literal.id().unescaped().strip_suffix('*'))
        && group.ends_with('-')
    {
        let id = literal.id().unescaped();
        found.push(told(Type::Host, id, format!("resource in Host::{id:?}"), source));
    }
    found.sort_by(|one, other| (one.at, &one.message).cmp(&(other.at, &other.message)));
    found.dedup_by(|one, first| one.message == first.message);
    found
}

fn told(kind: Type, id: &str, hint: String, source: &str) -> Unreachable {
    let kind = kind.name();
    let shown = eparch_domain::harmless(id);
    // A name with an escape in it stands there in other words: the type then says where, or the policy does.
    let places = [format!("{kind}::\"{id}\""), format!("{kind}::")];
    let at = places.iter().find_map(|place| source.find(place)).unwrap_or(0);
    let message = format!("nothing is called {kind}::\"{shown}\", so this can never apply");
    Unreachable { at, message, hint }
}

/// Whether a request can carry this name; otherwise what to write.
fn is_reached(kind: Type, id: &str) -> Result<(), String> {
    let resource = ResourceKind::ALL.into_iter().find(|resource| Type::from(*resource) == kind);
    match (kind, resource) {
        (Type::Host, _) => is_host(id),
        (_, Some(resource)) => is_thing(resource, id),
        (Type::Tenant | Type::Project | Type::Group | Type::Operator, None) => {
            Name::new(id).map(drop).map_err(|bad| bad.to_string())
        }
        (Type::Run, None) => match id.parse::<RunId>() {
            // An id is written in one way only.
            Ok(_) => Ok(()),
            Err(_) => Err("a run is called run_… and what `eparch run list` shows".to_owned()),
        },
        // The words of the schema are looked at when the policy is validated, and templates may be called anything.
        _ => Ok(()),
    }
}

fn is_thing(kind: ResourceKind, id: &str) -> Result<(), String> {
    let named = Type::from(kind).name();
    if id.contains('*') {
        let group = id.split('*').next().unwrap_or_default().trim_end_matches('/');
        return Err(match group {
            "" => format!("a `*` stands for nothing here; everything of the kind is `resource is {named}`"),
            group => {
                format!(
                    "a `*` stands for nothing here; what lies in it is `resource in {named}::\"{group}\"`"
                )
            }
        });
    }
    match canonical(kind, id) {
        Ok(name) if name == id => Ok(()),
        Ok(name) => Err(format!("write {named}::\"{name}\"")),
        Err(bad) => Err(match without_detours(kind, id) {
            Some(name) => format!("write {named}::\"{name}\""),
            None => bad.to_string(),
        }),
    }
}

/// The name without its empty parts and those that go nowhere, where that leaves one.
fn without_detours(kind: ResourceKind, id: &str) -> Option<String> {
    let parts: Vec<&str> = id.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let absolute = if id.starts_with('/') { "/" } else { "" };
    canonical(kind, &format!("{absolute}{}", parts.join("/"))).ok()
}

fn is_host(id: &str) -> Result<(), String> {
    let Some(prefix) = id.strip_suffix('*') else {
        return match canonical(ResourceKind::Host, id) {
            Ok(name) if name == id => Ok(()),
            Ok(name) => Err(format!("write Host::\"{name}\"")),
            Err(bad) => Err(bad.to_string()),
        };
    };
    match canonical(ResourceKind::Host, prefix) {
        Ok(name) if name == prefix && name.ends_with('-') => Ok(()),
        Ok(name) => {
            let name = name.trim_end_matches('-');
            Err(format!("groups of hosts end at a `-`: write Host::\"{name}-*\""))
        }
        Err(_) if prefix.is_empty() => Err("every host is `resource is Host`".to_owned()),
        Err(bad) => Err(bad.to_string()),
    }
}
