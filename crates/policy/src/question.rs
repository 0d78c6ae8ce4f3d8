//! What of a request can matter to a set of policies: what any of them names, and what its candidates mention. Cedar is asked
//! about that and no more, so that requests with one question have one verdict.
//!
//! Two things are left out when they cannot matter: groups that nothing in the set names, and attributes that none of the
//! candidates mentions. What somebody or something is called itself stays in what Cedar is asked, and is part of the question only
//! where it is named or read: a policy can compare it with a name that it writes down, and with attributes, none of which is an
//! entity of such a type; and an agent that asks about itself was refused before.

use eparch_domain::{Action, Digest};

use crate::circumstances::History;
use crate::index::{Key, Known};
use crate::names::{Named, TIERS, Type};
use crate::request::Request;
use crate::resource::Resource;
use crate::subject::Subject;

/// Attributes of principals, resources and the context, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mentioned(u32);

macro_rules! attributes {
    ($( $constant:ident = $bit:literal $name:literal; )+) => {
        impl Mentioned {
            $( pub(crate) const $constant: Mentioned = Mentioned(1 << $bit); )+
            const NAMES: &[(Mentioned, &'static str)] = &[ $( (Mentioned::$constant, $name) ),+ ];
        }
    };
}

attributes! {
    NAME = 0 "name";
    TIER = 1 "tier";
    LEVEL = 2 "level";
    TENANT = 3 "tenant";
    PROJECT = 4 "project";
    RUN = 5 "run";
    ROLE = 6 "role";
    MAX_LEVEL = 7 "max_level";
    PHASE = 8 "phase";
    PLANNED = 9 "planned";
    APPROVALS = 10 "approvals";
    OUTSIDE = 11 "outside";
    HISTORY = 12 "history";
    SPENT_TOKENS = 13 "spent_tokens";
    SPENT_MICRODOLLARS = 14 "spent_microdollars";
    REQUESTER = 15 "requester";
}

impl Mentioned {
    /// Those whose name stands anywhere in a policy's text as it was written. There is no way to read an attribute without its
    /// name, and a record compares only with one of its own type, which has all its names. But `resource["r\u{75}n"]` is
    /// `resource.run`: where anything is escaped, every name may stand there.
    pub(crate) fn in_text(text: &str) -> Mentioned {
        if text.contains('\\') {
            return Mentioned::NAMES.iter().fold(Mentioned::default(), |all, (one, _)| all.with(*one));
        }
        let named = Mentioned::NAMES.iter().filter(|(_, name)| text.contains(name));
        named.fold(Mentioned::default(), |all, (one, _)| all.with(*one))
    }

    pub(crate) fn with(self, other: Mentioned) -> Mentioned {
        Mentioned(self.0 | other.0)
    }

    pub(crate) fn has(self, one: Mentioned) -> bool {
        self.0 & one.0 != 0
    }

    /// What one attribute is called.
    pub(crate) fn name(self) -> &'static str {
        Mentioned::NAMES.iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }
}

/// The attribute through which a policy can reach an entity of this type that it does not name.
fn attribute_of(kind: Type) -> Mentioned {
    match kind {
        Type::Tier => Mentioned::TIER,
        Type::Role => Mentioned::ROLE,
        Type::Tenant => Mentioned::TENANT,
        Type::Project => Mentioned::PROJECT,
        Type::Run => Mentioned::RUN,
        _ => Mentioned::default(),
    }
}

/// What a policy reads of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'r> {
    Text(&'r str),
    /// A count, as large as it may be.
    Number(u64),
    Flag(bool),
    Entity(Named<'r>),
    Facts(&'r History),
}

/// Attributes, each with which it is, in one order.
pub(crate) type Attributes<'r> = Vec<(Mentioned, Value<'r>)>;

/// The subject or the resource, as far as it matters.
#[derive(Debug)]
pub(crate) struct Side<'r> {
    /// It matters where something in the set names this very one.
    pub(crate) own: Known<'r>,
    pub(crate) groups: Vec<Known<'r>>,
    pub(crate) attributes: Attributes<'r>,
}

/// A request, as far as it matters.
#[derive(Debug)]
pub(crate) struct Question<'r> {
    pub(crate) action: Action,
    pub(crate) subject: Side<'r>,
    pub(crate) resource: Side<'r>,
    pub(crate) context: Attributes<'r>,
}

impl<'r> Question<'r> {
    pub(crate) fn new(
        request: &'r Request,
        (subject, resource): (&[Known<'r>], &[Known<'r>]),
        mentioned: Mentioned,
    ) -> Question<'r> {
        let matters =
            |known: &&Known<'_>| known.key.is_some() || mentioned.has(attribute_of(known.name.kind));
        let side = |names: &[Known<'r>], attributes| Side {
            own: names[0],
            groups: names[1..].iter().filter(matters).copied().collect(),
            attributes,
        };
        Question {
            action: request.action,
            subject: side(subject, of_subject(request, subject, mentioned)),
            resource: side(resource, of_resource(&request.resource, resource, mentioned)),
            context: of_circumstances(request, mentioned),
        }
    }

    /// What the question is: two with one digest are one question.
    pub(crate) fn digest(&self) -> Digest {
        let mut written = Written(Vec::with_capacity(512));
        written.0.push(self.action as u8);
        for side in [&self.subject, &self.resource] {
            written.0.push(side.own.name.kind as u8);
            written.key(side.own.key);
            written.count(side.groups.len());
            for group in &side.groups {
                written.key(group.key);
                if group.key.is_none() {
                    written.named(group.name);
                }
            }
            written.attributes(&side.attributes);
        }
        written.attributes(&self.context);
        Digest::of(&written.0)
    }
}

