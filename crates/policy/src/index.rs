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
use foldhash::fast::RandomState;

use crate::by_name;
use crate::entities::Vocabulary;
use crate::names::{Named, Type};
use crate::question::{Mentioned, Question};
use crate::resource::Resource;
use crate::rule::Rule;

/// What a scope can name. Small numbers, because a request compares many.
pub(crate) type Key = u32;

/// Nothing follows from its order. Its keys are those of whoever writes policies, and no request adds one; its seed is another one in
/// each process, so that nobody can write a set whose names collide.
type Map<K, V> = HashMap<K, V, RandomState>;

/// A scope that names nothing.
const ANY: Key = 0;

/// A scope that names only a type: its place among the types, after [`ANY`].
fn of_type(kind: Type) -> Key {
    Key::try_from(1 + kind.place()).expect("there are some twenty types")
}

/// A name of the subject or the resource, with its key where any policy of the set names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'n> {
    pub(crate) name: Named<'n>,
    pub(crate) key: Option<Key>,
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
    names: Vec<Map<Box<str>, Key>>,
    /// By action (or any), principal and resource.
    buckets: Map<(u8, Key, Key), Bucket>,
    /// Policies that are enforced and judge paths by the text of their name.
    by_name: Vec<ByName>,
}

/// A policy that judges paths by the text of their name.
#[derive(Debug)]
struct ByName {
    actions: Vec<u8>,
    principal: Key,
    /// The place its scope names; all paths where that names none.
    within: Option<Box<str>>,
}

/// In place of an action: policies for any.
const ANY_ACTION: u8 = u8::MAX;

impl Index {
    pub(crate) fn new(policies: Vec<(Arc<Rule>, Policy)>, vocabulary: &Vocabulary) -> Index {
        let mut index = Index {
            names: vec![Map::default(); Type::ALL.len()],
            buckets: Map::default(),
            by_name: Vec::new(),
        };
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
            let actions = actions_of(&policy.action_constraint(), vocabulary);
            for action in &actions {
                let bucket = index.buckets.entry((*action, principal, resource)).or_default();
                bucket.add(&rule, &policy, mentioned);
            }
            if let Some(within) = paths_of(&policy.resource_constraint())
                && !rule.shadow
                && mentioned.has(Mentioned::NAME)
                && by_name::judges_by_name(&policy)
            {
                index.by_name.push(ByName { actions, principal, within });
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

    /// What of these names any policy of the set names.
    pub(crate) fn known<'n>(&self, names: &[Named<'n>]) -> Vec<Known<'n>> {
        let key = |name: &Named<'_>| self.names[name.kind.place()].get(name.id).copied();
        names.iter().map(|name| Known { name: *name, key: key(name) }).collect()
    }

    /// Whether the question could be another one if what it is about had another name. Of a path nothing else follows from that.
    pub(crate) fn tells_apart(&self, question: &Question<'_>, other: &Resource) -> bool {
        let asked = &question.resource;
        let kind = asked.own.name.kind;
        let named = |name: &str| self.names[kind.place()].get(name).copied();
        let lies_in = asked.groups.iter().filter(|group| group.name.kind == kind).map(|group| group.key);
        let reads_name = asked.attributes.iter().any(|(which, _)| *which == Mentioned::NAME);
        kind != Type::Path
            || reads_name
            || asked.own.key != named(other.name())
            || !lies_in.flatten().eq(other.groups().filter_map(named))
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
        subject: &[Known<'_>],
        resource: &[Known<'_>],
    ) -> Vec<&Bucket> {
        let (principals, resources) = (keys(subject), keys(resource));
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

    /// The places within which something that this subject does is judged by the text of a path's name; `None` is any place.
    pub(crate) fn judged_by_name(&self, action: Action, subject: &[Named<'_>]) -> Vec<Option<&str>> {
        let principals = keys(&self.known(subject));
        let about = |judges: &&ByName| {
            principals.contains(&judges.principal)
                && judges.actions.iter().any(|one| *one == action as u8 || *one == ANY_ACTION)
        };
        self.by_name.iter().filter(about).map(|judges| judges.within.as_deref()).collect()
    }
}

/// What scopes can name of somebody or something, for its names, its own first.
fn keys(names: &[Known<'_>]) -> Vec<Key> {
    let mut keys = Vec::with_capacity(8);
    keys.push(ANY);
    keys.extend(names.first().map(|own| of_type(own.name.kind)));
    keys.extend(names.iter().filter_map(|known| known.key));
    keys
}

/// Which paths a scope is about, if it is about any: those in a place, or `None` for whichever.
fn paths_of(constraint: &ResourceConstraint) -> Option<Option<Box<str>>> {
    let kind_of = |uid: &EntityUid| Type::named(uid.type_name().basename());
    match constraint {
        ResourceConstraint::Any => Some(None),
        ResourceConstraint::Is(kind) => (Type::named(kind.basename()) == Some(Type::Path)).then_some(None),
        ResourceConstraint::IsIn(kind, _) if Type::named(kind.basename()) != Some(Type::Path) => None,
        ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => {
            match kind_of(uid) {
                Some(Type::Path) => Some(Some(uid.id().unescaped().into())),
                Some(Type::Scope | Type::Tenant | Type::Project | Type::Run) => Some(None),
                _ => None,
            }
        }
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
