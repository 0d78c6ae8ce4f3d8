//! What is asked, as Cedar sees it: made from typed parts, without text being parsed.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as CedarRequest,
    RestrictedExpression, Schema,
};
use eparch_domain::Action;

use crate::names::{Named, Type};
use crate::question::{Attributes, Question, Side, Value};

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

    /// A question as Cedar takes it.
    pub(crate) fn ask(&self, question: &Question<'_>) -> (CedarRequest, Entities) {
        let (principal, resource) = (self.entity(&question.subject), self.entity(&question.resource));
        let action = self.action(question.action);
        let context = Context::from_pairs(self.expressions(&question.context))
            .expect("no attribute is given twice, and each is a plain value");
        let cedar = CedarRequest::new(principal.uid(), action.uid.clone(), resource.uid(), context, None)
            .expect("a request is compared with no schema here");
        let entities = action.alone.clone().add_entities([principal, resource], None);
        (cedar, entities.expect("who asks about themselves was refused before, and groups are in no circle"))
    }

    fn entity(&self, side: &Side<'_>) -> Entity {
        let groups = side.groups.iter().map(|group| self.uid(group.name));
        Entity::new_with_tags(self.uid(side.own.name), self.expressions(&side.attributes), groups, [])
            .expect("attributes are plain values, which cannot fail")
    }

    fn expressions(&self, attributes: &Attributes<'_>) -> Vec<(String, RestrictedExpression)> {
        let made = |value: &Value<'_>| match value {
            Value::Text(text) => expression(text),
            // Counts as Cedar has them; what is larger than it can hold is as large as it can hold.
            Value::Number(number) => {
                RestrictedExpression::new_long(i64::try_from(*number).unwrap_or(i64::MAX))
            }
            Value::Flag(flag) => RestrictedExpression::new_bool(*flag),
            Value::Entity(named) => RestrictedExpression::new_entity_uid(self.uid(*named)),
            Value::Facts(history) => RestrictedExpression::new_set(history.facts().map(expression)),
        };
        attributes.iter().map(|(which, value)| (which.name().to_owned(), made(value))).collect()
    }
}

fn uid(kind: EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn expression(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}