/// A question as bytes; each part says how long it is.
struct Written(Vec<u8>);

impl Written {
    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn named(&mut self, name: Named<'_>) {
        self.0.push(name.kind as u8);
        self.text(name.id);
    }

    /// What stands for a name in this set, where anything in it has that name.
    fn key(&mut self, key: Option<Key>) {
        self.0.push(key.is_some().into());
        self.0.extend_from_slice(&key.unwrap_or_default().to_le_bytes());
    }

    fn attributes(&mut self, attributes: &[(Mentioned, Value<'_>)]) {
        self.count(attributes.len());
        for (which, value) in attributes {
            self.0.extend_from_slice(&which.0.to_le_bytes());
            // An attribute has values of one kind only.
            match value {
                Value::Text(text) => self.text(text),
                Value::Number(number) => self.0.extend_from_slice(&number.to_le_bytes()),
                Value::Flag(flag) => self.0.push((*flag).into()),
                Value::Entity(named) => self.named(*named),
                Value::Facts(history) => {
                    self.count(history.facts().count());
                    history.facts().for_each(|fact| self.text(fact));
                }
            }
        }
    }
}

fn of_subject<'r>(request: &'r Request, names: &[Known<'r>], mentioned: Mentioned) -> Attributes<'r> {
    let mut read = Read::new(mentioned);
    match &request.subject {
        Subject::Anonymous => {}
        Subject::Agent(agent) => {
            read.add(Mentioned::NAME, Value::Text(names[0].name.id));
            read.tier(agent.tier);
            read.entity(Mentioned::TENANT, Type::Tenant, agent.tenant.as_str());
            read.entity(Mentioned::PROJECT, Type::Project, agent.project.as_str());
            read.of_kind(Mentioned::RUN, Type::Run, names);
        }
        Subject::Operator(operator) => {
            read.add(Mentioned::NAME, Value::Text(operator.name.as_str()));
            read.entity(Mentioned::ROLE, Type::Role, operator.role.as_str());
            read.add(Mentioned::MAX_LEVEL, Value::Number(operator.max_tier.number().into()));
            read.entity(Mentioned::TENANT, Type::Tenant, operator.tenant.as_str());
        }
    }
    read.all
}

fn of_resource<'r>(resource: &'r Resource, names: &[Known<'r>], mentioned: Mentioned) -> Attributes<'r> {
    let mut read = Read::new(mentioned);
    read.add(Mentioned::NAME, Value::Text(resource.name()));
    read.entity(Mentioned::TENANT, Type::Tenant, resource.tenant().as_str());
    if let Some(tier) = resource.tier() {
        read.tier(tier);
    }
    read.of_kind(Mentioned::PROJECT, Type::Project, names);
    read.of_kind(Mentioned::RUN, Type::Run, names);
    read.all
}

fn of_circumstances(request: &Request, mentioned: Mentioned) -> Attributes<'_> {
    let now = &request.circumstances;
    let mut read = Read::new(mentioned);
    read.entity(Mentioned::PHASE, Type::Phase, now.phase.as_str());
    read.add(Mentioned::PLANNED, Value::Flag(now.planned));
    read.add(Mentioned::APPROVALS, Value::Number(now.approvals.into()));
    read.add(Mentioned::OUTSIDE, Value::Flag(now.outside));
    read.add(Mentioned::HISTORY, Value::Facts(&now.history));
    read.add(Mentioned::SPENT_TOKENS, Value::Number(now.spent_tokens));
    read.add(Mentioned::SPENT_MICRODOLLARS, Value::Number(now.spent_microdollars));
    if let Some(requester) = &now.requester {
        read.add(Mentioned::REQUESTER, Value::Text(requester.as_str()));
    }
    read.all
}

/// Attributes, as far as they are mentioned.
struct Read<'r> {
    mentioned: Mentioned,
    all: Attributes<'r>,
}

impl<'r> Read<'r> {
    fn new(mentioned: Mentioned) -> Read<'r> {
        Read { mentioned, all: Vec::new() }
    }

    fn add(&mut self, which: Mentioned, value: Value<'r>) {
        if self.mentioned.has(which) {
            self.all.push((which, value));
        }
    }

    fn entity(&mut self, which: Mentioned, kind: Type, id: &'r str) {
        self.add(which, Value::Entity(Named { kind, id }));
    }

    /// The group of this kind that it is in, if it is in one.
    fn of_kind(&mut self, which: Mentioned, kind: Type, names: &[Known<'r>]) {
        if let Some(known) = names[1..].iter().find(|known| known.name.kind == kind) {
            self.add(which, Value::Entity(known.name));
        }
    }

    fn tier(&mut self, tier: eparch_domain::Tier) {
        self.entity(Mentioned::TIER, Type::Tier, TIERS[usize::from(tier.number())]);
        self.add(Mentioned::LEVEL, Value::Number(tier.number().into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mentioned_is_what_was_added_and_nothing_else() {
        let two = Mentioned::default().with(Mentioned::NAME).with(Mentioned::TIER);
        for (one, name) in Mentioned::NAMES {
            let is_in = *one == Mentioned::NAME || *one == Mentioned::TIER;
            assert_eq!((two.has(*one), Mentioned::default().has(*one)), (is_in, false), "{name}");
        }
    }

    #[test]
    fn two_texts_are_not_two_others_that_read_the_same_together() {
        let written = |texts: [&str; 2]| {
            let mut written = Written(Vec::new());
            texts.iter().for_each(|text| written.text(text));
            written.0
        };
        assert_ne!(written(["ab", "c"]), written(["a", "bc"]));
    }
}
