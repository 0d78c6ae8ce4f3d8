//! What is asked, as Cedar sees it.
//!
//! A request is made from typed parts, without text being parsed. Two things are left out when they cannot matter, which
//! saves most of the cost: groups that nothing in the set names, and attributes that none of the candidates mentions.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as CedarRequest,
    RestrictedExpression, Schema,
};
use eparch_domain::Action;

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

/// What is the same for every request.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    types: Vec<EntityTypeName>,
    actions: Vec<ActionEntity>,
}

/// An action with the groups it is in.
#[derive(Debug)]
struct ActionEntity {
    uid: EntityUid,
    groups: Vec<EntityUid>,
    alone: Entities,
}

impl Vocabulary {
    pub(crate) fn new(schema: &Schema) -> Vocabulary {
        let parse = |kind: &Type| kind.name().parse().expect("the schema's types are named by words");
        let all = schema.action_entities().expect("the schema that ships has no actions of another");
        let action = |action: &Action| {
            let uid = uid("Action".parse().expect("a word"), action.as_str());
            let entity = all.get(&uid).expect("the schema that ships has every action").clone();
            let groups = all.ancestors(&uid).into_iter().flatten().cloned().collect();
            let alone = Entities::from_entities([entity], None).expect("one action is no circle");
            ActionEntity { uid, groups, alone }
        };
        Vocabulary {
            types: Type::ALL.iter().map(parse).collect(),
            actions: Action::ALL.iter().map(action).collect(),
        }
    }

    fn action(&self, action: Action) -> &ActionEntity {
        &self.actions[action as usize]
    }

    /// Whether an action is another, or in it.
    pub(crate) fn is_in(&self, action: Action, group: &EntityUid) -> bool {
        let action = self.action(action);
        action.uid == *group || action.groups.contains(group)
    }

    fn uid(&self, name: Named<'_>) -> EntityUid {
        uid(self.types[name.kind.place()].clone(), name.id)
    }

    fn name(&self, kind: Type, id: &str) -> RestrictedExpression {
        RestrictedExpression::new_entity_uid(self.uid(Named { kind, id }))
    }

    /// The request as Cedar takes it. `is_named` says which groups anything in the set names.
    pub(crate) fn request(
        &self,
        request: &Request,
        (subject, resource): (&[Named<'_>], &[Named<'_>]),
        mentioned: Mentioned,
        is_named: impl Fn(Named<'_>) -> bool,
    ) -> (CedarRequest, Entities) {
        let matters = |name: &Named<'_>| is_named(*name) || mentioned.has(attribute_of(name.kind));
        let entity = |names: &[Named<'_>], attributes: Vec<(String, RestrictedExpression)>| {
            let parents = names[1..].iter().filter(|name| matters(name)).map(|name| self.uid(*name));
            Entity::new_with_tags(self.uid(names[0]), attributes, parents, [])
                .expect("attributes are plain values, which cannot fail")
        };
        let principal = entity(subject, self.attributes_of_subject(request, mentioned));
        let about = entity(resource, self.attributes_of_resource(&request.resource, resource, mentioned));
        let action = self.action(request.action);
        let cedar = CedarRequest::new(
            principal.uid(),
            action.uid.clone(),
            about.uid(),
            self.context(request, mentioned),
            None,
        )
        .expect("a request is compared with no schema here");
        let entities = action.alone.clone().add_entities([principal, about], None);
        (cedar, entities.expect("who asks about themselves was refused before, and groups are in no circle"))
    }

    fn attributes_of_subject(
        &self,
        request: &Request,
        mentioned: Mentioned,
    ) -> Vec<(String, RestrictedExpression)> {
        let mut made = Attributes::new(mentioned);
        match &request.subject {
            Subject::Anonymous => {}
            Subject::Agent(agent) => {
                made.add(Mentioned::NAME, || text(&agent.id.to_string()));
                made.add(Mentioned::TIER, || self.name(Type::Tier, tier_name(agent.tier)));
                made.add(Mentioned::LEVEL, || number(agent.tier.number().into()));
                made.add(Mentioned::TENANT, || self.name(Type::Tenant, agent.tenant.as_str()));
                made.add(Mentioned::PROJECT, || self.name(Type::Project, agent.project.as_str()));
                made.add(Mentioned::RUN, || self.name(Type::Run, &agent.run.to_string()));
            }
            Subject::Operator(operator) => {
                made.add(Mentioned::NAME, || text(operator.name.as_str()));
                made.add(Mentioned::ROLE, || self.name(Type::Role, operator.role.as_str()));
                made.add(Mentioned::MAX_LEVEL, || number(operator.max_tier.number().into()));
                made.add(Mentioned::TENANT, || self.name(Type::Tenant, operator.tenant.as_str()));
            }
        }
        made.all
    }

    fn attributes_of_resource(
        &self,
        resource: &Resource,
        names: &[Named<'_>],
        mentioned: Mentioned,
    ) -> Vec<(String, RestrictedExpression)> {
        let mut made = Attributes::new(mentioned);
        made.add(Mentioned::NAME, || text(resource.name()));
        made.add(Mentioned::TENANT, || self.name(Type::Tenant, resource.tenant().as_str()));
        if let Some(tier) = resource.tier() {
            made.add(Mentioned::TIER, || self.name(Type::Tier, tier_name(tier)));
            made.add(Mentioned::LEVEL, || number(tier.number().into()));
        }
        for name in &names[1..] {
            match name.kind {
                Type::Project => made.add(Mentioned::PROJECT, || self.name(Type::Project, name.id)),
                Type::Run => made.add(Mentioned::RUN, || self.name(Type::Run, name.id)),
                _ => {}
            }
        }
        made.all
    }

    fn context(&self, request: &Request, mentioned: Mentioned) -> Context {
        let now = &request.circumstances;
        let mut made = Attributes::new(mentioned);
        made.add(Mentioned::PHASE, || self.name(Type::Phase, now.phase.as_str()));
        made.add(Mentioned::PLANNED, || RestrictedExpression::new_bool(now.planned));
        made.add(Mentioned::APPROVALS, || number(now.approvals.into()));
        made.add(Mentioned::OUTSIDE, || RestrictedExpression::new_bool(now.outside));
        made.add(Mentioned::HISTORY, || RestrictedExpression::new_set(now.history.facts().map(text)));
        made.add(Mentioned::SPENT_TOKENS, || number(now.spent_tokens));
        made.add(Mentioned::SPENT_MICRODOLLARS, || number(now.spent_microdollars));
        if let Some(requester) = &now.requester {
            made.add(Mentioned::REQUESTER, || text(requester.as_str()));
        }
        Context::from_pairs(made.all).expect("no attribute is given twice, and each is a plain value")
    }
}

/// Attributes, as far as they are mentioned.
struct Attributes {
    mentioned: Mentioned,
    all: Vec<(String, RestrictedExpression)>,
}

impl Attributes {
    fn new(mentioned: Mentioned) -> Attributes {
        Attributes { mentioned, all: Vec::new() }
    }

    fn add(&mut self, which: Mentioned, value: impl FnOnce() -> RestrictedExpression) {
        if self.mentioned.has(which) {
            let name = Mentioned::NAMES.iter().find(|(one, _)| *one == which).map_or("", |(_, name)| name);
            self.all.push((name.to_owned(), value()));
        }
    }
}

fn uid(kind: EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn tier_name(tier: eparch_domain::Tier) -> &'static str {
    TIERS[usize::from(tier.number())]
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

/// A count as Cedar has them; what is larger than it can hold is as large as it can hold.
fn number(count: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(count).unwrap_or(i64::MAX))
}
