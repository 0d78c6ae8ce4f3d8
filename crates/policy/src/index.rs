//! Which policies can matter for a request, without looking at the others.
//!
//! A policy's scope says what it is about: actions, a principal, a resource. Each bucket holds the policies that name the
//! same three; those that name nothing are under "any". A request looks into the buckets of what it is and of the groups it
//! is in, as far as any policy names them, and into those of "any". What is left out can say nothing: its scope does not
//! match, and a policy whose scope does not match is neither satisfied nor an error.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use eparch_domain::Action;

use crate::entities::{Mentioned, Vocabulary};
use crate::names::{Named, Type};
use crate::rule::Rule;

/// What a scope can name. Small numbers, because a request compares many.
pub(crate) type Key = u32;

/// A scope that names nothing.
const ANY: Key = 0;

/// A scope that names only a type: its place among the types, after [`ANY`].
fn of_type(kind: Type) -> Key {
    Key::try_from(1 + kind.place()).expect("there are some twenty types")
}

/// Policies that name the same action, principal and resource in their scopes.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Those that are enforced, as one set for Cedar.
    pub(crate) enforced: cedar_policy::PolicySet,
    /// Those that are only watched, each alone, so that what one says hides no other.
    pub(crate) watched: Vec<(Arc<Rule>, cedar_policy::PolicySet)>,
    /// How many they are.
    pub(crate) count: usize,
    /// What any of them reads.
    pub(crate) mentioned: Mentioned,
}

/// Every policy of a set, by what it is about.
#[derive(Debug)]
pub(crate) struct Index {
    /// Every name of an entity in any policy, by type, with its key.
    names: Vec<HashMap<Box<str>, Key>>,
    /// By action (or any), principal and resource.
    buckets: HashMap<(u8, Key, Key), Bucket>,
}

/// In place of an action: policies for any.
const ANY_ACTION: u8 = u8::MAX;

impl Index {
    pub(crate) fn new(policies: Vec<(Arc<Rule>, Policy)>, vocabulary: &Vocabulary) -> Index {
        let mut index = Index { names: vec![HashMap::new(); Type::ALL.len()], buckets: HashMap::new() };
        let mut next = of_type(Type::Governance) + 1;
        for (rule, policy) in policies {
            for literal in policy.entity_literals() {
                // An action that is named is no group of anything else.
                if let Some(kind) = Type::named(literal.type_name().basename()) {
                    let id: &str = literal.id().unescaped();
                    index.names[kind.place()].entry(id.into()).or_insert_with(|| {
                        next += 1;
                        next
                    });
                }
            }
            let mentioned = Mentioned::in_text(&policy.to_string());
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::Any => ANY,
                PrincipalConstraint::Is(kind) => index.key_of_type(kind.basename()),
                PrincipalConstraint::In(uid)
                | PrincipalConstraint::Eq(uid)
                | PrincipalConstraint::IsIn(_, uid) => index.key_of(&uid),
            };
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any => ANY,
                ResourceConstraint::Is(kind) => index.key_of_type(kind.basename()),
                ResourceConstraint::In(uid)
                | ResourceConstraint::Eq(uid)
                | ResourceConstraint::IsIn(_, uid) => index.key_of(&uid),
            };
            for action in actions_of(&policy.action_constraint(), vocabulary) {
                let bucket = index.buckets.entry((action, principal, resource)).or_default();
                bucket.add(&rule, &policy, mentioned);
            }
        }
        index
    }

    fn key_of_type(&self, kind: &str) -> Key {
        // A type the schema does not have was refused when the policy was validated.
        of_type(Type::named(kind).expect("validated"))
    }

    fn key_of(&self, uid: &EntityUid) -> Key {
        let kind = Type::named(uid.type_name().basename()).expect("validated");
        let id: &str = uid.id().unescaped();
        *self.names[kind.place()].get(id).expect("every name in the policy was just added")
    }

    /// Whether any policy of the set names this.
    pub(crate) fn is_named(&self, name: Named<'_>) -> bool {
        self.names[name.kind.place()].contains_key(name.id)
    }

    /// Every name of this type, in order.
    pub(crate) fn names_of(&self, kind: Type) -> Vec<&str> {
        let mut names: Vec<&str> = self.names[kind.place()].keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The buckets that can matter, for the names of a subject and of a resource, their own first.
    pub(crate) fn candidates(
        &self,
        action: Action,
        subject: &[Named<'_>],
        resource: &[Named<'_>],
    ) -> Vec<&Bucket> {
        let (principals, resources) = (self.keys(subject), self.keys(resource));
        let mut found = Vec::new();
        for action in [action as u8, ANY_ACTION] {
            for principal in &principals {
                for resource in &resources {
                    found.extend(self.buckets.get(&(action, *principal, *resource)));
                }
            }
        }
        found
    }

    fn keys(&self, names: &[Named<'_>]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(8);
        keys.push(ANY);
        keys.extend(names.first().map(|own| of_type(own.kind)));
        keys.extend(names.iter().filter_map(|name| self.names[name.kind.place()].get(name.id)));
        keys
    }
}

/// The actions a scope is about, each as its number.
fn actions_of(constraint: &ActionConstraint, vocabulary: &Vocabulary) -> Vec<u8> {
    let groups = match constraint {
        ActionConstraint::Any => return vec![ANY_ACTION],
        ActionConstraint::Eq(uid) => std::slice::from_ref(uid),
        ActionConstraint::In(uids) => uids,
    };
    let about = |action: &&Action| groups.iter().any(|group| vocabulary.is_in(**action, group));
    Action::ALL.iter().filter(about).map(|action| *action as u8).collect()
}

impl Bucket {
    fn add(&mut self, rule: &Arc<Rule>, policy: &Policy, mentioned: Mentioned) {
        self.count += 1;
        self.mentioned = self.mentioned.with(mentioned);
        if rule.shadow {
            let mut alone = cedar_policy::PolicySet::new();
            alone.add(policy.clone()).expect("a set of one has no id twice");
            self.watched.push((Arc::clone(rule), alone));
        } else {
            self.enforced.add(policy.clone()).expect("ids were compared when the policies were read");
        }
    }
}
